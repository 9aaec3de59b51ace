/* The endpoint: how a tool sees into a live process that was not written for it. See endpoint.c for how it
 * works and who is let in.
 *
 * The records below are read by another process (preload/command/), of the same build: `layout` says so.
 * Addresses in them are those of the process that is looked at. */
#ifndef GM_ENDPOINT_H
#define GM_ENDPOINT_H

#include "libgomalloc/base/bits.h"
#include "libgomalloc/cache.h"
#include "libgomalloc/central.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/gomalloc.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/pace.h"
#include "libgomalloc/profile.h"
#include "libgomalloc/transfer.h"

#define GM_ENDPOINT_MAGIC "gm-endp" /* 8 bytes with its end */
#define GM_ENDPOINT_NOTE "gomalloc" /* name of the ELF note; its type is 1, its descriptor the distance */

/* The last pauses of the collector, newest at (count - 1) % GM_PAUSES, and how many of each length there were (struct
 * gomalloc_stats). One writer: whoever stops the world. */
#define GM_PAUSES 256
struct gm_pauses {
    uint64_t by_length[GOMALLOC_PAUSE_BUCKETS];           /* atomic */
    uint64_t count;                                       /* stored with release, after the entry */
    struct { uint64_t at_ns, length_ns; } entry[GM_PAUSES]; /* monotonic clock; nanoseconds */
};

/* A figure of struct gomalloc_stats that another folder keeps: added to the field at `offset`. */
struct gm_endpoint_counter { const uint64_t *at; uint64_t offset; };
#define GM_ENDPOINT_COUNTERS 16

/* Memory in which another folder keeps what it knows of addresses: no roots. Low is stored before high, which is 0 until then. */
struct gm_range { uintptr_t low, high; };
/* Of [low, *end) the first piece is left that [from, to) does not reach, empty if it begins in there; it goes on at *resume. */
GM_INLINE void gm_range_cut(uintptr_t from, uintptr_t to, uintptr_t low, uintptr_t *end, uintptr_t *resume) {
    if (to <= low || from >= *end) return;
    *end = gm_max(from, low);
    *resume = to;
}
#define GM_ENDPOINT_RANGES 64

struct gm_endpoint {
    char magic[8];
    uint64_t layout;                       /* gm_endpoint_layout() of the build */
    const struct gm_space *space;
    struct gm_arena *const *sparse;
    const struct gm_cache_roots *caches;
    const struct gm_central_roots *central;
    const struct gm_transfer_roots *transfer;
    struct gm_heap_roots heap;
    const uint64_t *scavenge_ns;
    const size_t *meta_used;
    const struct gm_fix *const *span_records; /* GM_SPAN_FIXES of them */
    const struct gm_conf *conf;
    const uint64_t *exact_live;
    struct gm_profile *profile;            /* the command writes its `request` */
    const char *syscall_at;                /* a system call instruction */
    struct gm_meta_mapping *const *meta_mappings;
    const struct gm_range *own;            /* atomic; GM_ENDPOINT_RANGES of them; NULL: none */
    const struct gm_pauses *pauses;        /* NULL: no collector */
    struct gm_endpoint_counter counter[GM_ENDPOINT_COUNTERS]; /* as far as `at` is not NULL */
};
extern GM_HIDDEN struct gm_endpoint gm_endpoint;

/* Other folders' figures; before there are threads. `offset`: of the field in struct gomalloc_stats. */
void gm_endpoint_add(size_t offset, const uint64_t *at);

/* Closes the endpoint of a set-user-ID process; prepares the statistics that `gomalloc run` asks for at the
 * exit. From the constructor. */
void gm_endpoint_start(char *const *envp);

/* A number that differs between builds whose records differ. */
GM_INLINE uint64_t gm_endpoint_layout(void) {
    const uint64_t sizes[] = { sizeof(struct gm_endpoint), sizeof(struct gm_cache), sizeof(struct gm_cache_more), sizeof(struct gm_span),
                               sizeof(struct gm_arena), sizeof(struct gm_space), sizeof(struct gm_heap_stats), sizeof(struct gm_fix),
                               sizeof(struct gomalloc_stats), sizeof(struct gm_pace), sizeof(struct gm_conf), offsetof(struct gm_cache, capacity),
                               offsetof(struct gm_cache, link), offsetof(struct gm_arena, index), offsetof(struct gm_span, home),
                               offsetof(struct gm_pageindex, zero_pages), GM_CLASSES, sizeof(struct gm_profile), sizeof(struct gm_profile_site) };
    uint64_t h = 14695981039346656037u; /* FNV-1a, over words */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) h = (h ^ sizes[i]) * 1099511628211u;
    for (const char *v = GOMALLOC_VERSION; *v; v++) h = (h ^ (uint8_t)*v) * 1099511628211u;
    return h;
}

#endif
