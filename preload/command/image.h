/* The heap in a snapshot: its tables, what an address is, and the objects' contents as far as they were asked for. The rules
 * are those of libgomalloc/gcview.c. Memory: the tables, and a copy of the parts of the heap that were read. */
#ifndef GM_COMMAND_IMAGE_H
#define GM_COMMAND_IMAGE_H

#include "preload/command/snapshot.h"

struct heap_object {
    uintptr_t start;
    size_t size;             /* of its slot or span */
    unsigned cls;            /* 0: large */
    bool live, noscan, root; /* root: uncollectable, alive by itself */
};

struct image_large { uintptr_t start; size_t size; bool live; };
struct image_arena {
    struct gm_arena a;       /* as in the process */
    uintptr_t own_low;       /* the library's tables and records lie from here to the heap's end */
    uint8_t *state;          /* a copy, of `committed` bytes of heap */
    uint16_t *medium;        /* likewise; ends where a.medium points to */
    uint64_t *pages;         /* likewise; of a large span's pages, and of class 8: an index in `large` or `pair` */
    char *content;           /* of the heap, as far as `have` says */
    uint64_t *have;          /* a bit a piece */
    uint64_t *marks;         /* a bit for 16 bytes of heap */
    uintptr_t *parent;       /* for each 16 bytes of heap where the word was that led here; NULL if not asked for */
    struct image_large *large;
    uint8_t (*pair)[GM_SIDE_SMALL8]; /* the states of class-8 spans */
    size_t n_large, n_pairs;
};
struct image {
    const struct snapshot *s;
    struct image_arena *arena;
    size_t n;
};

/* Ends the command if it cannot be read. */
void image_read(struct image *m, const struct snapshot *s, bool parents);
void image_free(struct image *m);

struct image_arena *image_arena_of(const struct image *m, uintptr_t p);
/* The object that holds an address, live or not. */
bool image_find(const struct image *m, uintptr_t p, struct heap_object *o);
/* The words of [p, p + n), which lies in one arena's heap; n at most IMAGE_PIECE. */
#define IMAGE_PIECE ((size_t)256 << 10)
const uintptr_t *image_words(const struct image *m, uintptr_t p, size_t n);
/* Every live object, in order of addresses; the halves of a pair of class 8 as one. */
void image_each(const struct image *m, void (*fn)(void *arg, const struct heap_object *o), void *arg);

static inline uint64_t *image_mark_word(const struct image_arena *a, uintptr_t p) { return &a->marks[(p - a->a.base) >> (GM_STATE_SHIFT + 6)]; }
static inline uint64_t image_mark_bit(const struct image_arena *a, uintptr_t p) { return UINT64_C(1) << ((p - a->a.base) >> GM_STATE_SHIFT & 63); }

#endif
