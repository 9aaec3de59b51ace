/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(100);
    void *volatile q = realloc(p, 5000);
    if (!q || q == p) return 5;
    free(crime(p));
    return 0;
}
