/* See transfer.h. */
#include "libgomalloc/transfer.h"

#include <string.h>

#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/meta.h"

/* Places of a class: at most 64. One time slice of a producer is some 16000 small objects; with 16 places
 * of 64 slots most of that overflowed to central (8 pairs of threads: 0.23 s against 0.18 s with 64
 * places, 0.16 s with 160). But what waits here is memory nobody uses: a class may keep 1/32 of what its
 * spans hold, at least 16 KiB (22 classes of 256 KiB each were 8 % of a 66 MiB heap); above 1 KiB there is no
 * least, or forty classes of a small program would have it.
 * SPARE empty batch records are kept at hand for all classes together. */
enum { PLACES = 64, SPARE = 32, SHARE = 32, LEAST_BYTES = 16 * 1024 };

/* n last: a record on its free list keeps its link in the first word, and a reader of statistics may
 * still look at n. */
struct batch {
    void *slot[GM_BATCH_MAX];
    unsigned n;
};

struct places {
    uint32_t hint; /* about how many are taken: where to look first */
    struct batch *at[PLACES] GM_ALIGNED(64);
};
static struct places place[GM_CLASSES];
/* Whether the class has ever had a batch here. Most processes never have one, and their refills look at this line instead of
 * a page of places for every few classes. */
static bool had[GM_CLASSES];
static struct places spare;
static struct gm_fix records = GM_FIX_INIT_OWN(sizeof(struct batch), 8);
const struct gm_transfer_roots gm_transfer_roots = { place, &records, sizeof(struct places), offsetof(struct places, at), PLACES,
                                                     offsetof(struct batch, n) };

/* Taken places are the low ones, give or take what is in motion: taking looks downwards from the hint,
 * putting upwards, both all the way round. The hint is only that; a lost update costs a few looks. */
static struct batch *take_from(struct places *p, unsigned n, bool all) {
    unsigned hint = gm_load_relaxed(&p->hint);
    /* Where nothing is in motion it ends at one line. */
    if (!all && hint == 0 && gm_load_relaxed(&p->at[0]) == NULL) return NULL;
    for (unsigned k = 0, i = hint; k < n; k++) {
        i = (i == 0 ? n : i) - 1;
        if (i >= n || gm_load_relaxed(&p->at[i]) == NULL) continue;
        /* acquire: pairs with the release in put_into; the batch's contents are seen, and the last
         * uses of its slots by the thread that freed them come before ours. */
        struct batch *b = gm_exchange_acquire(&p->at[i], NULL);
        if (!b) continue;
        gm_store_relaxed(&p->hint, i);
        return b;
    }
    return NULL;
}

static bool put_into(struct places *p, unsigned n, struct batch *b) {
    unsigned hint = gm_load_relaxed(&p->hint);
    for (unsigned k = 0, i = hint < n ? hint : 0; k < n; k++, i = i + 1 < n ? i + 1 : 0) {
        struct batch *none = NULL;
        if (gm_load_relaxed(&p->at[i]) != NULL || !gm_cas_release(&p->at[i], &none, b)) continue;
        gm_store_relaxed(&p->hint, i + 1);
        return true;
    }
    return false;
}

static bool all_taken(const struct places *p, unsigned n) {
    unsigned i = gm_load_relaxed(&p->hint);
    if (i < n && gm_load_relaxed(&p->at[i]) == NULL) return false;
    for (i = 0; i < n; i++)
        if (gm_load_relaxed(&p->at[i]) == NULL) return false;
    return true;
}

static unsigned places_of(unsigned cls, unsigned n, size_t class_bytes) {
    size_t least = cls < GM_FIRST_MEDIUM ? LEAST_BYTES : 0;
    size_t places = gm_max(class_bytes / SHARE, least) / (n * gm_class_size[cls]);
    return (unsigned)gm_min(places, PLACES);
}

static void put_spare(struct batch *b) {
    if (!put_into(&spare, SPARE, b)) gm_fix_put(&records, b);
}

bool gm_transfer_put(unsigned cls, void **slots, unsigned n, size_t class_bytes) {
    GM_ASSERT(n > 0 && n <= GM_BATCH_MAX);
    unsigned places = places_of(cls, n, class_bytes);
    /* Look before preparing: when all are taken the batch would be made for nothing. */
    if (all_taken(&place[cls], places)) return false;
    struct batch *b = take_from(&spare, SPARE, false);
    if (!b) b = gm_fix_get(&records);
    if (!b) return false;
    /* Before the batch: whoever wants all of them, with this thread's puts behind it, sees it set. */
    if (!gm_load_relaxed(&had[cls])) gm_store_relaxed(&had[cls], true);
    gm_store_relaxed(&b->n, n);
    memcpy(b->slot, slots, n * sizeof *slots);
    if (put_into(&place[cls], places, b)) return true;
    put_spare(b);
    return false;
}

unsigned gm_transfer_get(unsigned cls, void **out, bool all) {
    struct batch *b = gm_load_relaxed(&had[cls]) ? take_from(&place[cls], PLACES, all) : NULL;
    if (!b) return 0;
    unsigned n = b->n;
    memcpy(out, b->slot, n * sizeof *out);
    put_spare(b);
    return n;
}

bool gm_transfer_is_quiet(unsigned cls) {
    static uint32_t seen[GM_CLASSES]; /* what the places looked like; 0: empty. A chance match does no harm */
    uint64_t now = 0;
    if (!gm_load_relaxed(&had[cls])) return false;
    for (unsigned i = 0; i < PLACES; i++) now += (uintptr_t)gm_load_relaxed(&place[cls].at[i]) >> 3;
    uint32_t before = gm_load_relaxed(&seen[cls]);
    gm_store_relaxed(&seen[cls], (uint32_t)now);
    return (uint32_t)now != 0 && (uint32_t)now == before;
}

unsigned gm_transfer_count(unsigned cls) {
    /* A batch may be taken while we look at it: then its count is a little old. Records are never
     * unmapped, so the read is safe. */
    unsigned n = 0;
    for (unsigned i = 0; i < PLACES && gm_load_relaxed(&had[cls]); i++) {
        struct batch *b = gm_load_acquire(&place[cls].at[i]);
        if (b) n += gm_load_relaxed(&b->n);
    }
    return n;
}

size_t gm_transfer_bytes(void) { return gm_load_relaxed(&records.total) * sizeof(struct batch); }
