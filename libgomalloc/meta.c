/* See meta.h. The allocator's own comes from the region in the heap's reservation, a quarter megabyte at a time, and
 * from new mappings when that is exhausted or there is none, as everything else does; only touched pages cost. */
#include "libgomalloc/meta.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/os/os.h"

enum { CHUNK = 256 * 1024, SMALL_CHUNK = 64 * 1024, OUTSIDE = 64 };

static struct gm_lock meta_lock = GM_LOCK_INIT(GM_RANK_META);
static struct chunk { uintptr_t next, end; } own, other; /* guarded by meta_lock */
static size_t mapped_bytes;
const size_t *const gm_meta_root = &mapped_bytes;

void gm_meta_lock(void) { gm_lock(&meta_lock); }
void gm_meta_unlock(void) { gm_unlock(&meta_lock); }

static struct { uintptr_t low, ready, end; } region;          /* guarded by meta_lock; ready up to `ready` */
static struct { uintptr_t low, high; } outside[OUTSIDE];     /* mappings of the allocator's own (meta_lock) */
static unsigned outside_count;

void gm_meta_set_region(void *p, size_t size) {
    gm_lock(&meta_lock);
    region.low = region.ready = own.next = own.end = (uintptr_t)p;
    region.end = region.low + size;
    gm_unlock(&meta_lock);
}

static bool in_region(void) { return region.low != 0 && own.end >= region.low && own.end <= region.end; }

static bool extend_region(size_t size) {
    if (!in_region() || size > region.end - own.end || !gm_os_commit((void *)own.end, size)) return false;
    gm_store_relaxed(&region.ready, own.end += size);
    gm_os_name((void *)region.low, own.end - region.low, "gomalloc records");
    gm_store_relaxed(&mapped_bytes, mapped_bytes + size);
    return true;
}

bool gm_meta_commit(size_t bytes) {
    gm_lock(&meta_lock);
    size_t have = own.end - region.low, want = gm_align_up(bytes, SMALL_CHUNK);
    bool done = !in_region() || want <= have || want > region.end - region.low || extend_region(want - have);
    gm_unlock(&meta_lock);
    return done;
}

void gm_meta_shrink_region(size_t size) {
    gm_lock(&meta_lock);
    uintptr_t end = gm_max(region.low + gm_align_up(size, SMALL_CHUNK), region.ready);
    if (end < region.end) {
        gm_os_unmap((void *)end, region.end - end);
        region.end = end;
    }
    gm_unlock(&meta_lock);
}

static void remember(uintptr_t low, uintptr_t high) {
    if (outside_count == OUTSIDE) return;
    outside[outside_count].low = low;
    outside[outside_count].high = high;
    gm_store_release(&outside_count, outside_count + 1); /* a reader stops us anywhere: the entry is whole */
}

static bool new_chunk(struct chunk *c, size_t size) {
    size_t want = gm_align_up(gm_max(size, CHUNK), SMALL_CHUNK);
    if (c == &own && (extend_region(want) || extend_region(gm_align_up(size, SMALL_CHUNK)))) return true;
    void *p = gm_os_map(want);
    if (!p) { /* little address space is left: take no more than needed */
        want = gm_align_up(size, SMALL_CHUNK);
        p = gm_os_map(want);
    }
    if (!p) return false;
    gm_os_name(p, want, "gomalloc records");
    gm_store_relaxed(&mapped_bytes, mapped_bytes + want);
    c->next = (uintptr_t)p;
    c->end = c->next + want;
    if (c == &own) remember(c->next, c->end);
    return true;
}

static void *alloc_locked(struct chunk *c, size_t size, size_t align) {
    uintptr_t p = gm_align_up(c->next, align);
    if (c->next == 0 || p + size > c->end) {
        if (!new_chunk(c, size + align)) return NULL;
        p = gm_align_up(c->next, align);
    }
    c->next = p + size;
    return (void *)p;
}

static void *alloc(struct chunk *c, size_t size, size_t align) {
    gm_lock(&meta_lock);
    void *p = alloc_locked(c, size, align);
    gm_unlock(&meta_lock);
    return p;
}

void *gm_meta_alloc(size_t size, size_t align) { return alloc(&other, size, align); }
void *gm_meta_alloc_own(size_t size, size_t align) { return alloc(&own, size, align); }

void gm_meta_each_own(void (*fn)(void *arg, uintptr_t low, uintptr_t high), void *arg) {
    if (region.low) fn(arg, region.low, gm_load_relaxed(&region.ready));
    fn(arg, (uintptr_t)&region, (uintptr_t)(&region + 1)); /* its end is where the heap begins */
    for (unsigned i = 0; i < gm_load_acquire(&outside_count); i++) fn(arg, outside[i].low, outside[i].high);
}

size_t gm_meta_mapped(void) { return gm_load_relaxed(&mapped_bytes); }

void *gm_fix_get(struct gm_fix *f) {
    gm_lock(&meta_lock);
    void *p = f->free;
    if (p) f->free = *(void **)p;
    else if ((p = alloc_locked(f->own ? &own : &other, f->size, f->align)) != NULL) gm_count_add(&f->total, 1);
    if (p) gm_count_add(&f->in_use, 1);
    gm_unlock(&meta_lock);
    return p;
}

void gm_fix_put(struct gm_fix *f, void *record) {
    gm_lock(&meta_lock);
    GM_ASSERT(f->in_use > 0);
    *(void **)record = f->free;
    f->free = record;
    gm_count_add(&f->in_use, -1);
    gm_unlock(&meta_lock);
}
