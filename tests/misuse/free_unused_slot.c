/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* A slot of a span from which only two have been handed out. */
    char *p = get(1024), *q = get(1024);
    uintptr_t span = (uintptr_t)p & ~(uintptr_t)8191;
    for (uintptr_t slot = span + 7 * 1024; slot >= span; slot -= 1024)
        if (slot != (uintptr_t)p && slot != (uintptr_t)q) free(crime((void *)slot));
    return 0;
}
