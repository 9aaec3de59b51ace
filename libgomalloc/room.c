/* See room.h.
 *
 * One object in twenty that stays, at random, pins most spans of a class. What lies free between them is put to use by
 * three means:
 *
 * PAGES. Of a span of several pages those that only slots at home lie on go to the page heap (it "cedes" them): its record
 * goes on without them, and any other span may come to lie there.
 *
 * GUESTS. What is left, nearly empty spans whose free slots are strewn too finely, becomes hosts: room for objects of any
 * class up to a page's size (guests.c).
 *
 * HOLES. The kernel's pages in a span all of whose slots are at home go back to it: their contents mean nothing to anybody,
 * states and bits lie elsewhere, and the next to touch such a slot gets a fresh page.
 *
 * All of it is done under the class's lock, to spans in its lists: nobody takes slots from them meanwhile. A span that
 * was looked at and has not changed for a second or more is worth it, or any, when memory is wanted.
 *
 * WHEN. The heap counts the memory it takes that nothing stood behind before (gm_heap_fresh). Each MiB of it, the
 * spans' idle bytes are summed up; if they are more than an eighth, the heap is crowded: pages are ceded, hosts made, and
 * misses look for room in them before they ask for a span. While it is crowded that is looked at anew for each MiB of
 * spans. A program whose spans are well filled pays a sum over eighty counters for each MiB.
 *
 * Measured (tests/programs/phases.sh: sixteen phases of 32 MiB, sizes that change, a random twentieth stays; peak RSS):
 * 278 MiB without, 113 with, in half of the CPU time; glibc 111, jemalloc 249, tcmalloc 249, mimalloc 265. */
#include "libgomalloc/room.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/guests.h"
#include "libgomalloc/heap.h"
#include "libgomalloc/holes.h"
#include "libgomalloc/os/os.h"

static bool forbidden; /* atomic, set under all classes' locks: no page is ceded, no host is made */

/* ---- guests */

static bool no_room[GM_CLASSES]; /* atomic: hosts were looked through in vain for this class since gm_room_look */

void gm_central_no_guests(void) {
    gm_central_lock_all();
    gm_store_relaxed(&forbidden, true);
    gm_store_relaxed(&gm_heap_crowded, false);
    gm_central_unlock_all();
}

/* Of a list of hosts a few are tried. Hosts' lock. */
static unsigned lodge_in(struct gm_lists *c, struct gm_list *list, unsigned cls, void **out, unsigned want) {
    enum { TRIES = 4 };
    for (unsigned k = 0; k < TRIES && !gm_lists_is_empty(list); k++) {
        struct gm_span *s = gm_list_entry(list->next, struct gm_span, link);
        unsigned n = gm_guests_take(s, cls, out, want);
        gm_list_remove(&s->link);
        if (n) {
            gm_lists_in_use_again(s);
            gm_lists_settle(c, s, gm_load_relaxed(&s->nfree));
            return n;
        }
        gm_list_push(list->prev, &s->link); /* behind the others */
    }
    return 0;
}

/* The smallest runs that may do come first, so that the long ones stay for what is larger. */
GM_NOINLINE unsigned gm_room_lodge(unsigned cls, void **out, unsigned want) {
    struct gm_lists *c = &gm_lists[GM_CLASS_HOST];
    unsigned n = 0, width = gm_class_size[cls] / gm_class_size[GM_CLASS_HOST];
    if (cls <= GM_CLASS_HOST || gm_class_size[cls] > GM_GUEST_MAX || gm_load_relaxed(&no_room[cls])) return 0;
    gm_lock(&c->lock);
    for (unsigned k = gm_lists_run(width); k < GM_RUNS && n == 0; k++) n = lodge_in(c, &gm_lists_by_run[k], cls, out, want);
    gm_unlock(&c->lock);
    gm_heap_pay();
    if (n) gm_lists_count_out(&gm_lists[cls], cls, (int)n);
    else gm_store_relaxed(&no_room[cls], true);
    return n;
}

