/* Guests: objects of any class in runs of free 16-byte slots. See guests.c; central.c for when. */
#ifndef GM_GUESTS_H
#define GM_GUESTS_H

#include "libgomalloc/span.h"

/* The class of all hosts, and the largest objects that are put into them. */
#define GM_CLASS_HOST GM_CLASS_16
#define GM_GUEST_MAX  7680

/* Up to `want` objects of class cls out of a host; as gm_span_take. The lock of the hosts' class; not its current span. */
unsigned gm_guests_take(struct gm_span *s, unsigned cls, void **out, unsigned want);
/* The host's longest run of slots at home. */
unsigned gm_guests_longest(const struct gm_span *s);
/* The length of the run that the slot at p, which is at home, is part of. */
unsigned gm_guests_run(const struct gm_span *s, uintptr_t p);
/* Bytes [from, to) of a guest come home, which lie on the host's page; nfree after it. Likewise. */
unsigned gm_guests_give(struct gm_span *s, uintptr_t from, uintptr_t to);
/* Makes `host` the record of page number `page` of s, whose slots that are out become guests there. The locks of both
 * classes; the page table still says otherwise. */
void gm_guests_move_in(struct gm_span *host, const struct gm_span *s, unsigned page);
/* The live object that covers p, which lies on a page of slots; *cls its class, CLASS_8 if its state is odd. 0: none. */
uintptr_t gm_guests_find(const struct gm_arena *a, uintptr_t p, unsigned *cls);
/* There have been guests. Atomic; set before the first. */
extern GM_HIDDEN bool gm_guests_ever;

#endif
