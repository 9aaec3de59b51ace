/* gomalloc: realloc of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    _Alignas(16) char local[64] = {0};
    give(realloc(crime(local), 200));
    return 0;
}
