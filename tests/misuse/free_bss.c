/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

_Alignas(16) static char table[8192];

int main(void) {
    free(crime(table + 4096));
    return 0;
}
