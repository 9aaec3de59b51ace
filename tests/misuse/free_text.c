/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    uintptr_t p = (uintptr_t)main & ~(uintptr_t)15;
    free(crime((void *)p));
    return 0;
}
