/* An LD_AUDIT module that allocates in its callbacks. It lives in a namespace of its own, with a C
 * library of its own, and runs while the loader loads the program. */
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void allocate(void) {
    for (size_t n = 16; n < 200000; n *= 10) {
        void *volatile p = malloc(n);
        if (!p) _exit(44);
        memset(p, 1, n);
        free(p);
    }
}

__attribute__((visibility("default"))) unsigned la_version(unsigned version) {
    allocate();
    return version;
}

__attribute__((visibility("default"))) unsigned la_objopen(struct link_map *map, Lmid_t space,
                                                           uintptr_t *cookie) {
    (void)map;
    (void)space;
    (void)cookie;
    allocate();
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

__attribute__((visibility("default"))) uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index,
                                                              uintptr_t *from, uintptr_t *to, unsigned *flags,
                                                              const char *name) {
    (void)index;
    (void)from;
    (void)to;
    (void)flags;
    (void)name;
    allocate();
    return symbol->st_value;
}

__attribute__((visibility("default"))) unsigned la_objclose(uintptr_t *cookie) {
    (void)cookie;
    allocate();
    return 0;
}
