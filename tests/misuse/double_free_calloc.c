/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *volatile p = calloc(10, 30);
    give(p);
    free(crime(p));
    return 0;
}
