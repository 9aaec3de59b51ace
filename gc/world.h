/* Holding and releasing the threads of this process. See cycle.c for the overview, world.c for how.
 *
 * One hold at a time: the caller sees to it (the collector holds the lock of its cycle). Any thread may
 * hold, one of the program's or one of the library's. Nothing here allocates from the heap or takes a
 * lock of the allocator or of the loader, and errno is kept. */
#ifndef GC_WORLD_H
#define GC_WORLD_H

#include "libgomalloc/base/compiler.h"

/* Where a held thread stands. Valid until the release. */
struct gc_thread {
    int tid;
    uintptr_t sp;           /* of the interrupted code; the 128 bytes below are live as well (red zone) */
    /* The thread's alternative signal stack, if it has one and does not run on it: nothing on it is
     * live (alt_sp == alt_high), but the memory is the kernel's to use. All 0 if it has none, or runs on it
     * (sp lies there then, and what is live of its ordinary stack is not known). */
    uintptr_t alt_sp, alt_low, alt_high;
    const void *regs;       /* all registers, vector state included: the kernel's signal frame */
    size_t regs_bytes;
    uintptr_t fs_base;      /* the thread register: the thread's control block, if the C library made it */
};

enum gc_hold { GC_HELD, GC_HOLD_FAILED };

/* Takes the stop signal and makes the records; false: it cannot be had, and no hold will succeed. Hold calls
 * it too; called early, before the program has blocked signals, it makes sure that ours is not. */
bool gc_world_start(void);

/* Stops every other thread of the process but the library's (gm_os_enter_library_thread). The caller spills its own registers. On
 * failure nobody is held, and `why` (n bytes) says in one line who did not stop, or what stood against it. */
enum gc_hold gc_world_hold(char *why, size_t n);
void gc_world_release(void);

/* The held threads; only while held. i < gc_world_count(). */
unsigned gc_world_count(void);
const struct gc_thread *gc_world_thread(unsigned i);

/* From the call of the last successful hold to the moment everybody stood, nanoseconds. */
uint64_t gc_world_last_hold_ns(void);

/* Stacks of somebody else's threads (goroutines). Called while the world is held or in a snapshot child: no locks. */
struct gc_stacks {
    /* The i-th range of memory that holds nothing but such stacks; false: there are no more. It is not scanned. */
    bool (*range)(unsigned i, uintptr_t *low, uintptr_t *high);
    /* Calls `stack` for each: live from where a thread is found standing on it, else from `saved`. */
    void (*each)(void (*stack)(uintptr_t low, uintptr_t high, uintptr_t saved));
};
/* Kept for good; once. */
void gc_world_set_stacks(const struct gc_stacks *s);
const struct gc_stacks *gc_world_stacks(void); /* NULL: there are none */
/* Collections since the start. */
uint64_t gc_world_cycles(void);

/* In the child of a fork, where only the caller exists: whatever was under way is forgotten. */
void gc_world_fork_child(void);

#endif
