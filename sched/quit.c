/* SIGQUIT: every goroutine and its stack, and the end of the process. See proc.c for the overview, dump.c for the format.
 *
 * Who runs can only be asked by a signal: every thread of interest gets the same one, says where it was and stays in its handler,
 * while the thread that the first one met writes the report. It takes no lock, so it may interrupt anything. */
#include "sched/quit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"
#include "sched/dump.h"
#include "sched/frames.h"
#include "sched/gosched.h"
#include "sched/state.h"

enum { ANSWERS = 64 };

static struct {
    int quitter;               /* tid of the thread that writes the report; 0: none does */
    uint32_t asked, answered;
    struct {
        int tid;
        const void *context;
    } answer[ANSWERS];
} quit;

const void *gs_quit_context(int tid) {
    uint32_t n = gm_load_acquire(&quit.answered);
    for (uint32_t i = 0; i < n && i < ANSWERS; i++)
        if (gm_load_acquire(&quit.answer[i].tid) == tid && tid != 0) return quit.answer[i].context;
    return NULL;
}

static bool crash; /* GOTRACEBACK=crash: end with the signal's own action, which leaves a core */

static void ask(int tid) {
    if (tid == 0 || tid == gm_load_relaxed(&quit.quitter)) return;
    if (syscall(SYS_tgkill, (long)gm_os_getpid(), (long)tid, (long)SIGQUIT) == 0) quit.asked++;
}

/* Everybody who runs a goroutine, and the plain threads that use the library and are awake. */
static void ask_all(void) {
    static const int64_t STEP = 200000;
    for (struct gs_m *m = gs_sched.all_m; m; m = m->all_next)
        if (gm_load_relaxed(&m->g)) ask(gm_load_relaxed(&m->tid));
    for (struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next)
        if ((gm_load_relaxed(&g->flags) & GS_G_STANDIN) && !(gm_load_relaxed(&g->parks) & 1)) ask(gm_load_relaxed(&g->tid));
    for (int i = 0; i < 500 && gm_load_acquire(&quit.answered) < quit.asked; i++) {
        uint32_t n = gm_load_relaxed(&quit.answered);
        gm_os_futex_wait(&quit.answered, n, STEP);
    }
}

static void answer(const void *context) {
    static uint32_t never, next;
    uint32_t i = gm_add_relaxed(&next, 1);
    if (i < ANSWERS - 1) { /* the last place is the reporter's */
        quit.answer[i].context = context;
        gm_store_release(&quit.answer[i].tid, gm_os_gettid());
    }
    gm_add_acq_rel(&quit.answered, 1);
    for (;;) gm_os_futex_wait(&never, 0, -1);
}

static uintptr_t pc_of(const void *context) {
    struct gs_cursor c;
    gs_cursor_context(&c, context, 0, 0);
    return c.pc;
}

static void on_quit(int sig, siginfo_t *info, void *context) {
    int nobody = 0;
    struct gs_g *g = gs_current;
    if (!gm_cas_acq_rel(&quit.quitter, &nobody, gm_os_gettid())) answer(context);
    gs_dump_begin_last_words();
    ask_all();
    quit.answer[ANSWERS - 1].context = context;
    gm_store_release(&quit.answer[ANSWERS - 1].tid, gm_os_gettid());
    gm_store_release(&quit.answered, ANSWERS);
    gm_eprintf("SIGQUIT: quit\nPC=%p m=%d sigcode=%d\n", (void *)pc_of(context), g && g->m ? (int)g->m->id : -1, info->si_code);
    gs_dump_last_words_of_all();
    gm_eprintf("\n");
    if (!crash) _exit(2);
    signal(SIGQUIT, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGQUIT);
    raise(SIGQUIT);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    _exit(2);
}

void gs_quit_listen(void) {
    struct sigaction now, ours = { .sa_sigaction = on_quit, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
    const char *level = gm_os_secure() ? NULL : getenv("GOTRACEBACK");
    crash = level && strcmp(level, "crash") == 0;
    sigemptyset(&ours.sa_mask);
    gs_self(); /* who starts the scheduler, as a rule main, is to be in the report */
    if (sigaction(SIGQUIT, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL) sigaction(SIGQUIT, &ours, NULL);
}
