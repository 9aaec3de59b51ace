/* fork: nothing of the allocator's is lost over it.
 *
 * In a process with threads, another one may hold any of our locks at the moment of the fork; handlers
 * (pthread_atfork) take them all before and leave them after. They have to be registered before everybody
 * else's, to run last before the fork and first after it: other libraries' handlers allocate. But registering
 * costs: __register_atfork lies in a part of libc that small processes do not touch otherwise, 60 KiB by the
 * way the kernel maps files, and most processes have one thread and no handlers at all. So it is done as late
 * as that order allows: before the first handler of anybody else's (__register_atfork is wrapped; the archive
 * member pthread_atfork of every program and library calls it), before the first thread (thread.c), and at
 * the latest when a second thread allocates. Threads of the C library's own making (timers, aio) come that
 * last way; a fork that falls into the few instructions before it could find such a thread inside its first
 * allocation.
 *
 * Until then the process has one thread, no lock is held at a fork, and all that a child needs is to know who
 * it is. The C library's fork is wrapped for that, and daemon and forkpty, which fork inside. A child of _Fork
 * or of a raw clone is told apart by its process id and left alone (init.c). */
#define _GNU_SOURCE 1
#include "preload/next.h"
#include "preload/process.h"

#include "libgomalloc/alloc.h"

#include <pthread.h>
#include <pty.h>
#include <unistd.h>

typedef int register_function(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
GM_EXPORT register_function __register_atfork;

static void *next_register;
static bool registered;

static void child_of_threads(void) {
    gm_process_is_new();
    gm_fork_child();
}

void gm_fork_watch(void) {
    /* Whoever is first does it; registering may allocate, and then comes back here. */
    if (gm_load_relaxed(&registered) || gm_standing_aside || __atomic_exchange_n(&registered, true, __ATOMIC_RELAXED)) return;
    register_function *next = (register_function *)gm_next(&next_register, "__register_atfork");
    next(gm_fork_prepare, gm_fork_parent, child_of_threads, NULL);
    gm_store_relaxed(&gm_forks_minded, true);
}

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso) {
    gm_fork_watch();
    return ((register_function *)gm_next(&next_register, "__register_atfork"))(prepare, parent, child, dso);
}

/* Every call below goes through this on both sides of it. */
static bool alone(void) { return !gm_load_relaxed(&registered) && !gm_standing_aside && gm_process_is_own(); }

static void child_of_one(bool was_alone) {
    if (!was_alone) return; /* the handlers have run, or it is none of our business */
    gm_process_is_new();
    gm_fork_child_alone();
}

static void *next_fork, *next_daemon, *next_forkpty;

static pid_t fork_it(void) {
    bool one = alone();
    pid_t pid = ((pid_t (*)(void))gm_next(&next_fork, "fork"))();
    if (pid == 0) child_of_one(one);
    return pid;
}

pid_t __fork(void);
GM_EXPORT pid_t fork(void) { return fork_it(); }
GM_EXPORT pid_t __fork(void) { return fork_it(); }

GM_EXPORT int daemon(int nochdir, int noclose) {
    bool one = alone();
    int r = ((int (*)(int, int))gm_next(&next_daemon, "daemon"))(nochdir, noclose);
    /* The parent does not come back from a fork that worked; the child may come back with an error. */
    if (one && !gm_process_is_own()) child_of_one(one);
    return r;
}

GM_EXPORT int forkpty(int *master, char *name, const struct termios *modes, const struct winsize *size) {
    bool one = alone();
    int pid = ((int (*)(int *, char *, const struct termios *, const struct winsize *))
               gm_next(&next_forkpty, "forkpty"))(master, name, modes, size);
    if (pid == 0) child_of_one(one);
    return pid;
}
