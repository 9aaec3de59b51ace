/* Opening files without taking a number from the program, from Linux. The contract stands in os.h.
 *
 * A program that says close(0); open(...) means descriptor 0, and it gets it as long as none of its own threads opens
 * something in between: the kernel gives the lowest number that is free. The library reads /proc on its own threads and inside
 * malloc, at moments the program knows nothing of, and a file that is open for 10 us there would make the program's input
 * number 3. There is no call that opens a file at a number above some other; moving it up comes too late.
 *
 * So what is opened while threads of the program run is opened in another table of descriptors: on a thread that is made for it,
 * whose table is taken apart from the program's and emptied in one call (close_range with CLOSE_RANGE_UNSHARE, Linux 5.9), so
 * that it keeps no pipe of the program's open either. It shares the memory and the thread-local storage of its maker, who waits
 * for its end with all signals blocked. It takes about 30 us, where to read the list of a few threads takes 6. Older kernels copy
 * the table (unshare), and the copies are gone with the thread. Where neither is allowed, or no thread can be had, the file is
 * opened in the program's table.
 *
 * Not a lasting table of their own for the library's lasting threads: a process ends with its last thread, that may be the
 * scavenger's, and what the program has registered with atexit then runs there and writes to the program's descriptors.
 *
 * Sandboxes kill whoever makes calls that are not in their list. Those that let a program make threads know the flags of
 * pthread_create and often no others, so these are the same to the bit; and where /proc cannot be seen, there is nothing to be
 * read and no thread is made.
 *
 * WHO READS OR OPENS WHAT
 *   apart       the states of sleeping threads (idle.c); the list of threads and who has not answered (gc/world.c, while they
 *               run); the census of a suspected deadlock (sched/deadlock.c); what lies at an address that is not ours
 *               (gm_os_where); the control group's limit and the machine's limit of mappings (once)
 *   directly    all that a collector reads while the program stands still: children, /proc/self/fd, timers, maps, pagemap, mem
 *               (only a call that sleeps through it and then makes a descriptor, recvmsg, could find a number taken); all in a
 *               snapshot child, whose table is its own and empty; in the constructor, before there are threads (huge
 *               pages, address space); files of symbols for a dump; at the exit the files of `gomalloc run`
 *   in the program's table, as they belong to it: the poller's set and its bell, once, moved up at once (sched/netpoll_epoll.c)
 *   not at all  whether the main thread has ended: a link tells (gm_os_main_ended) */
#define _GNU_SOURCE 1
#include "libgomalloc/os/os.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/futex.h>

#include "libgomalloc/base/atomic.h"

enum { STACK = 32 * 1024, STACKS = 4 };
#define CLOSE_ALL_OF_MY_OWN 2u /* CLOSE_RANGE_UNSHARE */

/* Static: asked for inside malloc, and with the thread that asks perhaps on a small stack. */
static struct place {
    GM_ALIGNED(16) char stack[STACK];
    void (*fn)(void *arg);
    void *arg;
    int32_t tid;    /* futex word: the kernel clears it when the thread is off its stack */
    uint32_t taken; /* atomic. In the child of a fork one may stay taken for ever */
} places[STACKS];

static struct place *take_place(void) {
    for (unsigned i = 0; i < STACKS; i++) {
        uint32_t no = 0;
        if (gm_cas_acquire(&places[i].taken, &no, 1)) return &places[i]; /* pairs with the release in gm_os_apart */
    }
    return NULL;
}

static void own_table(void) {
    if (syscall(SYS_close_range, 0, ~0u, CLOSE_ALL_OF_MY_OWN) < 0) syscall(SYS_unshare, CLONE_FILES);
}

static __attribute__((no_stack_protector)) int serve(void *place) {
    const struct place *p = place;
    gm_os_enter_library_thread();
    own_table();
    p->fn(p->arg);
    gm_os_leave_library_thread();
    return 0;
}

/* False: no thread could be made. */
static bool run_thread(struct place *p) {
#ifdef __SANITIZE_THREAD__
    return false; /* it takes clone for fork */
#endif
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                      CLONE_CHILD_CLEARTID;
    int tid = clone(serve, p->stack + STACK, flags, p, &p->tid, __builtin_thread_pointer(), &p->tid);
    if (tid < 0) return false;
    for (int32_t there; (there = gm_load_acquire(&p->tid)) != 0;)
        syscall(SYS_futex, &p->tid, FUTEX_WAIT /* not private: the kernel wakes so */, there, NULL, NULL, 0);
    while (gm_os_thread_exists(tid)) sched_yield(); /* off its stack, it is still counted for a moment */
    return true;
}

void gm_os_apart(void (*fn)(void *arg), void *arg) {
    int saved = errno;
    unsigned threads = gm_os_threads_alive();
    struct place *p = threads > 1 && threads != UINT_MAX ? take_place() : NULL;
    bool done = false;
    if (p) {
        uint64_t all = ~UINT64_C(0), before;
        p->fn = fn;
        p->arg = arg;
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
        done = run_thread(p);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof all);
        gm_store_release(&p->taken, 0);
    }
    errno = saved;
    if (!done) fn(arg);
}
