/* Who waits for which descriptor. See proc.c for the overview, netpoll_epoll.c for how the kernel is asked.
 *
 * One record per descriptor number. A caller first tries its system call, and only if that would wait comes here. Events are
 * edges: the kernel tells once that something changed. Nothing may be lost between the failed try and the parking, so
 * every event counts up edges[way], the caller reads the count before it tries, and parks only if it is still the same,
 * under the lock that the event takes as well.
 *
 * Several goroutines may wait for one descriptor. An event wakes the first; whoever was woken tries, and when through
 * hands on to the next (gs_poll_pass), who tries in turn. The rule: while somebody is queued and the descriptor is
 * ready, an event is on its way or one of the woken has yet to try. So no wake-up is lost and no herd is woken.
 *
 * Descriptor numbers are used again, and nobody tells us of close(2). The kernel forgets the registration then, and a
 * goroutine that waits for the new file would wait for ever. Asking epoll at each park costs a system call; so those
 * who park go on a list of young ones, and a round every 10 ms asks for those that have not moved since the last round
 * (gs_poll_check). Short waits, which is nearly all on a busy server, are never asked about; a goroutine that
 * waits for a number used again learns of it after two rounds. A file closed until then wakes its waiters the same way; one that is
 * closed later does not: nobody is asked about twice, so that a process in which all wait sleeps without an end.
 *
 * Plain threads do not come here: they sleep in poll(2) (io.c). */
#include "sched/netpoll.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "libgomalloc/base/list.h"
#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/proc.h"

enum { CHUNK = 256, CHUNKS = 1 << 16 /* 2^24 descriptors; the kernel's limit is 2^20 unless raised */ };
enum { WOKEN_READY, WOKEN_TIMEOUT, WOKEN_CLOSED };

static struct gs_poll **chunks;        /* [CHUNKS], each NULL or CHUNK records; atomic, set once */
static struct gs_poll *young;          /* atomic list through ->next */
static uint32_t waiting;               /* goroutines parked here */

struct gs_poll *gs_poll_of(int fd) {
    if (fd < 0 || fd >= CHUNK * CHUNKS) {
        gs_set_errno(EBADF);
        return NULL;
    }
    struct gs_poll **table = gm_load_acquire(&chunks), **no_table = NULL;
    if (!table) {
        table = gm_os_map(CHUNKS * sizeof *table);
        if (table && !gm_cas_acq_rel(&chunks, &no_table, table)) {
            gm_os_unmap(table, CHUNKS * sizeof *table);
            table = gm_load_acquire(&chunks);
        }
    }
    struct gs_poll **slot = table ? &table[fd / CHUNK] : NULL, *c = slot ? gm_load_acquire(slot) : NULL, *none = NULL;
    if (slot && !c) {
        size_t bytes = (CHUNK * sizeof *c + GM_OS_PAGE - 1) & ~(size_t)(GM_OS_PAGE - 1);
        c = gm_os_map(bytes);
        for (int i = 0; c && i < CHUNK; i++) c[i].fd = fd / CHUNK * CHUNK + i;
        /* release: pairs with the acquire above, the records are whole. */
        if (c && !gm_cas_acq_rel(slot, &none, c)) {
            gm_os_unmap(c, bytes);
            c = gm_load_acquire(slot);
        }
    }
    if (!c) gs_set_errno(ENOMEM);
    return c ? &c[fd % CHUNK] : NULL;
}

void gs_poll_each(void (*fn)(struct gs_poll *d, void *arg), void *arg) {
    struct gs_poll **table = gm_load_acquire(&chunks);
    for (size_t i = 0; table && i < CHUNKS; i++) {
        struct gs_poll *c = gm_load_acquire(&table[i]);
        for (int k = 0; c && k < CHUNK; k++) fn(&c[k], arg);
    }
}

bool gs_poll_wanted(void) { return gm_load_relaxed(&waiting) != 0; }

