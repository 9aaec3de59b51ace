/* gomalloc: free of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

/* In the KiB in which the object starts. */
int main(void) {
    char *p = get(1500);
    free(crime(p + 16));
    return 0;
}
