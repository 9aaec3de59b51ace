/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(100 << 20);
    give(p);
    free(crime(p));
    return 0;
}
