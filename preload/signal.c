/* Signal handlers that allocate although they should not.
 *
 * They do: crash reporters, profilers, language runtimes; and a handler that interrupts malloc finds
 * the thread's cache half changed. Guarding the cache on the hit path would cost every malloc and free
 * for what happens once in a million; so handlers are entered through a thunk of ours, which tells the
 * allocator where the thread was interrupted (signal.h). Signals pay for it, allocations do not.
 *
 * A handler is replaced by its thunk and nothing else is touched: flags, mask, restorer and the calls
 * themselves stay the kernel's and the C library's. One thunk belongs to one handler for the life of
 * the process, whatever signals it is installed for, and entries are only ever added. That is what
 * makes this safe for the host:
 *
 *   - The kernel changes a disposition at once; since the thunk's address says which handler is meant,
 *     there is no table to change at the same instant, and no time in which a signal finds the new
 *     handler with the old mask.
 *   - What the program asks back (oldact, signal's result) is translated to its own handler. What it
 *     reads by system call is a thunk: a valid handler that does the same, and can be installed again,
 *     called or chained to without ever coming back to whoever chains. (Runtimes that read their
 *     predecessor raw run into an endless loop where a table by signal number is used.)
 *   - A child of vfork that installs handlers adds entries for its parent, which do no harm.
 *   - When there are more handlers than thunks, the rest are installed as they are.
 *
 * Usually the thread was not interrupted in the allocator. The handler is then entered by a jump: no
 * frame of ours is on the stack, a backtrace looks as without us, an exception unwinds as without us.
 * x86-64 kernels pass all three arguments to every handler, with SA_SIGINFO or not.
 *
 * Handlers installed by a system call of the program's own are not seen, and neither is it guarded
 * against: they run as they would without this file. SIG_DFL, SIG_IGN and the like pass unchanged. */
#define _GNU_SOURCE 1
#include "preload/signal.h"

#include "libgomalloc/hooks.h"
#include "libgomalloc/os/rawcall.h"
#include "libgomalloc/os/stop_signal.h"
#include "preload/next.h"
#include "preload/process.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

typedef void action(int sig, siginfo_t *info, void *context);

/* ---- the table: handlers, in the order in which they were first installed */

enum { THUNKS = 64 };
static action *handlers[THUNKS]; /* NULL: not yet given away; else never changes again */

/* The context is believed only where the kernel puts it, right above the handler's own frame: somebody
 * who has read a thunk as his predecessor may call it with the signal number alone. (The kernel's
 * frame is return address, context, siginfo; valgrind's has the last two swapped.) */
static const void *interrupted_pc(const void *context, const void *frame) {
#if defined(__x86_64__)
    if ((uintptr_t)context - (uintptr_t)frame > 2 * sizeof(siginfo_t)) return NULL;
    return (const void *)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#else
    return NULL; /* without SA_SIGINFO there may be no context */
#endif
}

static GM_NOINLINE void run_guarded(action *handler, int sig, siginfo_t *info, void *context, void *token) {
    handler(sig, info, context);
    gm_signal_leave(token);
}

/* The thread blocks in a wrapped call, and the collector may be scanning it as it is (block.c): it runs from here on.
 * It has not been interrupted in the allocator, unless by an outer handler that is in safe mode already. */
static GM_NOINLINE void run_from_call(action *handler, int sig, siginfo_t *info, void *context, struct gm_blocked *call) {
    handler(sig, info, context);
    gm_hooks.blocking->step_in(call);
}

static GM_NOINLINE struct gm_blocked *step_out(void) { return gm_hooks.blocking->step_out(); }

/* Relaxed: the entry was written before the kernel was given the thunk's address, and the kernel
 * orders the two with its lock around the signal's disposition. */
static GM_NOINLINE GM_TAIL_CALLS void deliver(unsigned i, int sig, siginfo_t *info, void *context) {
    action *handler = gm_load_relaxed(&handlers[i]);
    struct gm_blocked *call = gm_load_relaxed(&gm_hooks.blocking) ? step_out() : NULL;
    if (GM_UNLIKELY(call != NULL)) {
        run_from_call(handler, sig, info, context, call);
        return;
    }
    void *token = gm_signal_enter(interrupted_pc(context, __builtin_dwarf_cfa()));
    if (GM_LIKELY(token == NULL)) handler(sig, info, context);
    else run_guarded(handler, sig, info, context, token);
}

/* The numbers are octal: a row is eight thunks. */
#define ROWS(X) \
    X(00) X(01) X(02) X(03) X(04) X(05) X(06) X(07)
#define ROW(X, r) X(r##0) X(r##1) X(r##2) X(r##3) X(r##4) X(r##5) X(r##6) X(r##7)

#define DEFINE(n) \
    static GM_TAIL_CALLS void thunk_##n(int sig, siginfo_t *info, void *context) { \
        deliver(n, sig, info, context); \
    }
