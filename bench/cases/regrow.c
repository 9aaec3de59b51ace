/* One block that grows: a file that is read in, an array that doubles.
 *
 *   regrow steps REPEATS    from 4 KiB in steps of 4 KiB to 4 MiB and freed, REPEATS times; steps are filled
 *   regrow doubling         from 4 KiB by doubling to 1 GiB; each new page is written once
 *
 * Nothing stands behind the block, so it can grow where it is, and what it had can be remapped where it
 * cannot: the C library copies next to nothing here. At the end one word of each page is read back. */
#include "bench.h"

enum { PAGE = 4096, STEPS_END = 4 << 20, LARGEST = 1 << 30 };

static uint64_t word_at(size_t at) { return at * 2654435761u; }

/* Grows the block to `size`; every page that is new gets `fill` bytes of text and its word. */
static unsigned char *grow(unsigned char *block, size_t *was, size_t size, size_t fill) {
    block = must(realloc(block, size));
    for (size_t at = *was; at < size; at += PAGE) {
        uint64_t word = word_at(at);
        memset(block + at, (int)(at >> 12), fill);
        memcpy(block + at, &word, sizeof word);
    }
    *was = size;
    return block;
}

static void finish_block(unsigned char *block, size_t size, uint64_t *taken, uint64_t *given) {
    for (size_t at = 0; at < size; at += PAGE) {
        uint64_t word;
        memcpy(&word, block + at, sizeof word);
        *taken += word_at(at);
        *given += word;
    }
    free(block);
}

int main(int argc, char **argv) {
    int doubling = argc > 1 && strcmp(argv[1], "doubling") == 0;
    uint64_t repeats = doubling ? 1 : argument(argc, argv, 2, 2000), taken = 0, given = 0;
    for (uint64_t i = 0; i < repeats; i++) {
        unsigned char *block = NULL;
        size_t was = 0;
        if (doubling)
            for (size_t size = PAGE; size <= LARGEST; size *= 2) block = grow(block, &was, size, 0);
        else
            for (size_t size = PAGE; size <= STEPS_END; size += PAGE) block = grow(block, &was, size, PAGE);
        finish_block(block, was, &taken, &given);
    }
    return finish(taken, given);
}
