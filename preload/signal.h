/* How a signal handler is let into the allocator, which defines these two (nested.c). See signal.c. Both run on the
 * interrupted thread, inside the kernel's signal frame. */
#ifndef GM_PRELOAD_SIGNAL_H
#define GM_PRELOAD_SIGNAL_H

#include "libgomalloc/base/compiler.h"

/* A handler is about to run that interrupted the thread at `interrupted_pc` (NULL: unknown, as for a
 * handler that another handler calls). Returns NULL if the handler may allocate as always; otherwise
 * the thread now allocates by safe means until gm_signal_leave gets the token. NULL is the answer that
 * costs nothing: the handler is then entered by a jump, as if the kernel had called it.
 *
 * Look at the pc and at plain memory first and at thread-local storage last: programs that run with a
 * thread register of their own (emulators) take signals with it, and their pc is never in here. Calls
 * nest: a handler may be interrupted by another. Leave is not called if the handler leaves by
 * siglongjmp or by an exception. What it interrupted is then never finished, and the handler's frame
 * lies below the stack pointer of whoever allocates next on that stack. */
void *gm_signal_enter(const void *interrupted_pc);
void gm_signal_leave(void *token);

#endif
