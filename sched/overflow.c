/* Stack overflow, named. See stack.c for the guards.
 *
 * A write into a guard is a SIGSEGV whose handler needs a stack to run on: every M has one, 16 KiB and a guard of its own.
 * The handler is installed with the first goroutine and takes nothing from the program: a fault that is not in the
 * guard of the running goroutine goes to the action that was there before, or, where that was the default, happens once
 * more with the default action, so that cores and exit statuses are what they were. A program that installs its own handler
 * later has it to itself; one with SA_ONSTACK runs on the M's signal stack.
 *
 * The process ends by SIGABRT after one line, the goroutine's number and stack. */
#include "sched/overflow.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"
#include "sched/dump.h"
#include "sched/proc.h"
#include "sched/stack.h"

enum { SIGNAL_STACK = 64 << 10 };

static struct sigaction segv_before, bus_before;

GM_NOINLINE void gs_overflowed(struct gs_g *g, const void *context) {
    struct gs_caller from;
    gs_caller_here(&from);
    gs_dump_begin_last_words();
    gm_eprintf("fatal error: stack overflow: goroutine %llu used all %zu bytes of its stack\n", (unsigned long long)g->id,
               (size_t)(g->stack_high - g->stack_low));
    if (context) gs_dump_last_words_at(g, context);
    else gs_dump_last_words(&from);
    gm_os_abort();
}

static void on_fault(int sig, siginfo_t *info, void *context) {
    struct gs_g *g = gs_current;
    if (g && gs_is_goroutine(g) && info->si_code > 0 && gs_stack_guards(g, info->si_addr)) gs_overflowed(g, context);
    const struct sigaction *before = sig == SIGBUS ? &bus_before : &segv_before;
    bool handler = before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN;
    if (handler && (before->sa_flags & SA_SIGINFO)) before->sa_sigaction(sig, info, context);
    else if (handler) before->sa_handler(sig);
    else if (before->sa_handler == SIG_DFL || info->si_code > 0) {
        struct sigaction plain = { .sa_handler = SIG_DFL };
        sigaction(sig, &plain, NULL);
        if (info->si_code <= 0) raise(sig); /* sent by somebody: it does not happen again by itself */
    }
}

static bool watch(int sig, struct sigaction *before) {
    struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    if (sigaction(sig, NULL, before) != 0) return false;
    ours.sa_mask = before->sa_mask;
    ours.sa_flags |= before->sa_flags & SA_NODEFER;
    return sigaction(sig, &ours, NULL) == 0;
}

bool gs_overflow_watch(void) {
    int saved = gs_errno();
    bool done = watch(SIGSEGV, &segv_before) && watch(SIGBUS, &bus_before);
    gs_set_errno(saved);
    return done;
}

void gs_overflow_thread(struct gs_m *m) {
    stack_t old, ours = { .ss_size = SIGNAL_STACK };
    if (sigaltstack(NULL, &old) == 0 && !(old.ss_flags & SS_DISABLE)) return;
    if (!m->signal_stack) {
        char *map = gm_os_map(SIGNAL_STACK + GM_OS_PAGE);
        if (!map) return; /* an overflow is then a plain SIGSEGV */
        mprotect(map, gm_os_page_size(), PROT_NONE);
        m->signal_stack = map + GM_OS_PAGE;
    }
    ours.ss_sp = m->signal_stack;
    sigaltstack(&ours, NULL);
}
