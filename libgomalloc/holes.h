/* Holes in small spans: pages of the kernel that only slots at home lie on. See central.c for whose they are. */
#ifndef GM_HOLES_H
#define GM_HOLES_H

#include "libgomalloc/span.h"

/* The span's holes that have not gone back, a bit for each kernel page in it. The class's lock, or nobody else has the span. */
uint32_t gm_holes_of(const struct gm_span *s);
/* These go back, and are noted in s->gone. Bytes. The class's lock. */
size_t gm_holes_release(struct gm_span *s, uint32_t pages);
/* Pages of ours that only slots at home lie on go to the page heap, and these slots for good. How many. Likewise. */
unsigned gm_holes_cede(struct gm_span *s);
/* Slots of the span may be touched again. Likewise. */
void gm_holes_forget(struct gm_span *s);

#endif
