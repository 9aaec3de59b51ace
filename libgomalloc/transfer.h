/* Batches of free slots on their way between threads, without a lock.
 *
 * Frees by another thread than the allocating one fill the freeing thread's cache; what overflows
 * leaves as a batch into one of the class's places here, and whoever refills next takes it whole.
 * Nothing waits for the owner of anything. A place holds NULL or a batch; an exchange or
 * compare-and-swap moves it, so there is no list that could be cut or mended wrongly (no ABA), and the
 * memory held here is bounded by construction. Full: the caller goes to central.
 *
 * Figures that decided it stand in malloc.c. */
#ifndef GM_TRANSFER_H
#define GM_TRANSFER_H

#include "libgomalloc/sizeclass.h"

#define GM_BATCH_MAX 64

/* Hands over n <= GM_BATCH_MAX free slots of a class whose spans hold class_bytes. False: no place is free
 * (or no memory for the batch). */
bool gm_transfer_put(unsigned cls, void **slots, unsigned n, size_t class_bytes);
/* Takes a batch: stores its slots in out[0..GM_BATCH_MAX) and returns how many; 0: there is none. Without
 * `all` it may miss one that another thread is just putting. */
unsigned gm_transfer_get(unsigned cls, void **out, bool all);
/* Whether the class has batches that nobody has moved since the last call. */
bool gm_transfer_is_quiet(unsigned cls);
/* Slots waiting here, for statistics. */
unsigned gm_transfer_count(unsigned cls);
/* Where the batches lie, for a reader in another process (endpoint.h): GM_CLASSES records of `stride` bytes, at
 * `at` in each `places` pointers to a batch, at `n` in which an unsigned says how many slots it has. */
struct gm_fix;
struct gm_transfer_roots { const void *base; const struct gm_fix *records; uint32_t stride, at, places, n; };
extern GM_HIDDEN const struct gm_transfer_roots gm_transfer_roots;
/* Bytes of batch records. */
size_t gm_transfer_bytes(void);

#endif
