/* Marking in a child on its snapshot of memory (barrier:fork). What is dead in the snapshot stays dead, so the
 * child may take its time while the program runs on; its marks reach the parent by shared memory. See
 * cycle.c for where it stands in a cycle.
 *
 * The child is made by a raw clone without an exit signal: the host's wait and SIGCHLD never see it, no
 * atfork handler runs. It has every signal blocked, closes the host's descriptors at once (or a pipe's
 * reader would wait for it), and dies with its parent: at its next look, every 20 ms. The thread that has begun it may
 * end. */
#ifndef GC_FORK_H
#define GC_FORK_H

#include "libgomalloc/base/compiler.h"

/* What the child tells; in memory shared with it. */
struct gc_fork_result {
    uint32_t done;      /* atomic, futex word: 0 running, 1 marked, 2 failed */
    bool incomplete;    /* it failed because memory is missing in it (MADV_DONTFORK) */
    uint64_t cpu_ns;    /* the child's CPU time */
    uint64_t objects, bytes, scanned_bytes, root_bytes;
};

/* While the world is held: starts the child, which runs work(result) and ends. False: no child could be made. */
bool gc_fork_start(bool (*work)(struct gc_fork_result *result));
/* 0: still running. Else it is done: 1 it has marked, 2 it failed. */
unsigned gc_fork_poll(void);
/* A child that is done takes the kernel some time to take apart, 10 ms a GiB of small pages, which nobody waits for:
 * now and then this asks whether it has gone. True: just now. Going: there is one that had not when it was last asked. */
bool gc_fork_tidy(void);
bool gc_fork_going(void);
/* Sleeps until the child is done, at most timeout_ns. */
void gc_fork_wait(int64_t timeout_ns);
/* ns that threads have spent in that since the child was made, together. */
uint64_t gc_fork_waited(void);
const struct gc_fork_result *gc_fork_result(void);
/* Kills the child, if there is one; returns when it has gone. */
void gc_fork_abandon(void);
/* In the child of the host's own fork: the snapshot child is not ours. */
void gc_fork_forget(void);

#endif
