/* pthread_create and thrd_create: the last moment before there are threads (fork.c, foreign.c), and then, for the scavenger, a place
 * where one more can be made (libgomalloc/scavenge.c). */
#define _GNU_SOURCE 1
#include "preload/next.h"
#include "preload/process.h"

#include "libgomalloc/alloc.h"

#include <pthread.h>
#include <threads.h>

static void *next_create, *next_thrd_create;

GM_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))gm_next(&next_create, "pthread_create");
    gm_fork_watch();
    gm_block_bind();
    if (!gm_standing_aside) gm_foreign_before_threads();
    int r = next(thread, attr, run, arg);
    if (r == 0 && !gm_standing_aside && gm_process_is_own()) gm_threads_started();
    return r;
}

GM_EXPORT int thrd_create(thrd_t *thread, thrd_start_t run, void *arg) {
    int (*next)(thrd_t *, thrd_start_t, void *) =
        (int (*)(thrd_t *, thrd_start_t, void *))gm_next(&next_thrd_create, "thrd_create");
    gm_fork_watch();
    if (!gm_standing_aside) gm_foreign_before_threads();
    int r = next(thread, run, arg);
    if (r == thrd_success && !gm_standing_aside && gm_process_is_own()) gm_threads_started();
    return r;
}
