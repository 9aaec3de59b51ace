/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

#include <dlfcn.h>

int main(void) {
    /* operator new(unsigned long) and operator delete(void *), which the library exports to C too. */
    void *(*new_one)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
    void (*delete_one)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "_ZdlPv");
    if (!new_one || !delete_one) return 5;
    void *p = new_one(100);
    delete_one(p);
    delete_one(crime(p));
    return 0;
}
