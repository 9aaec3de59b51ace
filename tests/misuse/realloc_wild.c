/* gomalloc: realloc of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    give(realloc(crime((void *)0x123456789000), 200));
    return 0;
}
