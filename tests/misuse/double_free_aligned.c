/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *volatile p = aligned_alloc(4096, 300);
    give(p);
    free(crime(p));
    return 0;
}
