/* Goroutines for C: what Go programmers have, in any C or C++ program that links or preloads the library.
 *
 * Semantics are Go's unless a line says otherwise. Every function may be called from goroutines and from plain
 * threads (main included); a plain thread that would wait sleeps. main is not a goroutine: the process lives as long as
 * main does. Errors are returned as -errno where a line says so; misuse panics with Go's text. errno of the caller is
 * kept by every call that does not say otherwise. A goroutine may continue on another thread after any call declared here,
 * and only there. So thread-local variables and pthread mutexes must not be carried across such calls, unless between
 * go_lock_thread and go_unlock_thread.
 *
 * The link names are gosched_*: a preloaded library never captures a program's own function called go. */
#ifndef GOSCHED_H
#define GOSCHED_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GOSCHED_API(name) __asm__("gosched_" #name) __attribute__((visibility("default")))

/* The C library declares the address of errno constant, so compilers keep it in a register across calls, and
 * a goroutine that continued on another thread would read a stranger's. This one is asked for each time. */
int *gosched_errno_location(void) GOSCHED_API(errno_location);
#undef errno
#define errno (*gosched_errno_location())

/* ---- goroutines */

/* Runs fn(arg) on a new goroutine. 0 or -errno (-EAGAIN: no thread could be made, -ENOMEM: no stack). */
int go(void (*fn)(void *), void *arg) GOSCHED_API(go);
/* The same with a stack of at least so many bytes in place of 256 KiB. Memory is only used where the stack was touched. */
int go_stack(size_t stack_bytes, void (*fn)(void *), void *arg) GOSCHED_API(go_stack);
void go_yield(void) GOSCHED_API(yield);
/* Ends the calling goroutine; on a plain thread, the thread. */
__attribute__((noreturn)) void go_exit(void) GOSCHED_API(exit);
/* Of the calling goroutine; 0 on a plain thread. */
uint64_t go_id(void) GOSCHED_API(id);
/* Goroutines that exist. */
int go_count(void) GOSCHED_API(count);
/* Sets how many goroutines may run at the same time; returns the previous number. n < 1: asks only. Waits until every
 * running goroutine has come to its next call of this header. */
int go_maxprocs(int n) GOSCHED_API(maxprocs);
/* Between the two the goroutine stays on its thread and the thread runs nothing else. They nest. */
void go_lock_thread(void) GOSCHED_API(lock_thread);
void go_unlock_thread(void) GOSCHED_API(unlock_thread);
/* Around a call that may block the thread: other goroutines go on meanwhile. No other call of this header between them. */
void go_entersyscall(void) GOSCHED_API(entersyscall);
void go_exitsyscall(void) GOSCHED_API(exitsyscall);

/* ---- time (timer.c). Times are nanoseconds. */

/* Returns after at least ns; at once if ns <= 0. */
void go_sleep(int64_t ns) GOSCHED_API(sleep);
typedef struct gotimer gotimer;
/* Runs fn(arg) on a goroutine of its own after ns (Go's AfterFunc). NULL and errno: no memory, no thread. */
gotimer *gotimer_after(int64_t ns, void (*fn)(void *), void *arg) GOSCHED_API(timer_after);
/* True if that prevents a call of fn; false if it has begun or was stopped before. */
bool gotimer_stop(gotimer *t) GOSCHED_API(timer_stop);
/* Due ns from now, whatever it was. True if the timer had been waiting. */
bool gotimer_reset(gotimer *t, int64_t ns) GOSCHED_API(timer_reset);
/* Stops it and frees it; a call of fn that has begun goes on. NULL is allowed. */
void gotimer_free(gotimer *t) GOSCHED_API(timer_free);
/* A channel of int64_t that gets the time (CLOCK_MONOTONIC) once after ns, or every ns; ticks that nobody takes are dropped.
 * gochan_free stops it. NULL and errno: no memory; go_tick of no time at all is NULL, from which nothing ever comes. */
struct gochan *go_after(int64_t ns) GOSCHED_API(after);
struct gochan *go_tick(int64_t ns) GOSCHED_API(tick);

/* ---- descriptors (io.c, netpoll.h)
 *
 * As the calls of the same name, for descriptors of any kind, in blocking mode or not: what would have to wait parks the
 * goroutine, and a plain thread sleeps. -1 and errno: what the system call gives, ETIMEDOUT past the deadline. Several may
 * wait for one descriptor; they are served in turn. Regular files and what else epoll refuses block the thread while other
 * goroutines go on. The flags of the descriptor stay as they are, but for the moment in which go_connect starts. */
