/* Calls that block the thread, wrapped: while a thread sleeps in one, the collector need not wake it.
 *
 * block.def lists them. While the collector is off a wrapper is a load, a branch and a jump to the C library's function,
 * with every argument where it was. While it is on, the thread publishes where it stands (libgomalloc/hooks.h): all
 * registers that a callee may keep are on its stack then, and the arguments, since the kernel may be the only one to
 * know the buffer it is to fill. A stop scans the thread and leaves it asleep; should it wake up meanwhile, it
 * waits on the way out.
 *
 * A thread that was about to block when the stop found it running gets the signal, and the call may
 * end with EINTR, which the program has done nothing to deserve: it is made again, with the time that is left. A
 * handler of the program's in the same call makes the EINTR the program's own.
 *
 * The wrappers are all of one type: six words, of which the C library's function takes what it has use for. Every
 * argument of every row is an integer or a pointer and travels in a register, so this is how the caller passed it;
 * an int in the result is the lower half of a word, as it always is. Names are given by label, as their true types
 * stand in headers, some as unions that C cannot define.
 *
 * Only the C library's function is a leaf. If another interposer stands behind us, nothing is published in it.
 *
 * Cancellation unwinds from inside the call and does not come by here (no personality routine: an unwinder must not
 * be needed); pthread_cancel tells beforehand. vfork lets two processes use one thread's storage, and tells as well. */
#define _GNU_SOURCE 1
#include "libgomalloc/alloc.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/os/os.h"
#include "preload/mask.h"
#include "preload/next.h"
#include "preload/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define GM_GLIBC_COND "GLIBC_2.3.2"
#else
#define GM_GLIBC_COND GM_GLIBC_FIRST
#endif

enum limit { LIMIT_NEVER, LIMIT_AGAIN, LIMIT_MS, LIMIT_US, LIMIT_S, LIMIT_TS, LIMIT_THRD, LIMIT_CLOCK };
enum { NONE = -1, ARGUMENTS = 6 };
typedef long function(long a, long b, long c, long d, long e, long f);

struct call {
    void *next;
    const char *name, *version;
    uint8_t limit, argument;
    int8_t set;
    uint8_t foreign; /* next is another interposer's: no leaf, it may do anything */
};

/* ---- once */

#if defined(__x86_64__)
#define STACK_POINTER(sp) __asm__ volatile("mov %%rsp, %0" : "=r"(sp) : : "memory")
#elif defined(__aarch64__)
#define STACK_POINTER(sp) __asm__ volatile("mov %0, sp" : "=r"(sp) : : "memory")
#endif

/* True: the call is to be made again if its answer is that it was interrupted. The frame holds the registers of all
 * callers; arguments are in the caller's. */
static GM_NOINLINE bool call_published(function *next, const long *x, long *answer) {
    const struct gm_blocking *callbacks = gm_load_relaxed(&gm_hooks.blocking);
    struct gm_blocked here = { .published = false };
    __builtin_unwind_init();
    STACK_POINTER(here.sp);
    if (callbacks) callbacks->enter(&here);
    *answer = next(x[0], x[1], x[2], x[3], x[4], x[5]);
    return callbacks && callbacks->leave(&here);
}

/* ---- and again */

/* What is added to the time when the call is made to the time when its limit is over; negative: it has none. */
static int64_t limit_ns(const struct call *call, const long *x) {
    const struct timespec *t = (const struct timespec *)x[call->argument];
    switch (call->limit) {
    case LIMIT_MS: return (int)x[call->argument] < 0 ? -1 : (int64_t)(int)x[call->argument] * 1000000;
    case LIMIT_US: return (int64_t)(useconds_t)x[call->argument] * 1000;
    case LIMIT_S: return (int64_t)(unsigned)x[call->argument] * 1000000000;
    case LIMIT_TS:
    case LIMIT_THRD: return t == NULL ? -1 : t->tv_sec > INT32_MAX ? INT64_MAX / 2 : t->tv_sec * 1000000000 + t->tv_nsec;
    default: return -1;
    }
}

