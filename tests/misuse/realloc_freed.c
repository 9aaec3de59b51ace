/* gomalloc: realloc of freed memory: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(100);
    give(p);
    give(realloc(crime(p), 200));
    return 0;
}
