/* OVERVIEW of the collector: conservative, non-moving, mark-sweep; parallel at a stop, or on a snapshot.
 *
 *
 * THE CYCLE                                        who moves it on
 *
 *   IDLE ----- heap_out passed the trigger, or gc_collect ---> begin()
 *     finish sweeping, clear the mark bitmap
 *     HOLD the world (world.c); registers, shared memory and what the kernel holds are scanned (roots.c)
 *       barrier:stop   private memory is scanned, grey is drained, colours FLIP     -> SWEEPING
 *       barrier:fork   a child is cloned (fork.c), colours FLIP                     -> MARKING
 *     RELEASE
 *   MARKING    the child scans and drains on its snapshot; its marks are in shared memory
 *     -- the child is done (looked at on allocation slow paths) ---> SWEEPING
 *     -- the child has failed ---> the world is held again and marked at that stop (no second flip)
 *   SWEEPING   a few pages at every slow path, some before a class grows, all before the next cycle
 *     -- every page seen ---> IDLE, with a new trigger (pacer.c)
 *
 * An allocating thread that comes by moves the cycle on, one at a time (cycle lock, try only), holding no other
 * lock; the scavenger's thread, where there is one, does the rest of the sweep and a cycle that is overdue (two
 * minutes). Marking has its hands made for it (crew.c): all CPUs at a stop; in a child a quarter of them,
 * and as many as the program has just left idle, waiting for the last child.
 *
 * A program that outruns the cycle helps (assist): it sweeps, waits for the child, or for the thread that is just
 * beginning a cycle. None of them needs a lock that a thread in malloc can hold, and no wait is for longer than 0.2 s.
 *
 * OTHERS OF gc/: marking.c says what is marked; mark.c, work.c and sweep.c do what they are named for; roots.c and
 * kernel_roots.c say where marking begins, stop.c and world.c hold the threads, but those that have published where they sleep (published.c);
 * copies.c holds a program back that writes to too much
 * while a child marks; pacer.c decides when, trace.c tells; watch.c has finalizers and weak references, api.c the calls of gogc.h.
 *
 *
 * COLOURS. A live slot's state byte carries the colour it was born with. The flip makes all objects that
 * exist "white" and gives new ones the other colour, "black". Marking never touches state bytes; it sets
 * bits in a bitmap (one for 16 bytes of heap), which the snapshot child shares with us. Sweeping decides
 * slot by slot, with one compare-and-swap on the state byte: white and marked becomes black, white and
 * not marked becomes free, anything else was freed or born since and is left alone. So there is no
 * order to keep between sweeping, malloc and free, but one: all is swept before the next flip.
 *
 * A thread may be stopped between popping a slot and storing its state: the slot is free in the table, and
 * may be born with the old colour after the flip. Its address is in that thread's registers (or stack),
 * and a word found there marks a slot's bit even when the slot is free. Sweeping then makes it black.
 *
 *
 * A SNAPSHOT IS A STOP THAT LASTS. What is unreachable in it stays so: the program cannot get at what it
 * has no pointer to. All threads stand still while fork copies the page tables (a fork beside running
 * threads is no consistent cut), registers are taken before. Shared mappings do not freeze: they are
 * scanned before the child is made. A program that keeps memory out of its forks is collected at a stop.
 *
 * FORK of the host: the child of a fork gives up a cycle in progress. White objects that were not swept stay
 * white, dead and alive alike, so its first own cycle marks without a flip before it. */
#include "gc/cycle.h"

#include <errno.h>
#include <stdlib.h>

#include "gc/copies.h"
#include "gc/fork.h"
#include "gc/mark.h"
#include "gc/marking.h"
#include "gc/pacer.h"
#include "gc/roots.h"
#include "gc/stop.h"
#include "gc/sweep.h"
#include "gc/trace.h"
#include "gc/watch.h"
#include "gc/world.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/base/print.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/scavenge.h"

#define OVERDUE_NS (UINT64_C(120) * 1000000000)
enum phase { IDLE, MARKING, SWEEPING };
enum { POLL_PAGES = 16, GROWTH_PAGES = 64, GROWTH_TRIES = 4, WAIT_SLICE_NS = 5 * 1000 * 1000, STOP_SLICE_NS = 1000 * 1000, MAX_WAITS = 40, EXIT_TRIES = 100,
       WORTH_A_FORK = 64 << 20, REST_NS = 2000 * 1000 };

