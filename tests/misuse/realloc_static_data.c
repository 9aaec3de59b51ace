/* gomalloc: realloc of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

_Alignas(16) static char table[256] = "not from malloc";

int main(void) {
    give(realloc(crime(table), 1000));
    return 0;
}