static void lock(struct gs_poll *d) { gs_lock_acquire(&d->lock, GS_RANK_POLL); }
static void unlock(struct gs_poll *d) { gs_lock_release(&d->lock); }

/* ---- waiting */

/* Under the lock: somebody is about to park. */
static void note_park(struct gs_poll *d) {
    d->parks++;
    gm_add_relaxed(&waiting, 1);
    if (d->young) return;
    d->young = true;
    struct gs_poll *first = gm_load_relaxed(&young);
    do d->next = first;
    while (!gm_cas_release(&young, &first, d)); /* release: pairs with the exchange in gs_poll_check */
}

static int result(unsigned woken) { return woken == WOKEN_READY ? 0 : woken == WOKEN_TIMEOUT ? -ETIMEDOUT : -EBADF; }

static void install_hooks(void) {
    if (gm_load_relaxed(&gs_hooks.poll)) return;
    gm_store_relaxed(&gs_hooks.interrupt, gs_epoll_interrupt);
    gm_store_relaxed(&gs_hooks.poll_wanted, gs_poll_wanted);
    gm_store_relaxed(&gs_hooks.poll_late, gs_epoll_late);
    gm_store_relaxed(&gs_hooks.fork_child, gs_poll_fork_child);
    /* release: pairs with the acquire of those who ask whether there is a poller and then call the others. */
    gm_store_release(&gs_hooks.poll, gs_epoll_wait);
    gs_timer_added(0); /* who keeps the time already is to keep it in the poller from now on */
}

int gs_poll_wait(struct gs_poll *d, enum gs_poll_way way, uint32_t seen, bool again) {
    struct gs_waiter w = { .g = gs_self(), .index = WOKEN_READY };
    install_hooks();
    int error = gs_epoll_add(d, false);
    if (error) return error;
    lock(d);
    if (gm_load_relaxed(&d->edges[way]) != seen) {
        unlock(d);
        return 0;
    }
    if (gm_load_relaxed(&d->expired)) {
        unlock(d);
        return -ETIMEDOUT;
    }
    if (again) gs_waitq_push_front(&d->waiters[way], &w);
    else gs_waitq_push(&d->waiters[way], &w);
    note_park(d);
    gs_park_unlock(&d->lock, GS_WAIT_IO);
    return result(w.index);
}

struct any {
    struct gs_timer timer;
    struct gs_poll *d;
    struct gs_waiter w[2];
    uint32_t claim;
};

/* Under the lock: the goroutine of this waiter shall run. */
static void wake(struct gs_waiter *w, unsigned why, struct gs_g **list) {
    w->index = why;
    struct gs_g *g = w->g;
    gm_sub_relaxed(&waiting, 1);
    g->link = *list;
    *list = g;
}

static void any_timeout(struct gs_timer *t, int64_t now) {
    struct any *a = (struct any *)t;
    struct gs_g *list = NULL;
    lock(a->d);
    if (gs_waiter_claim(&a->w[0])) {
        for (int way = 0; way < 2; way++) gs_waitq_remove(&a->d->waiters[way], &a->w[way]);
        wake(&a->w[0], WOKEN_TIMEOUT, &list);
    }
    unlock(a->d);
    if (list) gs_ready(list);
}

