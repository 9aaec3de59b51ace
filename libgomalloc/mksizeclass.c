/* Generates sizeclass_table.h. Run by `make sizeclass`; a lint test checks that the table is current.
 *
 * What the table must satisfy (checked at the end, the generator refuses to print a bad one):
 *
 *   1. 8 bytes to 32 KiB; above that an object is a span of its own.
 *   2. Alignment. malloc promises 16 bytes for anything of 16 bytes or more, so every class but the
 *      first is a multiple of 16 (a 24-byte class, which Go has, would break that promise). Above
 *      1024 they are multiples of 32, so that one table with steps of 32 finds them. Every power
 *      of two is a class: memalign(a, n) rounds n up to a multiple of a and takes the first class
 *      that is one too; spans start on pages, so its slots are aligned up to a page.
 *   3. Rounding wastes at most 12.5 % of a slot for requests above 128 bytes. A grid of 8 steps per
 *      doubling gives at most 1/9. (Below, steps of 16 are as fine as alignment allows.)
 *   4. The end of a span wastes at most 12.5 % of it.
 *
 * How the rest is decided: a span has at least min_slots slots and otherwise as few pages as its end
 * allows (cost): small spans become empty sooner and go back to the page heap (less fragmentation, fewer
 * pages touched by a small process), while too few slots a span make every few allocations a visit to
 * the central list, and a fixed number of pages would lose up to an eighth of them. Then the slot is widened into what would be lost at the span's end, as long as it stays
 * below the next step of the grid: larger slots for the same memory, unless rounding
 * would then waste more than 12.5 %. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE = 8192, MAX_SMALL = 32768, MAX_PAGES = 16, MAX_CLASSES = 120, STEP = 32 };

static struct { int size, pages, slots; } class[MAX_CLASSES];
static int classes = 1; /* class 0: no class (a large object, or a free slot) */

static bool is_pow2(int n) { return (n & (n - 1)) == 0; }

static int min_slots(int size) { return size <= 1024 ? 8 : size <= 2048 ? 4 : size <= 4096 ? 2 : 1; }

/* What a span of so many pages costs, in 1/10000 of its bytes: its end, and for being large 0.4 % a page, above
 * 1 KiB 0.6 %: forty classes with a span or two each that a few slots keep from going home are what a program
 * of 10 MiB has idle. */
static int cost(int size, int pages) {
    int bytes = pages * PAGE, slots = bytes / size, end = bytes - slots * size;
    if (slots < min_slots(size) || end * 8 > bytes) return 1 << 30;
    return (int)(10000ll * end / bytes) + (size <= 1024 ? 40 : 60) * pages;
}

static int span_pages(int size) {
    int best = 1;
    for (int pages = 2; pages <= MAX_PAGES; pages++)
        if (cost(size, pages) < cost(size, best)) best = pages;
    if (cost(size, best) < 1 << 30) return best;
    fprintf(stderr, "no span for %d\n", size);
    exit(1);
}

static void add(int size, int next) {
    int pages = span_pages(size), slots = pages * PAGE / size, align = size > 1024 ? STEP : 16;
    if (size > 16 && !is_pow2(size)) {
        int wide = pages * PAGE / slots / align * align, before = class[classes - 1].size;
        if (wide < next && wide > size && (wide - before - 1) * 8 <= wide) size = wide;
    }
    class[classes].size = size;
    class[classes].pages = pages;
    class[classes++].slots = slots;
}

static void choose(void) {
    add(8, 16);
    for (int size = 16; size <= 256; size += 16) add(size, size + 16);
    for (int low = 256; low < MAX_SMALL; low *= 2)
        for (int step = 1; step <= 8; step++) {
            /* A power of two and a small header is what programs with pages of their own ask for (SQLite's
             * pages are 4368 bytes and its rows of zeros 1032: 5 % of its memory). */
            if (step == 1 && low == 1024) add(low + 32, low + 64);
            if (step == 1 && low >= 2048) add(low + 128, low == 4096 ? low + 256 : low + low / 8);
            if (step == 1 && low == 4096) add(low + 288, low + 320);
            add(low + low / 8 * step, low + low / 8 * (step + 1));
        }
}

