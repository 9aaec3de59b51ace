/* gomalloc: free of a misaligned pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(1 << 20);
    free(crime(p + 4097));
    return 0;
}