int gs_poll_wait_any(struct gs_poll *d, unsigned ways, const uint32_t seen[2], int64_t until) {
    struct any a = { .d = d };
    install_hooks();
    int error = gs_epoll_add(d, false);
    bool timed = until != INT64_MAX;
    if (!error && timed) error = gs_timer_init(&a.timer, any_timeout);
    if (error) return error;
    for (int way = 0; way < 2; way++) a.w[way] = (struct gs_waiter){ .g = gs_self(), .claim = &a.claim };
    lock(d);
    bool changed = false;
    for (int way = 0; way < 2; way++)
        if (ways >> way & 1) changed |= gm_load_relaxed(&d->edges[way]) != seen[way];
    if (changed || gm_load_relaxed(&d->expired)) {
        unlock(d);
        if (timed) gs_timer_done(&a.timer);
        return changed ? 0 : -ETIMEDOUT;
    }
    for (int way = 0; way < 2; way++)
        if (ways >> way & 1) gs_waitq_push(&d->waiters[way], &a.w[way]);
    note_park(d);
    if (timed) gs_timer_set(&a.timer, until, 0); /* fires into the lock, which is held until the park is done */
    gs_park_unlock(&d->lock, GS_WAIT_IO);
    if (timed) gs_timer_done(&a.timer);
    lock(d);
    for (int way = 0; way < 2; way++) gs_waitq_remove(&d->waiters[way], &a.w[way]);
    unlock(d);
    return result(a.w[0].index | a.w[1].index);
}

/* ---- waking */

static void wake_first(struct gs_poll *d, enum gs_poll_way way, struct gs_g **list) {
    struct gs_waiter *w = gs_waitq_pop(&d->waiters[way]);
    if (w) wake(w, WOKEN_READY, list);
}

static void wake_all(struct gs_poll *d, unsigned why, struct gs_g **list) {
    for (int way = 0; way < 2; way++)
        for (struct gs_waiter *w; (w = gs_waitq_pop(&d->waiters[way]));) wake(w, why, list);
}

static void count_edge(struct gs_poll *d, enum gs_poll_way way) {
    /* release: pairs with the acquire of the caller who is about to try (io.c). */
    gm_store_release(&d->edges[way], gm_load_relaxed(&d->edges[way]) + 1);
}

void gs_poll_event(struct gs_poll *d, bool read, bool write, struct gs_g **list) {
    lock(d);
    if (read) {
        count_edge(d, GS_POLL_READ);
        wake_first(d, GS_POLL_READ, list);
    }
    if (write) {
        count_edge(d, GS_POLL_WRITE);
        wake_first(d, GS_POLL_WRITE, list);
    }
    unlock(d);
}

void gs_poll_pass(struct gs_poll *d, enum gs_poll_way way) {
    struct gs_g *list = NULL;
    lock(d);
    wake_first(d, way, &list);
    unlock(d);
    if (list) gs_ready(list);
}

void gs_poll_retry(struct gs_poll *d, enum gs_poll_way way) {
    struct gs_g *list = NULL;
    gs_poll_event(d, way == GS_POLL_READ, way == GS_POLL_WRITE, &list);
    if (list) gs_ready(list);
}

void gs_poll_forget(struct gs_poll *d) {
    struct gs_g *list = NULL;
    lock(d);
    gm_store_relaxed(&d->epoch, 0);
    gm_store_relaxed(&d->kind, GS_FD_UNKNOWN);
    gm_store_relaxed(&d->deadline, 0);
    gm_store_relaxed(&d->expired, false);
    bool timer = d->has_timer;
    wake_all(d, WOKEN_CLOSED, &list);
    unlock(d);
    if (timer) gs_timer_stop(&d->timer);
    if (list) gs_ready_list(list);
}

void gs_poll_all_retry(struct gs_poll *d) {
    struct gs_g *list = NULL;
    lock(d);
    gm_store_relaxed(&d->epoch, 0);
    count_edge(d, GS_POLL_READ);
    count_edge(d, GS_POLL_WRITE);
    wake_all(d, WOKEN_READY, &list);
    unlock(d);
    if (list) gs_ready_list(list);
}

/* ---- registrations that may have gone */

/* seq_cst: see gs_epoll_late. */
bool gs_poll_has_young(void) { return gm_load_seq_cst(&young) != NULL; }

/* True if d has to be asked about; false: nobody waits, or it has moved since the last round. */
static bool due(struct gs_poll *d, bool *keep) {
    lock(d);
    bool anybody = !gs_waitq_empty(&d->waiters[0]) || !gs_waitq_empty(&d->waiters[1]);
    bool moved = d->parks != d->parks_seen;
    d->parks_seen = d->parks;
    *keep = anybody && moved;
    d->young = *keep;
    unlock(d);
    return anybody && !moved;
}

