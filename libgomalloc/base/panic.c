/* The last words of a process: one line, then abort. See panic.h.
 *
 * The heap may be in ruins here and any lock may be held, also by this thread; so the text goes from
 * the stack to write(2) and nothing is tidied up. */
#include "libgomalloc/base/panic.h"

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"

void gm_misuse(const char *crime, const void *address) {
    gm_eprintf("gomalloc: %s: %p\n", crime, address);
    gm_os_abort();
}

void gm_check_failed(const char *cond, const char *file, int line) {
    gm_eprintf("gomalloc: check failed: %s (%s:%d)\n", cond, file, line);
    gm_os_abort();
}

void gm_fatal(const char *text) {
    gm_eprintf("gomalloc: %s\n", text);
    gm_os_abort();
}
