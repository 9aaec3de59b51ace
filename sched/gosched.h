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

/* Gives those pages of the stacks of waiting goroutines back to the kernel that are not in use any more; returns the bytes. Happens by
 * itself to goroutines that wait for longer than ten seconds. */
size_t go_release_stacks(void) GOSCHED_API(release_stacks);
/* Writes all goroutines with their stacks to the descriptor, in the format of Go's tracebacks, and the plain threads that wait in a
 * call of this header. Those that run on other threads meanwhile are named without a stack. SIGQUIT writes the same, those that run with
 * their stacks as well, and ends the process with status 2 (with GOTRACEBACK=crash in the environment by the signal itself, which
 * may leave a core), if its action was the default one when the first goroutine was made. A deadlock ends the process the
 * same way: every goroutine waits for another one, and every thread that is not the library's sleeps in a call declared here. */
void go_dump(int fd) GOSCHED_API(dump);

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
/* close(2), after which those who wait for fd get EBADF at once. (After a plain close(2) those who have just begun to wait learn of it
 * within 20 ms; the others wait on, as they would in read(2).) */
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

/* ---- contexts (context.c)
 *
 * Go's, but for one thing: references are counted. Each function that returns a context gives the caller a reference, which
 * goctx_release takes back; goctx_retain makes another one, for a goroutine that is handed the context, say. A context holds
 * one to its parent, so parents may be released while children live. Releasing does not cancel. NULL and errno: no memory, no
 * thread. A NULL parent panics. The background needs no counting. */
typedef struct gocontext gocontext;
gocontext *goctx_background(void) GOSCHED_API(ctx_background);
/* *cancel (unless cancel is NULL) becomes goctx_cancel. */
gocontext *goctx_with_cancel(gocontext *parent, void (**cancel)(gocontext *)) GOSCHED_API(ctx_with_cancel);
gocontext *goctx_with_timeout(gocontext *parent, int64_t ns, void (**cancel)(gocontext *)) GOSCHED_API(ctx_with_timeout);
/* when: CLOCK_MONOTONIC in ns. */
gocontext *goctx_with_deadline(gocontext *parent, int64_t when, void (**cancel)(gocontext *)) GOSCHED_API(ctx_with_deadline);
/* Keys are compared as addresses; NULL panics. Who owns the value is the program's business. */
gocontext *goctx_with_value(gocontext *parent, const void *key, void *value) GOSCHED_API(ctx_with_value);
/* Cancels what one of the first three made, and all below it; the first cancellation counts. Others: nothing happens. */
void goctx_cancel(gocontext *ctx) GOSCHED_API(ctx_cancel);
/* The same, saying why, in a number of the program's own other than 0. */
void goctx_cancel_cause(gocontext *ctx, int cause) GOSCHED_API(ctx_cancel_cause);
/* Closed when ctx is cancelled; of one that cannot be NULL. It belongs to the context. */
gochan *goctx_done(gocontext *ctx) GOSCHED_API(ctx_done);
/* 0 while `done` is open, then -ECANCELED or -ETIMEDOUT. */
int goctx_err(gocontext *ctx) GOSCHED_API(ctx_err);
/* 0, what goctx_cancel_cause was given at the first cancelled context from here upwards, or else what goctx_err says. */
int goctx_cause(gocontext *ctx) GOSCHED_API(ctx_cause);
/* The earliest deadline from here upwards. False: none. */
bool goctx_deadline(gocontext *ctx, int64_t *when) GOSCHED_API(ctx_deadline);
/* The nearest from here upwards, or NULL. */
void *goctx_value(gocontext *ctx, const void *key) GOSCHED_API(ctx_value);
/* Returns ctx. */
gocontext *goctx_retain(gocontext *ctx) GOSCHED_API(ctx_retain);
/* NULL is allowed. */
void goctx_release(gocontext *ctx) GOSCHED_API(ctx_release);

/* ---- semaphore, error group, pool, map, keys (semaphore.c, group.c, pool.c, map.c, local.c) */

/* `size` units, of which acquire takes n at a time; first come, first served: who waits for many is not overtaken by who
 * wants few. More than `size` waits for ever, or for its context. Releasing more than is held panics. */
typedef struct gosem {
    int64_t size, used;
    uint32_t lock;
    struct gs_waiter *first, *last;
} gosem;
void gosem_init(gosem *s, int64_t size) GOSCHED_API(sem_init);
void gosem_acquire(gosem *s, int64_t n) GOSCHED_API(sem_acquire);
/* 0, or what goctx_err says: then nothing was taken. What is free is taken from a cancelled context, too. */
int gosem_acquire_context(gosem *s, gocontext *ctx, int64_t n) GOSCHED_API(sem_acquire_context);
bool gosem_try_acquire(gosem *s, int64_t n) GOSCHED_API(sem_try_acquire);
void gosem_release(gosem *s, int64_t n) GOSCHED_API(sem_release);

