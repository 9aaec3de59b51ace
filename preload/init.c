/* The constructor: puts the allocator into the process it finds itself in.
 *
 * malloc works before this runs (the loader and IFUNC resolvers call it), with default options. What
 * must not come late is the rest, so the library is linked with -z initfirst, which makes the loader
 * run this constructor before every other one, libc's own included:
 *
 *   1. Options. A preloaded library comes last in the order of construction, because the loader
 *      reverses its search order; by then every library's constructor has allocated, and options that
 *      shape the heap would come too late.
 *   2. fork. Our handlers have to be registered before anybody else's (fork.c), and before a thread that some
 *      constructor starts could fork without us.
 *   3. The C library's allocator (foreign.c) has to be known before anybody can free a block of it.
 *
 * What that asks of this file: libc's data is relocated and its early initialisation is done, but its
 * own constructor has not run, so `environ` may not be set yet (the loader passes envp as an
 * argument), stdio is not touched, and nothing is dlopened (foreign.c says why). dlsym works. The loader honours the flag for one object in a process, the one loaded last;
 * if another library takes it from us, we are constructed in the usual order and only lose the above
 * advantages.
 *
 * -z nodelete: thunks of signal handlers, fork handlers and blocks outlive any dlclose.
 * -z now: no symbol is bound lazily, inside malloc or inside a signal handler. */
#define _GNU_SOURCE 1
#include "preload/process.h"

#include "gc/cycle.h"

#include "libgomalloc/alloc.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/os/os.h"

#include <sys/types.h>

bool gm_standing_aside;

static pid_t process_id; /* of the process whose memory this is */

/* Before the constructor nothing is known and nothing has been forked. */
bool gm_process_is_own(void) {
    pid_t known = gm_load_relaxed(&process_id);
    return known == 0 || known == gm_os_getpid();
}

void gm_process_is_new(void) { gm_store_relaxed(&process_id, gm_os_getpid()); }

/* Apart: else every process would touch its code. */
static GM_NOINLINE GM_COLD void start_collector(void) {
    gm_signal_init();
    gc_init();
    if (gc_is_on()) gm_fork_watch(); /* its cycles are an affair of processes with one thread as well */
}

__attribute__((constructor)) static void construct(int argc, char **argv, char **envp) {
    gm_early();
    if (gm_sanitizer_in_charge()) {
        gm_standing_aside = true;
        return;
    }
    process_id = gm_os_getpid();
    gm_foreign_init();
    gm_constructor(envp);
    if (gm_conf.gc != GM_GC_OFF) start_collector();
    gm_before_second_thread(gm_fork_watch);
}
