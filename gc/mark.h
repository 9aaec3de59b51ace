/* Marking: from words that may be pointers to the objects they keep alive, until no unscanned one is left.
 * See cycle.c for the phases, gcview.h for marks and colours.
 *
 * Conservative: an address anywhere inside an object keeps it. A word on a stack or in a register that is
 * the end of an object keeps that object too, and one that is the start of a free slot sets its mark (a
 * thread may be about to make it live). A word elsewhere that points one past the end still points into the object,
 * because it was made a byte larger than asked for (gm_class_leave_end_room); sizeclass.h has the
 * few sizes that are not.
 *
 * The world is held, or this is a snapshot child: allocator locks may be held by threads that stand
 * still, so nothing here takes one or allocates; memory comes from mappings of its own. */
#ifndef GC_MARK_H
#define GC_MARK_H

#include "libgomalloc/base/compiler.h"

/* Before the stop: makes (first time) and clears the bitmap. `shared`: a snapshot child will mark.
 * False: no memory; give the cycle up. No sweep may be under way. */
bool gc_mark_begin(bool shared);
/* While held, before the first root: looks how far the heap reaches, marks what the allocator itself holds
 * and the uncollectable objects. */
void gc_mark_at_stop(void);
/* After that, on the held heap or its snapshot: marks what is free, in the time of some per cent of the marking. Words of memory other
 * than stacks are looked at one by one until then. gc_mark_drain does it if nobody has. */
void gc_mark_free_slots(void);

/* Roots, by the thread that called gc_mark_at_stop. Every word at a multiple of `step` (8, 4 or 1) bytes
 * from low on that lies in [low, high) whole. */
void gc_mark_root_range(uintptr_t low, uintptr_t high, unsigned step, bool from_stack);
void gc_mark_root_word(uintptr_t word, bool from_stack);
/* Keeps and scans the object that holds p. */
void gc_mark_object(uintptr_t p);

/* Until no grey is left. run(fn, arg, workers) has to call fn(arg, 0) ... fn(arg, workers - 1), at the same time on
 * different threads, and to return when all have returned; with one worker it may be NULL. Workers are
 * threads the world's hold does not touch. May be called again after further roots. */
enum { GC_MARK_WORKERS_MAX = 64 };
void gc_mark_drain(unsigned workers, void (*run)(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers));

/* Forgets what is grey: a snapshot child has it now. */
void gc_mark_forget_grey(void);

struct gc_mark_totals {
    uint64_t objects, bytes;   /* marked, pointer-free ones included */
    uint64_t scanned_bytes, words_checked;
};
/* Since gc_mark_begin. Not while workers run. */
void gc_mark_totals(struct gc_mark_totals *out);
/* Debug: what a marked object points to is marked. The world is still held. */
void gc_mark_verify(void);

#endif