/* Goroutines that work on one thing: golang.org/x/sync/errgroup. Zero bytes: no limit, no context. */
typedef struct gogroup {
    gowaitgroup members;
    int err;
    uint32_t running;
    int limited;
    struct gosched_sema places;
    gocontext *ctx;
} gogroup;
/* Runs fn(arg) on a goroutine; waits while as many run as the limit allows. The first result other than 0 is the group's, and
 * cancels its context. 0 or -errno (fn is not called then). */
int gogroup_go(gogroup *g, int (*fn)(void *arg), void *arg) GOSCHED_API(group_go);
/* The same without waiting: -EAGAIN at the limit. */
int gogroup_try_go(gogroup *g, int (*fn)(void *arg), void *arg) GOSCHED_API(group_try_go);
/* At most n at a time; negative: any number. Panics while any run. */
void gogroup_set_limit(gogroup *g, int n) GOSCHED_API(group_set_limit);
/* A context that is cancelled, with the error as its cause, by the first error or when gogroup_wait returns. The group keeps a
 * reference until then; the caller has one of its own to release. Once per group, before gogroup_go. NULL and errno: no memory. */
gocontext *gogroup_context(gogroup *g, gocontext *parent) GOSCHED_API(group_context);
/* Waits for all; the first result other than 0, or 0. */
int gogroup_wait(gogroup *g) GOSCHED_API(group_wait);

/* A value for each goroutine (and plain thread). 0 is no key. */
typedef uint32_t golocal_key;
/* destroy (or NULL) is called at a goroutine's end, after its deferred calls, with each value other than NULL, which is NULL by
 * then; values set by such calls get the same, three times over. 0 or -EAGAIN: 1024 keys exist. */
int golocal_create(golocal_key *key, void (*destroy)(void *value)) GOSCHED_API(local_create);
/* Values are forgotten; destroy is not called. 0 or -EINVAL. */
int golocal_delete(golocal_key key) GOSCHED_API(local_delete);
/* NULL: never set, or no such key. */
void *golocal_get(golocal_key key) GOSCHED_API(local_get);
/* 0, -EINVAL or -ENOMEM. */
int golocal_set(golocal_key key, const void *value) GOSCHED_API(local_set);

/* Things to be used again: get gives any that was put, or make(arg), or NULL without make. A pool may drop what it has at any
 * time: under the collector, what was not used for two cycles. `drop`, if there is one, is called for each dropped item, on any
 * thread, and must not wait. Set the first three before the first call, and nothing else. */
typedef struct gopool {
    void *(*make)(void *arg);
    void (*drop)(void *item, void *arg);
    void *arg;
    struct gs_pool *shelves;
} gopool;
void *gopool_get(gopool *p) GOSCHED_API(pool_get);
/* NULL is allowed: nothing happens. */
void gopool_put(gopool *p, void *item) GOSCHED_API(pool_put);
/* Drops all it has. To be called before its memory goes; nobody else uses it meanwhile. It is as new then. */
void gopool_clear(gopool *p) GOSCHED_API(pool_clear);

/* Go's sync.Map: a map for many threads. Keys are compared as words unless both functions are set, before the first call; then they
 * must give the same for a key as long as it is in the map, and not use the map. Reading does not lock while keys are words.
 * The map keeps keys and values as they are given, NULL too, and frees neither. -ENOMEM: the map is as it was. */
typedef struct gomap {
    size_t (*hash)(const void *key);
    bool (*equal)(const void *a, const void *b);
    gomutex writers;
    struct gs_table *table, *retired;
    size_t live;
    uint32_t version;
} gomap;
/* False: not there, *value (unless value is NULL) is NULL. */
bool gomap_load(gomap *m, const void *key, void **value) GOSCHED_API(map_load);
/* 0 or -ENOMEM. */
int gomap_store(gomap *m, const void *key, void *value) GOSCHED_API(map_store);
/* 1: it was there, *actual is its value; 0: stored, *actual is value; or -ENOMEM. */
int gomap_load_or_store(gomap *m, const void *key, void *value, void **actual) GOSCHED_API(map_load_or_store);
/* 1: it was there, *previous was its value; 0: it was not; stored in both cases; or -ENOMEM. */
int gomap_swap(gomap *m, const void *key, void *value, void **previous) GOSCHED_API(map_swap);
bool gomap_load_and_delete(gomap *m, const void *key, void **value) GOSCHED_API(map_load_and_delete);
void gomap_delete(gomap *m, const void *key) GOSCHED_API(map_delete);
/* Only if it is there and its value is old_value. */
bool gomap_compare_and_swap(gomap *m, const void *key, void *old_value, void *value) GOSCHED_API(map_compare_and_swap);
bool gomap_compare_and_delete(gomap *m, const void *key, void *old_value) GOSCHED_API(map_compare_and_delete);
/* Calls fn for each key, until it returns false. No key comes twice; one that is stored or deleted meanwhile may come or not.
 * fn may use the map. */
void gomap_range(gomap *m, bool (*fn)(const void *key, void *value, void *arg), void *arg) GOSCHED_API(map_range);
/* Empties it and frees its memory; nobody else uses it meanwhile. It is as new then. */
void gomap_clear(gomap *m) GOSCHED_API(map_clear);

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
