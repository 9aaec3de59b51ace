/* Records of goroutines: made, kept with their stacks when dead, numbered, counted and walked. See proc.c for the overview.
 *
 * A record is never given back, so that whoever holds a stale pointer reads a record, and the list of all only grows. Dead ones
 * wait where they died: each P has one list that it puts to and takes from, and a full one, a magazine of 32. Where
 * goroutines die on another P than they are made on, magazines go round, through a common list, so that the
 * scheduler's lock is taken once for 32 goroutines. Single ones, without a stack or left over, have a list of their own there. */
#include <errno.h>
#include <string.h>

#include "libgomalloc/meta.h"
#include "sched/gosched.h"
#include "sched/runq.h"
#include "sched/sanitize.h"
#include "sched/stack.h"
#include "sched/state.h"
#include "sched/switch.h"

enum { IDS = 16 }; /* numbers a P takes at a time */

static struct gm_fix records = GM_FIX_INIT(sizeof(struct gs_g), GM_CACHE_LINE);

struct gs_g *gs_new_record(void) {
    struct gs_g *g = gm_fix_get(&records);
    if (!g) return NULL;
    memset(g, 0, sizeof *g);
    g->all_next = gm_load_relaxed(&gs_sched.all_g);
    /* release: pairs with the acquire in gs_walk; the record is zeroed before it can be found. */
    while (!gm_cas_release(&gs_sched.all_g, &g->all_next, g)) {}
    return g;
}

static void put_single(struct gs_g *g) {
    g->link = gs_sched.free;
    gm_store_relaxed(&gs_sched.free, g);
}

/* From the common lists: one, and the rest of its magazine for p. */
static struct gs_g *common_one(struct gs_p *p) {
    gs_sched_lock();
    struct gs_g *g = gs_sched.magazines, *rest = NULL;
    if (g) {
        gm_store_relaxed(&gs_sched.magazines, g->above);
        rest = g->link;
    } else if ((g = gs_sched.free)) {
        gm_store_relaxed(&gs_sched.free, g->link);
    }
    for (struct gs_g *next; !p && rest; rest = next) {
        next = rest->link;
        put_single(rest);
    }
    gs_sched_unlock();
    if (!rest) return g;
    p->free = rest;
    gm_store_relaxed(&p->free_count, GS_MAGAZINE - 1);
    return g;
}

static struct gs_g *dead_one(struct gs_p *p) {
    struct gs_g *g = p ? p->free : NULL;
    if (GM_LIKELY(g != NULL)) {
        p->free = g->link;
        gm_count_add(&p->free_count, -1u);
        return g;
    }
    if (p && (g = p->full)) {
        gm_store_relaxed(&p->full, NULL);
        p->free = g->link;
        gm_store_relaxed(&p->free_count, GS_MAGAZINE - 1);
        return g;
    }
    if (gm_load_relaxed(&gs_sched.magazines) == NULL && gm_load_relaxed(&gs_sched.free) == NULL) return NULL;
    return common_one(p);
}

static uint64_t new_id(struct gs_p *p) {
    if (!p) return gm_add_relaxed(&gs_sched.id_next, 1) + 1;
    if (p->id_next == p->id_end) {
        p->id_next = gm_add_relaxed(&gs_sched.id_next, IDS) + 1;
        p->id_end = p->id_next + IDS;
    }
    return p->id_next++;
}

static void put_back(struct gs_g *g) {
    gs_sched_lock();
    put_single(g);
    gs_sched_unlock();
}

struct gs_g *gs_make_g(struct gs_p *p, size_t stack_bytes, void (*fn)(void *), void *arg) {
    struct gs_g *g = dead_one(p);
    if (!g) {
        g = gs_new_record();
        if (!g) return NULL;
        gm_store_relaxed(&g->state, GS_G_DEAD);
    }
    bool own = stack_bytes != GS_STACK_DEFAULT;
    if (own && g->stack_low) gs_stack_put(g);
    if (!g->stack_low && !gs_stack_get(g, stack_bytes)) {
        put_back(g);
        return NULL;
    }
    gm_store_relaxed(&g->flags, own ? GS_G_OWN_STACK : 0);
    g->fn = fn;
    g->arg = arg;
    gm_store_relaxed(&g->id, new_id(p));
    gs_fiber_create(g);
    g->sp = gs_new_frame(g, g->stack_top);
    return g;
}

