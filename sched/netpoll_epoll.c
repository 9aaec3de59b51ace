/* The poller on epoll, edge-triggered. See netpoll.c.
 *
 * One epoll set per process, made on first use, its descriptor and that of the eventfd which interrupts it moved up out of
 * the way of programs that count on small numbers, and closed by exec. A descriptor goes in once, for both ways, and stays until
 * the kernel drops it at close.
 *
 * Programs close descriptors that are not theirs (daemons close all), and the number may come to name another file, another
 * epoll set even. So every event carries a mark of ours; a set that answers EBADF or EINVAL, or with somebody else's
 * event, is not ours any more: it is left alone, a new one is made and everybody who waits is put into that. `epoch` counts
 * the sets, and each record knows in which it is. The child of a fork starts the same way, with no waiters. Whoever sleeps in the
 * old set meanwhile keeps it alive, and wakes when one of its descriptors is ready, but no bell reaches him, and he hears nothing
 * of new ones: worker.c writes him off then, and takes another thread. */
#include "sched/netpoll.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/proc.h"

enum { HIGH_FD = 900, EVENTS = 128, CHECK_NS = 10000000 };
static const uint64_t mark = UINT64_C(0x676f7363) << 32; /* of our events; below it the descriptor, or INTERRUPT */
#define INTERRUPT UINT32_MAX

static struct gs_lock making;          /* rank poll; no record's lock is held with it */
static int set = -1, bell = -1;        /* atomic */
static uint32_t epoch = 1;             /* of `set`; atomic */
static uint32_t rung;                  /* the bell was rung and not yet heard; atomic */
static bool mute;                      /* the bell is not there any more, so the set is to be made anew; atomic */
static int64_t checked;                /* when gs_poll_check last ran; atomic */
static uint32_t dozing;                /* who waits will not come back for the next round of checking; atomic */

static int high(int fd) {
    int up = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    if (up < 0) return fd;
    close(fd);
    return up;
}

/* By its number: the descriptor may be closed by the program at the same time, which ThreadSanitizer's epoll_ctl takes for a
 * race of ours. */
static int add(int s, int op, int fd, uint32_t events, uint64_t data) {
    struct epoll_event e = { .events = events, .data.u64 = mark | data };
    return syscall(SYS_epoll_ctl, s, op, fd, &e) == 0 ? 0 : -errno;
}

/* The current set; makes one if there is none. -errno. */
static int current(void) {
    int s = gm_load_acquire(&set);
    if (s >= 0) return s;
    gs_lock_acquire(&making, GS_RANK_POLL);
    s = set;
    if (s < 0) {
        s = high(epoll_create1(EPOLL_CLOEXEC));
        int b = s < 0 ? -1 : high(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), error = errno;
        if (b < 0 || (error = -add(s, EPOLL_CTL_ADD, b, EPOLLIN, INTERRUPT)) != 0) {
            if (s >= 0) close(s);
            if (b >= 0) close(b);
            s = -error;
        } else {
            gm_store_relaxed(&rung, 0);
            gm_store_relaxed(&bell, b);
            gm_store_release(&set, s); /* pairs with the acquire above: the bell is there too */
        }
    }
    gs_lock_release(&making);
    return s;
}

