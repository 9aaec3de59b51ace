/* The ring: a single producer, the owner, and several consumers, the owner and thieves.
 *
 * `tail` is written by the owner only, `head` is moved by compare-and-swap; both only grow (modulo 2^32) and
 * tail - head is the length, at most 256. A consumer reads the entries first and claims them by moving head;
 * if that fails somebody else had them, and what was read is dropped. An entry between head and tail is not
 * overwritten before head has passed it, because the owner looks at head before it writes.
 *
 * The entries are read and written relaxed: the store-release of tail orders them for thieves, who load
 * tail with acquire; the release in the compare-and-swap of head orders a thief's reads before the owner's overwriting,
 * whose load-acquire of head is the partner. `next` is exchanged as a whole, the release of which publishes the goroutine.
 *
 * What runs at every switch is inline in runq.h; here are the overflow and the thief.
 *
 * tests/unit/test_runq.c runs owner and thieves through all interleavings of small cases. */
#include "sched/runq.h"

#include "libgomalloc/base/check.h"

bool gs_runq_alone = true;

bool gs_runq_put_slow(struct gs_p *p, struct gs_g *g, struct gs_g **overflow, unsigned *count) {
    struct gs_g *batch[GS_RUNQ / 2];
    uint32_t head = gm_load_acquire(&p->head);
    unsigned n = (p->tail - head) / 2;
    if (n < GS_RUNQ / 2) return false; /* thieves made room */
    for (unsigned i = 0; i < n; i++) batch[i] = gm_load_relaxed(&p->ring[(head + i) % GS_RUNQ]);
    if (!gs_runq_claim(p, &head, n)) return false;
    for (unsigned i = 0; i + 1 < n; i++) batch[i]->link = batch[i + 1];
    batch[n - 1]->link = g;
    g->link = NULL;
    *overflow = batch[0];
    *count = n + 1;
    return true;
}

struct gs_g *gs_runq_steal(struct gs_p *p, struct gs_p *victim, bool take_next) {
    uint32_t tail = p->tail, head, n;
    for (;;) {
        head = gm_load_acquire(&victim->head);
        n = gm_load_acquire(&victim->tail) - head;
        n -= n / 2;
        if (n == 0) {
            struct gs_g *g = take_next ? gm_load_relaxed(&victim->next) : NULL;
            if (g == NULL) return NULL;
            return gm_cas_acq_rel(&victim->next, &g, NULL) ? g : NULL;
        }
        if (n > GS_RUNQ / 2) continue; /* head and tail were of different moments */
        /* The thief's own ring is empty, so half a ring fits. */
        for (uint32_t i = 0; i < n; i++)
            gm_store_relaxed(&p->ring[(tail + i) % GS_RUNQ], gm_load_relaxed(&victim->ring[(head + i) % GS_RUNQ]));
        if (gm_cas_acq_rel(&victim->head, &head, head + n)) break;
    }
    struct gs_g *g = gm_load_relaxed(&p->ring[(tail + n - 1) % GS_RUNQ]);
    if (n > 1) gm_store_release(&p->tail, tail + n - 1);
    return g;
}

unsigned gs_runq_length(const struct gs_p *p) {
    uint32_t head = gm_load_acquire(&p->head);
    uint32_t n = gm_load_acquire(&p->tail) - head;
    return (n <= GS_RUNQ ? n : GS_RUNQ) + (gm_load_relaxed(&p->next) != NULL);
}
