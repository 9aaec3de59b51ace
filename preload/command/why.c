/* gomalloc why: what keeps a block of a live process alive. A snapshot is marked breadth first with the place noted from
 * which each block was reached first; from the block in question that leads back to a root by a shortest way. The root is
 * named: a global by its symbol, a word on a stack by the function whose frame it lies in, a thread's register, its
 * thread-local storage.
 *
 * Memory: the command's, half the size of the live heap for the places, beside what image.h says. */
#include "preload/command/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/user.h>

#include "preload/command/frames.h"
#include "preload/command/marks.h"
#include "preload/command/sites.h"

enum { MAX_FRAMES = 256, SHOWN = 64 };

/* ---- roots' names */

static void print_address(const struct snapshot *s, uintptr_t p, bool data) {
    const struct mapping *m = mapping_of(&s->maps, p);
    struct symbol symbol;
    if (!m) {
        printf("0x%lx", p);
        return;
    }
    /* A file's bss is anonymous memory behind its data: the mapping before belongs to it. */
    const struct mapping *of = !*m->path && m > s->maps.m && m[-1].end == m->start && m[-1].path[0] == '/' ? m - 1 : m;
    if (of->path[0] == '/' && symbol_find(s->pid, of->path, mapping_base(&s->maps, of), p, data, &symbol)) {
        printf("%s", symbol.name);
        if (symbol.offset) printf("+0x%lx", symbol.offset);
        printf(" (%s)", of->path);
    } else if (*of->path) {
        printf("0x%lx in %s", p, of->path);
    } else {
        printf("0x%lx in an anonymous mapping", p);
    }
}

/* The frame of the thread in which the address lies. */
static bool print_frame(const struct snapshot *s, size_t thread, uintptr_t p) {
    static struct frame f[MAX_FRAMES];
    unsigned n = frames_of(s, thread, f, MAX_FRAMES), i = 0;
    while (i + 1 < n && f[i + 1].sp <= p) i++;
    if (n == 0) return false;
    printf(", in the frame of ");
    print_address(s, f[i].pc - (i > 0), false);
    return true;
}

static const char *const register_names[] = { "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
                                              "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base" };

static void print_register(const struct snapshot *s, uintptr_t where) {
    size_t i = (where & ~ROOT_IN_REGISTER) >> ROOT_THREAD_SHIFT, offset = where & ((1u << ROOT_THREAD_SHIFT) - 1);
    const struct held_thread *t = &s->thread[i];
    if (offset >= ROOT_VECTOR) printf("a vector register (byte %zu of the extended state) of thread %d, in ", offset - ROOT_VECTOR, (int)t->tid);
    else printf("register %s of thread %d, in ", offset / 8 < sizeof register_names / sizeof register_names[0] ? register_names[offset / 8] : "?", (int)t->tid);
    print_address(s, t->regs.rip, false);
}

/* A word of the mapping that is thread i's stack, or holds its control block. */
static bool print_thread_word(const struct snapshot *s, const struct mapping *m, uintptr_t p) {
    for (size_t i = 0; i < s->n_threads; i++) {
        const struct user_regs_struct *r = &s->thread[i].regs;
        bool stack = r->rsp >= m->start && r->rsp < m->end, block = r->fs_base >= m->start && r->fs_base < m->end;
        if (block && p >= r->fs_base) {
            printf("the control block of thread %d (its pthread keys, or what the C library keeps of it)", (int)s->thread[i].tid);
            return true;
        }
        if (block && r->fs_base - p < 4096 && (!stack || p > r->rsp)) {
            struct frame f[MAX_FRAMES];
            unsigned n = stack ? frames_of(s, i, f, MAX_FRAMES) : 0;
            if (n == 0 || p >= f[n - 1].sp) {
                printf("thread-local storage of thread %d, %llu bytes below its control block", (int)s->thread[i].tid, r->fs_base - p);
                return true;
            }
        }
        if (stack) {
            printf("the stack of thread %d at 0x%lx", (int)s->thread[i].tid, p);
            print_frame(s, i, p);
            return true;
        }
    }
    return false;
}

