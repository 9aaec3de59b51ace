/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* A page behind the last block, which no span has ever covered. */
    char *p = get(1 << 20);
    uintptr_t behind = ((uintptr_t)p & ~(uintptr_t)0xfffff) + (24 << 20);
    free(crime((void *)behind));
    return 0;
}
