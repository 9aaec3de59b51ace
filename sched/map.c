/* A map for many threads: Go's sync.Map, made for C. Reading takes no lock and writes nothing, as in Go; the way there is another one,
 * as nobody here waits with freeing until the last reader has gone.
 *
 * THE TABLE is open addressing with linear probing. An entry is a key and a value, both words. The value says what the entry is: 0 never
 * used (a search ends here), GONE deleted, anything else a value. A key once written into a table's entry stays there
 * until the table is cleared: deleting and storing again change the value only. So a reader that has seen the value word
 * (acquire; pairs with the release that stored it) may read the key.
 *
 * WRITERS hold a mutex. When 3/4 of the entries have been used, what lives moves to a new table, of the size it then needs. The old one
 * is retired: kept, for there may be readers in it, cleared, and used again as the next table of its size. Sizes are powers
 * of two and at most two tables of a size are in use at any time (but for those that gomap_range holds), so all tables together
 * have less than four times the entries of the largest.
 *
 * READERS read `version`, then the table, search, and read `version` again: if it changed, they search again. Whatever
 * a writer does to a retired table comes after it has changed the version (release stores; the reader's acquire loads of
 * the entries come before its second look), so what a reader has found in a table that is somebody else's by now is not used.
 * Tables are freed by gomap_clear only, which no reader may overlap.
 *
 * With functions for keys, readers take the mutex too: to compare a key means to read memory that the program may free as
 * soon as it has deleted the key. */
#include <errno.h>

#include "libgomalloc/alloc.h"
#include "libgomalloc/base/atomic.h"
#include "sched/gosched.h"

enum { SMALLEST = 16 };

struct entry {
    const void *key;
    void *value;
};

struct gs_table {
    struct gs_table *next;     /* of those that are retired */
    size_t capacity, used;     /* entries; those that are not 0 */
    uint32_t pins;             /* ranges that walk it */
    bool retired;
    struct entry entries[];
};

/* What a value word is in place of deleted, and of NULL. */
static char gone, null;
#define GONE ((void *)&gone)
static void *encode(void *value) { return value ? value : &null; }
static void *decode(void *word) { return word == &null ? NULL : word; }

static size_t first_place(const gomap *m, const struct gs_table *t, const void *key) {
    uint64_t h = m->hash ? m->hash(key) : (uintptr_t)key;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio: the upper bits depend on all */
    return (size_t)(h >> 32) & (t->capacity - 1);
}

/* Whether an entry with this value word is key's. A deleted key, where there are functions, may be gone: it is nobody's. */
static bool is_of(const gomap *m, const struct entry *e, const void *word, const void *key) {
    if (!m->equal) return gm_load_acquire(&e->key) == key;
    return word != GONE && (e->key == key || m->equal(e->key, key));
}

/* The entry of key, or the unused one where it would be. *word is its value as it was then: an unused one may be
 * another key's a moment later. */
static struct entry *find(const gomap *m, struct gs_table *t, const void *key, void **word) {
    size_t i = first_place(m, t, key);
    for (;; i = (i + 1) & (t->capacity - 1)) {
        struct entry *e = &t->entries[i];
        *word = gm_load_acquire(&e->value);
        if (!*word || is_of(m, e, *word, key)) return e;
    }
}

/* ---- tables; the mutex is held */

static void clear(struct gs_table *t) {
    for (size_t i = 0; i < t->capacity; i++) {
        gm_store_release(&t->entries[i].value, NULL);
        gm_store_release(&t->entries[i].key, NULL);
    }
    t->used = 0;
}

static struct gs_table *empty_table(gomap *m, size_t capacity) {
    for (struct gs_table **at = &m->retired, *t; (t = *at); at = &t->next) {
        if (t->capacity != capacity || t->pins) continue;
        *at = t->next;
        t->retired = false;
        return t;
    }
    struct gs_table *t = gm_alloc_zeroed(sizeof *t + capacity * sizeof t->entries[0]);
    if (t) t->capacity = capacity;
    return t;
}

static void retire(gomap *m, struct gs_table *t) {
    t->retired = true;
    t->next = m->retired;
    m->retired = t;
    if (!t->pins) clear(t);
}

/* A new key has room in m->table afterwards. False: no memory. With functions a key that was deleted and stored again gets another
 * entry: not in a table that gomap_range walks, which would meet it twice. */
static bool make_room(gomap *m) {
    struct gs_table *old = m->table, *t;
    size_t capacity = SMALLEST;
    void *word;
    if (old && 4 * (old->used + 1) <= 3 * old->capacity && !(old->pins && m->equal)) return true;
    while (2 * (m->live + 1) > capacity) capacity *= 2;
    if (!(t = empty_table(m, capacity))) return false;
    for (size_t i = 0; old && i < old->capacity; i++) {
        struct entry *e = &old->entries[i];
        if (!e->value || e->value == GONE) continue;
        struct entry *to = find(m, t, e->key, &word);
        gm_store_release(&to->key, e->key);
        gm_store_release(&to->value, e->value);
        t->used++;
    }
    gm_store_release(&m->table, t);              /* pairs with the acquire in read: its entries are seen */
    gm_store_release(&m->version, m->version + 1);
    if (old) retire(m, old);
    return true;
}

