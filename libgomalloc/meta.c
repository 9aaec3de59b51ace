/* See meta.h. Chunks come from the kernel a quarter megabyte at a time; only touched pages cost. */
#include "libgomalloc/meta.h"

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/os/os.h"

enum { CHUNK = 256 * 1024, SMALL_CHUNK = 64 * 1024 };

static struct gm_lock meta_lock = GM_LOCK_INIT(GM_RANK_META);
static uintptr_t chunk_next, chunk_end; /* guarded by meta_lock */
static size_t mapped_bytes;

void gm_meta_lock(void) { gm_lock(&meta_lock); }
void gm_meta_unlock(void) { gm_unlock(&meta_lock); }

static bool new_chunk(size_t size) {
    size_t want = gm_align_up(gm_max(size, CHUNK), SMALL_CHUNK);
    void *p = gm_os_map(want);
    if (!p) { /* little address space is left: take no more than needed */
        want = gm_align_up(size, SMALL_CHUNK);
        p = gm_os_map(want);
    }
    if (!p) return false;
    gm_os_name(p, want, "gomalloc records");
    gm_store_relaxed(&mapped_bytes, mapped_bytes + want);
    if ((uintptr_t)p != chunk_end) chunk_next = (uintptr_t)p; /* else the old chunk just got longer */
    chunk_end = (uintptr_t)p + want;
    return true;
}

static void *alloc_locked(size_t size, size_t align) {
    uintptr_t p = gm_align_up(chunk_next, align);
    if (chunk_next == 0 || p + size > chunk_end) {
        if (!new_chunk(size + align)) return NULL;
        p = gm_align_up(chunk_next, align);
    }
    chunk_next = p + size;
    return (void *)p;
}

void *gm_meta_alloc(size_t size, size_t align) {
    gm_lock(&meta_lock);
    void *p = alloc_locked(size, align);
    gm_unlock(&meta_lock);
    return p;
}

size_t gm_meta_mapped(void) { return gm_load_relaxed(&mapped_bytes); }

void *gm_fix_get(struct gm_fix *f) {
    gm_lock(&meta_lock);
    void *p = f->free;
    if (p) f->free = *(void **)p;
    else if ((p = alloc_locked(f->size, f->align)) != NULL) f->total++;
    if (p) f->in_use++;
    gm_unlock(&meta_lock);
    return p;
}

void gm_fix_put(struct gm_fix *f, void *record) {
    gm_lock(&meta_lock);
    GM_ASSERT(f->in_use > 0);
    *(void **)record = f->free;
    f->free = record;
    f->in_use--;
    gm_unlock(&meta_lock);
}
