/* gomalloc: free of a misaligned pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(100);
    free(crime(p + 1));
    return 0;
}
