/* gomalloc: free of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(200 << 20);
    free(crime(p + (128 << 20)));
    return 0;
}
