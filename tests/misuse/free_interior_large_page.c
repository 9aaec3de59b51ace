/* gomalloc: free of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* At a page boundary, where a span could begin. */
    char *p = get(1 << 20);
    free(crime(p + (512 << 10)));
    return 0;
}