/* Makes a span into hosts. Its class's lock and the hosts'; it goes on even if a page of it is empty then. */
static void dissolve(struct gm_lists *c, struct gm_span *s, struct gm_list *empty) {
    struct gm_lists *hosts = &gm_lists[GM_CLASS_HOST];
    struct gm_span *host[16];
    unsigned kept = 0, ceded = gm_span_ceded(s);
    for (unsigned page = 0; page < s->npages; page++) {
        if (ceded >> page & 1) continue;
        if ((host[kept] = gm_span_new(GM_CLASS_HOST)) == NULL) break;
        gm_guests_move_in(host[kept++], s, page);
    }
    bool all = kept == s->npages - gm_popcount(ceded);
    if (all) {
        gm_list_remove(&s->link);
        gm_lists_in_use_again(s);
        gm_sub_relaxed(&c->pages, kept);
        gm_add_relaxed(&hosts->pages, kept);
        gm_heap_replace(host, kept);
    }
    for (unsigned i = 0; i < kept; i++) {
        if (!all) gm_span_delete(host[i]);
        else if (gm_lists_settle(hosts, host[i], host[i]->nfree)) gm_list_push(empty, &host[i]->link);
    }
    if (all) gm_span_delete(s);
}

/* The nearly empty spans of a class become hosts. */
static void dissolve_class(unsigned cls, unsigned bucket, uint64_t until) {
    enum { BATCH = 16 };
    struct gm_lists *c = &gm_lists[cls], *hosts = &gm_lists[GM_CLASS_HOST];
    struct gm_list empty;
    gm_list_init(&empty);
    for (bool more = true; more && gm_os_nanotime() < until;) {
        gm_lock(&hosts->lock);
        gm_lock(&c->lock);
        for (unsigned k = 0; k < BATCH && more; k++) {
            more = !forbidden && !gm_lists_is_empty(&c->partial[bucket]);
            if (more) dissolve(c, gm_list_entry(c->partial[bucket].next, struct gm_span, link), &empty);
        }
        gm_unlock(&c->lock);
        gm_unlock(&hosts->lock);
        gm_lists_all_gone(hosts, &empty);
    }
}

/* ---- holes */

/* What the walk does to a span, looked at for the second time since it changed, or at_once. Bytes; the class's lock. */
typedef size_t (*work)(struct gm_lists *c, struct gm_span *s);

static size_t cede(struct gm_lists *c, struct gm_span *s) {
    unsigned pages = gm_load_relaxed(&forbidden) ? 0 : gm_holes_cede(s);
    if (!pages) return 0;
    gm_sub_relaxed(&c->pages, pages);
    unsigned home = gm_load_relaxed(&s->nfree);
    if (home == 0 || gm_lists_bucket(s, home) != s->bucket) {
        gm_list_remove(&s->link);
        gm_lists_settle(c, s, home);
    }
    return pages * GM_PAGE_SIZE;
}

static size_t cede_and_release(struct gm_lists *c, struct gm_span *s) {
    cede(c, s);
    uint32_t holes = gm_holes_of(s);
    return holes ? gm_holes_release(s, holes) : 0;
}

static size_t look_at(struct gm_lists *c, struct gm_span *s, work do_it, bool at_once) {
    if (s->looked == GM_LOOKED_DONE || s->cls == GM_CLASS_8) return 0;
    if (!at_once && s->looked == GM_LOOKED_NOT) {
        s->looked = GM_LOOKED_ONCE;
        return 0;
    }
    if (do_it == cede_and_release) s->looked = GM_LOOKED_DONE;
    return do_it(c, s);
}

/* All spans of a list once, the lock being let go now and then; those that were looked at stand at the end. */
static size_t walk_list(struct gm_lists *c, struct gm_list *list, uint64_t until, work do_it, bool at_once) {
    enum { BATCH = 32 };
    const struct gm_list *first = NULL;
    size_t done = 0;
    uint64_t most = gm_load_relaxed(&c->pages);
    for (bool more = true; more && most > 0 && gm_os_nanotime() < until;) {
        gm_lock(&c->lock);
        for (unsigned k = 0; k < BATCH && more && most > 0; k++, most--) {
            more = !gm_lists_is_empty(list) && list->next != first;
            if (!more) break;
            struct gm_list *l = list->next;
            if (!first) first = l;
            gm_list_remove(l);
            gm_list_push(list->prev, l);
            struct gm_span *s = gm_list_entry(l, struct gm_span, link);
            unsigned bucket = s->bucket;
            done += look_at(c, s, do_it, at_once);
            if (first == l && (s->bucket != bucket || s->place != GM_PLACE_PARTIAL)) first = NULL;
        }
        gm_unlock(&c->lock);
    }
    return done;
}