ssize_t go_read(int fd, void *buf, size_t n) GOSCHED_API(read);
/* Writes all n bytes; less only if an error comes after some were written. */
ssize_t go_write(int fd, const void *buf, size_t n) GOSCHED_API(write);
ssize_t go_recv(int fd, void *buf, size_t n, int flags) GOSCHED_API(recv);
ssize_t go_send(int fd, const void *buf, size_t n, int flags) GOSCHED_API(send);
int go_accept(int fd, struct sockaddr *address, socklen_t *size) GOSCHED_API(accept);
int go_connect(int fd, const struct sockaddr *address, socklen_t size) GOSCHED_API(connect);
/* Waits for any of `events` (poll(2)) at most ns, negative: for ever. Returns the events that hold, 0 after the time. */
int go_poll(int fd, short events, int64_t ns) GOSCHED_API(poll);
/* From ns from now on every call above on fd fails with ETIMEDOUT, also those that wait already. Negative: it fails at once;
 * 0: no deadline any more. It ends with go_close. A plain thread that waits already is not reached. 0 or -1 and errno. */
int go_set_deadline(int fd, int64_t ns) GOSCHED_API(set_deadline);
/* close(2), after which those who wait for fd get EBADF at once (with a plain close(2) it takes up to 20 ms). */
int go_close(int fd) GOSCHED_API(close);

/* ---- channels (chan.c), select (select.c) */

typedef struct gochan gochan;
/* elem_size below 64 KiB, 0 is allowed; capacity 0: unbuffered. The caller owns it. NULL and errno: EINVAL (too big), ENOMEM. */
gochan *gochan_make(size_t elem_size, size_t capacity) GOSCHED_API(chan_make);
/* Copies elem_size bytes from elem. NULL channel: waits for ever. Panics on a closed one. */
void gochan_send(gochan *c, const void *elem) GOSCHED_API(chan_send);
/* Copies to elem, unless elem is NULL. False: closed and drained, *elem zeroed. NULL channel: waits for ever. */
bool gochan_recv(gochan *c, void *elem) GOSCHED_API(chan_recv);
/* Without waiting. False: would have to wait (a NULL channel always does). */
bool gochan_try_send(gochan *c, const void *elem) GOSCHED_API(chan_try_send);
/* 1 got, 0 would have to wait, -1 closed and drained. */
int gochan_try_recv(gochan *c, void *elem) GOSCHED_API(chan_try_recv);
/* Nothing can be sent any more; what is in the buffer can still be received. Panics if c is NULL or closed. */
void gochan_close(gochan *c) GOSCHED_API(chan_close);
/* Elements in the buffer, and how many it can hold; of NULL 0. */
size_t gochan_len(gochan *c) GOSCHED_API(chan_len);
size_t gochan_cap(gochan *c) GOSCHED_API(chan_cap);
/* Nobody may use it any more. NULL is allowed. Not needed under the collector. */
void gochan_free(gochan *c) GOSCHED_API(chan_free);

typedef struct gocase {
    gochan *chan;
    void *elem;
    int kind;
    bool ok;
} gocase;

static inline gocase gosched_case(gochan *c, const void *elem, int kind) {
    gocase k;
    k.chan = c;
    k.elem = (void *)(uintptr_t)elem;
    k.kind = kind;
    k.ok = false;
    return k;
}
#define GO_DEFAULT gosched_case(NULL, NULL, 0)
#define GO_RECV(chan, ptr) gosched_case((chan), (ptr), 1)
#define GO_SEND(chan, ptr) gosched_case((chan), (ptr), 2)

/* Waits until one of the cases can go (one of several: each as likely), does it and returns its index; with a GO_DEFAULT
 * among them it does not wait. cases[index].ok is as gochan_recv's result. A case with a NULL channel never goes; no case at
 * all: waits for ever. Panics if it sends on a closed channel. -EINVAL: more than 65536 cases; -ENOMEM: more than 16 and no memory. */
int goselect(gocase *cases, size_t n) GOSCHED_API(select);

/* ---- sync (mutex.c, rwmutex.c, waitgroup.c, once.c, cond.c, semaphore.c)
 *
 * Zero bytes are ready to use. They must not be copied once they are in use, and hold no memory: nothing is to be freed. Their fields
 * are the library's. What one thread did before unlock, done, signal or release is seen by whoever it lets go on. */

struct gs_waiter;

/* Belongs to no goroutine: another one may unlock it. Its memory may go as soon as it was locked and unlocked for the last
 * time. Unlocking it unlocked is a fatal error, which nothing recovers. */
typedef struct gomutex {
    uint32_t state, lock;
    struct gs_waiter *first, *last;
} gomutex;
void gomutex_lock(gomutex *m) GOSCHED_API(mutex_lock);
bool gomutex_trylock(gomutex *m) GOSCHED_API(mutex_trylock);
void gomutex_unlock(gomutex *m) GOSCHED_API(mutex_unlock);

struct gosched_sema {
    uint32_t lock, permits;
    struct gs_waiter *first, *last;
};

/* Many readers or one writer. A writer that waits is not overtaken by readers that come later; when it leaves, those who came
 * meanwhile go first. So a reader must not take it a second time: a writer between would be waited for by both. Its memory
 * may go when no call on it is under way. Unlocking what is not locked is a fatal error. */
