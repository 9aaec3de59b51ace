/* gomalloc: realloc of a misaligned pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(100);
    give(realloc(crime(p + 3), 200));
    return 0;
}
