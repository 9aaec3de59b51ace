/* See marks.h.
 *
 * ROOTS, as the collector's (gc/roots.c): private memory that the process has written, whatever its protection now, but for the
 * library's own data (which names the heap's bounds); shared
 * memory up to 64 MiB a mapping; the live parts of stacks, with the red zone; all registers. Two differences, for a
 * leak hides behind every word that only looks like a pointer: stacks that the C library keeps of threads that have
 * ended are not looked at, and a word one past an object's end does not keep it.
 *
 * A stack of the C library's is known by the thread control block at its upper end, which points to itself. Below it lies an
 * inaccessible page; above it the kernel may have joined other memory with it, so that the end of the mapping says nothing of its own.
 * Of an ended thread's, one word of that block counts: the C library keeps the vector of its thread-local blocks for the next one. */
#include "preload/command/marks.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libgomalloc/base/bits.h"
#include "preload/command/command.h"

enum { RED_ZONE = 128, PAGE = 4096, SHARED_MAX = 64 << 20, PAGES_AT_ONCE = 8192 };

/* ---- grey */

static void push(struct marks *k, uintptr_t p) {
    if (k->n == k->room) k->grey = need_more(k->grey, (k->room = k->room * 2 + 1024) * sizeof *k->grey);
    k->grey[k->n++] = p;
}

bool is_marked(const struct image *m, uintptr_t start) {
    const struct image_arena *a = image_arena_of(m, start);
    return a && (*image_mark_word(a, start) & image_mark_bit(a, start));
}

static void mark(struct marks *k, uintptr_t word, uintptr_t where) {
    struct heap_object o;
    struct image_arena *a = image_arena_of(k->m, word);
    if (!a || !image_find(k->m, word, &o) || !o.live) return;
    uint64_t *at = image_mark_word(a, o.start), bit = image_mark_bit(a, o.start);
    if (*at & bit) return;
    *at |= bit;
    if (a->parent) a->parent[(o.start - a->a.base) >> GM_STATE_SHIFT] = where;
    k->objects++;
    k->bytes += o.size;
    if (!o.noscan) push(k, o.start);
}

void each_pointer(const struct image *m, const struct heap_object *o, void (*fn)(void *arg, uintptr_t word, uintptr_t where), void *arg) {
    for (size_t at = 0; at < o->size; at += IMAGE_PIECE) {
        size_t n = gm_min(IMAGE_PIECE, o->size - at) / sizeof(uintptr_t);
        const uintptr_t *word = image_words(m, o->start + at, n * sizeof *word);
        for (size_t i = 0; i < n; i++)
            if (word[i] && image_arena_of(m, word[i])) fn(arg, word[i], o->start + at + i * sizeof *word);
    }
}

static void found(void *arg, uintptr_t word, uintptr_t where) { mark(arg, word, where); }

static void drain(struct marks *k) {
    while (k->first < k->n) {
        struct heap_object o;
        uintptr_t p = k->in_order ? k->grey[k->first++] : k->grey[--k->n];
        if (image_find(k->m, p, &o)) each_pointer(k->m, &o, found, k);
        if (k->in_order && k->first == k->n) k->first = k->n = 0;
    }
}

/* ---- roots */

static void root_words(struct marks *k, const uintptr_t *word, size_t bytes, uintptr_t where) {
    for (size_t i = 0; i < bytes / sizeof *word; i++)
        if (word[i]) mark(k, word[i], where + i * sizeof *word);
    k->root_bytes += bytes;
}

static void registers(struct marks *k, size_t i) {
    const struct held_thread *t = &k->m->s->thread[i];
    uintptr_t name = ROOT_IN_REGISTER | (uintptr_t)i << ROOT_THREAD_SHIFT;
    root_words(k, (const uintptr_t *)&t->regs, sizeof t->regs, name);
    root_words(k, (const uintptr_t *)t->vector, t->vector_bytes, name + ROOT_VECTOR);
}

static bool memory(void *arg, uintptr_t low, uintptr_t high) {
    static uintptr_t buffer[32768];
    struct marks *k = arg;
    while (low < high) {
        size_t n = snapshot_read(k->m->s, low, buffer, gm_min(high - low, sizeof buffer));
        root_words(k, buffer, n, low);
        low += n ? n : PAGE - low % PAGE;
    }
    return true;
}

