/* Stacks of goroutines that wait keep the pages they once used. Those below the stack pointer go back to the kernel on request
 * (go_release_stacks), and by sysmon when a goroutine has waited for ten seconds.
 *
 * A goroutine can be made ready at any moment while its pages are taken, so it is held: `hold` is set, and whoever is
 * to run it looks at that after having set its state to running (adopt in proc.c), and waits. Between that store and that
 * load there is no barrier, which every switch would pay for; instead the one who trims has the kernel put one into all running
 * threads of the process (membarrier) after it has set `hold`, for a batch of goroutines at a time. After it
 *
 *   - whoever looked at `hold` too early has its store of the state, m->g or m->left seen, for as long as the goroutine
 *     is on its stack: it is passed over;
 *   - whoever looks later waits.
 *
 * Where the kernel has no membarrier, nothing is trimmed. A goroutine that was trimmed is not looked at again before it has run. */
#include "sched/trim.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/stack.h"
#include "sched/state.h"

enum { HELD = 1, TRIMMED = 2, BATCH = 32, LOOKS = 64 /* a time: a million records are looked through in 16 s, at half a percent of a core */ };
static const int64_t WAITED = 10000000000, ROUND = 1000000000;

static struct gs_lock trimming; /* one batch at a time */

void gs_trim_wait(struct gs_g *g) {
    uint32_t hold;
    while ((hold = gm_load_acquire(&g->hold)) & HELD) sched_yield(); /* acquire: the pages are gone; partner: let_go */
    if (hold) gm_store_relaxed(&g->hold, 0);
}

static bool barrier_everywhere(void) {
    static bool registered;
    int saved = gs_errno();
    if (!registered) registered = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    bool done = registered && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
    gs_set_errno(saved);
    return done;
}

static bool off_its_stack(const struct gs_g *g) {
    uint32_t state = gm_load_acquire(&g->state);
    if (state != GS_G_WAITING && state != GS_G_RUNNABLE) return false;
    gs_sched_lock();
    const struct gs_m *m = gs_sched.all_m;
    while (m && gm_load_acquire(&m->g) != g && gm_load_acquire(&m->left) != g) m = m->all_next;
    gs_sched_unlock();
    return m == NULL;
}

/* Bytes that were given back of the stacks of these, which are let go of afterwards. */
static size_t trim(struct gs_g *const *list, unsigned n) {
    size_t bytes = 0;
    if (n == 0) return 0;
    bool held = barrier_everywhere();
    for (unsigned i = 0; i < n; i++) {
        bool take = held && off_its_stack(list[i]);
        if (take) bytes += gs_stack_trim(list[i]);
        gm_store_release(&list[i]->hold, take ? TRIMMED : 0);
    }
    return bytes;
}

/* Takes hold of g if it is one to be trimmed; waiting since before `until`, 0: however long. */
static bool hold(struct gs_g *g, int64_t until) {
    if ((gm_load_relaxed(&g->flags) & GS_G_STANDIN) || gm_load_relaxed(&g->state) != GS_G_WAITING || gm_load_relaxed(&g->hold) != 0) return false;
    if (until != 0 && gm_load_relaxed(&g->wait_since) > until) return false;
    gm_store_relaxed(&g->hold, HELD); /* ordered by barrier_everywhere */
    return true;
}

/* From *at on, at most `looks` records. */
static size_t pass(struct gs_g **at, unsigned looks, int64_t until) {
    struct gs_g *list[BATCH];
    size_t bytes = 0;
    unsigned n = 0;
    gs_lock_acquire(&trimming, GS_RANK_START);
    for (; *at && looks > 0; *at = (*at)->all_next, looks--) {
        if (hold(*at, until)) list[n++] = *at;
        if (n < BATCH) continue;
        bytes += trim(list, n);
        n = 0;
    }
    bytes += trim(list, n);
    gs_lock_release(&trimming);
    return bytes;
}

size_t go_release_stacks(void) {
    struct gs_g *all = gm_load_acquire(&gs_sched.all_g);
    return pass(&all, UINT32_MAX, 0);
}

void gs_trim_some(int64_t now) {
    static struct gs_g *at;
    static int64_t round;
    if (!at && now - round > ROUND) {
        at = gm_load_acquire(&gs_sched.all_g);
        round = now;
    }
    if (at) pass(&at, LOOKS, now - WAITED);
}

int64_t gs_trim_idle(int64_t now, int64_t idle_since) {
    static int64_t done;
    if (done == idle_since) return -1;
    if (now - idle_since < WAITED) return WAITED - (now - idle_since);
    go_release_stacks();
    done = idle_since;
    return -1;
}

void gs_trim_fork_child(void) { trimming.word = 0; }
