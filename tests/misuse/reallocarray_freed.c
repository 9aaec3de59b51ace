/* gomalloc: realloc of freed memory: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(100);
    give(p);
    give(reallocarray(crime(p), 20, 20));
    return 0;
}
