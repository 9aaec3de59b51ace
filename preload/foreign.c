/* Blocks of somebody else's that arrive at our free.
 *
 * They exist: a library bound to the C library's malloc by dlmopen or by a call into libc's own
 * namespace hands a block to code that is bound to us; a program keeps blocks across the dlopen that
 * brought us in. Whoever made the block must take it back, and the one maker that can be asked is the
 * C library. So: an address in the brk heap or in an anonymous mapping goes to the C library's free,
 * whose own checks end the process if it is none of its blocks; an address on the stack, in a file's
 * mapping (text, static data) or nowhere is a crime.
 *
 * The C library's functions are looked up beforehand, as dlsym takes the loader's lock and may
 * allocate, and free must do neither; and with their version, which only the C library has: another
 * allocator may stand between us and it (a program linked with jemalloc has it NEEDED). Not by a
 * dlopen of libc: we are constructed before it, and dlopen would run its constructor on the spot,
 * without arguments and environment, once and for all.
 *
 * The loader's own blocks are no such case. Until malloc is bound, ld.so hands out memory from the end
 * of its data segment, and it keeps account of what it may not give to the real free later (initial
 * dtv, names and search paths marked as not to be freed), because the C library could not take it
 * either. Over programs with RPATHs, TLS growth, audit modules and repeated dlclose none was seen. */
#define _GNU_SOURCE 1
#include "preload/next.h"
#include "preload/process.h"

#include "libgomalloc/alloc.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/panic.h"
#include "libgomalloc/os/os.h"

#include <dlfcn.h>
#include <string.h>

static struct {
    void (*free)(void *p);
    size_t (*usable_size)(void *p);
    int (*option)(int name, int value);
} c_library;

static bool may_be_c_library(const void *p) {
    enum gm_os_where where = gm_os_where(p);
    return c_library.free != NULL && (where == GM_AT_BRK || where == GM_AT_ANONYMOUS);
}

static void foreign_free(void *p) {
    if (!may_be_c_library(p)) gm_misuse(GM_CRIME_FREE_UNKNOWN, p);
    c_library.free(p);
}

/* The new block is ours: a foreign one that grows moves in. */
static void *foreign_realloc(void *p, size_t n) {
    if (!may_be_c_library(p)) gm_misuse(GM_CRIME_REALLOC_UNKNOWN, p);
    size_t held = c_library.usable_size(p);
    void *moved = gm_alloc(n);
    if (moved == NULL) return NULL;
    memcpy(moved, p, gm_min(held, n));
    c_library.free(p);
    return moved;
}

/* Asking is no crime; what nobody is known to have allocated has no usable bytes. */
static size_t foreign_usable_size(void *p) { return may_be_c_library(p) ? c_library.usable_size(p) : 0; }

void gm_foreign_init(void) {
    void *free_it = dlvsym(RTLD_NEXT, "__libc_free", GM_GLIBC_FIRST);
    void *usable = dlvsym(RTLD_NEXT, "malloc_usable_size", GM_GLIBC_FIRST);
    if (free_it == NULL || usable == NULL) return;
    c_library.free = (void (*)(void *))free_it;
    c_library.usable_size = (size_t (*)(void *))usable;

    c_library.option = (int (*)(int, int))dlvsym(RTLD_NEXT, "mallopt", GM_GLIBC_FIRST);

    static const struct gm_foreign hooks = {foreign_free, foreign_realloc, foreign_usable_size};
    gm_set_foreign(&hooks);
}

/* The C library makes its allocator ready on first use, and takes it for granted that this happens before there
 * are threads; under us nobody has called it by then. Two threads that came first together would both be
 * counted as the main arena's one user, and the second to end would stop the process ("attached_threads > 0").
 * An option that does not exist has no other effect. */
void gm_foreign_before_threads(void) {
    static bool done;
    if (done || c_library.option == NULL) return;
    done = true;
    c_library.option(0, 0);
}
