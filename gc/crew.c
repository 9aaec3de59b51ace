/* See crew.h, and cycle.c for the overview.
 *
 * A process gets no lasting thread for marking: programs count their threads, some refuse to have a second one, and in
 * a snapshot child no thread but the caller exists anyway. So the kernel makes threads for the time of one marking.
 * The C library knows nothing of them: they share their maker's thread-local storage, which is harmless because they
 * run nothing but the marker, which has none, and because their maker keeps errno. They inherit a mask that blocks
 * all signals. The kernel clears a word when such a thread is over and off its stack, so that the stack can serve
 * again and nobody is left when the world goes on. */
#define _GNU_SOURCE 1
#include "gc/crew.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gc/roots.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/os/os.h"

enum { STACK = 64 * 1024 };

struct hand {
    char *stack;      /* NULL: never made */
    int32_t tid;      /* 0 when the thread is gone: the kernel clears it */
    unsigned number;
};
static struct hand hands[GC_CREW_MAX];
static struct {
    uint32_t go;      /* futex word */
    void (*fn)(void *arg, unsigned worker);
    void *arg;
} job;

static __attribute__((no_stack_protector)) int serve(void *hand) {
    const struct hand *h = hand;
    /* acquire: pairs with the release in gc_crew_run; the job is seen, and all that was written before it. */
    while (!gm_load_acquire(&job.go)) gm_os_futex_wait(&job.go, 0, -1);
    job.fn(job.arg, h->number);
    return 0;
}

static bool make(struct hand *h) {
    if (!h->stack) {
        h->stack = gm_os_map(STACK);
        if (!h->stack) return false;
        gm_os_name(h->stack, STACK, "gomalloc marker");
        gc_roots_exclude((uintptr_t)h->stack, (uintptr_t)h->stack + STACK);
    }
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    return clone(serve, h->stack + STACK, flags, h, &h->tid, NULL, &h->tid) > 0;
}

unsigned gc_crew_hire(unsigned workers) {
    int saved = errno;
    unsigned n = 1;
    gm_store_relaxed(&job.go, 0);
    for (workers = (unsigned)gm_min(workers, GC_CREW_MAX); n < workers; n++) {
        hands[n].number = n;
        if (!make(&hands[n])) break;
    }
    errno = saved;
    return n;
}

static void wait_until_gone(struct hand *h) {
    for (int32_t tid; (tid = gm_load_acquire(&h->tid)) != 0;)
        syscall(SYS_futex, &h->tid, FUTEX_WAIT /* not private: the kernel wakes so */, tid, NULL, NULL, 0);
}

void gc_crew_run(void (*fn)(void *arg, unsigned worker), void *arg, unsigned workers) {
    int saved = errno;
    job.fn = fn;
    job.arg = arg;
    gm_store_release(&job.go, 1); /* pairs with the acquire in serve */
    gm_os_futex_wake(&job.go, INT32_MAX);
    fn(arg, 0);
    for (unsigned i = 1; i < workers; i++) wait_until_gone(&hands[i]);
    errno = saved;
}
