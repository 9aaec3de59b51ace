/* See profile.h; malloc.c for the overview.
 *
 * WHO COUNTS. While no profile is wanted nothing on the hit paths knows of it. While one is, the table by which malloc's
 * hit path finds a size's class is all zeros (gm_class_divert), and class 0 is always empty: so every malloc falls through to
 * its slow half, which counts the bytes down to the next sample and pops from the thread's cache. That is some ten
 * instructions. Frees stay on their hit path. All threads turn at once.
 *
 * SAMPLES. The distance between two is drawn from the exponential distribution with the mean `rate`, which makes each
 * byte as likely as any other whatever the sizes; an object of n bytes is taken with 1 - exp(-n / rate), and readers
 * scale by that. Rate 1 takes everything.
 *
 * A sampled object says so itself, for its free has to come by here: a slot's state byte is GM_CLASS_8 with the colour
 * ("odd slot, see its span"; gcview.h), which the fast half of free sends on to gm_free_odd; one of class 8 has
 * GM_PROFILE_8 in its span's table; a large one GM_SPAN_SAMPLED. Guests (guests.c) are counted, but not remembered. A record per object hangs in a table by address that
 * grows a bucket at a time (linear hashing: no pause to double it). Addresses are stored inverted: to the
 * collector the table must not be a root.
 *
 * SITES. A stack (unwind.c) is a site, found by hash; with it the files it lies in, so that a site in a library that was
 * unloaded still has its name. Naming functions is the command's business.
 *
 * One lock guards all of it. Stacks are walked under it too: it keeps the unwinder's rules whole. A signal handler
 * that interrupts this allocates by nested.c, which samples nothing. */
#include "libgomalloc/profile.h"

#include <string.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/lock.h"
#include "libgomalloc/central.h"
#include "libgomalloc/conf.h"
#include "libgomalloc/front.h"
#include "libgomalloc/meta.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/unwind.h"

struct gm_profile gm_profile;

static struct gm_lock lock = GM_LOCK_INIT(GM_RANK_PROFILE);
static struct gm_fix sample_records = GM_FIX_INIT(sizeof(struct gm_profile_sample), 32);
static uint64_t random_state;    /* profile lock */
static int64_t until_direct;     /* for threads without a cache; atomic */
enum { FIRST_BUCKETS = 256 };

void gm_profile_lock(void) { gm_lock(&lock); }
void gm_profile_unlock(void) { gm_unlock(&lock); }

/* ---- when */

