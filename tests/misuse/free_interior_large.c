/* gomalloc: free of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(1 << 20);
    free(crime(p + 16));
    return 0;
}
