/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

_Alignas(16) static const char text[32] = "read-only";

int main(void) {
    free(crime((void *)(uintptr_t)text));
    return 0;
}
