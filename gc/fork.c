/* See fork.h. */
#include "gc/fork.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gc/roots.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/os/rawcall.h"

enum { RUNNING, MARKED, FAILED };
enum { LOOK_NS = 20 * 1000 * 1000, STACK = 16 * 1024 }; /* how often each looks whether the other lives: a system call */

static struct gc_fork_result *shared;
static char *stack; /* for a child's second thread; its own copy is used only */
static int child;   /* 0: none */
static int going;   /* one that is done, but whose memory the kernel may still be taking apart; 0: none */
static uint64_t waited; /* atomic, ns: by all threads, for the child */

static bool map_shared(void) {
    if (!stack && (stack = gm_os_map(STACK)) != NULL) gc_roots_exclude((uintptr_t)stack, (uintptr_t)stack + STACK);
    if (shared) return true;
    void *p = mmap(NULL, GM_OS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return false;
    shared = p;
    gc_roots_exclude((uintptr_t)p, (uintptr_t)p + GM_OS_PAGE);
    return true;
}

static uint64_t cpu_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A process of its own goes on when its parent dies; a marking must not. The kernel's signal for that would come when the
 * thread that has made the child ends, which many a thread does while a child marks: so somebody looks, in the child. It
 * shares its maker's thread-local storage, and so does without. */
static __attribute__((no_stack_protector, no_sanitize("address", "thread", "undefined"))) int watch_parent(void *parent) {
    struct timespec t = { .tv_nsec = LOOK_NS };
    while (gm_rawcall(SYS_getppid, 0, 0, 0, 0) == (intptr_t)parent) gm_rawcall(SYS_nanosleep, (intptr_t)&t, 0, 0, 0);
    return (int)gm_rawcall(SYS_exit_group, 0, 0, 0, 0);
}

GM_NORETURN static void run_child(int parent, bool (*work)(struct gc_fork_result *)) {
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_UNTRACED;
    bool watched = stack && clone(watch_parent, stack + STACK, flags, (void *)(intptr_t)parent) > 0;
    if (!watched) syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    bool orphan = syscall(SYS_getppid) != parent; /* it died before the line above */
    if (syscall(SYS_close_range, 0, ~0u, 0) < 0)
        for (int fd = 0; fd < 65536; fd++) syscall(SYS_close, fd);
    unsigned outcome = !orphan && work(shared) ? MARKED : FAILED;
    shared->cpu_ns = cpu_time();
    /* release: pairs with the acquire in gc_fork_poll; marks and totals are seen. */
    gm_store_release(&shared->done, outcome);
    syscall(SYS_futex, &shared->done, 1 /* FUTEX_WAKE, not private: the sleeper is another process */, 1, NULL, NULL, 0);
    for (;;) syscall(SYS_exit_group, 0);
}

static bool wait_for(int pid, int flags) {
    long r;
    int saved = errno;
    while ((r = syscall(SYS_wait4, pid, NULL, __WCLONE | flags, NULL)) < 0 && errno == EINTR) continue;
    errno = saved;
    return r != 0;
}

bool gc_fork_tidy(void) {
    if (!going || !wait_for(going, WNOHANG)) return false;
    going = 0;
    return true;
}

bool gc_fork_start(bool (*work)(struct gc_fork_result *result)) {
    if (!map_shared()) return false;
    if (going) {
        syscall(SYS_kill, going, SIGKILL); /* it has nothing more to do, but may have been stopped; the world waits */
        wait_for(going, 0);
    }
    going = 0;
    uint64_t all = ~UINT64_C(0), before;
    int parent = (int)syscall(SYS_getpid);
    shared->incomplete = false;
    gm_store_relaxed(&waited, 0);
    gm_store_relaxed(&shared->done, RUNNING);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
    long pid = syscall(SYS_clone, CLONE_UNTRACED, NULL, NULL, NULL, NULL);
    if (pid == 0) run_child(parent, work);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
    child = pid > 0 ? (int)pid : 0;
    return pid > 0;
}

bool gc_fork_going(void) { return going != 0; }

unsigned gc_fork_poll(void) {
    unsigned done = gm_load_acquire(&shared->done);
    if (done == RUNNING) { /* it may have been killed */
        static uint64_t looked;
        uint64_t now = gm_os_nanotime();
        if (now - looked < LOOK_NS) return RUNNING;
        looked = now;
        if (!wait_for(child, WNOHANG)) return RUNNING;
        child = 0;
        done = gm_load_acquire(&shared->done);
        return done == RUNNING ? FAILED : done;
    }
    going = child;
    child = 0;
    return done;
}

void gc_fork_abandon(void) {
    if (child) {
        syscall(SYS_kill, child, SIGKILL);
        wait_for(child, 0);
    }
    if (going) wait_for(going, 0);
    child = going = 0;
}

void gc_fork_wait(int64_t timeout_ns) {
    int saved = errno;
    uint64_t start = gm_os_nanotime();
    struct timespec t = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    syscall(SYS_futex, &shared->done, 0 /* FUTEX_WAIT, not private */, RUNNING, &t, NULL, 0);
    gm_add_relaxed(&waited, gm_os_nanotime() - start);
    errno = saved;
}

uint64_t gc_fork_waited(void) { return gm_load_relaxed(&waited); }

const struct gc_fork_result *gc_fork_result(void) { return shared; }

void gc_fork_forget(void) {
    child = going = 0;
    shared = NULL; /* the parent's page: a new one is made when needed */
}
