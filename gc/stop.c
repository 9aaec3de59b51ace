/* See stop.h, and cycle.c for the overview. */
#include "gc/stop.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gc/trace.h"
#include "gc/watch.h"
#include "gc/world.h"
#include "libgomalloc/gcview.h"
#include "libgomalloc/os/os.h"

static uint64_t blocked_signals; /* what this thread had blocked before (cycle lock) */

/* No handler of the host may run on this thread while it holds the others. */
static bool hold(void) {
    char why[160];
    uint64_t all = ~UINT64_C(0);
    gc_watch_lock();
    gm_gc_lock_caches(); /* the flip walks them; whoever changes the list must not be stopped in it */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &blocked_signals, 8);
    if (gc_world_hold(why, sizeof why) == GC_HELD) return true;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked_signals, NULL, 8);
    gm_gc_unlock_caches();
    gc_watch_unlock();
    gc_trace_given_up(why);
    return false;
}

static void release(void) {
    gc_world_release();
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked_signals, NULL, 8);
    gm_gc_unlock_caches();
    gc_watch_unlock();
}

bool gc_stop(bool (*f)(void), uint64_t *pause) {
    uint64_t t = gm_os_nanotime();
    if (!hold()) return false;
    bool ok = f();
    release();
    *pause = gm_os_nanotime() - t;
    gc_trace_pause(*pause);
    return ok;
}

/* As deep as f goes where it handles addresses of objects (mark.c). */
static GM_NOINLINE void wash(void) {
    char below[4096];
    memset(below, 0, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
}

GM_NOINLINE bool gc_stop_spilled(bool (*f)(uintptr_t from)) {
    struct { jmp_buf registers; } GM_ALIGNED(16) here; /* no hole behind it, with an old word in it */
    memset(&here, 0, sizeof here);
    __builtin_unwind_init();
    if (_setjmp(here.registers)) return false;
    bool done = f((uintptr_t)&here);
    wash(); /* the program's next frames may have holes; and the stacks of threads that have ended are looked at whole */
    __asm__ volatile("" : : "r"(&here) : "memory");
    return done;
}
