/* Objects over 32 KiB: each is a span of its own. See malloc.c for the overview.
 *
 * Growing: in place while the pages behind are free or the heap ends there; else to a new place, by
 * moving the page tables (mremap) once that is cheaper than copying. A moved span is a mapping of its
 * own until it is freed, so their number is bounded (vm.max_map_count). What grows by little at a time
 * gets pages for the next steps with this one, and takes those without asking anybody. */
#include <string.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/front.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/hooks.h"
#include "libgomalloc/nested.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/profile.h"
#include "libgomalloc/scavenge.h"

/* With an alignment as large, still what one page index can hold (pageindex.h). */
#define LARGE_MAX ((size_t)1 << 41)
enum { MOVE_MIN = 256 * 1024, ZERO_BY_RELEASE_MIN = 512 * 1024, MAX_MOVED = 4096 };
static uint32_t moved_spans; /* atomic */

static size_t pages_of(size_t n) { return gm_align_up(gm_max(n, 1) + gm_class_end_room, GM_PAGE_SIZE) >> GM_PAGE_SHIFT; }

static struct gm_span *new_large(size_t n, size_t align, unsigned flags, bool *zero) {
    if (n > LARGE_MAX || align > LARGE_MAX) return NULL;
    gm_init_once();
    gm_scavenge_poll();
    gm_hooks_poll();
    size_t align_pages = align > GM_PAGE_SIZE ? align >> GM_PAGE_SHIFT : 1;
    struct gm_span *s = gm_heap_alloc_large(pages_of(n), align_pages, n, flags, zero);
    if (!s && gm_reclaim(n)) s = gm_heap_alloc_large(pages_of(n), align_pages, n, flags, zero);
    return s;
}

/* The object comes to life. */
static uintptr_t bear(struct gm_span *s) {
    uintptr_t p = s->start;
    gm_gc_keep(p);
    gm_store_release(&s->state, (uint8_t)(GM_LARGE_LIVE | gm_load_relaxed(&gm_colour)));
    gm_gc_keep(p);
    return p;
}

static void *counted(void *p, size_t n) {
    if (GM_UNLIKELY(gm_load_relaxed(&gm_sampling))) gm_profile_note(p, n);
    return p;
}

void *gm_large_alloc(size_t n, size_t align, unsigned flags, bool *zero) {
    if (gm_nested()) {
        *zero = true;
        return align <= gm_os_page_size() ? gm_nested_alloc(n) : gm_out_of_memory();
    }
    struct gm_span *s = new_large(n, align, flags, zero);
    return s ? counted((void *)bear(s), n) : gm_out_of_memory();
}

void gm_large_release(struct gm_span *s) {
    if (s->flags & GM_SPAN_MOVED) gm_sub_relaxed(&moved_spans, 1);
    if (s->flags & GM_SPAN_SAMPLED) gm_profile_forget((void *)s->start);
    gm_heap_free(s);
}

/* Until it is claimed the address keeps the object from being swept, and so the record from being another's. */
bool gm_large_free(struct gm_span *s) {
    uintptr_t p = s->start;
    gm_gc_keep(p);
    if (gm_load_relaxed(&s->state) == 0) return false;
    bool moved = s->flags & GM_SPAN_MOVED;
    if (s->flags & GM_SPAN_SAMPLED) gm_profile_forget((void *)p); /* before the address can be another's */
    bool live = gm_heap_free_live(s);
    gm_gc_keep(p);
    if (live && moved) gm_sub_relaxed(&moved_spans, 1);
    if (live) gm_scavenge_poll();
    return live;
}

/* Clearing and giving back cost the same per page (0.1 us), but what was given back is only resident again
 * where the program writes to it: tables and buffers this large often stay mostly empty. */
bool gm_large_zero(void *p, size_t n) {
    struct gm_arena *a = n >= ZERO_BY_RELEASE_MIN && !gm_nested() ? gm_arena_of(p) : NULL;
    return a && gm_heap_zero_by_release(gm_span_of(a, (uintptr_t)p));
}

/* Page tables can be moved where the kernel's pages end where ours do, and only of a span that is one
 * mapping: one that has been moved is two, what was moved and what it grew by. */
