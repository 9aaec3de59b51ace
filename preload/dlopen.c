/* dlopen without RTLD_DEEPBIND.
 *
 * A library loaded with that flag looks its symbols up in itself and its dependencies before the
 * global scope, so its `free` is the C library's, called on blocks that came from ours: PHP's Debian
 * packages load their extensions so and crash at start under other preloaded allocators. The flag has
 * one lawful effect, to prefer the library's own symbols over equal names of the program's, and losing
 * it puts the library where it would be without the flag, so that is what happens here.
 *
 * dlopen looks at its return address: it decides whose RPATH, $ORIGIN and namespace apply. The call
 * below therefore has to be a jump, in every build: gcc makes it one at -O2, and neither at -O0 nor at
 * -Og (whatever -foptimize-sibling-calls says there), hence the attribute.
 *
 * dlmopen is left alone: another namespace has a C library, and a malloc, of its own. */
#define _GNU_SOURCE 1
#include "preload/next.h"
#include "preload/process.h"

#include <dlfcn.h>

static void *next_dlopen;

GM_EXPORT GM_TAIL_CALLS void *dlopen(const char *file, int mode) {
    void *(*next)(const char *, int) = (void *(*)(const char *, int))gm_next(&next_dlopen, "dlopen");
    if (!gm_standing_aside) mode &= ~RTLD_DEEPBIND;
    return next(file, mode);
}
