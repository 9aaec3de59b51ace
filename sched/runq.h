/* The queue of runnable goroutines of one P: a ring of 256 and a place before it. See runq.c.
 * "Owner" calls are for the M that holds the P; any thread may steal. */
#ifndef GS_RUNQ_H
#define GS_RUNQ_H

#include "sched/gmp.h"

/* Owner. False: the ring was full, and half of it, with g behind, is in *overflow, linked, *count long. */
bool gs_runq_put(struct gs_p *p, struct gs_g *g, struct gs_g **overflow, unsigned *count);
/* Owner: g becomes the next to run; who was it before is returned, to be put. */
struct gs_g *gs_runq_put_next(struct gs_p *p, struct gs_g *g);
/* Owner: the next one, or NULL. With `ring_first` the ring goes before `next`. */
struct gs_g *gs_runq_get(struct gs_p *p, bool ring_first);
/* Owner of p: takes half of the victim's ring; one of them is returned, the others are in p's ring. With
 * `take_next` the victim's `next` is taken if its ring is empty. */
struct gs_g *gs_runq_steal(struct gs_p *p, struct gs_p *victim, bool take_next);
bool gs_runq_empty(const struct gs_p *p);
unsigned gs_runq_length(const struct gs_p *p);

/* True while there is one P only: nobody steals, and the owner needs no compare-and-swap. Changed
 * while no P runs (world.c). */
extern GM_HIDDEN bool gs_runq_alone;

#endif
