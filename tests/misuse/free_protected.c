/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

#include <sys/mman.h>

int main(void) {
    char *p = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(crime(p + 16));
    return 0;
}