/* Of private memory only the pages that are the process's own: written, present or swapped. Until fn says false. */
static void each_written(int pagemap, uintptr_t low, uintptr_t high, bool (*fn)(void *arg, uintptr_t low, uintptr_t high), void *arg) {
    static uint64_t entry[PAGES_AT_ONCE];
    const uint64_t present = UINT64_C(1) << 63, swapped = UINT64_C(1) << 62, of_file = UINT64_C(1) << 61;
    for (uintptr_t at = gm_align_down(low, PAGE); at < high;) {
        size_t want = gm_min((high - at + PAGE - 1) / PAGE, PAGES_AT_ONCE);
        ssize_t got = pagemap < 0 ? 0 : pread(pagemap, entry, want * sizeof *entry, (off_t)(at / PAGE * sizeof *entry));
        size_t n = got > 0 ? (size_t)got / sizeof *entry : 0;
        if (n == 0) {
            fn(arg, gm_max(low, at), high);
            return;
        }
        for (size_t i = 0, from; i < n; i++) {
            for (from = i; i < n && (entry[i] & (present | swapped)) && !(entry[i] & of_file);) i++;
            if (i > from && !fn(arg, gm_max(low, at + from * PAGE), gm_min(high, at + i * PAGE))) return;
        }
        at += n * PAGE;
    }
}

struct search { const struct snapshot *s; uintptr_t block; };

/* The first control block in the memory: its first and third word are its address, the second that of its thread's vector. */
static bool find_block(void *arg, uintptr_t low, uintptr_t high) {
    enum { WORDS = 1024 };
    struct search *x = arg;
    uintptr_t word[WORDS];
    for (low = gm_align_up(low, 64); low < high && !x->block; low += sizeof word) {
        size_t n = snapshot_read(x->s, low, word, gm_min(high - low, sizeof word)) / sizeof *word;
        for (size_t i = 0; i + 2 < n && !x->block; i += 8)
            if (word[i] == low + i * 8 && word[i + 2] == word[i] && word[i + 1] && word[i + 1] != word[i]) x->block = word[i];
    }
    return !x->block;
}

/* The control block of a stack of the C library's with which the mapping begins; 0: there is none. *end: where the stack ends, which
 * is a page's end, and what the kernel has joined with it begins. A stack is sought far below only where it should be:
 * above an inaccessible page, and below the heap with which the kernel may have joined it. */
static uintptr_t control_block(const struct image *heap, int pagemap, const struct mapping *m, uintptr_t *end) {
    enum { TOP = 8192, FAR = 64 << 20 };
    const struct snapshot *s = heap->s;
    struct search x = { .s = s };
    *end = m->end;
    if (m->end - m->start < 4 * PAGE || strcmp(m->rights, "rw-p") != 0 || *m->path) return 0;
    if (!find_block(&x, m->end - TOP, m->end)) return x.block;
    bool guarded = m > s->maps.m && m[-1].end == m->start && strncmp(m[-1].rights, "---", 3) == 0;
    uintptr_t far = gm_min(m->end, m->start + FAR);
    for (size_t i = 0; i < heap->n; i++) {
        uintptr_t low = heap->arena[i].own_low, high = heap->arena[i].a.base + heap->arena[i].a.size;
        guarded &= m->start < low || m->start >= high;
        if (low > m->start && low < far) far = low;
    }
    if (!guarded) return 0;
    each_written(pagemap, m->start, far, find_block, &x);
    if (x.block) *end = gm_align_up(x.block + 1, PAGE);
    return x.block;
}

/* The part of the mapping that counts: from here on. If it begins with the stack of a thread that has ended, *dead is its control block,
 * else 0, and what is behind the stack counts. */