static struct gm_lock cycle_lock = GM_LOCK_INIT(GM_RANK_GC);
/* Guarded by the cycle lock; phase is read without it as a hint. */
static uint32_t phase;
static bool on, automatic = true, use_fork;
static struct gc_pacer pacer;
static struct gc_trace record;       /* of the cycle in progress */
static int64_t out_at_start;         /* heap_out when it began */
static uint64_t last_cycle;          /* coarse time, atomic */
static uint64_t last_marked;         /* when the marks of the last cycle were complete */

bool gc_is_on(void) { return on; }

static void tidy(void) {
    if (gc_fork_tidy()) gm_gc_mend(true);
}

static void arm_trigger(void) {
    gm_store_relaxed(&gm_hooks.trigger, automatic ? pacer.trigger : INT64_MAX);
    if (phase != IDLE) return; /* it wants to be moved on */
    if (gm_gc_mend_waiting() || (gc_fork_going() && !gm_scavenge_has_thread())) return; /* who else would learn that it has gone? */
    if (gm_load_relaxed(&gm_hooks.heap_out) < pacer.trigger || !automatic) gm_store_relaxed(&gm_hooks.armed, 0);
}

/* ---- the stop */

static uintptr_t program_from; /* see gc_marking_held */

static bool marked_here; /* by the last stop */

static bool scan_held(bool all) { return gc_marking_held(program_from, pacer.live + pacer.roots, all); }

/* Not if a copy of the process would lack some of its memory (MADV_DONTFORK); and if it is for us to choose, not for a
 * heap that is marked in some 20 ms: such a program writes to most of its pages while the child marks, and each is copied. */
static bool can_fork(void) {
    if (!use_fork || gm_load_relaxed(&gm_hooks.unforked)) return false;
    return gm_conf.barrier == GM_BARRIER_FORK || pacer.live + pacer.roots >= WORTH_A_FORK;
}

static bool stop_work(void) {
    bool fork = can_fork();
    marked_here = false;
    if (!scan_held(!fork)) return false;
    gc_watch_marking(true); /* until weak references are settled, which is after the threads go on */
    if (fork && gc_fork_start(gc_marking_child)) {
        gc_mark_forget_grey(); /* it is the child's now */
        return true;
    }
    return marked_here = gc_marking_all(!fork);
}

static bool white_left; /* a sweep was given up: this cycle takes the colours as they are */

static bool stop_and_flip(void) {
    bool ok = stop_work();
    if (ok && !white_left) gm_gc_flip();
    if (ok) white_left = false;
    return ok;
}

/* ---- the edges (cycle lock) */

static void sweep_starts(int64_t live, int64_t roots) {
    uint64_t now = gm_os_nanotime();
    pacer.limit = gm_gc_heap_limit();
    uint64_t cost = record.first_pause + record.mark_cpu_ns + record.last_pause;
    gc_pacer_cost(&pacer, cost, now - last_marked);
    gc_pacer_snapshot(&pacer, marked_here ? 0 : cost + gc_copies_cost(), gm_os_cpus());
    last_marked = now;
    gc_pacer_cycle_done(&pacer, live, roots, marked_here ? 0 : gm_load_relaxed(&gm_hooks.heap_out) - out_at_start);
    record.live = live;
    record.roots = roots;
    gm_store_relaxed(&last_cycle, gm_os_coarse_time());
    gc_trace_memory(gm_gc_marks_bytes());
    record.goal = pacer.goal;
    record.heap_end = gm_load_relaxed(&gm_hooks.heap_out);
    gc_trace_cycle(&record, pacer.goal);
    gc_watch_settle();
    gc_sweep_begin();
    gm_store_relaxed(&phase, SWEEPING);
    gm_store_relaxed(&gm_hooks.armed, 1);
}

static void marked_at_stop(void) {
    struct gc_mark_totals t;
    gc_mark_totals(&t);
    sweep_starts((int64_t)t.bytes, (int64_t)gc_roots_bytes());
}

static void swept(void) {
    gm_store_relaxed(&phase, IDLE);
    arm_trigger();
}

