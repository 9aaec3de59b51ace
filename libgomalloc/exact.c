/* stats:exact: bytes asked for in live blocks, exactly. See malloc.c for the overview.
 *
 * A size class does not remember what was asked for, so while this is on every malloc and free takes
 * the slow path and notes the waste (usable size minus request) in a table of its own: 2 bytes per 16
 * bytes of the primary arena, reserved only now and touched as needed. Large objects keep their
 * request in the span. Blocks from before the constructor count as fully used: their entry is 0. */
#include "libgomalloc/base/bits.h"
#include "libgomalloc/central.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/front.h"
#include "libgomalloc/os/os.h"

static uint16_t *waste;             /* of gm_space.primary.base; NULL until started */
static size_t committed;            /* bytes of the table that are ready; grows under nobody's lock: see room() */
static uint64_t live;               /* atomic */
const uint64_t *const gm_exact_root = &live;
enum { TABLE_STEP = 8 * 1024 * 1024 };

static uint16_t *entry_of(const void *p) {
    uintptr_t offset = (uintptr_t)p - gm_space.primary.base;
    if (!waste || offset >= gm_space.primary.size) return NULL;
    size_t at = offset >> GM_STATE_SHIFT, end = (at + 1) * sizeof *waste;
    /* Two threads may commit the same range: that is allowed and harmless. */
    while (gm_load_acquire(&committed) < end) {
        size_t have = gm_load_acquire(&committed);
        if (!gm_os_commit((char *)waste + have, TABLE_STEP)) return NULL;
        gm_cas_release(&committed, &have, have + TABLE_STEP);
    }
    return &waste[at];
}

void gm_exact_start(void) {
    size_t bytes = (gm_space.primary.size >> GM_STATE_SHIFT) * sizeof *waste;
    waste = gm_os_reserve(NULL, gm_align_up(bytes, TABLE_STEP), gm_os_page_size());
    if (!waste) { /* no address space for the table: then it is the estimate */
        gm_conf.stats = GM_STATS_EXIT;
        return;
    }
    gm_cache_disable();
    gm_cache_flush_transfers();
    for (unsigned cls = 1; cls < GM_CLASSES; cls++)
        gm_add_relaxed(&live, gm_central_out(cls) * gm_class_size[cls]);
}

/* Two slots of 8 bytes share an entry, a byte each. */
static size_t get(const uint16_t *e, const void *p, size_t usable) {
    if (usable == 8) return gm_load_relaxed((const uint8_t *)e + ((uintptr_t)p >> 3 & 1));
    return gm_load_relaxed(e);
}
static void set(uint16_t *e, const void *p, size_t usable, size_t bytes) {
    if (usable == 8) gm_store_relaxed((uint8_t *)e + ((uintptr_t)p >> 3 & 1), (uint8_t)bytes);
    else gm_store_relaxed(e, (uint16_t)bytes);
}

void gm_exact_alloc(const void *p, size_t usable, size_t n) {
    uint16_t *e = entry_of(p);
    if (!e) n = usable;
    else set(e, p, usable, usable - n);
    gm_add_relaxed(&live, n);
}

void gm_exact_free(const void *p, size_t usable) {
    uint16_t *e = entry_of(p);
    gm_sub_relaxed(&live, usable - (e ? get(e, p, usable) : 0));
    if (e) set(e, p, usable, 0);
}

uint64_t gm_exact_live_requested(void) { return gm_load_relaxed(&live); }
