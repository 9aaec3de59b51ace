/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(1056), *q = get(1056);
    give(p);
    give(q);
    free(crime(p));
    return 0;
}