/* The entry of key if it is in the map, else NULL. */
static struct entry *present(gomap *m, const void *key) {
    void *word;
    struct entry *e = m->table ? find(m, m->table, key, &word) : NULL;
    return e && word && word != GONE ? e : NULL;
}

/* Its value word is what it was: GONE, or 0 of a fresh entry, which has its key then. NULL: no memory. */
static struct entry *entry_for(gomap *m, const void *key) {
    void *word;
    struct entry *e = m->table ? find(m, m->table, key, &word) : NULL;
    if (e && word) return e;
    if (!make_room(m)) return NULL;
    e = find(m, m->table, key, &word);
    gm_store_release(&e->key, key);
    return e;
}

/* release: pairs with the acquire in find. */
static void put(gomap *m, struct entry *e, void *value) {
    if (!e->value) m->table->used++;
    if (!e->value || e->value == GONE) m->live++;
    gm_store_release(&e->value, encode(value));
}

static void remove_entry(gomap *m, struct entry *e) {
    m->live--;
    gm_store_release(&e->value, GONE);
}

/* ---- calls */

static bool read(gomap *m, const void *key, void **word) {
    for (uint32_t version = gm_load_acquire(&m->version), now;; version = now) {
        struct gs_table *t = gm_load_acquire(&m->table);
        *word = NULL;
        if (t) find(m, t, key, word);
        now = gm_load_acquire(&m->version);
        if (GM_LIKELY(now == version)) break;
    }
    return *word && *word != GONE;
}

bool gomap_load(gomap *m, const void *key, void **value) {
    void *word;
    if (m->equal) gomutex_lock(&m->writers);
    bool there = read(m, key, &word);
    if (m->equal) gomutex_unlock(&m->writers);
    if (value) *value = there ? decode(word) : NULL;
    return there;
}

int gomap_swap(gomap *m, const void *key, void *value, void **previous) {
    gomutex_lock(&m->writers);
    struct entry *e = entry_for(m, key);
    bool there = e && e->value && e->value != GONE;
    if (e && previous) *previous = there ? decode(e->value) : NULL;
    if (e) put(m, e, value);
    gomutex_unlock(&m->writers);
    return e ? there : -ENOMEM;
}

int gomap_store(gomap *m, const void *key, void *value) {
    int had = gomap_swap(m, key, value, NULL);
    return had < 0 ? had : 0;
}

int gomap_load_or_store(gomap *m, const void *key, void *value, void **actual) {
    void *word;
    if (!m->equal && read(m, key, &word)) {
        if (actual) *actual = decode(word);
        return 1;
    }
    gomutex_lock(&m->writers);
    struct entry *e = entry_for(m, key);
    bool there = e && e->value && e->value != GONE;
    if (e && actual) *actual = there ? decode(e->value) : value;
    if (e && !there) put(m, e, value);
    gomutex_unlock(&m->writers);
    return e ? there : -ENOMEM;
}

bool gomap_load_and_delete(gomap *m, const void *key, void **value) {
    gomutex_lock(&m->writers);
    struct entry *e = present(m, key);
    if (value) *value = e ? decode(e->value) : NULL;
    if (e) remove_entry(m, e);
    gomutex_unlock(&m->writers);
    return e != NULL;
}

void gomap_delete(gomap *m, const void *key) { gomap_load_and_delete(m, key, NULL); }

bool gomap_compare_and_swap(gomap *m, const void *key, void *old_value, void *value) {
    gomutex_lock(&m->writers);
    struct entry *e = present(m, key);
    bool match = e && decode(e->value) == old_value;
    if (match) put(m, e, value);
    gomutex_unlock(&m->writers);
    return match;
}

bool gomap_compare_and_delete(gomap *m, const void *key, void *old_value) {
    gomutex_lock(&m->writers);
    struct entry *e = present(m, key);
    bool match = e && decode(e->value) == old_value;
    if (match) remove_entry(m, e);
    gomutex_unlock(&m->writers);
    return match;
}

/* ---- range: the table that is current when it begins says which keys to ask for, the map what they are then. */

struct walk {
    gomap *m;
    struct gs_table *t;
};

static void unpin(void *walk) {
    struct walk *w = walk;
    gomutex_lock(&w->m->writers);
    if (--w->t->pins == 0 && w->t->retired) clear(w->t);
    gomutex_unlock(&w->m->writers);
}

void gomap_range(gomap *m, bool (*fn)(const void *, void *, void *), void *arg) {
    struct walk w = {.m = m};
    gomutex_lock(&m->writers);
    w.t = m->table;
    if (w.t) w.t->pins++;
    gomutex_unlock(&m->writers);
    if (!w.t) return;
    GO_DEFER(unpin, &w); /* fn may panic */
    for (size_t i = 0; i < w.t->capacity; i++) {
        struct entry *e = &w.t->entries[i];
        void *word = gm_load_acquire(&e->value), *value;
        if (!word || word == GONE) continue;
        const void *key = gm_load_acquire(&e->key);
        if (gomap_load(m, key, &value) && !fn(key, value, arg)) return;
    }
}

void gomap_clear(gomap *m) {
    for (struct gs_table *t = m->retired, *next; t; t = next) {
        next = t->next;
        gm_free(t);
    }
    gm_free(m->table);
    m->table = m->retired = NULL;
    m->live = 0;
}