static bool was_interrupted(const struct call *call, long answer) {
    switch (call->limit) {
    case LIMIT_NEVER: return false;
    case LIMIT_S: return (unsigned)answer != 0; /* seconds that were not slept */
    case LIMIT_THRD: return (int)answer == -1;
    case LIMIT_CLOCK: return (int)answer == EINTR;
    default: return (int)answer == -1 && errno == EINTR;
    }
}

/* Gives the call the time that is left of its limit. */
static void shorten(const struct call *call, long *x, uint64_t end, struct timespec *left) {
    uint64_t now = gm_os_nanotime(), ns = end > now ? end - now : 0;
    switch (call->limit) {
    case LIMIT_MS: x[call->argument] = (long)((ns + 999999) / 1000000); break;
    case LIMIT_US: x[call->argument] = (long)((ns + 999) / 1000); break;
    case LIMIT_S: x[call->argument] = (long)((ns + 999999999) / 1000000000); break;
    default:
        *left = (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
        x[call->argument] = (long)left;
    }
}

/* The kernel has said what is left; by a clock that need not be ours. */
static void shorten_clock(long *x, struct timespec *left) {
    if (x[1] & TIMER_ABSTIME) return;
    *left = *(const struct timespec *)x[3];
    x[2] = (long)left;
}

/* While memory lies idle, the process's only thread that waits for descriptors for long does so in pieces, and gives some
 * back in between. */
static GM_NOINLINE long call_in_pieces(const struct call *call, function *next, long *x) {
    enum { LONG_MS = 1000 };
    int64_t limit = limit_ns(call, x);
    uint64_t end = limit > 0 ? gm_os_nanotime() + (uint64_t)limit : 0, piece;
    for (unsigned looks = 0; (looks != 0 || gm_load_relaxed(&gm_hooks.idle)) && (piece = gm_before_sleep(looks)) != 0; looks++) {
        if (limit >= 0 && gm_os_nanotime() + piece + (uint64_t)LONG_MS * 1000000 > end) break;
        x[call->argument] = (long)(piece / 1000000);
        long answer = next(x[0], x[1], x[2], x[3], x[4], x[5]);
        if ((int)answer != 0) return answer;
    }
    x[call->argument] = -1;
    if (limit >= 0) shorten(call, x, end, NULL);
    return next(x[0], x[1], x[2], x[3], x[4], x[5]);
}

static GM_NOINLINE long call_slowly(struct call *call, function *next, long *x) {
    sigset_t copy;
    struct timespec left, rest;
    long answer;
    int saved = errno;
    if (call->set != NONE) x[call->set] = (long)gm_allowed((const sigset_t *)x[call->set], &copy);
    if (call->foreign) return next(x[0], x[1], x[2], x[3], x[4], x[5]);
    if (gm_load_relaxed(&gm_hooks.blocking) == NULL) return call->limit == LIMIT_MS ? call_in_pieces(call, next, x) : next(x[0], x[1], x[2], x[3], x[4], x[5]);
    if (call->limit == LIMIT_CLOCK && x[3] == 0) x[3] = (long)&rest;
    int64_t limit = limit_ns(call, x);
    uint64_t end = limit > 0 ? gm_os_nanotime() + (uint64_t)limit : 0;
    while (call_published(next, x, &answer) && was_interrupted(call, answer)) {
        if (call->limit == LIMIT_CLOCK) shorten_clock(x, &left);
        else if (limit >= 0) shorten(call, x, end, &left);
        errno = saved;
    }
    return answer;
}

/* ---- the wrappers */

GM_INLINE bool is_on(int limit, int set) {
    return GM_UNLIKELY(gm_load_relaxed(&gm_hooks.blocking) != NULL) || (limit == LIMIT_MS && gm_load_relaxed(&gm_hooks.idle)) ||
           (set != NONE && gm_stop_signal_bit() != 0);
}

static GM_COLD function *find(struct call *call) {
    void *found = NULL;
    if (gm_next_try(&found, call->name, call->version) == NULL) return NULL;
    gm_store_relaxed(&call->foreign, !gm_next_is_c_library(found));
    gm_store_release(&call->next, found); /* pairs with the acquire in slow */
    return (function *)found;
}

/* All calls while the collector is on, and the first one of all. */
static GM_COLD long slow(struct call *call, bool may_block, long *x) {
    function *next = (function *)gm_load_acquire(&call->next);
    if (next == NULL && (next = find(call)) == NULL) {
        errno = ENOSYS;
        return -1;
    }
    if (may_block && is_on(call->limit, call->set)) return call_slowly(call, next, x);
    return next(x[0], x[1], x[2], x[3], x[4], x[5]);
}

#define NEVER   LIMIT_NEVER, 0
#define AGAIN   LIMIT_AGAIN, 0
#define MS(k)   LIMIT_MS, k
#define US(k)   LIMIT_US, k
#define S(k)    LIMIT_S, k
#define TS(k)   LIMIT_TS, k
#define THRD(k) LIMIT_THRD, k
#define CLOCK   LIMIT_CLOCK, 0

#define GM_BLOCK(name, version, ...) CALL_##name,
enum {
#include "preload/block.def"
    CALLS
};
#undef GM_BLOCK

#define GM_BLOCK(name, version, when, ...) GM_BLOCK_(name, version, __VA_ARGS__)
#define GM_BLOCK_(name, version, limit, argument, set) { NULL, #name, version, limit, argument, set, 0 },
static struct call calls[CALLS] = {
#include "preload/block.def"
};
#undef GM_BLOCK
#undef GM_BLOCK_

#define GM_BLOCK(name, version, ...) GM_BLOCK_(name, __VA_ARGS__)
#define GM_BLOCK_(name, when, limit, argument, set) \
    long gm_block_##name(long a, long b, long c, long d, long e, long f) __asm__(#name); \
    GM_EXPORT GM_TAIL_CALLS long gm_block_##name(long a, long b, long c, long d, long e, long f) { \
        function *next = (function *)gm_load_relaxed(&calls[CALL_##name].next); \
        if (GM_LIKELY(next != NULL && !is_on(limit, set))) return next(a, b, c, d, e, f); \
        long x[ARGUMENTS] = { a, b, c, d, e, f }; \
        return slow(&calls[CALL_##name], when, x); \
    }
#include "preload/block.def"

/* The loader's lock is taken for this: by a thread that waits in the loader for another, or under a handler, it must
 * not be. Before there is either all is found. */
void gm_block_bind(void) {
    static bool bound;
    if (gm_load_relaxed(&bound)) return;
    gm_store_relaxed(&bound, true);
    for (unsigned i = 0; i < CALLS; i++)
        if (gm_load_relaxed(&calls[i].next) == NULL) find(&calls[i]);
}

/* ---- and those who disturb */

static void *next_cancel, *next_vfork;

GM_EXPORT int pthread_cancel(pthread_t thread) {
    const struct gm_blocking *callbacks = gm_load_relaxed(&gm_hooks.blocking);
    if (callbacks) callbacks->before_cancel((uintptr_t)thread);
    return ((int (*)(pthread_t))gm_next(&next_cancel, "pthread_cancel"))(thread);
}

/* A jump: it returns twice, to our caller. */
GM_INLINE pid_t jump_to_vfork(void) {
    const struct gm_blocking *callbacks = gm_load_relaxed(&gm_hooks.blocking);
    pid_t (*next)(void) = (pid_t (*)(void))gm_next(&next_vfork, "vfork");
    if (callbacks) callbacks->before_vfork();
    return next();
}
pid_t gm_vfork(void) __asm__("vfork");
GM_EXPORT GM_TAIL_CALLS pid_t gm_vfork(void) { return jump_to_vfork(); }
pid_t gm_vfork_too(void) __asm__("__vfork");
GM_EXPORT GM_TAIL_CALLS pid_t gm_vfork_too(void) { return jump_to_vfork(); }