/* Into this set. */
static int add_to(int s, struct gs_poll *d, uint32_t now) {
    enum { BOTH = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
    int error = add(s, gm_load_relaxed(&d->epoch) == now ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, d->fd, BOTH, (uint32_t)d->fd);
    if (error == -ENOENT) error = add(s, EPOLL_CTL_ADD, d->fd, BOTH, (uint32_t)d->fd);
    else if (error == -EEXIST) error = add(s, EPOLL_CTL_MOD, d->fd, BOTH, (uint32_t)d->fd);
    gm_store_relaxed(&d->epoch, error ? 0 : now);
    return error;
}

static void lost(uint32_t which, struct gs_g **list);

/* The second time it is a new set, unless the program closes faster than we make them. */
int gs_epoll_add(struct gs_poll *d, bool verify) {
    for (int tries = 0;; tries++) {
        uint32_t now = gm_load_acquire(&epoch);
        if (!verify && GM_LIKELY(gm_load_relaxed(&d->epoch) == now)) return 0;
        int s = current();
        if (s < 0) return s;
        int error = add_to(s, d, now);
        /* Which of the two is no descriptor, or none of its kind? */
        bool ours = error == -EBADF || error == -EINVAL ? fcntl(d->fd, F_GETFD) >= 0 && d->fd != s : false;
        if (!ours || tries > 0) return error;
        struct gs_g *list = NULL;
        lost(now, &list);
        if (list) gs_ready_list(list);
    }
}

/* ---- when the set is not ours any more */

static void put_back(struct gs_poll *d, void *arg) {
    gs_lock_acquire(&d->lock, GS_RANK_POLL);
    bool anybody = !gs_waitq_empty(&d->waiters[0]) || !gs_waitq_empty(&d->waiters[1]);
    gs_lock_release(&d->lock);
    struct gs_g **list = arg;
    if (anybody && gs_epoll_add(d, false) != 0) gs_poll_event(d, true, true, list);
}

/* The set of that epoch, unless somebody else was faster. */
static void lost(uint32_t which, struct gs_g **list) {
    gs_lock_acquire(&making, GS_RANK_POLL);
    bool mine = epoch == which;
    if (mine) {
        gm_store_release(&set, -1);
        gm_store_release(&epoch, epoch + 1); /* pairs with the acquire in gs_epoll_add: who sees it takes no old set for the new one */
    }
    gs_lock_release(&making);
    if (!mine) return;
    gs_keeper_lost();
    gs_poll_each(put_back, list);
}

/* ---- waiting */

static int wait_events(int s, struct epoll_event *events, int64_t ns) {
#ifdef SYS_epoll_pwait2
    static bool missing;
    if (!gm_load_relaxed(&missing)) {
        struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
        int n = (int)syscall(SYS_epoll_pwait2, s, events, EVENTS, ns < 0 ? NULL : &t, NULL, 0);
        if (n >= 0 || errno != ENOSYS) return n < 0 ? -errno : n;
        gm_store_relaxed(&missing, true);
    }
#endif
    int64_t ms = ns < 0 ? -1 : ns / 1000000 + (ns % 1000000 != 0);
    int n = epoll_wait(s, events, EVENTS, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return n < 0 ? -errno : n;
}

/* True: the bell was rung. Only who waits (`hear`) silences it, else a mere look could swallow what is meant for the one
 * that is about to wait. */
static bool deliver(const struct epoll_event *events, int n, uint32_t which, bool hear, struct gs_g **list) {
    bool interrupted = false;
    for (int i = 0; i < n; i++) {
        uint64_t data = events[i].data.u64;
        uint32_t what = events[i].events;
        if (data >> 32 != mark >> 32) {
            lost(which, list);
        } else if ((uint32_t)data == INTERRUPT) {
            if (!hear) continue;
            uint64_t count;
            ssize_t r = read(gm_load_relaxed(&bell), &count, sizeof count);
            (void)r;
            gm_store_seq_cst(&rung, 0); /* before the caller looks for work again: a later ring rings */
            interrupted = true;
        } else {
            struct gs_poll *d = gs_poll_of((int)data);
            if (d) gs_poll_event(d, what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR), what & (EPOLLOUT | EPOLLHUP | EPOLLERR), list);
        }
    }
    return interrupted;
}

static void check(int64_t now, struct gs_g **list) {
    int64_t last = gm_load_relaxed(&checked);
    if (!gs_poll_has_young() || now - last < CHECK_NS) return;
    if (!__atomic_compare_exchange_n(&checked, &last, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return;
    gs_poll_check(list);
}

/* How long to wait, of so long: not past the next round of checking, if there is somebody to check.
 * seq_cst: the look at the young ones comes after the store. Who parks is in their list before its M, on the way to being idle, looks
 * here: so at least one of the two sees the other. */
static int64_t doze(int64_t left) {
    bool doze = left < 0 || left > CHECK_NS;
    gm_store_seq_cst(&dozing, doze);
    if (!doze || !gs_poll_has_young()) return left;
    gm_store_relaxed(&dozing, 0);
    return CHECK_NS;
}

bool gs_epoll_late(void) { return gm_load_seq_cst(&dozing) != 0 && gs_poll_has_young(); }

struct gs_g *gs_epoll_wait(int64_t wait_ns) {
    struct gs_g *list = NULL;
    struct epoll_event events[EVENTS];
    int saved = errno;
    int64_t until = wait_ns <= 0 ? 0 : gs_deadline_in(wait_ns);
    for (;;) {
        int64_t now = (int64_t)gm_os_nanotime(), left = wait_ns < 0 ? -1 : wait_ns == 0 || until <= now ? 0 : until - now;
        check(now, &list);
        if (list) left = 0;
        if (wait_ns != 0) left = doze(left);
        uint32_t which = gm_load_acquire(&epoch);
        if (GM_UNLIKELY(gm_load_relaxed(&mute)) && __atomic_exchange_n(&mute, false, __ATOMIC_RELAXED)) {
            lost(which, &list);
            break;
        }
        int s = current();
        if (s < 0) break;
        int n = wait_events(s, events, left);
        if (n == -EBADF || n == -EINVAL) lost(which, &list);
        bool interrupted = n > 0 && deliver(events, n, which, wait_ns != 0, &list);
        /* Of a new set another may be the keeper by now, who alone is to hear its bell. */
        interrupted |= which != gm_load_acquire(&epoch);
        if (list || interrupted || wait_ns == 0 || n == -EINTR || (wait_ns > 0 && (int64_t)gm_os_nanotime() >= until)) break;
    }
    errno = saved;
    return list;
}

bool gs_epoll_interrupt(void) {
    int saved = errno;
    uint64_t one = 1;
    bool heard = true;
    if (__atomic_exchange_n(&rung, 1, __ATOMIC_SEQ_CST) == 0 && current() >= 0 && write(gm_load_relaxed(&bell), &one, sizeof one) < 0) {
        heard = false;
        gm_store_relaxed(&mute, true);
        gm_store_seq_cst(&rung, 0);
    }
    errno = saved;
    return heard;
}

void gs_epoll_fork_child(void) {
    if (set >= 0) close(set);
    if (bell >= 0) close(bell);
    set = bell = -1;
    making.word = 0;
    epoch++;
    rung = dozing = 0;
    mute = false;
}
