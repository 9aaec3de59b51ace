/* gomalloc: free of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(20000);
    free(crime(p + 8192));
    return 0;
}