static void give_magazine(struct gs_g *first) {
    first->above = gs_sched.magazines;
    gm_store_relaxed(&gs_sched.magazines, first);
}

/* The list of p is full: it becomes the magazine. */
static GM_NOINLINE void change_magazine(struct gs_p *p) {
    struct gs_g *before = p->full, *first = p->free;
    p->free = NULL;
    gm_store_relaxed(&p->free_count, 0);
    gm_store_relaxed(&p->full, first);
    if (!before) return;
    gs_sched_lock();
    give_magazine(before);
    gs_sched_unlock();
}

void gs_keep_dead(struct gs_p *p, struct gs_g *g) {
    gs_fiber_delete(g);
    gm_store_relaxed(&p->ended, p->ended + 1);
    if (GM_UNLIKELY(g->flags & GS_G_OWN_STACK)) {
        gs_stack_put(g);
        put_back(g);
        return;
    }
    if (GM_UNLIKELY(p->free_count == GS_MAGAZINE)) change_magazine(p);
    g->link = p->free;
    p->free = g;
    gm_count_add(&p->free_count, 1);
}

void gs_give_up_dead(struct gs_p *p) {
    for (struct gs_g *g; (g = p->free);) {
        p->free = g->link;
        put_single(g);
    }
    if (p->full) give_magazine(p->full);
    gm_store_relaxed(&p->full, NULL);
    gm_store_relaxed(&p->free_count, 0);
}

int go_count(void) {
    uint64_t made = gm_load_relaxed(&gs_sched.made), ended = 0;
    for (unsigned i = 0; i < gm_load_acquire(&gs_sched.p_made); i++) {
        made += gm_load_relaxed(&gs_sched.p[i]->made);
        ended += gm_load_relaxed(&gs_sched.p[i]->ended);
    }
    return (int)(made - ended);
}

void gs_walk(bool (*fn)(struct gs_g *g, void *arg), void *arg) {
    for (struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next) {
        uint32_t state = gm_load_relaxed(&g->state);
        if ((gm_load_relaxed(&g->flags) & GS_G_STANDIN) || state == GS_G_IDLE || state == GS_G_DEAD) continue;
        if (!fn(g, arg)) return;
    }
}

struct gs_g *gs_next_by_id(uint64_t id) {
    struct gs_g *best = NULL;
    for (struct gs_g *g = gm_load_acquire(&gs_sched.all_g); g; g = g->all_next) {
        if ((gm_load_relaxed(&g->flags) & GS_G_STANDIN) || gm_load_relaxed(&g->state) == GS_G_IDLE) continue;
        uint64_t own = gm_load_relaxed(&g->id);
        if (own > id && (!best || own < gm_load_relaxed(&best->id))) best = g;
    }
    return best;
}

/* ---- numbers */

unsigned gs_procs_id(void) {
    struct gs_g *g = gs_current;
    return g && g->m && g->m->p ? g->m->p->id : 0;
}
unsigned gs_procs(void) { return gm_load_acquire(&gs_sched.procs); }
unsigned gs_procs_made(void) { return gm_load_acquire(&gs_sched.p_made); }
struct gs_p *gs_proc(unsigned id) { return gs_sched.p[id]; }

bool gs_worth_spinning(const struct gs_g *g) {
    if (!gs_is_goroutine(g)) return gs_procs() != 1;
    return gs_procs() > 1 + gm_load_relaxed(&gs_sched.idle_p_count) + gm_load_relaxed(&gs_sched.spinning) && gs_runq_empty(g->m->p);
}

uint64_t go_id(void) {
    struct gs_g *g = gs_current;
    return g ? g->id : 0;
}
