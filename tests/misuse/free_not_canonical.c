/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

int main(void) {
    free(crime((void *)0xdeadbeefdeadbee0));
    return 0;
}
