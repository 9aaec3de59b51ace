/* pairs COUNT MODE [nothing]: COUNT malloc+free pairs, for instructions.sh to count.
 *   lifo     64 bytes, freed at once
 *   batch    64 bytes, a hundred at a time
 *   random   8 to 1031 bytes, over 128 slots
 *   short    5 bytes, a hundred at a time
 *   medium   4000 bytes, freed at once
 *   regrow   realloc of one block to 40 bytes and 48, where it stays: each two calls count as one pair
 * With `nothing` the same loop calls two functions that do nothing: what is left of the difference are
 * the instructions of malloc and free themselves, whatever the compiler made of the loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 128, BATCH = 100 };

static char somewhere[16];
static void *take_nothing(size_t n) { return somewhere + (n & 8); }
static void *regrow_nothing(void *p, size_t n) { return (void)n, p; }
static void give_nothing(void *p) { (void)p; }

static void *(*volatile chosen_take)(size_t);
static void (*volatile chosen_give)(void *);
static void *(*volatile chosen_regrow)(void *, size_t);
static void *slot[SLOTS];

static void lifo(long count, size_t size) {
    void *(*take)(size_t) = chosen_take;
    void (*give)(void *) = chosen_give;
    for (long i = 0; i < count; i++) give(take(size));
}

static void batch(long count, size_t size) {
    void *(*take)(size_t) = chosen_take;
    void (*give)(void *) = chosen_give;
    for (long i = 0; i < count / BATCH; i++) {
        for (int k = 0; k < BATCH; k++) slot[k] = take(size);
        for (int k = 0; k < BATCH; k++) give(slot[k]);
    }
}

static void random_sizes(long count) {
    void *(*take)(size_t) = chosen_take;
    void (*give)(void *) = chosen_give;
    unsigned s = 12345;
    for (int k = 0; k < SLOTS; k++) slot[k] = take(8);
    for (long i = 0; i < count; i++) {
        s = s * 1103515245u + 12345u;
        unsigned k = s >> 16 & (SLOTS - 1);
        give(slot[k]);
        s = s * 1103515245u + 12345u;
        slot[k] = take(8 + (s >> 16 & 1023));
    }
}

static void regrow(long count) {
    void *(*again)(void *, size_t) = chosen_regrow;
    void *p = malloc(48);
    for (long i = 0; i < count; i++) p = again(again(p, 40), 48);
    free(p);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    long count = atol(argv[1]);
    chosen_take = argc > 3 ? take_nothing : malloc;
    chosen_give = argc > 3 ? give_nothing : free;
    chosen_regrow = argc > 3 ? regrow_nothing : realloc;
    if (strcmp(argv[2], "lifo") == 0) lifo(count, 64);
    else if (strcmp(argv[2], "batch") == 0) batch(count, 64);
    else if (strcmp(argv[2], "short") == 0) batch(count, 5);
    else if (strcmp(argv[2], "medium") == 0) lifo(count, 4000);
    else if (strcmp(argv[2], "regrow") == 0) regrow(count);
    else if (strcmp(argv[2], "random") == 0) random_sizes(count);
    else return 2;
    return 0;
}
