/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    free(crime((void *)0x123456789000));
    return 0;
}
