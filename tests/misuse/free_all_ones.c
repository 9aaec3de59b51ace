/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    /* What mmap answers on failure. */
    free(crime((void *)-1));
    return 0;
}
