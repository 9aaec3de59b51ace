/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* The environment lies above the stack of main. */
    uintptr_t p = ((uintptr_t)environ[0] + 15) & ~(uintptr_t)15;
    free(crime((void *)p));
    return 0;
}
