/* A moment of another process: a copy of its memory, and the registers of all its threads. See snapshot.c. */
#ifndef GM_COMMAND_SNAPSHOT_H
#define GM_COMMAND_SNAPSHOT_H

#include <sys/user.h>

#include "preload/command/remote.h"
#include "preload/command/symbols.h"

struct held_thread {
    pid_t tid;
    struct user_regs_struct regs;
    uint8_t vector[4096];        /* the extended state, as ptrace gives it */
    size_t vector_bytes;
    int signal;                  /* it stands before the delivery of this one */
    bool stopped;
};

struct snapshot {
    pid_t pid;                   /* of the process */
    pid_t child;                 /* of its copy, which never runs; or of itself: */
    bool held;                   /* a debugger holds it, there is no copy */
    struct remote copy;          /* the allocator in it */
    struct held_thread *thread;
    size_t n_threads;
    struct mappings maps;        /* of the copy */
    int memory;                  /* a descriptor of the copy's memory, protected pages included */
    double held_seconds;         /* how long the process stood still */
};

/* Takes one; ends the command with a line if it cannot be done (the process goes on then). */
void snapshot_take(struct snapshot *s, const struct remote *r);
/* Of a process that a debugger holds, as long as it does. `file` has the registers as the debugger knows them: lines of
 * thread id, name and value (0x...); names that are no general register's are words of vector registers. */
void snapshot_of_held(struct snapshot *s, const struct remote *r, const char *file);
/* The copy goes away. Must be called: it holds memory until then. */
void snapshot_drop(struct snapshot *s);
/* Copies up to n bytes; returns how many could be read. */
size_t snapshot_read(const struct snapshot *s, uintptr_t at, void *to, size_t n);

#endif