void gs_poll_check(struct gs_g **list) {
    struct gs_poll *d = gm_exchange_acquire(&young, NULL), *next;
    for (; d; d = next) {
        bool keep;
        next = d->next;
        if (due(d, &keep)) {
            int error = gs_epoll_add(d, true);
            if (!error) continue;
            gm_store_relaxed(&d->kind, GS_FD_UNKNOWN);
            lock(d);
            count_edge(d, GS_POLL_READ);
            count_edge(d, GS_POLL_WRITE);
            wake_all(d, WOKEN_READY, list);
            unlock(d);
        } else if (keep) {
            struct gs_poll *first = gm_load_relaxed(&young);
            do d->next = first;
            while (!gm_cas_release(&young, &first, d));
        }
    }
}

/* ---- deadlines */

static bool same_file(struct gs_poll *d) {
    struct stat s;
    return fstat(d->fd, &s) == 0 && s.st_dev == d->device && s.st_ino == d->inode;
}

/* The timer may come for a deadline that was moved meanwhile: the time in the record decides. */
static void deadline_passed(struct gs_timer *t, int64_t now) {
    struct gs_poll *d = gm_list_entry(t, struct gs_poll, timer);
    struct gs_g *list = NULL;
    lock(d);
    int64_t deadline = gm_load_relaxed(&d->deadline);
    if (deadline != 0 && deadline <= now) {
        gm_store_relaxed(&d->expired, true);
        wake_all(d, WOKEN_TIMEOUT, &list);
    }
    unlock(d);
    if (list) gs_ready_list(list);
}

static int make_timer(struct gs_poll *d) {
    struct gs_timer t;
    int error = gs_timer_init(&t, deadline_passed);
    if (error) return error;
    lock(d);
    bool taken = d->has_timer;
    if (!taken) d->timer = t;
    d->has_timer = true;
    unlock(d);
    if (taken) gs_timer_done(&t);
    return 0;
}

int gs_poll_set_deadline(struct gs_poll *d, int64_t when) {
    struct stat s;
    struct gs_g *list = NULL;
    if (fstat(d->fd, &s) != 0) return -errno;
    int error = d->has_timer || when == 0 ? 0 : make_timer(d);
    if (error) return error;
    bool passed = when != 0 && when <= (int64_t)gm_os_nanotime();
    lock(d);
    d->device = s.st_dev;
    d->inode = s.st_ino;
    gm_store_relaxed(&d->deadline, when);
    gm_store_relaxed(&d->expired, passed);
    if (passed) wake_all(d, WOKEN_TIMEOUT, &list);
    bool timer = d->has_timer;
    if (timer && (when == 0 || passed)) gs_timer_stop(&d->timer); /* rank: poll before timer */
    else if (timer) gs_timer_set(&d->timer, when, 0);
    unlock(d);
    if (list) gs_ready_list(list);
    return 0;
}

bool gs_poll_expired(struct gs_poll *d) {
    if (!gm_load_relaxed(&d->expired)) return false;
    if (same_file(d)) return true;
    lock(d);
    gm_store_relaxed(&d->deadline, 0);
    gm_store_relaxed(&d->expired, false);
    unlock(d);
    return false;
}

/* ---- fork: the waiters are gone with their threads, and the epoll set is the parent's */

static void reset(struct gs_poll *d, void *arg) {
    if (d->parks == 0 && d->epoch == 0 && !d->has_timer) return; /* never used: leaves the page shared */
    int fd = d->fd;
    memset(d, 0, sizeof *d);
    d->fd = fd;
}

void gs_poll_fork_child(void) {
    young = NULL;
    waiting = 0;
    gs_poll_each(reset, NULL);
    gs_epoll_fork_child();
}
