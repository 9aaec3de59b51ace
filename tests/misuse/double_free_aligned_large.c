/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *volatile p = aligned_alloc(1 << 20, 200000);
    give(p);
    free(crime(p));
    return 0;
}
