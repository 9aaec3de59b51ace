/* See next.h. Slots are filled at the first call and not in the constructor: a process that never
 * calls setrlimit or sigset should not pay for looking them up. dlsym may allocate, which is fine
 * here and would not be inside free; foreign.c therefore resolves what it needs beforehand. */
#define _GNU_SOURCE 1
#include "preload/next.h"

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>

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

/* The C library's mapping, by an address in it: a search by name for each function would cost as much again. */
static uintptr_t c_library, c_library_end;

static int note_c_library(struct dl_phdr_info *info, size_t size, void *inside) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t low = info->dlpi_addr + p->p_vaddr;
        if (p->p_type != PT_LOAD || (uintptr_t)inside - low >= p->p_memsz) continue;
        gm_store_relaxed(&c_library, low);
        gm_store_release(&c_library_end, low + p->p_memsz); /* pairs with the acquire below */
        return 1;
    }
    return 0;
}

bool gm_next_is_c_library(const void *f) {
    if (gm_load_acquire(&c_library_end) == 0) {
        void *inside = dlvsym(RTLD_NEXT, "gnu_get_libc_version", GM_GLIBC_FIRST);
        dl_iterate_phdr(note_c_library, inside);
    }
    return (uintptr_t)f - gm_load_relaxed(&c_library) < gm_load_acquire(&c_library_end) - gm_load_relaxed(&c_library);
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