#define DEFINE_ROW(r) ROW(DEFINE, r)
ROWS(DEFINE_ROW)

#define NAME(n) thunk_##n,
#define NAME_ROW(r) ROW(NAME, r)
static action *const thunks[] = {ROWS(NAME_ROW)};
GM_STATIC_ASSERT(sizeof thunks / sizeof thunks[0] == THUNKS, "a thunk for each entry");

/* SIG_DFL, SIG_IGN, SIG_HOLD, SIG_ERR: small numbers and -1. */
static bool is_handler(action *h) { return (uintptr_t)h + 1 > 4096; }

/* The handler that a disposition stands for. */
static action *handler_of(action *installed) {
    for (unsigned i = 0; is_handler(installed) && i < THUNKS; i++)
        if (thunks[i] == installed) return gm_load_relaxed(&handlers[i]);
    return installed;
}

/* What to install for a handler. Lock-free, as a handler may install handlers; whoever is first to
 * fill an entry gives it its handler, so a handler stands in one entry only. */
static action *thunk_of(action *handler) {
    if (!is_handler(handler)) return handler;
    gm_block_bind();
    if (gm_standing_aside) return handler;
    handler = handler_of(handler);
    for (unsigned i = 0; i < THUNKS; i++) {
        action *there = gm_load_relaxed(&handlers[i]);
        if (there == NULL && gm_cas_acq_rel(&handlers[i], &there, handler)) return thunks[i];
        if (there == handler) return thunks[i];
    }
    return handler;
}

/* The collector's signal is answered as the C library answers its own two. See mask.c. */
static bool is_stop_signal(int sig) { return sig > 0 && sig == gm_load_relaxed(&gm_stop_signal); }
static int refuse(void) {
    errno = EINVAL;
    return -1;
}

/* ---- sigaction */

/* sa_handler and sa_sigaction are one place. */
static int change(void **slot, const char *name, int sig, const struct sigaction *new,
                  struct sigaction *old) {
    int (*next)(int, const struct sigaction *, struct sigaction *) =
        (int (*)(int, const struct sigaction *, struct sigaction *))gm_next(slot, name);
    struct sigaction ours;
    if (is_stop_signal(sig)) return refuse();
    if (new != NULL) {
        ours = *new;
        ours.sa_sigaction = thunk_of(new->sa_sigaction);
        ours.sa_mask.__val[0] &= ~gm_stop_signal_bit();
        new = &ours;
    }
    int r = next(sig, new, old);
    if (r == 0 && old != NULL) old->sa_sigaction = handler_of(old->sa_sigaction);
    return r;
}

static void *next_sigaction;

GM_EXPORT int sigaction(int sig, const struct sigaction *new, struct sigaction *old) {
    return change(&next_sigaction, "sigaction", sig, new, old);
}

int __sigaction(int sig, const struct sigaction *new, struct sigaction *old);
GM_EXPORT int __sigaction(int sig, const struct sigaction *new, struct sigaction *old) {
    return change(&next_sigaction, "sigaction", sig, new, old);
}

/* ---- the older calls: each does in its own way what the C library's does with our thunk */

static sighandler_t install(void **slot, const char *name, int sig, sighandler_t handler) {
    sighandler_t (*next)(int, sighandler_t) = (sighandler_t (*)(int, sighandler_t))gm_next(slot, name);
    if (is_stop_signal(sig)) return refuse(), SIG_ERR;
    void *thunk = thunk_of((action *)(void *)handler);
    void *before = next(sig, (sighandler_t)thunk);
    return (sighandler_t)(void *)handler_of((action *)before);
}

#define INSTALLER(name) \
    sighandler_t name(int sig, sighandler_t handler); \
    static void *next_##name; \
    GM_EXPORT sighandler_t name(int sig, sighandler_t handler) { \
        return install(&next_##name, #name, sig, handler); \
    }

INSTALLER(signal)
INSTALLER(bsd_signal)
INSTALLER(ssignal)
INSTALLER(sysv_signal)
INSTALLER(__sysv_signal)
INSTALLER(sigset)

/* ---- for the collector */

/* Whether every handler the kernel knows is one of our thunks: then no thread runs code of the program's from inside
 * a call that blocks without having passed here. The C library's own two need no such care. */
static bool handlers_known(void) {
    struct { void *handler; unsigned long rest[3]; } there;
    for (int sig = 1; sig < 65; sig++) {
        if (sig == 32 || sig == 33 || is_stop_signal(sig)) continue;
        if (gm_rawcall(SYS_rt_sigaction, sig, 0, (long)&there, 8) != 0) continue;
        if (is_handler((action *)there.handler) && handler_of((action *)there.handler) == (action *)there.handler) return false;
    }
    return true;
}

void gm_signal_init(void) { gm_hooks.handlers_known = handlers_known; }
