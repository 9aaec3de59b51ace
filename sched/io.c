/* Reading, writing, accepting, connecting. See netpoll.c for how goroutines wait.
 *
 * Every call tries first, without waiting, and waits only when the try said EAGAIN. The program's descriptor
 * stays as it is, as others may use it in blocking mode, so the try itself must not wait:
 *
 *   sockets   recv and send with MSG_DONTWAIT
 *   streams   (pipes, eventfds, terminals...) preadv2 and pwritev2 with RWF_NOWAIT. Where a file cannot do that, poll(2) says
 *             whether there is something, then the plain call: it could still wait if another process is faster
 *   plain     regular files, directories, disks, and what epoll refuses: the plain call, handing the P on
 *   accept    poll(2), then accept, handing the P on, as another process could be faster; goroutines take turns between the
 *             two. For connect the descriptor is made nonblocking for
 *             the moment of the call
 *
 * Which of these a descriptor is, its record remembers; a socket that is none any more says ENOTSOCK, a plain file is asked each
 * time. Inside this file errors travel as -errno, since errno belongs to a thread and the caller may come back on another. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/netpoll.h"
#include "sched/proc.h"

struct io {
    int fd;
    struct gs_poll *d;
    char *buf;
    size_t n;
    int flags;
    struct sockaddr *address;
    socklen_t *size;
};
typedef ssize_t attempt(struct io *io); /* the result, -EAGAIN where it would wait, -errno */

/* ---- waiting */

/* A plain thread waits here. 0: try again. */
static int wait_thread(struct gs_poll *d, short events, int64_t until) {
    int64_t deadline = gm_load_relaxed(&d->deadline), now = (int64_t)gm_os_nanotime();
    if (deadline != 0 && deadline < until) until = deadline;
    if (until <= now) return -ETIMEDOUT;
    struct timespec t = { .tv_sec = (until - now) / 1000000000, .tv_nsec = (until - now) % 1000000000 };
    struct pollfd p = { .fd = d->fd, .events = events };
    int r = ppoll(&p, 1, until == INT64_MAX ? NULL : &t, NULL);
    return r < 0 ? -gs_errno() : r == 0 ? -ETIMEDOUT : p.revents & POLLNVAL ? -EBADF : 0;
}

static ssize_t run(struct io *io, enum gs_poll_way way, attempt *try, attempt *block) {
    struct gs_poll *d = io->d = gs_poll_of(io->fd);
    bool goroutine = gs_is_goroutine(gs_self()), woken = false;
    ssize_t r;
    if (!d) return -gs_errno();
    for (;;) {
        /* acquire: pairs with the count in netpoll.c; an event that is not counted yet finds us parked or the count changed. */
        uint32_t seen = gm_load_acquire(&d->edges[way]);
        r = gs_poll_expired(d) ? -ETIMEDOUT : try(io);
        if (r != -EAGAIN || (io->flags & MSG_DONTWAIT)) break;
        r = goroutine ? gs_poll_wait(d, way, seen, woken) : wait_thread(d, way == GS_POLL_READ ? POLLIN : POLLOUT, INT64_MAX);
        if (r == -EPERM) r = block(io);
        else if (r == 0) {
            woken = true;
            continue;
        }
        break;
    }
    if (goroutine && woken) gs_poll_pass(d, way);
    return r;
}

/* `before`: the caller's errno, which what was tried on the way may have changed. */
static ssize_t answer(ssize_t r, int before) {
    gs_set_errno(r < 0 ? (int)-r : before);
    return r < 0 ? -1 : r;
}

/* ---- reading and writing */

static int kind_of(struct gs_poll *d) {
    struct stat s;
    int kind = (int)gm_load_relaxed(&d->kind);
    if (kind == GS_FD_SOCKET || kind == GS_FD_STREAM) return kind;
    if (fstat(d->fd, &s) != 0) return -gs_errno();
    kind = S_ISSOCK(s.st_mode) ? GS_FD_SOCKET : S_ISREG(s.st_mode) || S_ISDIR(s.st_mode) || S_ISBLK(s.st_mode) ? GS_FD_PLAIN : GS_FD_STREAM;
    gm_store_relaxed(&d->kind, (uint32_t)kind);
    return kind;
}

static ssize_t result(ssize_t r) { return r < 0 ? -gs_errno() : r; }

static ssize_t block_read(struct io *io) {
    go_entersyscall();
    ssize_t r = result(read(io->fd, io->buf, io->n));
    go_exitsyscall();
    return r;
}

