/* gomalloc: free of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *volatile p = aligned_alloc(4096, 10000);
    free(crime(p + 4096));
    return 0;
}
