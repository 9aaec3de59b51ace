/* Room in nearly empty spans: used before fresh memory is, and given back. See room.c. */
#ifndef GM_ROOM_H
#define GM_ROOM_H

#include "libgomalloc/lists.h"

/* The heap has taken so many bytes of fresh memory (gm_heap_fresh): look whether it is crowded. No lock is held. */
enum { GM_FRESH_STEP = 1024 * 1024 };
void gm_room_look(void);
/* Up to `want` slots of class cls that are guests in hosts, as gm_central_take; 0: no room. No class's lock is held. */
unsigned gm_room_lodge(unsigned cls, void **out, unsigned want);
/* Takes n such slots back. Likewise. */
void gm_room_give_guests(unsigned cls, void **slots, unsigned n);

/* From now on objects lie in spans of their class and nowhere else, but for those that do not now: for who finds them by
 * their spans (a collector, sampling). */
void gm_central_no_guests(void);
/* Gives back the kernel's pages inside of spans whose slots are all at home, and whole pages to the page heap: in spans that
 * have not changed since the last call, or, with `at_once`, in all. Until the clock (gm_os_nanotime) says `until`. The
 * bytes that went to the kernel. */
size_t gm_central_release_holes(uint64_t until, bool at_once);
/* Brings home what waits in batches (cache.c, above this layer). */
extern GM_HIDDEN void (*gm_central_batches_home)(void);

#endif
