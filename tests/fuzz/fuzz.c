/* Byte strings as sequences of calls into the allocator, held against the plain model of model.h.
 *
 * The first byte says how: all calls by one thread; by three threads in turns, so that every block may
 * be freed or resized by another thread than made it, in an order that repeats exactly; or by three threads
 * at once, each with a third of the string and a table of its own, handing blocks over through a
 * shared shelf. The rest is calls: one byte for which, then its operands. Any string is valid; it ends
 * where its bytes do. At the end everything is verified, counted, freed, and counted again.
 *
 * With -DFUZZ_COVERAGE (clang -fsanitize=fuzzer) this is a target for libFuzzer. Otherwise it is a test
 * program: it replays the files of tests/fuzz/corpus and those in GM_FUZZ_INPUT (a file or folder), then
 * runs random strings for GM_FUZZ_SECONDS (5) from GM_SEED (random, printed). */
#include "tests/fuzz/model.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 3, SHELF = 32, INPUT_MAX = 4096 };
enum mode { ONE_THREAD, IN_TURNS, AT_ONCE };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- reading the string */

struct reader {
    const uint8_t *at, *end;
};

static unsigned byte(struct reader *r) { return r->at < r->end ? *r->at++ : 0; }
static unsigned word(struct reader *r) {
    unsigned high = byte(r);
    return high << 8 | byte(r);
}

/* Mostly small; often at the edges of classes, pages and of what is small; sometimes megabytes. */
static size_t read_size(struct reader *r) {
    unsigned kind = byte(r);
    switch (kind & 15) {
    case 0: case 1: case 2: case 3: case 4: return kind >> 4;
    case 5: case 6: case 7: case 8: return byte(r);
    case 9: case 10: return word(r) & 0x7ff;
    case 11: return word(r);
    case 12: return ((size_t)1 << (kind >> 4)) + byte(r) % 5 - 2 + (kind < 32 ? 2 : 0);
    case 13: return (size_t)(byte(r) + 1) * 128 + (kind >> 4) % 3 - 1;
    case 14: return (size_t)(byte(r) + 1) * 8192 + (kind >> 4) % 3 - 1;
    default: return ((size_t)byte(r) << (kind < 64 ? 16 : 12)) + word(r);
    }
}

static size_t read_align(struct reader *r) {
    unsigned kind = byte(r);
    if (kind >= 252) return (size_t)1 << (20 + byte(r) % 10);
    return (size_t)1 << (kind < 192 ? kind % 14 : kind % 21);
}

enum call {
    MALLOC, CALLOC, REALLOC, ALIGNED, TINY_, FREE, VERIFY, MALLOC_MANY, FREE_MANY, MIXED_MANY, HAND_OVER, IMPOSSIBLE,
    TRIM, STATS, WALK, THREAD
};
/* How often a byte means which: rare and slow calls get one value of 64. */
static const uint8_t call_of[64] = {
    MALLOC, MALLOC, MALLOC, MALLOC, MALLOC, MALLOC, MALLOC, MALLOC, MALLOC, MALLOC,
    CALLOC, CALLOC, CALLOC, CALLOC, CALLOC, REALLOC, REALLOC, REALLOC, REALLOC, REALLOC, REALLOC, REALLOC, REALLOC,
    ALIGNED, ALIGNED, ALIGNED, ALIGNED, TINY_, TINY_, TINY_, TINY_, FREE, FREE, FREE, FREE, FREE, FREE, FREE, FREE, FREE,
    FREE, VERIFY, VERIFY, MALLOC_MANY, MALLOC_MANY, MALLOC_MANY, FREE_MANY, FREE_MANY, FREE_MANY, MIXED_MANY, MIXED_MANY,
    HAND_OVER, HAND_OVER, HAND_OVER, HAND_OVER, HAND_OVER, HAND_OVER, IMPOSSIBLE, TRIM, STATS, STATS, WALK, THREAD, THREAD,
};

struct op {
    enum call call;
    unsigned place, count, stride;
    size_t n, align;
};

static struct op read_op(struct reader *r) {
    unsigned first = byte(r);
    struct op op = { .call = call_of[first & 63], .align = 1 };
    op.place = (first >> 6 << 8 | byte(r)) % PLACES;
    bool many = op.call >= MALLOC_MANY && op.call <= MIXED_MANY;
    if (op.call == IMPOSSIBLE) op.n = byte(r);
    else if (op.call == TINY_) op.n = byte(r) % 16;
    else if (op.call <= ALIGNED || (many && op.call != FREE_MANY)) op.n = read_size(r);
    if (op.call == ALIGNED) op.align = read_align(r);
    if (many) {
        op.count = byte(r);
        op.stride = op.count & 1 ? 1 : 1 + byte(r) % 7;
    } else if (op.call == THREAD) {
        op.count = byte(r) % 16;
    }
    return op;
}

