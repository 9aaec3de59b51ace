/* See next.h. Slots are filled at the first call and not in the constructor: a process that never
 * calls setrlimit or sigset should not pay for looking them up. dlsym may allocate, which is fine
 * here and would not be inside free; foreign.c therefore resolves what it needs beforehand. */
#define _GNU_SOURCE 1
#include "preload/next.h"

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"

#include <dlfcn.h>
#include <errno.h>

void *gm_next_try(void **slot, const char *name, const char *version) {
    int saved = errno;
    /* By version first: hosts interpose dlsym, and RTLD_NEXT then means "after them", which may be us. */
    void *f = dlvsym(RTLD_NEXT, name, version);
    if (f == NULL) {
        f = dlsym(RTLD_NEXT, name);
        dlerror(); /* what we did not find is not the program's error */
    }
    if (f != NULL) gm_store_relaxed(slot, f);
    errno = saved;
    return f;
}

void *gm_next_find_version(void **slot, const char *name, const char *version) {
    void *f = gm_next_try(slot, name, version);
    if (f == NULL) {
        gm_eprintf("gomalloc: no %s in the C library\n", name);
        gm_os_abort();
    }
    return f;
}

void *gm_next_find(void **slot, const char *name) { return gm_next_find_version(slot, name, GM_GLIBC_FIRST); }
