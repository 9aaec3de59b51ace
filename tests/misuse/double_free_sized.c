/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

#include <dlfcn.h>

int main(void) {
    void (*free_with_size)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!free_with_size) return 5;
    void *p = get(100);
    free_with_size(p, 100);
    free_with_size(crime(p), 100);
    return 0;
}
