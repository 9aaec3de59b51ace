/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* Far above the heap, but inside the address space that the library keeps for it. */
    char *p = get(100);
    uintptr_t above = ((uintptr_t)p & ~(uintptr_t)0xffff) + ((uintptr_t)16 << 30);
    free(crime((void *)above));
    return 0;
}
