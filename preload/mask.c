/* Keeps the collector's stop signal out of the program's masks.
 *
 * A thread that blocks the signal cannot be held, and whoever waits for it takes it away from the handler. Programs
 * do both with full sets, meaning no harm. So wherever a set goes to the kernel the signal's bit is left out
 * of a copy, which is what the C library does with its own two signals, and what is read back shows a set without
 * it. signal.c sees to handlers and their masks, block.c to the calls that wait with a set.
 *
 * Not covered: masks set by system calls of the program's own, and those of threads that the C library makes
 * for itself, with all signals blocked (timers with SIGEV_THREAD, asynchronous I/O). Such a thread makes a hold
 * fail, by its name. sigblock and sigsetmask know 32 signals only; sighold and the like name one signal, and
 * SIGRTMAX is below ours.
 *
 * While the collector is off each call is one test more than the C library's. */
#define _GNU_SOURCE 1
#include "preload/mask.h"
#include "preload/next.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <ucontext.h>

/* WRAP(result, name, (parameters), set, (arguments)): calls the next definition with `set` as it is allowed. */
#define WRAP(result, name, parameters, set, arguments) \
    GM_EXPORT result name parameters { \
        static void *next; \
        sigset_t copy; \
        set = gm_allowed(set, &copy); \
        return ((result (*) parameters)gm_next(&next, #name)) arguments; \
    }

WRAP(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *old), set, (how, set, old))
WRAP(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), set, (how, set, old))
WRAP(int, signalfd, (int fd, const sigset_t *set, int flags), set, (fd, set, flags))
WRAP(int, pthread_attr_setsigmask_np, (pthread_attr_t *attr, const sigset_t *set), set, (attr, set))

/* ---- contexts: their masks are part of what the program hands over, so they are changed in place. Both calls
 * are jumps: what swapcontext saves is the stack pointer and return address of its caller. */

static void *next_setcontext, *next_swapcontext;

GM_INLINE void allow_in(const ucontext_t *context) {
    uint64_t bit = gm_stop_signal_bit();
    if (GM_UNLIKELY(bit & context->uc_sigmask.__val[0])) ((ucontext_t *)context)->uc_sigmask.__val[0] &= ~bit;
}

GM_EXPORT GM_TAIL_CALLS int setcontext(const ucontext_t *to) {
    int (*next)(const ucontext_t *) = (int (*)(const ucontext_t *))gm_next(&next_setcontext, "setcontext");
    allow_in(to);
    return next(to);
}

GM_EXPORT GM_TAIL_CALLS int swapcontext(ucontext_t *restrict from, const ucontext_t *restrict to) {
    int (*next)(ucontext_t *, const ucontext_t *) =
        (int (*)(ucontext_t *, const ucontext_t *))gm_next(&next_swapcontext, "swapcontext");
    allow_in(to);
    return next(from, to);
}