static uintptr_t live_from(const struct image *heap, int pagemap, const struct mapping *m, uintptr_t *dead) {
    const struct snapshot *s = heap->s;
    bool is_main = strcmp(m->path, "[stack]") == 0, alive = is_main;
    uintptr_t end = m->end, block = is_main ? 0 : control_block(heap, pagemap, m, &end), lowest = end;
    *dead = 0;
    if (!block && !is_main) return m->start;
    for (size_t i = 0; i < s->n_threads; i++) {
        const struct user_regs_struct *r = &s->thread[i].regs;
        if (r->rsp >= m->start && r->rsp < end) lowest = gm_min(lowest, r->rsp);
        alive |= r->fs_base == block;
    }
    if (lowest < end) return gm_align_down(gm_max(lowest - RED_ZONE, m->start), 8);
    if (alive) return m->start;
    *dead = block;
    return end;
}

/* The library's data, with the anonymous memory behind that is its bss. Linked into a program it is not told apart. */
static bool is_the_library(const struct snapshot *s, const struct mapping *m) {
    const struct mapping *of = !*m->path && m > s->maps.m && m[-1].end == m->start ? m - 1 : m;
    const char *own = (&s->copy)->library;
    char name[64], exe[4096];
    if (strcmp(of->path, own) != 0) return false;
    snprintf(name, sizeof name, "/proc/%d/exe", (int)s->pid);
    ssize_t n = readlink(name, exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    return strcmp(exe, own) != 0;
}

static bool holds_pointers(const struct snapshot *s, const struct mapping *m) {
    static const char *const none[] = { "[vvar]", "[vdso]", "[vsyscall]", "[vvar_vclock]" };
    for (unsigned i = 0; i < sizeof none / sizeof none[0]; i++)
        if (strcmp(m->path, none[i]) == 0) return false;
    if (is_the_library(s, m)) return false;
    if (m->rights[3] == 'p') return true;
    bool device = strncmp(m->path, "/dev/", 5) == 0 && strncmp(m->path, "/dev/shm/", 9) != 0 && strncmp(m->path, "/dev/zero", 9) != 0;
    return m->rights[0] == 'r' && m->rights[1] == 'w' && m->end - m->start <= SHARED_MAX && !device;
}

/* [low, high) less what is the library's own. */
static void outside_the_heap(struct marks *k, int pagemap, const struct mapping *m, uintptr_t low, uintptr_t high) {
    while (low < high) {
        uintptr_t end = high, resume = high;
        for (size_t i = 0; i < k->m->n; i++) {
            const struct gm_arena *a = &k->m->arena[i].a;
            gm_range_cut(k->m->arena[i].own_low, a->base + a->size, low, &end, &resume);
            if (a->marks) gm_range_cut((uintptr_t)a->marks, (uintptr_t)a->marks + a->size / 128, low, &end, &resume);
        }
        for (unsigned i = 0; i < GM_ENDPOINT_RANGES; i++) gm_range_cut(k->own[i].low, k->own[i].high, low, &end, &resume);
        if (low < end && m->rights[3] == 'p') each_written(pagemap, low, end, memory, k);
        else if (low < end) memory(k, low, end);
        low = resume;
    }
}

static void uncollectable(void *arg, const struct heap_object *o) {
    if (o->root) mark(arg, o->start, o->start);
}

void marks_make(struct marks *k, const struct image *m) {
    const struct snapshot *s = m->s;
    char name[64];
    *k = (struct marks){ .m = m, .in_order = m->n && m->arena[0].parent };
    if (s->copy.endpoint.own && !remote_read(&s->copy, s->copy.endpoint.own, k->own, sizeof k->own)) memset(k->own, 0, sizeof k->own);
    snprintf(name, sizeof name, "/proc/%d/pagemap", (int)s->child);
    int pagemap = open(name, O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < s->n_threads; i++) registers(k, i);
    for (size_t i = 0; i < s->maps.n; i++) {
        const struct mapping *p = &s->maps.m[i];
        if (!holds_pointers(s, p)) continue;
        uintptr_t dead, from = live_from(m, pagemap, p, &dead);
        if (dead) {
            k->dead_stacks++;
            memory(k, dead + 8, dead + 16);
        }
        outside_the_heap(k, pagemap, p, from, p->end);
    }
    if (pagemap >= 0) close(pagemap);
    image_each(m, uncollectable, k);
    drain(k);
}

void marks_free(struct marks *k) { free(k->grey); }