static void given_up(void) {
    gc_watch_marking(false);
    gm_store_relaxed(&phase, IDLE);
    /* Later, or the next allocation would try again. */
    int64_t out = gm_load_relaxed(&gm_hooks.heap_out);
    gm_store_relaxed(&gm_hooks.trigger, out + gm_max_signed(out / 8, 1 << 20));
    gm_store_relaxed(&gm_hooks.armed, 0);
}

static bool begin(bool forced) {
    gc_sweep_finish();
    out_at_start = gm_load_relaxed(&gm_hooks.heap_out);
    record = (struct gc_trace){ .start = gm_os_nanotime(), .heap_start = out_at_start, .forced = forced, .barrier = can_fork() ? "fork" : "stop" };
    if (!gc_mark_begin(use_fork) || !gc_stop(stop_and_flip, &record.first_pause)) {
        given_up();
        return false;
    }
    if (marked_here) {
        record.barrier = "stop";
        marked_at_stop();
    } else {
        gc_copies_begin(pacer.live);
        gm_gc_mend(false);
        gm_store_relaxed(&phase, MARKING);
        gm_store_relaxed(&gm_hooks.armed, 1);
    }
    return true;
}

/* The snapshot child was of no use. What is white was alive at the flip; what is unreachable now may go. */
static bool mark_again(void) { return marked_here = scan_held(true) && gc_marking_all(true); }

static void child_done(unsigned outcome) {
    const struct gc_fork_result *r = gc_fork_result();
    record.mark_ns = gm_os_nanotime() - record.start - record.first_pause;
    record.mark_cpu_ns = r->cpu_ns;
    gc_marking_waited(gc_fork_waited(), record.mark_ns);
    if (outcome == 1) {
        sweep_starts((int64_t)r->bytes, (int64_t)r->root_bytes);
        return;
    }
    if (r->incomplete) gm_store_relaxed(&gm_hooks.unforked, 1);
    record.barrier = "stop";
    if (gc_mark_begin(use_fork) && gc_stop(mark_again, &record.last_pause)) {
        marked_at_stop();
    } else {
        white_left = true;
        given_up();
    }
}

/* ---- moved on by allocating threads */

/* Go's rule: a cycle at least every two minutes. */
static bool is_overdue(void) { return gm_os_coarse_time() - gm_load_relaxed(&last_cycle) > OVERDUE_NS && automatic; }

static bool is_early(void) {
    int64_t out = gm_load_relaxed(&gm_hooks.heap_out);
    return out < gm_load_relaxed(&gm_hooks.trigger) || gc_pacer_waits(&pacer, out, gm_os_nanotime() - last_marked);
}

static void advance(void) {
    unsigned outcome;
    tidy();
    switch (phase) {
    case IDLE:
        if (!automatic || (!is_overdue() && is_early())) arm_trigger();
        else if (gc_sweep_done()) begin(false); /* whoever is at the last pages may be what a handler, ours, has interrupted */
        break;
    case MARKING:
        if ((outcome = gc_fork_poll()) != 0) child_done(outcome);
        break;
    case SWEEPING:
        if (!gc_sweep_some(POLL_PAGES)) swept();
        break;
    }
}

static bool poll_from(uintptr_t from) {
    if (!gm_try_lock(&cycle_lock)) return false;
    program_from = from;
    advance();
    gm_unlock(&cycle_lock);
    return true;
}

/* What the program may be past the goal before it has to help. */
static int64_t slack(void) { return gm_max(pacer.goal / 4, (int64_t)1 << 20); }
static int64_t overrun(void) {
    return pacer.goal > INT64_MAX / 2 ? 0 : gm_load_relaxed(&gm_hooks.heap_out) - pacer.goal - slack();
}

/* One piece of help. False: there is nothing to do or to wait for. */
static bool help(void) {
    switch (gm_load_relaxed(&phase)) {
    case MARKING:
        gc_fork_wait(WAIT_SLICE_NS);
        break;
    case SWEEPING:
        return gc_sweep_some(GROWTH_PAGES) || gc_stop_spilled(poll_from); /* false: others are at the last pages */
    default: /* a cycle is due, and another thread is about to begin it */
        if (gm_load_relaxed(&gm_hooks.heap_out) < gm_load_relaxed(&gm_hooks.trigger)) return false;
        gm_os_futex_wait(&phase, IDLE, STOP_SLICE_NS);
    }
    return gc_stop_spilled(poll_from) || gm_load_relaxed(&phase) != IDLE;
}