/* ---- executing it */

struct cell {
    pthread_mutex_t lock;
    struct block b;
};
static struct cell shelf[SHELF] = { [0 ... SHELF - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER } };
static struct gomalloc_stats before; /* statistics when the input began */

static void make_empty(struct world *w, unsigned place) {
    if (w->at[place].p) world_free(w, place);
}

static size_t bounded(const struct world *w, size_t n) { return w->live + n > LIVE_MAX / THREADS ? n & 0x3ff : n; }

static void hand_over(struct world *w, unsigned place) {
    struct cell *c = &shelf[place % SHELF];
    struct block mine = { 0 };
    if (w->at[place].p) {
        world_verify(w, place);
        mine = world_abandon(w, place);
    }
    pthread_mutex_lock(&c->lock);
    struct block theirs = c->b;
    c->b = mine;
    pthread_mutex_unlock(&c->lock);
    if (theirs.p) world_adopt(w, place, &theirs);
}

static void impossible(struct world *w, const struct op *op) {
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 4096, SIZE_MAX / 2, (size_t)1 << 48, (size_t)1 << 46,
                                    (size_t)1 << 43, (size_t)1 << 40, (size_t)200 << 30 };
    size_t n = sizes[op->n % (sizeof sizes / sizeof *sizes)];
    world_impossible(w, op->place, n, op->n & 128 ? 4096 : 1);
}

static void execute(struct world *w, struct op op, struct reader *r);

struct errand {
    struct world *w;
    struct reader *r;
    unsigned calls;
};
static void *run_errand(void *argument) {
    struct errand *e = argument;
    while (e->calls-- && e->r->at < e->r->end) {
        struct op op = read_op(e->r);
        if (op.call != THREAD) execute(e->w, op, e->r);
    }
    return NULL;
}

/* The next few calls are made by a thread of their own, which then ends: its cache has to come home. */
static void in_new_thread(struct world *w, struct reader *r, unsigned calls) {
    struct errand e = { w, r, calls };
#ifndef FUZZ_LIBC /* there pthread_create's own calls would be counted */
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_errand, &e) == 0) {
        pthread_join(thread, NULL);
        return;
    }
#endif
    run_errand(&e);
}

static void execute_many(struct world *w, struct op op) {
    size_t n = op.n > 70000 ? op.n & 0xfff : op.n;
    for (unsigned i = 0; i < op.count; i++) {
        unsigned place = (op.place + i * op.stride) % PLACES;
        if (op.call == FREE_MANY || w->at[place].p) world_free(w, place);
        if (op.call == MALLOC_MANY) world_alloc(w, place, bounded(w, n));
        if (op.call == MIXED_MANY) world_alloc(w, place, bounded(w, (n + i * 37) & 0x1fff));
    }
}

static void execute(struct world *w, struct op op, struct reader *r) {
    unsigned place = op.place;
    size_t n = bounded(w, op.n);
    struct gomalloc_stats now;
    if (op.call <= TINY_ && op.call != REALLOC) make_empty(w, place);
    switch (op.call) {
    case MALLOC: world_alloc(w, place, n); break;
    case CALLOC: world_zeroed(w, place, n); break;
    case REALLOC: world_realloc(w, place, n); break;
    case ALIGNED: world_aligned(w, place, op.align, n); break;
    case TINY_: world_tiny(w, place, op.n); break;
    case FREE: world_free(w, place); break;
    case VERIFY: world_verify(w, place); break;
    case MALLOC_MANY: case FREE_MANY: case MIXED_MANY: execute_many(w, op); break;
    case HAND_OVER: hand_over(w, place); break;
    case IMPOSSIBLE: impossible(w, &op); break;
    case TRIM: world_trim(w); break;
    case STATS:
        if (w->alone) stats_compare(&before, &w->count);
        else stats_read(&now);
        break;
    case WALK: world_walk(); break;
    case THREAD: in_new_thread(w, r, op.count); break;
    }
}

/* ---- the three threads: they live as long as the process */

struct worker {
    pthread_t thread;
    sem_t go, done;
    struct world *w;
    struct reader *r; /* in turns: one call of it; at once: all of it */
    bool once;
};
static struct worker worker[THREADS];
static struct world worlds[THREADS];

static void *work(void *argument) {
    struct worker *me = argument;
    for (;;) {
        while (sem_wait(&me->go) != 0) {}
        do execute(me->w, read_op(me->r), me->r);
        while (!me->once && me->r->at < me->r->end);
        sem_post(&me->done);
    }
    return NULL;
}

static void start(void) {
    static bool started;
    if (started) return;
    started = true;
    model_start();
    for (unsigned i = 0; i < THREADS; i++) {
        sem_init(&worker[i].go, 0, 0);
        sem_init(&worker[i].done, 0, 0);
        if (pthread_create(&worker[i].thread, NULL, work, &worker[i]) != 0) contradiction("no thread");
    }
}

