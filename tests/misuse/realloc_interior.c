/* gomalloc: realloc of an interior pointer: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    char *p = get(100);
    give(realloc(crime(p + 32), 200));
    return 0;
}
