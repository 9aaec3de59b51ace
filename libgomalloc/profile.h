/* Allocation sites: which calls allocated what is live, and all that was allocated; sampled. See profile.c.
 *
 * The records below are read by another process as well (endpoint.h). Sites and modules are only ever added. */
#ifndef GM_PROFILE_H
#define GM_PROFILE_H

#include "libgomalloc/base/atomic.h"

struct gm_cache;

/* A stack from which sampled allocations came. */
struct gm_profile_site {
    struct gm_profile_site *next;    /* of its bucket */
    uint64_t hash;
    uint32_t depth;
    uint32_t modules;                /* gm_profile.n_modules when the site was made */
    uint64_t live_objects, live_bytes, all_objects, all_bytes; /* of samples; bytes as asked for; profile lock */
    uintptr_t pc[];                  /* innermost first, each the address after the call */
};

/* A live sampled object. The address is stored inverted: these records must not keep it reachable. */
struct gm_profile_sample {
    struct gm_profile_sample *next;
    uintptr_t inverted;
    struct gm_profile_site *site;
    size_t bytes;
};

/* An object file that was loaded when a site in it was made. It may have been unloaded since. */
struct gm_profile_module {
    struct gm_profile_module *older;
    uint32_t number;                 /* the first is 1 */
    uintptr_t start, end;
    char name[];                     /* "" for the program */
};

enum { GM_PROFILE_DEPTH = 64, GM_PROFILE_SITES = 4096, GM_PROFILE_BUCKETS = 1 << 20 };

struct gm_profile {
    int64_t rate;                    /* mean bytes between two samples; 1: every allocation; 0: off */
    int64_t last_rate;               /* the last that was not 0 */
    int64_t request;                 /* the rate that is wanted; written by the command (remote) */
    struct gm_profile_site **sites;  /* GM_PROFILE_SITES buckets, or NULL as long as it was never on */
    struct gm_profile_sample **samples; /* room for GM_PROFILE_BUCKETS buckets, `buckets` are in use */
    uint64_t buckets, n_samples, n_sites;
    struct gm_profile_module *modules;  /* the youngest */
    uint64_t n_modules, dropped;     /* dropped: samples for which there was no memory */
    bool used;                       /* there may be samples */
};
extern GM_HIDDEN struct gm_profile gm_profile;

/* From the constructor, when the options are read. */
void gm_profile_start(void);
/* On slow paths: does what `request` says. The caller holds no lock. */
void gm_profile_obey(void);
GM_INLINE void gm_profile_poll(void) {
    if (GM_UNLIKELY(gm_load_relaxed(&gm_profile.request) != gm_load_relaxed(&gm_profile.rate))) gm_profile_obey();
}

/* Counts an allocation of n bytes by a thread with cache c (NULL: it has none). True: it is to be sampled. */
bool gm_profile_due(struct gm_cache *c, size_t n);
/* Records p, which the caller has just allocated, and marks it so that its free comes to gm_profile_forget. The
 * caller holds no lock. */
void gm_profile_record(struct gm_cache *c, void *p, size_t n);
/* Counts it, and records it if it is due: for paths that are slow anyway. */
void gm_profile_note(void *p, size_t n);
/* p is free, but nobody can have it again yet. Central locks may be held. No harm if it was not sampled. */
void gm_profile_forget(const void *p);

void gm_profile_lock(void);   /* for fork */
void gm_profile_unlock(void);

#endif
