/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* Other blocks of the class are freed in between: looking only at the last freed does not do. */
    void *p[20];
    for (int i = 0; i < 20; i++) p[i] = get(48);
    for (int i = 0; i < 20; i++) give(p[i]);
    free(crime(p[7]));
    return 0;
}
