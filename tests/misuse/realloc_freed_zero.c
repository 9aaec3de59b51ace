/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    void *p = get(100);
    give(p);
    give(realloc(crime(p), 0));
    return 0;
}