static uint64_t random_bits(void) { /* xorshift64* */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

/* -ln(u) of a uniform u in (0, 1), to 1e-4: the binary exponent, and 2 atanh((m-1)/(m+1)) of the mantissa. */
static double minus_log(uint64_t bits) {
    bits = bits >> 11 | 1;
    unsigned high = gm_high_bit(bits);
    double m = (double)bits / (double)(UINT64_C(1) << high), z = (m - 1) / (m + 1), zz = z * z;
    double ln_m = 2 * z * (1 + zz * (1.0 / 3 + zz * (1.0 / 5 + zz * (1.0 / 7 + zz / 9))));
    return (53 - (double)high) * 0.69314718055994531 - ln_m;
}

/* Profile lock. */
static int64_t next_distance(void) {
    int64_t rate = gm_load_relaxed(&gm_profile.rate);
    return rate <= 1 ? -1 : (int64_t)(minus_log(random_bits()) * (double)rate);
}

/* A cache's first distance: the exponential distribution does not remember when it began. */
static GM_NOINLINE void draw_first(struct gm_cache *c) {
    gm_lock(&lock);
    gm_store_relaxed(&c->until_sample, next_distance());
    gm_unlock(&lock);
}

bool gm_profile_due(struct gm_cache *c, size_t n) {
    if (c) {
        if (GM_UNLIKELY(gm_load_relaxed(&c->until_sample) <= GM_SAMPLE_UNSET)) draw_first(c);
        int64_t left = gm_load_relaxed(&c->until_sample) - (int64_t)n;
        gm_store_relaxed(&c->until_sample, left);
        return left < 0;
    }
    return __atomic_sub_fetch(&until_direct, (int64_t)n, __ATOMIC_RELAXED) < 0;
}

/* ---- live samples by address */

static uint64_t hash_address(uintptr_t p) { return (p >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 20; }

static uint64_t bucket_in(uint64_t hash, uint64_t buckets) {
    uint64_t base = UINT64_C(1) << gm_high_bit(buckets), i = hash & (2 * base - 1);
    return i < buckets ? i : i & (base - 1);
}

/* One bucket more: what belongs there is moved from the one it is split off. */
static void grow_by_one(void) {
    struct gm_profile *g = &gm_profile;
    if (g->n_samples <= g->buckets || g->buckets == GM_PROFILE_BUCKETS) return;
    uint64_t fresh = g->buckets, old = fresh & ((UINT64_C(1) << gm_high_bit(fresh)) - 1);
    struct gm_profile_sample **at = &g->samples[old], *s;
    while ((s = *at) != NULL) {
        if (bucket_in(hash_address(~s->inverted), fresh + 1) == old) {
            at = &s->next;
        } else {
            *at = s->next;
            s->next = g->samples[fresh];
            g->samples[fresh] = s;
        }
    }
    g->buckets++;
}

static void add_sample(struct gm_profile_site *site, uintptr_t p, size_t n) {
    struct gm_profile_sample *s = gm_fix_get(&sample_records);
    if (!s) {
        gm_profile.dropped++;
        return;
    }
    struct gm_profile_sample **bucket = &gm_profile.samples[bucket_in(hash_address(p), gm_profile.buckets)];
    *s = (struct gm_profile_sample){ *bucket, ~p, site, n };
    gm_store_release(bucket, s); /* for readers that have stopped this thread anywhere */
    site->live_objects++;
    site->live_bytes += n;
    gm_profile.n_samples++;
    grow_by_one();
}

void gm_profile_forget(const void *p) {
    gm_lock(&lock);
    struct gm_profile_sample **at = gm_profile.samples ? &gm_profile.samples[bucket_in(hash_address((uintptr_t)p), gm_profile.buckets)] : NULL;
    while (at && *at && (*at)->inverted != ~(uintptr_t)p) at = &(*at)->next;
    if (at && *at) {
        struct gm_profile_sample *s = *at;
        gm_store_relaxed(at, s->next);
        s->site->live_objects--;
        s->site->live_bytes -= s->bytes;
        gm_profile.n_samples--;
        gm_fix_put(&sample_records, s);
    }
    gm_unlock(&lock);
}

/* ---- sites */

static void note_module(uintptr_t pc) {
    struct gm_object o;
    if (!gm_unwind_object(pc, &o)) return;
    for (struct gm_profile_module *m = gm_profile.modules; m; m = m->older) {
        if (pc < m->start || pc >= m->end) continue;
        if (m->start == o.start && strcmp(m->name, o.name) == 0) return;
        break; /* something else lay here before */
    }
    size_t length = strlen(o.name) + 1;
    struct gm_profile_module *m = gm_meta_alloc(sizeof *m + length, 8);
    if (!m) return;
    *m = (struct gm_profile_module){ gm_profile.modules, (uint32_t)++gm_profile.n_modules, o.start, o.end };
    memcpy(m->name, o.name, length);
    gm_store_release(&gm_profile.modules, m);
}

static struct gm_profile_site *new_site(struct gm_profile_site **bucket, uint64_t hash, const uintptr_t *pc, unsigned n) {
    for (unsigned i = 0; i < n; i++) note_module(pc[i] - 1);
    struct gm_profile_site *s = gm_meta_alloc(sizeof *s + n * sizeof *pc, 8);
    if (!s) return NULL;
    *s = (struct gm_profile_site){ .next = *bucket, .hash = hash, .depth = n, .modules = (uint32_t)gm_profile.n_modules };
    memcpy(s->pc, pc, n * sizeof *pc);
    gm_store_release(bucket, s);
    gm_profile.n_sites++;
    return s;
}

/* The site of the caller's stack; NULL: no memory. */
static struct gm_profile_site *site_here(void) {
    uintptr_t pc[GM_PROFILE_DEPTH];
    unsigned n = gm_unwind(pc, GM_PROFILE_DEPTH);
    uint64_t hash = 14695981039346656037u;
    for (unsigned i = 0; i < n; i++) hash = (hash ^ pc[i]) * 1099511628211u;
    struct gm_profile_site **bucket = &gm_profile.sites[(hash ^ hash >> 32) % GM_PROFILE_SITES];
    for (struct gm_profile_site *s = *bucket; s; s = s->next)
        if (s->hash == hash && s->depth == n && memcmp(s->pc, pc, n * sizeof *pc) == 0) return s;
    return new_site(bucket, hash, pc, n);
}

/* ---- what is sampled says so */

/* False: it cannot, as it lies in another class's span. */
static bool mark_as_sampled(uintptr_t p) {
    struct gm_arena *a = gm_arena_of((void *)p);
    struct gm_span *s = a ? gm_span_of(a, p) : NULL;
    if (!s) return true;
    if (s->cls == 0) {
        s->flags |= GM_SPAN_SAMPLED;
    } else if (gm_span_is_odd(s)) {
        return true; /* their frees come by anyway */
    } else if (s->cls == GM_CLASS_8) {
        gm_small8_set(s, p, (uint8_t)(GM_PROFILE_8 | (gm_small8_state(s, p) & GM_STATE_COLOUR)));
    } else {
        /* By exchange: should the collector turn the colour meanwhile, what it stored stays. */
        uint8_t is = gm_state_get(a, p, s->cls);
        if ((is & GM_STATE_CLASS) != s->cls) return false;
        while (is && !gm_state_cas(a, p, s->cls, &is, (uint8_t)(GM_CLASS_8 | (is & GM_STATE_COLOUR)))) continue;
    }
    return true;
}

GM_NOINLINE void gm_profile_record(struct gm_cache *c, void *p, size_t n) {
    gm_lock(&lock);
    if (c) gm_store_relaxed(&c->until_sample, next_distance());
    else gm_store_relaxed(&until_direct, next_distance());
    struct gm_profile_site *site = gm_load_relaxed(&gm_profile.rate) ? site_here() : NULL;
    if (site) {
        site->all_objects++;
        site->all_bytes += n;
        if (mark_as_sampled((uintptr_t)p)) add_sample(site, (uintptr_t)p, n);
    }
    gm_unlock(&lock);
}

void gm_profile_note(void *p, size_t n) {
    struct gm_cache *c = gm_cache_mine();
    if (p && gm_profile_due(c, n)) gm_profile_record(c, p, n);
}

/* ---- on and off */

static const struct gm_class_tables *class_0; /* all zeros; profile lock */

/* Profile lock. False: no memory. */
static bool make_tables(void) {
    struct gm_profile *g = &gm_profile;
    if (g->samples) return true;
    if (!g->sites) g->sites = gm_meta_alloc(GM_PROFILE_SITES * sizeof *g->sites, GM_CACHE_LINE);
    if (!class_0) class_0 = gm_meta_alloc(sizeof *class_0, GM_CACHE_LINE);
    struct gm_profile_sample **table = g->sites && class_0 ? gm_os_map_sparse(GM_PROFILE_BUCKETS * sizeof *table, false) : NULL;
    if (!table) return false;
    gm_os_name(table, GM_PROFILE_BUCKETS * sizeof *table, "gomalloc: profile");
    g->buckets = FIRST_BUCKETS;
    g->samples = table;
    random_state = gm_os_nanotime() | 1;
    return true;
}

GM_COLD void gm_profile_obey(void) {
    if (gm_load_relaxed(&gm_profile.request) > 0) gm_central_no_guests();
    if (!gm_load_relaxed(&gm_sampling)) gm_cache_unset_samples();
    gm_lock(&lock);
    int64_t wanted = gm_load_relaxed(&gm_profile.request);
    if (wanted < 0 || (wanted > 0 && !make_tables())) {
        wanted = 0;
        gm_store_relaxed(&gm_profile.request, 0);
    }
    if (wanted) {
        gm_profile.last_rate = wanted;
        gm_store_relaxed(&gm_profile.used, true);
    }
    gm_store_relaxed(&gm_profile.rate, wanted);
    gm_store_relaxed(&until_direct, next_distance());
    gm_store_relaxed(&gm_sampling, wanted != 0);
    gm_class_divert(wanted ? class_0 : NULL);
    gm_unlock(&lock);
}

void gm_profile_start(void) {
    int64_t rate = gm_conf.profile;
    if (rate == GM_CONF_OFF && gm_conf.gc == GM_GC_LEAK) rate = 1;
    if (rate == GM_CONF_OFF) return;
    gm_store_relaxed(&gm_profile.request, rate);
    gm_profile_obey();
    if (!gm_sampling) gm_conf.profile = GM_CONF_OFF;
}
