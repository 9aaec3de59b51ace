/* pairs COUNT MODE [nothing]: COUNT malloc+free pairs, for instructions.sh to count.
 *   lifo     64 bytes, freed at once
 *   batch    64 bytes, a hundred at a time
 *   random   8 to 1031 bytes, over 128 slots
 * With `nothing` the same loop calls two functions that do nothing: what is left of the difference are
 * the instructions of malloc and free themselves, whatever the compiler made of the loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 128, BATCH = 100 };

static char somewhere[16];
static void *take_nothing(size_t n) { return somewhere + (n & 8); }
static void give_nothing(void *p) { (void)p; }

static void *(*volatile chosen_take)(size_t);
static void (*volatile chosen_give)(void *);
static void *slot[SLOTS];

static void lifo(long count) {
    void *(*take)(size_t) = chosen_take;
    void (*give)(void *) = chosen_give;
    for (long i = 0; i < count; i++) give(take(64));
}

static void batch(long count) {
    void *(*take)(size_t) = chosen_take;
    void (*give)(void *) = chosen_give;
    for (long i = 0; i < count / BATCH; i++) {
        for (int k = 0; k < BATCH; k++) slot[k] = take(64);
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

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    long count = atol(argv[1]);
    chosen_take = argc > 3 ? take_nothing : malloc;
    chosen_give = argc > 3 ? give_nothing : free;
    if (strcmp(argv[2], "lifo") == 0) lifo(count);
    else if (strcmp(argv[2], "batch") == 0) batch(count);
    else if (strcmp(argv[2], "random") == 0) random_sizes(count);
    else return 2;
    return 0;
}
