/* Every public allocation name resolves to the one library that is preloaded: a name left to the C
 * library is a second heap, and its blocks crash ours later. */
#include "tests/check.h"

#include <dlfcn.h>
#include <malloc.h>

static const char *const names[] = {
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "free",
    "cfree",
    "free_sized",
    "free_aligned_sized",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
    "mallinfo",
    "mallinfo2",
    "malloc_info",
    "malloc_stats",
    "malloc_trim",
    "mallopt",
    "__libc_malloc",
    "__libc_calloc",
    "__libc_realloc",
    "__libc_free",
    "__libc_memalign",
    "__libc_valloc",
    "__libc_pvalloc",
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
    "gomalloc_read_stats",
    "gomalloc_write_stats",
    "gomalloc_scavenge",
    "gomalloc_set_memory_limit",
};

static const char *library_of(const char *name) {
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, name);
    return address && dladdr(address, &info) ? info.dli_fname : NULL;
}

TEST(all_names_come_from_one_library) {
    const char *library = library_of("gomalloc_read_stats");
    if (!expect(library)) {
        diag("libgomalloc is not preloaded");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *found = library_of(names[i]);
        if (!expect(found && strcmp(found, library) == 0))
            diag("%s is from %s", names[i], found ? found : "nowhere");
    }
}

static void *symbol(const char *name) {
    void *address = dlsym(RTLD_DEFAULT, name);
    expect(address);
    return address;
}

TEST(the_aliases_share_the_heap) {
    void *(*libc_malloc)(size_t) = (void *(*)(size_t))symbol("__libc_malloc");
    void *(*libc_calloc)(size_t, size_t) = (void *(*)(size_t, size_t))symbol("__libc_calloc");
    void *(*libc_realloc)(void *, size_t) = (void *(*)(void *, size_t))symbol("__libc_realloc");
    void *(*libc_memalign)(size_t, size_t) = (void *(*)(size_t, size_t))symbol("__libc_memalign");
    void (*libc_free)(void *) = (void (*)(void *))symbol("__libc_free");
    void (*cfree)(void *) = (void (*)(void *))symbol("cfree");
    for (size_t n = 1; n < 1000000; n = n * 3 / 2 + 1) {
        char *p = libc_malloc(n), *q = libc_calloc(1, n), *r = libc_memalign(64, n), *s = malloc(n);
        expect(malloc_usable_size(p) >= n && malloc_usable_size(q) >= n && malloc_usable_size(r) >= n);
        memset(p, 1, n);
        expect(q[0] == 0 && q[n - 1] == 0);
        p = libc_realloc(p, n * 2);
        expect(p && p[0] == 1 && p[n - 1] == 1);
        p = realloc(p, n);
        free(p);
        free(q);
        cfree(r);
        libc_free(s);
    }
}

TEST_MAIN()
