/* gomalloc: malloc_usable_size of freed memory: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(1 << 20);
    give(p);
    return malloc_usable_size(crime(p)) == 0;
}
