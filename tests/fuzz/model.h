/* The plain model that the fuzzer holds the allocator to.
 *
 * A world is a table of places; a place is empty or holds a live block of which the model knows
 * everything: address, size asked for, usable size, alignment, and the key of the pattern that fills
 * it. Every call into the allocator is made by a function of this file, which checks what can be seen
 * from outside (alignment, errno, usable size, overlap with all other live blocks, content) and counts
 * what the statistics should say. The first contradiction ends the process with a line that names it and
 * the input in hexadecimal.
 *
 * Built with FUZZ_LIBC the calls go to the C library's names, so to whatever is preloaded (or to the C
 * library itself, which shows that the model asks for nothing unreasonable). */
#ifndef TESTS_FUZZ_MODEL_H
#define TESTS_FUZZ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libgomalloc/gomalloc.h"

enum { PLACES = 512, LIVE_MAX = 256 << 20 };

enum kind { NOTHING, SMALL, LARGE, TINY };

struct block {
    unsigned char *p;
    size_t n, usable, align;
    uint64_t key;
    enum kind kind;
};

/* What the statistics should have grown by. Sums of worlds are exact, also where one world frees what
 * another allocated: the differences wrap round. */
struct counts {
    uint64_t mallocs, frees, requested, total, objects, bytes, live_requested;
    uint64_t large_mallocs, large_frees, large_requested;
    struct {
        uint64_t mallocs, frees, requested;
    } by_size[GOMALLOC_MAX_SIZE_CLASSES];
};

struct world {
    struct block at[PLACES];
    struct counts count;
    uint64_t next_key;
    size_t live;     /* usable bytes in the table */
    bool alone;      /* nobody else calls the allocator meanwhile */
};

/* Before the first call: options, and the size classes. */
void model_start(void);
/* The input that is being run, for the report. */
void model_input(const uint8_t *data, size_t size);
_Noreturn void contradiction(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Calls. Those that make a block put it at an empty place. */
void world_alloc(struct world *w, unsigned place, size_t n);
void world_zeroed(struct world *w, unsigned place, size_t n);
void world_aligned(struct world *w, unsigned place, size_t align, size_t n);
void world_tiny(struct world *w, unsigned place, size_t n);
void world_realloc(struct world *w, unsigned place, size_t n); /* empty: realloc(NULL, n) */
void world_free(struct world *w, unsigned place);              /* empty: free(NULL) */
void world_verify(struct world *w, unsigned place);            /* content, usable size */
void world_impossible(struct world *w, unsigned place, size_t n, size_t align); /* fails, at no cost */
void world_trim(struct world *w);
void world_walk(void);                                         /* the allocator's own verifiers */

/* Blocks that change hands. */
void world_adopt(struct world *w, unsigned place, const struct block *b);
struct block world_abandon(struct world *w, unsigned place);

/* Statistics now, minus those in `before`, must be `want`. */
void stats_read(struct gomalloc_stats *out);
void stats_compare(const struct gomalloc_stats *before, const struct counts *want);
void counts_add(struct counts *sum, const struct counts *more);
/* No two blocks of all these worlds share a byte. */
void worlds_disjoint(struct world *w, unsigned n);

#endif
