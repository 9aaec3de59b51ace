/* Panics of the library's own: misuse that Go answers with a panic or a fatal error. See defer.c. */
#ifndef GS_DEFER_H
#define GS_DEFER_H

#include "libgomalloc/base/compiler.h"

/* As Go's panic(plainError(text)): deferred calls run and one of them may recover; go_recover then returns
 * `text`, which must live for ever. If none does: "panic: TEXT" and the goroutine on stderr, exit status 2.
 * The caller holds no gs_lock. */
GM_NORETURN GM_COLD void gs_panic_text(const char *text);

/* As Go's fatal: nothing can recover. "fatal error: TEXT" and the goroutine on stderr, exit status 2. May be called
 * with locks held: it takes none and allocates nothing. */
GM_NORETURN GM_COLD void gs_fatal_text(const char *text);

#endif
