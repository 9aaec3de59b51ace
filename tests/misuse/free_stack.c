/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    _Alignas(16) char local[64] = {0};
    free(crime(local + 16));
    return 0;
}
