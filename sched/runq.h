/* The queue of runnable goroutines of one P: a ring of 256 and a place before it. See runq.c.
 * "Owner" calls are for the M that holds the P; any thread may steal. */
#ifndef GS_RUNQ_H
#define GS_RUNQ_H

#include "sched/gmp.h"

/* True while there is one P only: nobody steals, and the owner needs no compare-and-swap. Changed
 * while no P runs (world.c). */
extern GM_HIDDEN bool gs_runq_alone;

GM_INLINE bool gs_runq_claim(struct gs_p *p, uint32_t *head, uint32_t n) {
    if (GM_LIKELY(gs_runq_alone)) {
        gm_store_release(&p->head, *head + n);
        return true;
    }
    return gm_cas_acq_rel(&p->head, head, *head + n);
}

/* True: half of a full ring, with g behind, is in *overflow. False: try again, there may be room. */
bool gs_runq_put_slow(struct gs_p *p, struct gs_g *g, struct gs_g **overflow, unsigned *count);
/* Owner. False: the ring was full, and half of it, with g behind, is in *overflow, linked, *count long. */
GM_INLINE bool gs_runq_put(struct gs_p *p, struct gs_g *g, struct gs_g **overflow, unsigned *count) {
    for (;;) {
        uint32_t head = gm_load_acquire(&p->head), tail = p->tail;
        if (GM_LIKELY(tail - head < GS_RUNQ)) {
            gm_store_relaxed(&p->ring[tail % GS_RUNQ], g);
            gm_store_release(&p->tail, tail + 1);
            return true;
        }
        if (gs_runq_put_slow(p, g, overflow, count)) return false;
    }
}

/* Owner: g becomes the next to run; who was it before is returned, to be put. */
GM_INLINE struct gs_g *gs_runq_put_next(struct gs_p *p, struct gs_g *g) {
    struct gs_g *old = gm_load_relaxed(&p->next);
    /* Only the owner makes it other than NULL, so where there is nothing, nothing can come between. */
    if (GM_LIKELY(old == NULL || gs_runq_alone)) {
        gm_store_release(&p->next, g);
        return old;
    }
    return gm_exchange_acq_rel(&p->next, g);
}

/* Of many goroutines that waited for long neither record nor stack is in the cache: fetched while those before them run. What
 * stands beyond the tail is old, and still a record; prefetching what it points to cannot fault. */
GM_INLINE void gs_runq_ahead(const struct gs_p *p, uint32_t head) {
#if !defined(__SANITIZE_THREAD__)
    const struct gs_g *soon = p->ring[(head + 1) % GS_RUNQ];
    __builtin_prefetch(p->ring[(head + 3) % GS_RUNQ], 1);
    if (soon) __builtin_prefetch(soon->sp, 1);
#endif
}

/* The same for one that is made ready together with many others: where it left, and what it finds when it returns from there. */
GM_INLINE void gs_runq_fetch_stack(const struct gs_g *g) {
#if !defined(__SANITIZE_THREAD__)
    enum { LINES = 5 };
    for (int i = 0; i < LINES; i++) __builtin_prefetch((const char *)g->sp + i * GM_CACHE_LINE, 1);
#endif
}

GM_INLINE struct gs_g *gs_runq_get_ring(struct gs_p *p) {
    uint32_t head = gm_load_acquire(&p->head);
    for (;;) {
        if (head == p->tail) return NULL;
        struct gs_g *g = gm_load_relaxed(&p->ring[head % GS_RUNQ]);
        gs_runq_ahead(p, head);
        if (GM_LIKELY(gs_runq_claim(p, &head, 1))) return g;
    }
}

GM_INLINE struct gs_g *gs_runq_get_next(struct gs_p *p) {
    struct gs_g *g = gm_load_relaxed(&p->next);
    if (g == NULL) return NULL;
    if (GM_LIKELY(gs_runq_alone)) {
        gm_store_relaxed(&p->next, NULL);
        return g;
    }
    return gm_exchange_acq_rel(&p->next, NULL);
}

/* Owner: the next one, or NULL. With `ring_first` the ring goes before `next`. */
GM_INLINE struct gs_g *gs_runq_get(struct gs_p *p, bool ring_first) {
    struct gs_g *g = ring_first ? gs_runq_get_ring(p) : gs_runq_get_next(p);
    if (g) return g;
    return ring_first ? gs_runq_get_next(p) : gs_runq_get_ring(p);
}

/* Owner of p: takes half of the victim's ring; one of them is returned, the others are in p's ring. With
 * `take_next` the victim's `next` is taken if its ring is empty. */
struct gs_g *gs_runq_steal(struct gs_p *p, struct gs_p *victim, bool take_next);
unsigned gs_runq_length(const struct gs_p *p);
GM_INLINE bool gs_runq_empty(const struct gs_p *p) {
    return gm_load_acquire(&p->head) == gm_load_acquire(&p->tail) && gm_load_relaxed(&p->next) == NULL;
}

#endif
