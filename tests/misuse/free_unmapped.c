/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

#include <sys/mman.h>

int main(void) {
    /* A mapping that is gone. */
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(p, 1 << 20);
    free(crime(p));
    return 0;
}