/* All classes' spans; it goes on with the class where the last time ran out. */
static size_t walk(uint64_t until, work do_it, bool at_once) {
    static unsigned next; /* atomic */
    size_t done = 0;
    unsigned start = gm_load_relaxed(&next);
    for (unsigned k = 0; k < GM_CLASSES; k++) {
        unsigned cls = (start + k) % GM_CLASSES;
        gm_store_relaxed(&next, cls);
        if (gm_os_nanotime() >= until) return done;
        if (do_it == cede && gm_class_pages[cls] < 2) continue;
        for (unsigned b = 0; b < gm_lists_of(&gm_lists[cls]); b++) done += walk_list(&gm_lists[cls], gm_lists_at(&gm_lists[cls], b), until, do_it, at_once);
    }
    return done;
}

size_t gm_central_release_holes(uint64_t until, bool at_once) { return walk(until, cede_and_release, at_once); }

/* ---- when */

/* Bytes in spans of slots, and of slots that are at home in them. */
static size_t idle_in_spans(size_t *all) {
    size_t out = 0;
    *all = 0;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        *all += gm_central_span_bytes(cls);
        out += gm_central_out(cls) * gm_class_size[cls];
    }
    return *all > out ? *all - out : 0;
}

/* The heap has taken GM_FRESH_STEP of fresh memory. If much lies idle in spans, pages between survivors go to the page heap,
 * and what is too finely strewn for that may take in guests. */
GM_NOINLINE void gm_room_look(void) {
    enum { SHARE = 8, URGENT_SHARE = 32, MUCH = 4, MOST_NS = 5000000 };
    bool urgent = gm_load_relaxed(&gm_heap_urgent);
    size_t all, idle = idle_in_spans(&all);
    gm_store_relaxed(&gm_heap_fresh, 0);
    bool now = idle > all / (urgent ? URGENT_SHARE : SHARE) + 2 * GM_FRESH_STEP && !gm_load_relaxed(&forbidden);
    if (now) gm_store_relaxed(&gm_guests_ever, true);
    gm_store_relaxed(&gm_heap_crowded, now);
    if (!now) return;
    bool much = urgent || idle > all / MUCH;
    uint64_t until = gm_os_nanotime() + MOST_NS;
    if (gm_central_batches_home) gm_central_batches_home();
    walk(until, cede, much);
    for (unsigned cls = GM_CLASS_HOST + 1; cls < GM_CLASSES; cls++)
        for (unsigned bucket = much ? GM_ROOMY - 1 : GM_ROOMY; bucket < GM_BUCKETS; bucket++) dissolve_class(cls, bucket, until);
    for (unsigned k = gm_lists_run((unsigned)gm_min(gm_os_page_size(), GM_PAGE_SIZE) / gm_class_size[GM_CLASS_HOST]); k < GM_RUNS; k++)
        walk_list(&gm_lists[GM_CLASS_HOST], &gm_lists_by_run[k], until, cede_and_release, much);
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) gm_store_relaxed(&no_room[cls], false);
}

/* Objects that lay in hosts, some across two or more. Overwrites slots[]. */
GM_NOINLINE void gm_room_give_guests(unsigned cls, void **slots, unsigned n) {
    struct gm_lists *c = &gm_lists[GM_CLASS_HOST];
    struct gm_list empty;
    gm_list_init(&empty);
    gm_lock(&c->lock);
    for (unsigned i = 0; i < n; i++) {
        uintptr_t from = (uintptr_t)slots[i], end = from + gm_class_size[cls];
        for (uintptr_t to; from < end; from = to) {
            to = gm_min(end, gm_align_up(from + 1, GM_PAGE_SIZE));
            struct gm_span *s = gm_span_of(gm_arena_of((void *)from), from);
            unsigned home = gm_guests_give(s, from, to);
            unsigned run = GM_BUCKETS + gm_lists_run(gm_guests_run(s, from)); /* those there were can only have grown */
            if (s->place == GM_PLACE_CURRENT) continue;
            if (s->place == GM_PLACE_PARTIAL) run = (unsigned)gm_max(run, s->bucket);
            if (gm_lists_resettle(c, s, home, run)) gm_list_push(&empty, &s->link);
        }
    }
    gm_unlock(&c->lock);
    gm_lists_all_gone(c, &empty);
}

