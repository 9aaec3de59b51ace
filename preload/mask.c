/* Keeps the collector's stop signal out of the program's masks.
 *
 * A thread that blocks the signal cannot be held, and whoever waits for it takes it away from the handler. Programs
 * do both with full sets, meaning no harm. So wherever a set goes to the kernel the signal's bit is left out
 * of a copy, which is what the C library does with its own two signals, and what is read back shows a set without
 * it. signal.c sees to handlers and their masks.
 *
 * Not covered: masks set by system calls of the program's own, and those of threads that the C library makes
 * for itself, with all signals blocked (timers with SIGEV_THREAD, asynchronous I/O). Such a thread makes a hold
 * fail, by its name. sigblock and sigsetmask know 32 signals only; sighold and the like name one signal, and
 * SIGRTMAX is below ours.
 *
 * While the collector is off each call is one test more than the C library's. */
#define _GNU_SOURCE 1
#include "libgomalloc/os/stop_signal.h"
#include "preload/next.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <ucontext.h>

/* The set itself if there is nothing to leave out. */
GM_INLINE const sigset_t *allowed(const sigset_t *set, sigset_t *copy) {
    uint64_t bit = gm_stop_signal_bit();
    if (GM_LIKELY(bit == 0) || set == NULL || !(set->__val[0] & bit)) return set;
    *copy = *set;
    copy->__val[0] &= ~bit;
    return copy;
}

/* WRAP(result, name, (parameters), set, (arguments)): calls the next definition with `set` as it is allowed. */
#define WRAP(result, name, parameters, set, arguments) \
    GM_EXPORT result name parameters { \
        static void *next; \
        sigset_t copy; \
        set = allowed(set, &copy); \
        return ((result (*) parameters)gm_next(&next, #name)) arguments; \
    }

WRAP(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *old), set, (how, set, old))
WRAP(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), set, (how, set, old))
WRAP(int, sigsuspend, (const sigset_t *set), set, (set))
WRAP(int, sigwait, (const sigset_t *set, int *sig), set, (set, sig))
WRAP(int, sigwaitinfo, (const sigset_t *set, siginfo_t *info), set, (set, info))
WRAP(int, sigtimedwait, (const sigset_t *set, siginfo_t *info, const struct timespec *timeout), set, (set, info, timeout))
WRAP(int, signalfd, (int fd, const sigset_t *set, int flags), set, (fd, set, flags))
WRAP(int, pthread_attr_setsigmask_np, (pthread_attr_t *attr, const sigset_t *set), set, (attr, set))
WRAP(int, ppoll, (struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *set), set, (fds, n, timeout, set))
WRAP(int, pselect, (int n, fd_set *in, fd_set *out, fd_set *other, const struct timespec *timeout, const sigset_t *set), set,
     (n, in, out, other, timeout, set))
WRAP(int, epoll_pwait, (int fd, struct epoll_event *events, int n, int timeout, const sigset_t *set), set,
     (fd, events, n, timeout, set))

/* What a checked build calls in place of ppoll. */
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *set, size_t size);
WRAP(int, __ppoll_chk, (struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *set, size_t size), set,
     (fds, n, timeout, set, size))

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