/* The program outruns the collector: it sweeps, and waits for the marking or for who begins a cycle, a little while for
 * each quarter it is past the goal. So the heap grows the slower the larger it is, and no thread stands still for good. */
static void assist(void) {
    int64_t over = overrun();
    if (GM_LIKELY(over <= 0)) return;
    for (int64_t waits = 0; over > 0 && waits <= over / slack() && waits < MAX_WAITS; over = overrun()) {
        waits += gm_load_relaxed(&phase) != SWEEPING;
        if (!help()) return;
    }
}

static void poll(void) {
    int saved = errno;
    gc_stop_spilled(poll_from);
    assist();
    if (gm_load_relaxed(&phase) == MARKING && gc_copies_too_many()) gc_fork_wait(REST_NS);
    gm_gc_mend_some();
    errno = saved;
}

static bool before_growth(void) {
    if (GM_UNLIKELY(is_overdue())) gm_store_relaxed(&gm_hooks.armed, 1);
    if (gm_load_relaxed(&phase) != SWEEPING) return false;
    bool more = true;
    for (int i = 0; i < GROWTH_TRIES && more; i++) more = gc_sweep_some(GROWTH_PAGES);
    return true;
}

/* On the library's own thread, where no allocation waits: what is left of a cycle, one that is overdue. */
static void tick(void) {
    if (gm_load_relaxed(&phase) == IDLE && !is_overdue()) {
        if (!gm_try_lock(&cycle_lock)) return;
        tidy();
        gm_unlock(&cycle_lock);
        return;
    }
    gc_stop_spilled(poll_from);
    while (gm_load_relaxed(&phase) == SWEEPING && gc_sweep_some(GROWTH_PAGES)) continue;
    if (gm_load_relaxed(&phase) == SWEEPING) gc_stop_spilled(poll_from);
}

/* ---- by call */

static void wait_for_marks(uintptr_t from) {
    while (gm_load_relaxed(&phase) == MARKING) {
        gm_lock(&cycle_lock);
        program_from = from;
        unsigned outcome = phase == MARKING ? gc_fork_poll() : 0;
        if (outcome) child_done(outcome);
        gm_unlock(&cycle_lock);
        if (!outcome) gc_fork_wait(WAIT_SLICE_NS);
    }
}

static bool collect_from(uintptr_t from) {
    wait_for_marks(from);
    gm_lock(&cycle_lock);
    program_from = from;
    bool ok = phase != MARKING && begin(true);
    gm_unlock(&cycle_lock);
    wait_for_marks(from);
    gm_lock(&cycle_lock);
    if (phase == SWEEPING) {
        gc_sweep_finish();
        swept();
    }
    gm_unlock(&cycle_lock);
    return ok;
}

bool gc_collect(void) {
    if (!on) return true;
    if (gm_nested()) return false; /* a handler in the midst of the allocator, whose locks this thread may hold */
    int saved = errno;
    bool ok = gc_stop_spilled(collect_from);
    errno = saved;
    return ok;
}

/* Not for a request larger than all there is; and where it was of no use several times running, not before some
 * times the length of a cycle has passed. */
static void out_of_memory(size_t n) {
    static uint64_t useless, not_before; /* guessed at without a lock */
    int64_t before = gm_load_relaxed(&gm_hooks.heap_out);
    uint64_t start = gm_os_nanotime();
    if (before < 0 || n > (size_t)before || start < gm_load_relaxed(&not_before)) return;
    gc_collect();
    uint64_t end = gm_os_nanotime();
    bool of_use = gm_load_relaxed(&gm_hooks.heap_out) < before - before / 16;
    gm_store_relaxed(&useless, of_use ? 0 : gm_min(gm_load_relaxed(&useless) + 1, UINT64_C(16)));
    gm_store_relaxed(&not_before, end + (end - start) * (gm_load_relaxed(&useless) / 4));
}

