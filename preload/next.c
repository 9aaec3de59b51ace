/* See next.h. Slots are filled at the first call and not in the constructor: a process that never
 * calls setrlimit or sigset should not pay for looking them up. dlsym may allocate, which is fine
 * here and would not be inside free; foreign.c therefore resolves what it needs beforehand. */
#define _GNU_SOURCE 1
#include "preload/next.h"

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"

#include <dlfcn.h>
#include <errno.h>

/* The C library's dlsym: hosts interpose it, and RTLD_NEXT then means "after them", which may be us. */
static void *next_in_order(const char *name) {
    static void *slot;
    void *f = gm_load_relaxed(&slot);
    if (f == NULL) gm_store_relaxed(&slot, f = dlvsym(RTLD_NEXT, "dlsym", GM_GLIBC_FIRST));
    return f != NULL ? ((void *(*)(void *, const char *))f)(RTLD_NEXT, name) : NULL;
}

void *gm_next_try(void **slot, const char *name, const char *version) {
    int saved = errno;
    void *f = next_in_order(name);
    if (f == NULL) f = dlvsym(RTLD_NEXT, name, version);
    if (f == NULL) dlerror(); /* what we did not find is not the program's error */
    else gm_store_relaxed(slot, f);
    errno = saved;
    return f;
}

bool gm_next_is_c_library(const void *f, const char *name, const char *version) {
    int saved = errno;
    void *own = dlvsym(RTLD_NEXT, name, version);
    if (own == NULL) dlerror();
    errno = saved;
    return own == f;
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
