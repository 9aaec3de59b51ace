/* Many collections while threads come and go, libraries are loaded and unloaded, signals fly and processes fork. Each
 * thread keeps lists of objects whose content follows from a key; half of what it no longer wants it frees, the other
 * half it forgets. Whatever is still reachable must be as it was made.
 *
 * 100 cycles at least (STRESS=1: 1000), until all have been at it, and as long as it takes; GM_SEED repeats the choices, not the interleaving. */
#include "tests/gc/hide.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

enum { LISTS = 32, WORKERS = 3 };

struct object {
    struct object *next;
    uint64_t key;
    uint32_t n, interior;   /* bytes of fill; whether the list leads to the fill instead of the start */
    uint8_t fill[];
};
struct lists { void *head[LISTS]; struct check_rng rng; };

static atomic_int stop;
static atomic_ulong checked, signals, forks, loads, born;

static struct object *object_of(void *link) { return (struct object *)((uintptr_t)link & ~(uintptr_t)7); }

static bool is_whole(const struct object *o) {
    for (uint32_t i = 0; i < o->n; i++)
        if (o->fill[i] != (uint8_t)(o->key >> i % 7 * 8)) return false;
    return true;
}

static struct object *make(struct check_rng *rng, void *next) {
    uint32_t n = (uint32_t)check_below(rng, check_below(rng, 64) ? 300 : 90000);
    struct object *o = check_below(rng, 3) ? malloc(sizeof *o + n) : calloc(1, sizeof *o + n);
    o->key = rng->state ^ (uintptr_t)o;
    o->n = n;
    o->next = next;
    for (uint32_t i = 0; i < n; i++) o->fill[i] = (uint8_t)(o->key >> i % 7 * 8);
    return o;
}

static void check_list(void *head) {
    for (struct object *o = object_of(head); o; o = object_of(o->next)) {
        if (is_whole(o)) {
            checked++;
            continue;
        }
        expect(!"an object has changed");
        _exit(2);
    }
}

/* A link may be tagged in its low bits: an interior pointer. */
static void *tagged(struct object *o, struct check_rng *rng) { return (char *)o + check_below(rng, 4); }

static void drop(void *head, bool by_free) {
    for (struct object *o = object_of(head), *next; by_free && o; o = next) {
        next = object_of(o->next);
        free(o);
    }
}

static HIDE_NOINLINE void step(struct lists *l) {
    void **head = &l->head[check_below(&l->rng, LISTS)];
    uint64_t what = check_below(&l->rng, 16);
    if (what == 0) {
        void *old = *head;
        *head = NULL;
        drop(old, check_below(&l->rng, 2));
    } else if (what < 4) {
        check_list(*head);
    } else if (what == 4 && *head) {
        struct object *o = object_of(*head), *new = realloc(o, sizeof *o + o->n + 40); /* the content moves along */
        *head = new;
        if (!is_whole(new)) expect(!"realloc lost content");
    } else {
        *head = tagged(make(&l->rng, *head), &l->rng);
    }
}

static void run_lists(struct lists *l, unsigned steps) {
    for (unsigned i = 0; i < steps && !stop; i++) step(l);
    for (unsigned i = 0; i < LISTS; i++) check_list(l->head[i]);
}

/* Its lists lie on its stack, or in an object. */
static void *worker(void *seed) {
    struct lists here = { .rng = check_rng((uint64_t)(uintptr_t)seed) }, *l = (uintptr_t)seed & 1 ? &here : calloc(1, sizeof *l);
    l->rng = here.rng;
    born++;
    run_lists(l, 4000);
    if (l != &here) free(l);
    return NULL;
}

static void *breeder(void *seed) {
    for (uintptr_t k = 1; !stop; k++) {
        pthread_t t[WORKERS];
        for (uintptr_t i = 0; i < WORKERS; i++) pthread_create(&t[i], NULL, worker, (void *)((uintptr_t)seed + k * 16 + i));
        for (unsigned i = 0; i < WORKERS; i++) pthread_join(t[i], NULL);
    }
    return NULL;
}

/* An object that only a library's data leads to, while the library is there. */
static void *loader(void *seed) {
    struct check_rng rng = check_rng((uint64_t)(uintptr_t)seed);
    const char *build = getenv("GM_BUILD_DIR");
    for (; !stop; loads++) {
        void *handle = dlopen(check_format("%s/tests/programs/plugins/roots.so", build ? build : "build"), RTLD_NOW);
        if (!expect(handle != NULL)) _exit(4);
        void *(*data)(void) = (void *(*)(void))dlsym(handle, "roots_bss");
        if (!expect(data != NULL)) _exit(4);
        void *volatile *place = data();
        *place = make(&rng, NULL);
        usleep(3000);
        check_list(*place);
        *place = NULL;
        dlclose(handle);
    }
    return NULL;
}

static void *forker(void *seed) {
    struct lists *l = calloc(1, sizeof *l);
    l->rng = check_rng((uint64_t)(uintptr_t)seed);
    for (; !stop; forks++) {
        run_lists(l, 500);
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            for (int i = 0; i < 3; i++) run_lists(l, 200), gogc_collect();
            _exit(0);
        }
        int status = check_wait(child, 40);
        if (!expect(WIFEXITED(status) && WEXITSTATUS(status) == 0)) diag("child ended with %#x", (unsigned)status);
    }
    return NULL;
}

static struct object *volatile of_handler;
static void on_alarm(int signal) {
    struct object *o = of_handler;
    if (o && !is_whole(o)) _exit(3);
    signals++;
}

TEST_LIMIT(collections_amid_everything, 280) {
    if (!gogc_collect) skip("the library is not preloaded");
    struct check_rng rng = check_rng(99);
    pthread_t t[3];
    of_handler = make(&rng, NULL);
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 2000 }, { 0, 2000 } }, NULL);
    void *(*const run[3])(void *) = { breeder, loader, forker };
    for (uintptr_t i = 0; i < 3; i++) pthread_create(&t[i], NULL, run[i], (void *)(rng.state + i * 1000));
    for (int i = 0; i < (check_stress() ? 1000 : 100) || checked <= 1000 || !born || !signals || !forks || !loads; i++) {
        gogc_collect();
        if (i % 4 == 0) usleep(2000);
    }
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
    diag("%lu objects checked, %lu threads, %lu signals, %lu forks, %lu libraries", checked, born, signals, forks, loads);
}

TEST_MAIN()