static void print_root(const struct snapshot *s, uintptr_t where) {
    const struct mapping *m = mapping_of(&s->maps, where);
    if (where & ROOT_IN_REGISTER) print_register(s, where);
    else if (m && print_thread_word(s, m, where)) return;
    else print_address(s, where, true);
}

/* ---- the chain */

static void print_block(const struct sites *sites, const struct heap_object *o) {
    const struct sampled *x = sample_of(sites, o->start);
    printf("0x%lx, %zu bytes", o->start, x ? x->bytes : o->size);
    if (x && x->site->depth) printf(", allocated at %s", site_frame(sites, x->site, 0));
    putchar('\n');
}

static uintptr_t reached_from(const struct image *m, uintptr_t start) {
    const struct image_arena *a = image_arena_of(m, start);
    return a->parent[(start - a->a.base) >> GM_STATE_SHIFT];
}

static void print_chain(const struct image *m, const struct sites *sites, struct heap_object o) {
    uintptr_t *place = NULL;
    size_t n = 0;
    struct heap_object at = o;
    for (uintptr_t w = reached_from(m, o.start);; w = reached_from(m, at.start)) {
        if ((n & (n - 1)) == 0) place = need_more(place, (n ? n * 2 : 1) * sizeof *place);
        place[n++] = w;
        if (w & ROOT_IN_REGISTER || !image_find(m, w, &at) || (at.root && w == at.start)) break;
    }
    bool own = !(place[n - 1] & ROOT_IN_REGISTER) && image_arena_of(m, place[n - 1]);
    if (own) printf("an uncollectable block at 0x%lx, a root by itself", at.start);
    else print_root(m->s, place[n - 1]);
    putchar('\n');
    for (size_t i = n; i-- > 0;) {
        if (i + SHOWN / 2 < n && i > SHOWN / 2) {
            printf("  ... %zu more\n", i - SHOWN / 2);
            i = SHOWN / 2;
        }
        at = o;
        if (i > 0) image_find(m, place[i - 1], &at);
        printf("  -> ");
        print_block(sites, &at);
        if (i > 0) printf("     its word at +%lu\n", place[i - 1] - at.start);
    }
    free(place);
}

/* True: something keeps it alive. */
static bool explain(const struct image *m, const struct sites *sites, uintptr_t p) {
    struct heap_object o;
    if (!image_find(m, p, &o)) {
        printf("0x%lx is no address of the heap: ", p);
        print_root(m->s, p);
        putchar('\n');
        return false;
    }
    if (!o.live) {
        printf("0x%lx lies in a free slot of %zu bytes at 0x%lx\n", p, o.size, o.start);
        return false;
    }
    if (is_marked(m, o.start)) {
        print_chain(m, sites, o);
        return true;
    }
    printf("nothing that can be reached points to it: it is lost\n  ");
    print_block(sites, &o);
    return false;
}

int command_why(int argc, char **argv) {
    struct remote r;
    struct snapshot s;
    struct image m;
    struct marks k;
    struct sites sites;
    char *end;
    const char *held = NULL;
    int i = 1;
    for (const char *v; i < argc && argv[i][0] == '-'; i++) {
        if ((v = option_value(argc, argv, &i, "--held"))) held = v;
        else usage("why: no option '%s'", argv[i]);
    }
    if (i + 2 != argc) usage("why wants a process id and an address");
    pid_t pid = parse_pid(argv[i]);
    uintptr_t p = strtoul(argv[i + 1], &end, 16);
    if (*end || end == argv[i + 1]) usage("'%s' is no address", argv[i + 1]);
    remote_open_or_fail(&r, pid);
    if (held) snapshot_of_held(&s, &r, held);
    else snapshot_take(&s, &r);
    if (sites_read(&sites, &s.copy, pid, true) != REMOTE_OK) say("process %d: its allocation sites cannot be read", (int)pid);
    image_read(&m, &s, true);
    marks_make(&k, &m);
    bool kept = explain(&m, &sites, p);
    int status = fflush(stdout) != 0 ? 1 : kept ? 0 : 3;
    snapshot_drop(&s);
    marks_free(&k);
    image_free(&m);
    sites_free(&sites);
    return status;
}
