/* Under a sanitizer there is nothing to do here, and one line to say.
 *
 * The runtimes that replace malloc are linked into the executable (-static-libasan, and always with
 * clang), which comes before any preload in the search order: their malloc, operator new, dlopen and
 * sigaction win everywhere, and blocks of ours are never seen. What still arrives here are the
 * runtime's own calls of the next definition (its REAL(sigaction) is our wrapper), which the wrappers
 * pass on unchanged. A runtime that is a shared library refuses every preload in front of it before
 * code of ours runs; the program is then to be started without the preload.
 *
 * The references are weak: the runtimes export their init functions from the executable. */
#include "preload/process.h"

#include "libgomalloc/base/print.h"

#define RUNTIME(init) extern void init(void) __attribute__((weak, visibility("default")))
RUNTIME(__asan_init);
RUNTIME(__hwasan_init);
RUNTIME(__tsan_init);
RUNTIME(__msan_init);
RUNTIME(__lsan_init);

bool gm_sanitizer_in_charge(void) {
    const char *name = NULL;
    if (__asan_init != NULL) name = "Address";
    else if (__hwasan_init != NULL) name = "HWAddress";
    else if (__tsan_init != NULL) name = "Thread";
    else if (__msan_init != NULL) name = "Memory";
    else if (__lsan_init != NULL) name = "Leak";
    if (name == NULL) return false;
    gm_eprintf("gomalloc: %sSanitizer is in charge of malloc, standing aside\n", name);
    return true;
}
