/* First call, constructor, fork. See malloc.c for the overview.
 *
 * The first call may come before any constructor, even from inside the loader: gm_init therefore uses
 * system calls only and leaves options, exit handlers and whatever else wants a working C library to
 * the constructor.
 *
 * fork: all locks in rank order before, released after, in parent and child alike. That is some eighty
 * uncontended locks whatever the number of threads: about a microsecond. The lock-free structures
 * need nothing: a batch or slot in another thread's hands at that moment is lost to the child. */
#include <stdlib.h>

#include "libgomalloc/base/lock.h"
#include "libgomalloc/central.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/endpoint.h"
#include "libgomalloc/front.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/huge.h"
#include "libgomalloc/idle.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/noscan.h"
#include "libgomalloc/profile.h"
#include "libgomalloc/scavenge.h"
#include "libgomalloc/stats.h"

bool gm_ready;
static struct gm_lock init_lock = GM_LOCK_INIT(GM_RANK_INIT);

GM_COLD void gm_init(void) {
    gm_lock(&init_lock);
    if (!gm_ready) {
        gm_central_init();
        gm_central_batches_home = gm_cache_flush_transfers;
        gm_heap_init(); /* without a reservation there are still the arenas from anywhere */
        gm_store_release(&gm_ready, true); /* pairs with the acquire in gm_init_once */
    }
    gm_unlock(&init_lock);
}

static void report_at_exit(void) { gm_stats_print_exit(); }

void gm_constructor(char **envp) {
    gm_init_once();
    gm_conf_read(envp);
    gm_endpoint_start(envp);
    gm_huge_start();
    gm_scavenge_init(gm_idle_tidy);
    gm_cache_arm_exit_handler();
    if (gm_conf.stats == GM_STATS_EXACT) gm_exact_start();
    gm_profile_start();
    if (gm_conf.stats != GM_STATS_OFF) atexit(report_at_exit);
}

/* A handler that interrupted the allocator forks: the thread may hold any of the locks, so none is
 * taken; the child allocates by nested.c until the handler returns. */
static GM_TLS bool fork_without_locks;
bool gm_forks_minded;

void gm_fork_prepare(void) {
    fork_without_locks = gm_nested();
    if (fork_without_locks) return;
    gm_init_once();
    if (gm_hooks.fork_prepare) gm_hooks.fork_prepare();
    gm_lock(&init_lock);
    gm_cache_threads_lock();
    gm_tiny_fork_lock();
    gm_odd_fork_lock();
    gm_central_lock_all();
    gm_heap_lock();
    gm_profile_lock();
    gm_meta_lock();
}

static void unlock_all(void) {
    gm_meta_unlock();
    gm_profile_unlock();
    gm_heap_unlock();
    gm_central_unlock_all();
    gm_odd_fork_unlock();
    gm_tiny_fork_unlock();
    gm_cache_threads_unlock();
    gm_unlock(&init_lock);
}

void gm_fork_parent(void) {
    if (fork_without_locks) return;
    unlock_all();
    if (gm_hooks.fork_parent) gm_hooks.fork_parent();
}

void gm_fork_child(void) {
    if (fork_without_locks) return;
    gm_cache_fork_child();
    gm_scavenge_fork_child();
    unlock_all();
    if (gm_hooks.fork_child) gm_hooks.fork_child();
}

void gm_fork_child_alone(void) { gm_cache_fork_child_alone(); }

void gm_before_second_thread(void (*call)(void)) { gm_cache_before_second = call; }

void gm_threads_started(void) { gm_scavenge_threads_started(); }

void gm_limit_address_space(size_t bytes) {
    gm_init_once();
    gm_heap_limit_address_space(bytes);
}