static void let_go(unsigned i, struct world *w, struct reader *r, bool once) {
    worker[i].w = w;
    worker[i].r = r;
    worker[i].once = once;
    sem_post(&worker[i].go);
}
static void wait_for(unsigned i) {
    while (sem_wait(&worker[i].done) != 0) {}
}

static void run_all(enum mode mode, struct reader *r) {
    struct reader part[THREADS];
    size_t third = (size_t)(r->end - r->at) / THREADS;
    switch (mode) {
    case ONE_THREAD:
        while (r->at < r->end) execute(&worlds[0], read_op(r), r);
        break;
    case IN_TURNS:
        while (r->at < r->end) {
            unsigned who = byte(r) % THREADS;
            let_go(who, &worlds[0], r, true);
            wait_for(who);
        }
        break;
    case AT_ONCE:
        for (unsigned i = 0; i < THREADS; i++) {
            part[i] = (struct reader){ r->at + i * third, r->at + (i + 1) * third };
            let_go(i, &worlds[i], &part[i], false);
        }
        for (unsigned i = 0; i < THREADS; i++) wait_for(i);
        break;
    }
}

static void compare_all(void) {
    struct counts sum = { 0 };
    for (unsigned i = 0; i < THREADS; i++) counts_add(&sum, &worlds[i].count);
    stats_compare(&before, &sum);
}

static void finish(void) {
    for (unsigned i = 0; i < SHELF; i++) { /* what nobody took: at an empty place of the first world */
        unsigned place = 0;
        while (shelf[i].b.p && worlds[0].at[place].p && place < PLACES - 1) place++;
        if (!shelf[i].b.p) continue;
        make_empty(&worlds[0], place);
        world_adopt(&worlds[0], place, &shelf[i].b);
        shelf[i].b.p = NULL;
    }
    worlds_disjoint(worlds, THREADS);
    compare_all();
    world_walk();
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned place = 0; place < PLACES; place++)
            if (worlds[i].at[place].p) world_free(&worlds[i], place);
    compare_all();
    world_walk();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct reader r = { data, data + size };
    start();
    model_input(data, size);
    enum mode mode = byte(&r) % 3;
    memset(worlds, 0, sizeof worlds);
    for (unsigned i = 0; i < THREADS; i++) worlds[i].alone = mode != AT_ONCE;
    stats_read(&before);
    run_all(mode, &r);
    for (unsigned i = 0; i < THREADS; i++) worlds[i].alone = false;
    finish();
    return 0;
}

/* ---- as a test program */

#ifndef FUZZ_COVERAGE
#include <dirent.h>

#include "tests/check.h"

static void replay_file(const char *path) {
    static uint8_t data[1 << 16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof data);
    if (fd >= 0) close(fd);
    if (!expect(n >= 0)) diag("cannot read %s", path);
    else LLVMFuzzerTestOneInput(data, (size_t)n);
}

/* A file, or the files of a folder. */
static int replay(const char *path) {
    char name[4096];
    int files = 0;
    DIR *dir = opendir(path);
    if (!dir) {
        replay_file(path);
        return 1;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        replay_file(name);
        files++;
    }
    closedir(dir);
    return files;
}

TEST_LIMIT(corpus, 120) {
    const char *more = getenv("GM_FUZZ_INPUT");
    expect(replay("tests/fuzz/corpus") > 0);
    if (more && *more) replay(more);
}

/* Half of the strings are uniform noise; the others repeat a few calls, which is what fills and drains. */
static size_t random_input(struct check_rng *rng, uint8_t *out) {
    size_t size = 1 + check_below(rng, check_below(rng, 4) ? 600 : INPUT_MAX);
    size_t period = check_below(rng, 2) ? size : 4 + check_below(rng, 60);
    for (size_t i = 0; i < size; i++) {
        bool fresh = i < period || check_below(rng, 8) == 0;
        out[i] = fresh ? (uint8_t)check_random(rng) : out[i - period];
    }
    return size;
}

TEST_LIMIT(random_calls, 86400) {
    static uint8_t data[INPUT_MAX];
    const char *given = getenv("GM_FUZZ_SECONDS");
    double seconds = given && *given ? strtod(given, NULL) : 5;
    int64_t until = check_now_ns() + (int64_t)(seconds * 1e9);
    struct check_rng rng = check_rng(0);
    unsigned long inputs = 0;
    for (; check_now_ns() < until; inputs++) LLVMFuzzerTestOneInput(data, random_input(&rng, data));
    diag("%lu inputs in %g s", inputs, seconds);
    expect(inputs > 0);
}

TEST_MAIN()
#endif
