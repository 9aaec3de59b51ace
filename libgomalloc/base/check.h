/* Three tiers of assertions.
 *
 *   GM_CHECK      always, in every build: a broken invariant that would corrupt the program's memory
 *   GM_ASSERT     in the debug and sanitizer builds: preconditions, cheap invariants
 *   GM_EXPENSIVE  a statement run only in the debug build: walkers over whole structures */
#ifndef GM_BASE_CHECK_H
#define GM_BASE_CHECK_H

#include "libgomalloc/base/compiler.h"
#include "libgomalloc/base/panic.h"

#define GM_CHECK(cond) (GM_LIKELY(cond) ? (void)0 : gm_check_failed(#cond, __FILE__, __LINE__))

#ifdef GM_DEBUG
#define GM_ASSERT(cond)    GM_CHECK(cond)
#define GM_EXPENSIVE(stmt) do { stmt; } while (0)
#else
#define GM_ASSERT(cond)    ((void)sizeof(cond))
#define GM_EXPENSIVE(stmt) ((void)0)
#endif

#endif