typedef struct gorwmutex {
    gomutex writers;
    int32_t readers, departing;
    struct gosched_sema reader_sema, writer_sema;
} gorwmutex;
void gorwmutex_rlock(gorwmutex *rw) GOSCHED_API(rwmutex_rlock);
bool gorwmutex_tryrlock(gorwmutex *rw) GOSCHED_API(rwmutex_tryrlock);
void gorwmutex_runlock(gorwmutex *rw) GOSCHED_API(rwmutex_runlock);
void gorwmutex_lock(gorwmutex *rw) GOSCHED_API(rwmutex_lock);
bool gorwmutex_trylock(gorwmutex *rw) GOSCHED_API(rwmutex_trylock);
void gorwmutex_unlock(gorwmutex *rw) GOSCHED_API(rwmutex_unlock);

/* Waits until a counter is 0. Add before the goroutine is started that calls done, and before wait. It may be used again, and its
 * memory may go, once every wait has returned (not: every done). Panics: a counter below 0; add from 0 while somebody waits;
 * used again while a wait has not returned. */
typedef struct gowaitgroup {
    uint64_t state;
    uint32_t lock;
    struct gs_waiter *first, *last;
} gowaitgroup;
void gowaitgroup_add(gowaitgroup *wg, int delta) GOSCHED_API(waitgroup_add);
void gowaitgroup_done(gowaitgroup *wg) GOSCHED_API(waitgroup_done);
void gowaitgroup_wait(gowaitgroup *wg) GOSCHED_API(waitgroup_wait);

/* Calls fn(arg) if it is the first call for o, and returns when that first call has returned (also by a panic or go_exit, which
 * count as returned). A call for o from within fn waits for ever. */
typedef struct goonce {
    uint32_t done;
    gomutex m;
} goonce;
void goonce_do(goonce *o, void (*fn)(void *), void *arg) GOSCHED_API(once_do);

/* A place to wait for a change of what m guards. wait gives m back, waits for a signal or broadcast that comes later,
 * and locks m again; nothing else ends it. Signals go to who has waited longest. The caller need not hold m for them. */
typedef struct gocond {
    gomutex *m;
    struct gocond *self;
    uint32_t waits, notified, lock;
    struct gs_waiter *first, *last;
} gocond;
void gocond_init(gocond *c, gomutex *m) GOSCHED_API(cond_init);
void gocond_wait(gocond *c) GOSCHED_API(cond_wait);
void gocond_signal(gocond *c) GOSCHED_API(cond_signal);
void gocond_broadcast(gocond *c) GOSCHED_API(cond_broadcast);

/* ---- defer, panic, recover (defer.c) */

struct gosched_defer {
    void (*fn)(void *);
    void *arg;
    void *frame;
    struct gosched_defer *next;
    void *panic;
};
void gosched_defer_push(struct gosched_defer *d) GOSCHED_API(defer_push);
void gosched_defer_run(struct gosched_defer *d) GOSCHED_API(defer_run);

/* Calls fn(arg), evaluated here, at the end of the block it stands in (Go: of the function), last first; earlier if a
 * panic or go_exit comes. It is a declaration and a statement. The function it stands in is never inlined into another: the address of
 * a label sees to that, as recovering means returning from it. */
#ifdef __clang__ /* it drops what is unused before it decides on inlining; gcc does not, and keeps `used` even of functions it drops */
#define GOSCHED_KEPT __attribute__((used))
#else
#define GOSCHED_KEPT __attribute__((unused))
#endif
#define GO_DEFER(fn, arg) GOSCHED_DEFER(__COUNTER__, fn, arg)
#define GOSCHED_DEFER(n, fn, arg) GOSCHED_DEFER_(n, fn, arg)
#define GOSCHED_DEFER_(n, fn, arg)                                                                                     \
    struct gosched_defer gosched_defer_##n __attribute__((cleanup(gosched_defer_run))) = {                             \
        (fn), (arg), __extension__({                                                                                   \
            __label__ gosched_here;                                                                                    \
        gosched_here:;                                                                                                 \
            static void *const gosched_whole GOSCHED_KEPT = &&gosched_here;                                               \
            __builtin_dwarf_cfa();                                                                                     \
        }),                                                                                                            \
        NULL, NULL};                                                                                                   \
    gosched_defer_push(&gosched_defer_##n)

/* Runs the deferred calls of the goroutine (or plain thread), last first, until one recovers. If none does: "panic: " and the value
 * on stderr, and the process ends with status 2. The library's own panics have a text (const char *) as value. It never returns, but is
 * not declared so: the compiler would conclude that the function it stands in does not return either, which is wrong if that one recovers. */
void go_panic(void *value) GOSCHED_API(panic);
/* In a function called by GO_DEFER because of a panic, and only directly in it: ends the panic and returns its value. When the deferred call
 * returns, the function that deferred it returns to its caller: 0, if it returns a number or a pointer (a struct that does not
 * fit registers it may not return; and clang, which works out what a function of the same file can return, does not know
 * about this 0: there, let a function that recovers return nothing). The functions between, those of other libraries too, are left without ado (no
 * destructor of C++ runs) and need unwind tables, which compilers make unless told not to. Anywhere else: NULL. */
#define go_recover() gosched_recover(__builtin_dwarf_cfa())
void *gosched_recover(void *frame) GOSCHED_API(recover);

#ifdef __cplusplus
}
#endif

#endif
