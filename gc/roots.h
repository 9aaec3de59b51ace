/* Where the collector begins: every word outside the heap that may be a pointer into it. See cycle.c.
 *
 * Scanned: the private memory of every mapping, whatever its protection is now (pages that are a file's
 * or were never touched hold nothing); shared writable memory up to GC_SHARED_MAX bytes a mapping; the
 * live part of stacks, with the red zone; all registers; ranges the program named (gogc_add_roots);
 * pointers that only the kernel holds and that it shows: epoll data, POSIX timers.
 *
 * Not found: pointers that are stored changed (XORed, compressed, encrypted, in parts), written to a file or
 * pipe, in shared memory past the limit or of another process, in io_uring requests, in the signal queue.
 *
 * To be called while the world is held, or in a snapshot child. Takes no lock, allocates nothing. */
#ifndef GC_ROOTS_H
#define GC_ROOTS_H

#include "libgomalloc/base/compiler.h"

#define GC_SHARED_MAX ((size_t)64 << 20)

/* Memory of the library's own, never scanned. At most 64 ranges; false: no room (it is scanned: harmless). */
bool gc_roots_exclude(uintptr_t low, uintptr_t high);

/* The program's own ranges; 0 or -errno. Not while the world is held. */
int gc_roots_add(uintptr_t low, uintptr_t high);
int gc_roots_remove(uintptr_t low, uintptr_t high);

/* A stack the library did not make. While a thread stands on it only its live part is looked at, else all of it. */
int gc_roots_add_stack(uintptr_t low, uintptr_t high);
int gc_roots_remove_stack(uintptr_t low);

/* Takes the memory that scanning needs; else the first scan does, which may be made because there is no more. False: there is none. */
bool gc_roots_start(void);
/* Memory that a snapshot does not freeze, and what only the kernel holds: in the parent, while it is held. With `all`,
 * everything. False: the list of mappings could not be read (nothing may be swept then). */
bool gc_roots_scan_held(bool all);
/* What that has left out. False: the same, or memory that was there at the call before is not. */
bool gc_roots_scan_private(void);
/* The latter was why. */
bool gc_roots_incomplete(void);
/* Registers and stacks' bounds of the threads that are held; the caller's own frame begins at `sp`. */
void gc_roots_scan_registers(void);

/* Bytes seen by the last scan. */
size_t gc_roots_bytes(void);
/* Before the others: the calling thread's own stack, from `sp` on, holds its registers already: scanned as a held thread's.
 * Of the library's own threads only what lies above their frames is. */
void gc_roots_own_stack(uintptr_t sp);

#endif
