/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* realloc(p, 0) frees, as glibc does. */
    void *p = get(100);
    void *volatile q = realloc(p, 0);
    (void)q;
    free(crime(p));
    return 0;
}
