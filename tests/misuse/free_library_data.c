/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* Static data of another object: stdio's own record of the standard error stream. */
    uintptr_t p = (uintptr_t)stderr & ~(uintptr_t)15;
    free(crime((void *)p));
    return 0;
}
