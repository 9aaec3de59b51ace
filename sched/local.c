/* Goroutine-local keys, as POSIX has them for threads.
 *
 * A key is a place in a common table and the number of its life there (odd while in use), so that values set under a deleted key are not
 * found under its successor. A goroutine's values are an array of its own, indexed by place, made at the first set. */
#include "sched/local.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "libgomalloc/alloc.h"
#include "sched/gosched.h"
#include "sched/proc.h"

enum { PLACES = 1024, ROUNDS = 4 /* PTHREAD_DESTRUCTOR_ITERATIONS */ };

struct place {
    uint32_t life;             /* odd: in use; changed under the lock */
    void (*destroy)(void *);
};
static struct place places[PLACES];
static struct gs_lock lock;

struct value {
    golocal_key key;
    void *value;
};
struct values {
    uint32_t n;
    struct value at[];
};

static uint32_t place_of(golocal_key key) { return key % PLACES; }
static golocal_key key_of(uint32_t place, uint32_t life) { return life * PLACES + place; }
/* relaxed: that the key exists, the caller knows by other means; a deleted one is only not to be mistaken for its successor. */
static bool exists(golocal_key key) {
    uint32_t place = place_of(key), life = gm_load_relaxed(&places[place].life);
    return (life & 1) && key_of(place, life) == key;
}

/* In the child of a fork nobody else is left who could hold it, and the store of `life`, last in its section, decides alone. */
static void fork_child(void) { lock = (struct gs_lock){0}; }
/* Not by goonce: a fork in the middle would leave the child waiting for it. */
static void mind_forks(void) {
    static uint32_t minded;
    if (gm_load_relaxed(&minded) == 0 && gm_exchange_acquire(&minded, 1) == 0) pthread_atfork(NULL, NULL, fork_child);
}

int golocal_create(golocal_key *key, void (*destroy)(void *)) {
    int error = -EAGAIN;
    mind_forks();
    gs_lock_acquire(&lock, GS_RANK_SYNC);
    for (uint32_t i = 0; i < PLACES && error; i++) {
        if (places[i].life & 1) continue;
        places[i].destroy = destroy;
        gm_store_relaxed(&places[i].life, places[i].life + 1);
        *key = key_of(i, places[i].life);
        error = 0;
    }
    gs_lock_release(&lock);
    return error;
}

int golocal_delete(golocal_key key) {
    gs_lock_acquire(&lock, GS_RANK_SYNC);
    bool there = exists(key);
    if (there) gm_store_relaxed(&places[place_of(key)].life, places[place_of(key)].life + 1);
    gs_lock_release(&lock);
    return there ? 0 : -EINVAL;
}

void *golocal_get(golocal_key key) {
    struct values *v = (struct values *)gs_self()->locals;
    uint32_t i = place_of(key);
    return v && i < v->n && v->at[i].key == key && exists(key) ? v->at[i].value : NULL;
}

static struct values *with_room(struct gs_g *g, uint32_t place) {
    struct values *v = (struct values *)g->locals;
    uint32_t old = v ? v->n : 0, n = old ? old : 4;
    if (place < old) return v;
    while (n <= place) n *= 2;
    v = gm_realloc(v, sizeof *v + n * sizeof v->at[0]);
    if (!v) return NULL;
    memset(&v->at[old], 0, (n - old) * sizeof v->at[0]);
    v->n = n;
    g->locals = (void **)v;
    gm_store_relaxed(&g->flags, g->flags | GS_G_LOCALS);
    return v;
}

int golocal_set(golocal_key key, const void *value) {
    if (!exists(key)) return -EINVAL;
    struct values *v = with_room(gs_self(), place_of(key));
    if (!v) return -ENOMEM;
    v->at[place_of(key)] = (struct value){key, (void *)value};
    return 0;
}

/* One call of each destructor that has something to do. False: there was none. */
static bool destroy_all(struct gs_g *g) {
    bool any = false;
    for (uint32_t i = 0; i < ((struct values *)g->locals)->n; i++) {
        struct value *v = &((struct values *)g->locals)->at[i]; /* read anew: a destructor may set values */
        void *value = v->value;
        if (!value || !exists(v->key)) continue;
        v->value = NULL;
        void (*destroy)(void *) = places[i].destroy;
        if (!destroy) continue;
        destroy(value);
        any = true;
    }
    return any;
}

void gs_locals_end(struct gs_g *g) {
    for (int round = 0; round < ROUNDS && destroy_all(g); round++) {}
    gm_free(g->locals);
    g->locals = NULL;
    gm_store_relaxed(&g->flags, g->flags & ~GS_G_LOCALS);
}