static bool can_move(const struct gm_span *s, size_t bytes) {
    return bytes >= MOVE_MIN && gm_os_page_size() <= GM_PAGE_SIZE && !(s->flags & GM_SPAN_MOVED) &&
           gm_load_relaxed(&moved_spans) < MAX_MOVED;
}

/* Moves the pages or their contents. False: the target has vanished, nothing was moved. */
static bool transport(struct gm_span *from, struct gm_span *to) {
    size_t bytes = gm_span_bytes(from);
    enum gm_os_moved moved = GM_NOT_MOVED;
    if (can_move(from, bytes)) moved = gm_os_move((void *)from->start, (void *)to->start, bytes);
    if (moved == GM_TARGET_LOST) return false;
    if (moved == GM_NOT_MOVED) {
        memcpy((void *)to->start, (void *)from->start, bytes);
        return true;
    }
    gm_add_relaxed(&moved_spans, 1);
    to->flags |= GM_SPAN_MOVED;
    from->flags |= GM_SPAN_EMPTIED;
    return true;
}

/* The collector may hold the world in between, when the contents are in one place or the other: so both
 * objects live, and both addresses are kept. MOVING: there may be no memory at the target for a moment. */
static bool transport_alive(struct gm_span *from, struct gm_span *to) {
    uintptr_t old = from->start, new = to->start;
    to->flags |= GM_SPAN_MOVING;
    gm_gc_keep(old);
    bear(to);
    bool done = transport(from, to);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    gm_gc_keep(new);
    gm_gc_keep(old);
    if (done) to->flags &= (uint8_t)~GM_SPAN_MOVING;
    else gm_store_relaxed(&to->state, 0);
    return done;
}

/* The pages that an object of `before` pages is to have when it needs `pages`: an eighth more where it grows by less than that.
 * Nobody writes to them before the object is there, and what has never been written to costs nothing. Not where the
 * collector would read them. */
static size_t with_room(size_t pages, size_t before) {
    enum { SHARE = 8, MOST = 256 * 1024 / GM_PAGE_SIZE };
    size_t room = gm_min(before / SHARE, MOST);
    return pages > before && pages - before <= room && !gm_load_relaxed(&gm_hooks.on) ? pages + room : pages;
}

/* Where such an object goes when it has to move: else it would move again at its next step, to the next hole just large
 * enough. */
static unsigned place_for(size_t pages, size_t before) { return with_room(pages, before) > pages ? GM_HEAP_ROOM : 0; }

static bool resize(struct gm_span *s, size_t n) {
    size_t pages = pages_of(n), more = with_room(pages, s->npages);
    return (more > pages && gm_heap_resize(s, more, n)) || gm_heap_resize(s, pages, n);
}

void *gm_large_realloc(struct gm_span *s, size_t n) {
    if (n > LARGE_MAX) return gm_out_of_memory();
    if (gm_large_has_room(s, n)) return (void *)s->start;
    if (gm_nested()) return gm_realloc_move((void *)s->start, gm_span_bytes(s), n);
    uintptr_t old = s->start;
    size_t before = s->npages;
    bool zero, resized = resize(s, n);
    gm_gc_keep(old);
    if (resized) { /* to the profile, one object's end and another's birth */
        if (s->flags & GM_SPAN_SAMPLED) gm_profile_forget((void *)old);
        s->flags &= (uint8_t)~GM_SPAN_SAMPLED;
        if (s->npages < before) gm_scavenge_poll();
        return counted((void *)old, n);
    }
    struct gm_span *to = new_large(n, 1, (s->flags & (GM_SPAN_NOSCAN | GM_SPAN_UNCOLLECTABLE)) | place_for(pages_of(n), before), &zero);
    gm_gc_keep(old);
    if (!to) return gm_out_of_memory();
    uintptr_t new = to->start;
    if (!transport_alive(s, to)) return gm_out_of_memory(); /* `to` has no memory any more: it is given up */
    gm_hooks_freed((void *)old);
    gm_large_free(s);
    gm_gc_keep(new);
    return counted((void *)new, n);
}