static ssize_t block_write(struct io *io) {
    go_entersyscall();
    ssize_t r = result(write(io->fd, io->buf, io->n));
    go_exitsyscall();
    return r;
}

static bool ready(int fd, short events) {
    struct pollfd p = { .fd = fd, .events = events };
    return poll(&p, 1, 0) != 0;
}

static ssize_t try_recv(struct io *io) { return result(recv(io->fd, io->buf, io->n, io->flags | MSG_DONTWAIT)); }
static ssize_t try_send(struct io *io) { return result(send(io->fd, io->buf, io->n, io->flags | MSG_DONTWAIT)); }

static ssize_t try_read(struct io *io) {
    int kind = kind_of(io->d);
    if (kind < 0) return kind;
    if (kind == GS_FD_SOCKET && io->n > 0) {
        ssize_t r = try_recv(io);
        if (r != -ENOTSOCK) return r;
        gm_store_relaxed(&io->d->kind, GS_FD_UNKNOWN);
        return try_read(io);
    }
    if (kind == GS_FD_PLAIN || io->n == 0) return block_read(io);
    struct iovec v = { .iov_base = io->buf, .iov_len = io->n };
    ssize_t r = result(preadv2(io->fd, &v, 1, -1, RWF_NOWAIT));
    if (r != -EOPNOTSUPP && r != -ENOSYS) return r;
    return ready(io->fd, POLLIN) ? block_read(io) : -EAGAIN;
}

static ssize_t try_write(struct io *io) {
    int kind = kind_of(io->d);
    if (kind < 0) return kind;
    if (kind == GS_FD_SOCKET) {
        ssize_t r = try_send(io);
        if (r != -ENOTSOCK) return r;
        gm_store_relaxed(&io->d->kind, GS_FD_UNKNOWN);
        return try_write(io);
    }
    if (kind == GS_FD_PLAIN || io->n == 0) return block_write(io);
    struct iovec v = { .iov_base = io->buf, .iov_len = io->n };
    ssize_t r = result(pwritev2(io->fd, &v, 1, -1, RWF_NOWAIT));
    if (r != -EOPNOTSUPP && r != -ENOSYS) return r;
    if (!ready(io->fd, POLLOUT)) return -EAGAIN;
    size_t n = io->n;
    if (io->n > PIPE_BUF) io->n = PIPE_BUF; /* so much there is room for, if there is any */
    r = block_write(io);
    io->n = n;
    return r;
}

/* All of it, unless an error comes first; an error after some bytes is left for the next call to find. */
static ssize_t run_whole(struct io *io, enum gs_poll_way way, attempt *try, attempt *block) {
    ssize_t done = 0;
    do {
        ssize_t r = run(io, way, try, block);
        if (r < 0 && done == 0) return r;
        if (r <= 0) break;
        done += r;
        io->buf += r;
        io->n -= (size_t)r;
    } while (io->n > 0);
    return done;
}

ssize_t go_read(int fd, void *buf, size_t n) {
    int before = gs_errno();
    struct io io = { .fd = fd, .buf = buf, .n = n };
    return answer(run(&io, GS_POLL_READ, try_read, block_read), before);
}

ssize_t go_write(int fd, const void *buf, size_t n) {
    int before = gs_errno();
    struct io io = { .fd = fd, .buf = (char *)buf, .n = n };
    return answer(run_whole(&io, GS_POLL_WRITE, try_write, block_write), before);
}

ssize_t go_recv(int fd, void *buf, size_t n, int flags) {
    int before = gs_errno();
    struct io io = { .fd = fd, .buf = buf, .n = n, .flags = flags };
    bool whole = (flags & MSG_WAITALL) && !(flags & MSG_PEEK) && n > 0;
    return answer(whole ? run_whole(&io, GS_POLL_READ, try_recv, try_recv) : run(&io, GS_POLL_READ, try_recv, try_recv), before);
}

ssize_t go_send(int fd, const void *buf, size_t n, int flags) {
    int before = gs_errno();
    struct io io = { .fd = fd, .buf = (char *)buf, .n = n, .flags = flags };
    return answer(run_whole(&io, GS_POLL_WRITE, try_send, try_send), before);
}

/* ---- connections */

/* A new file has this number: what the record knew of the old one goes. */
static void renew(int fd) {
    struct gs_poll *d = gs_poll_of(fd);
    if (d && (gm_load_relaxed(&d->epoch) != 0 || gm_load_relaxed(&d->deadline) != 0)) gs_poll_forget(d);
}

