/* gomalloc: realloc of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(1 << 20);
    give(realloc(crime(p + 65536), 2 << 20));
    return 0;
}
