/* gomalloc: realloc of freed memory: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(1 << 20);
    give(p);
    give(realloc(crime(p), 2 << 20));
    return 0;
}