static ssize_t try_accept(struct io *io) {
    uint32_t *turn = &io->d->accepting, none = 0;
    while (!gm_cas_acquire(turn, &none, 1)) {
        if (none == 2 || gm_cas_acquire(turn, &none, 2)) return -EAGAIN;
        none = 0;
    }
    ssize_t r = -EAGAIN;
    if (ready(io->fd, POLLIN)) {
        go_entersyscall();
        r = result(accept(io->fd, io->address, io->size));
        go_exitsyscall();
    }
    if (gm_exchange_acq_rel(turn, 0) == 2) gs_poll_retry(io->d, GS_POLL_READ);
    return r;
}

int go_accept(int fd, struct sockaddr *address, socklen_t *size) {
    int before = gs_errno();
    struct io io = { .fd = fd, .address = address, .size = size };
    int r = (int)answer(run(&io, GS_POLL_READ, try_accept, try_accept), before);
    if (r >= 0) renew(r);
    return r;
}

static ssize_t connected(struct io *io) {
    int error = 0;
    socklen_t size = sizeof error;
    if (!ready(io->fd, POLLOUT)) return -EAGAIN;
    return getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? -error : -gs_errno();
}

int go_connect(int fd, const struct sockaddr *address, socklen_t size) {
    int before = gs_errno();
    struct io io = { .fd = fd };
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -1;
    renew(fd);
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    int error = connect(fd, address, size) == 0 ? 0 : gs_errno();
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags);
    if (error == EINPROGRESS) return (int)answer(run(&io, GS_POLL_WRITE, connected, connected), before);
    if (error == EAGAIN) { /* a local socket whose listener's queue is full: nothing tells when it is not */
        go_entersyscall();
        error = connect(fd, address, size) == 0 ? 0 : gs_errno();
        go_exitsyscall();
    }
    return (int)answer(-error, before);
}

/* The record starts afresh before the number can be somebody else's. Who came between that and the close waits for a
 * file that is gone, or not registered: they are sent to try again, as is, harmlessly, who has got the number already. */
int go_close(int fd) {
    struct gs_poll *d = gs_poll_of(fd);
    if (d) gs_poll_forget(d);
    int r = close(fd), error = gs_errno();
    if (d) gs_poll_all_retry(d);
    gs_set_errno(error);
    return r;
}

/* ---- waiting alone */

/* Events of poll(2) that hold now; -errno. */
static int holds(int fd, short events) {
    struct pollfd p = { .fd = fd, .events = events };
    int r = poll(&p, 1, 0);
    return r < 0 ? -gs_errno() : p.revents & POLLNVAL ? -EBADF : p.revents;
}

static int poll_until(struct gs_poll *d, short events, int64_t until) {
    bool goroutine = gs_is_goroutine(gs_self());
    unsigned ways = (events & (POLLIN | POLLPRI | POLLRDHUP) || !(events & POLLOUT) ? 1u : 0u) | (events & POLLOUT ? 2u : 0u);
    for (;;) {
        uint32_t seen[2] = { gm_load_acquire(&d->edges[0]), gm_load_acquire(&d->edges[1]) };
        int r = gs_poll_expired(d) ? -ETIMEDOUT : holds(d->fd, events);
        if (r != 0) return r;
        if (until <= (int64_t)gm_os_nanotime()) return 0;
        r = goroutine ? gs_poll_wait_any(d, ways, seen, until) : wait_thread(d, events, until);
        if (goroutine) /* what we were woken for is still there for others */
            for (int way = 0; way < 2; way++)
                if (ways >> way & 1) gs_poll_pass(d, way);
        if (r == -ETIMEDOUT && until <= (int64_t)gm_os_nanotime() && !gs_poll_expired(d)) return holds(d->fd, events);
        if (r != 0) return r;
    }
}

int go_poll(int fd, short events, int64_t ns) {
    int before = gs_errno();
    struct gs_poll *d = gs_poll_of(fd);
    if (!d) return -1;
    return (int)answer(poll_until(d, events, ns < 0 ? INT64_MAX : gs_deadline_in(ns)), before);
}

int go_set_deadline(int fd, int64_t ns) {
    int before = gs_errno();
    struct gs_poll *d = gs_poll_of(fd);
    if (!d) return -1;
    return (int)answer(gs_poll_set_deadline(d, ns == 0 ? 0 : ns < 0 ? 1 : gs_deadline_in(ns)), before);
}
