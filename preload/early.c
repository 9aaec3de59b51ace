/* malloc before the loader has set up thread-local storage.
 *
 * gm_tc starts as the address of gm_no_cache. That is a relocated value in the TLS image, and the loader
 * copies the image only after it has relocated everything; until then the main thread reads NULL. The only
 * code that runs so early is that of IFUNC resolvers, and those of an executable may call malloc. The
 * loader relocates us before the executable, so a resolver of our own is early enough to put the value
 * in by hand. (The copy later overwrites it with the same value; a cache made in between is lost.) */
#include "libgomalloc/fastpath.h"
#include "preload/process.h"

static void nothing_to_do(void) {}

static void (*resolve(void))(void) {
    gm_tc = &gm_no_cache;
    return nothing_to_do;
}

/* Defined so that our relocations contain a call of the resolver; hidden, and called by the constructor
 * only to be referenced. */
void gm_early(void) __attribute__((ifunc("resolve")));