static int class_of(int size) {
    for (int c = 1; c < classes; c++)
        if (class[c].size >= size) return c;
    return 0;
}

static void check(void) {
    for (int n = 1; n <= MAX_SMALL; n++) {
        int size = class[class_of(n)].size;
        if (n > 128 && (size - n) * 8 > size) fprintf(stderr, "%d rounds to %d\n", n, size), exit(1);
    }
    for (int c = 2; c < classes; c++) {
        int size = class[c].size, bytes = class[c].pages * PAGE;
        if (size <= class[c - 1].size || size % (size > 1024 ? STEP : 16)) fprintf(stderr, "class %d\n", size), exit(1);
        if ((bytes - class[c].slots * size) * 8 > bytes) fprintf(stderr, "end of span of %d\n", size), exit(1);
    }
    for (int n = 8; n <= MAX_SMALL; n *= 2)
        if (class[class_of(n)].size != n) fprintf(stderr, "no class of %d\n", n), exit(1);
}

static void print_array(const char *type, const char *name, int n, int (*value)(int)) {
    if (type) printf("\n%s %s[%d] = {", type, name, n);
    else printf("\n  .%s = {", name);
    for (int i = 0; i < n; i++) printf("%s%d,", i % 16 ? " " : "\n    ", value(i));
    printf("\n%s\n", type ? "};" : "  },");
}
static int size_at(int c) { return class[c].size; }
static int pages_at(int c) { return class[c].pages; }
static int slots_at(int c) { return class[c].slots; }
/* n / size for n below a span's size, as (n * reciprocal) >> 32: checked for every n. */
static int reciprocal_at(int c) {
    if (c == 0) return 0;
    unsigned r = (unsigned)(((1ull << 32) + (unsigned)class[c].size - 1) / (unsigned)class[c].size);
    for (unsigned n = 0; n < (unsigned)(class[c].pages * PAGE); n++)
        if (((unsigned long long)n * r) >> 32 != n / (unsigned)class[c].size) fprintf(stderr, "reciprocal\n"), exit(1);
    return (int)r;
}
static int small_at(int i) { return class_of(i == 0 ? 16 : i); }
static int medium_at(int i) { return class_of(1024 + i * STEP); }

int main(void) {
    choose();
    check();
    printf("/* Generated by mksizeclass.c, where the reasoning stands; do not edit.\n *\n"
           " * class  bytes  pages  slots  end of span  largest rounding\n");
    for (int c = 1; c < classes; c++) {
        int bytes = class[c].pages * PAGE, size = class[c].size;
        printf(" * %5d %6d %6d %6d %11.1f%% %16.1f%%\n", c, size, class[c].pages, class[c].slots,
               100.0 * (bytes - class[c].slots * size) / bytes,
               100.0 * (size - class[c - 1].size - 1) / size);
    }
    printf(" */\n#define GM_CLASSES %d\n#define GM_FIRST_MEDIUM %d /* the first class above 1024 bytes */\n\n#ifdef GM_SIZECLASS_TABLES", classes, class_of(1025));
    print_array("const uint16_t", "gm_class_size", classes, size_at);
    print_array("const uint8_t", "gm_class_pages", classes, pages_at);
    print_array("const uint16_t", "gm_class_slots", classes, slots_at);
    print_array("const uint32_t", "gm_class_reciprocal", classes, reciprocal_at);
    printf("\nconst struct gm_class_tables gm_class_tables = {");
    print_array(NULL, "small", 1024 + 1, small_at);
    print_array(NULL, "medium", (MAX_SMALL - 1024) / STEP + 1, medium_at);
    printf("};\n#endif\n");
    return 0;
}