/* Waits for a marking that is under way. */
static bool settled_from(uintptr_t from) {
    wait_for_marks(from);
    gm_lock(&cycle_lock); /* whoever has marked at a stop settles before it lets go */
    gm_unlock(&cycle_lock);
    return true;
}

void *gc_weak_get(void *weak) {
    bool doubtful;
    void *object;
    while (object = gc_watch_weak_get(weak, &doubtful), doubtful) gc_stop_spilled(settled_from);
    return object;
}

bool gc_enable(bool enable) {
    gm_lock(&cycle_lock);
    bool before = automatic;
    automatic = enable;
    arm_trigger();
    gm_unlock(&cycle_lock);
    return before;
}

/* Cycle lock. */
static void set_pace(int64_t percent) {
    gc_pacer_set(&pacer, percent, gm_gc_heap_limit());
    arm_trigger();
}

int64_t gc_set_percent(int64_t percent) {
    gm_lock(&cycle_lock);
    int64_t before = pacer.percent;
    set_pace(percent);
    gm_unlock(&cycle_lock);
    return before;
}

static void limit_changed(void) {
    gm_lock(&cycle_lock);
    set_pace(pacer.percent);
    gm_unlock(&cycle_lock);
}

void gc_cycle_lock(void) { gm_lock(&cycle_lock); }
void gc_cycle_unlock(void) { gm_unlock(&cycle_lock); }

/* ---- fork of the host */

void gc_fork_prepare(void) {
    if (on) gm_lock(&cycle_lock);
    gc_watch_lock();
}

void gc_fork_parent(void) {
    gc_watch_unlock();
    if (on) gm_unlock(&cycle_lock);
}

void gc_fork_child(void) {
    gc_watch_fork_child();
    gc_watch_unlock();
    if (!on) return;
    gc_world_fork_child();
    gc_fork_forget();
    gc_sweep_fork_child(); /* in every phase: a thread may be at its last pages when the cycle is already over */
    white_left |= phase != IDLE;
    if (!gm_gc_fork_child()) automatic = false; /* no memory for a bitmap: there can be no cycle */
    swept();
    gm_unlock(&cycle_lock);
}

/* ---- exit */

/* A snapshot that outlived the process would be seen by whoever looks after its orphans. Other threads may still run; and who
 * exits in the middle of a cycle, from a handler, has the lock itself. */
static void at_exit(void) {
    for (int tries = 0; !gm_try_lock(&cycle_lock); tries++) {
        if (tries == EXIT_TRIES) return;
        gm_os_futex_wait(&phase, gm_load_relaxed(&phase), STOP_SLICE_NS);
    }
    gm_store_relaxed(&gm_hooks.unforked, 1); /* what is still collected is marked at a stop */
    gc_fork_abandon();
    white_left |= phase == MARKING;
    if (phase == MARKING) given_up();
    gm_unlock(&cycle_lock);
}

/* ---- start */

void gc_init(void) {
    if (gm_conf.gc != GM_GC_ON) return;
    use_fork = gm_conf.barrier != GM_BARRIER_STOP;
    gc_pacer_init(&pacer, gm_conf.gcpercent, gm_gc_heap_limit());
    if (!gc_roots_start() || !gm_gc_start(use_fork)) {
        gm_eprintf("gomalloc: no collector: no memory for it, or too much was allocated before\n");
        return;
    }
    if (use_fork) atexit(at_exit); /* the first that is registered, so the last to run */
    gc_trace_init();
    gc_world_start();
    on = true;
    gm_hooks.heap_out = gm_gc_heap_out();
    gm_hooks.poll = poll;
    gm_hooks.before_growth = before_growth;
    gm_hooks.tick = tick;
    last_cycle = gm_os_coarse_time();
    last_marked = gm_os_nanotime();
    gm_hooks.out_of_memory = out_of_memory;
    gm_hooks.limit_changed = limit_changed;
    gm_hooks.fork_prepare = gc_fork_prepare;
    gm_hooks.fork_parent = gc_fork_parent;
    gm_hooks.fork_child = gc_fork_child;
    if (gm_conf.free == GM_FREE_IGNORE) gm_gc_ignore_free();
    gm_store_relaxed(&gm_hooks.on, true);
    arm_trigger();
}
