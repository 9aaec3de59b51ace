/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *volatile p = malloc(0);
    give(p);
    free(crime(p));
    return 0;
}
