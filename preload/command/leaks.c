/* gomalloc leaks: what a program has lost. Of a live process a snapshot is taken (snapshot.c); a program that the command
 * starts is looked at when it exits, after all of its own exit handlers. The marking is done here, by marks.c, and
 * nothing is freed.
 *
 *   definitely lost    nothing that can be reached points to it, and nothing else that is lost does
 *   indirectly lost    only what is lost points to it: it is counted with the block that leads there (of a cycle, with
 *                      its first)
 *   still reachable    the rest
 *
 * Conservative: a word that happens to look like a pointer hides a leak, it never makes one. What would make one is a pointer
 * that is kept in another form (gc/roots.h has the list). */
#include "preload/command/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/command/exitpoint.h"
#include "preload/command/marks.h"
#include "preload/command/options.h"
#include "preload/command/process.h"
#include "preload/command/sites.h"

enum { NOBODY = -1 };

struct lost {
    struct heap_object o;
    long through;            /* which of the lost leads here; NOBODY: it is definitely lost */
};
struct leaks {
    const struct image *m;
    const struct sites *sites;
    struct marks marks;
    struct lost *lost;       /* by address */
    size_t n, room;
    size_t *todo, n_todo, room_todo;
    long from;               /* the one whose pointers are followed */
};
/* Lost blocks of one site (NULL: unknown), or of one size. */
struct row {
    const struct site *site;
    size_t size;
    uintptr_t first;         /* the first that is definitely lost */
    struct counts lost, through;
};

/* ---- what is lost, and through what */

static void add_lost(void *arg, const struct heap_object *o) {
    struct leaks *l = arg;
    if (is_marked(l->m, o->start)) return;
    if (l->n == l->room) l->lost = need_more(l->lost, (l->room = l->room * 2 + 256) * sizeof *l->lost);
    l->lost[l->n++] = (struct lost){ *o, NOBODY };
}

static int by_start(const void *a, const void *b) {
    uintptr_t x = ((const struct lost *)a)->o.start, y = ((const struct lost *)b)->o.start;
    return x < y ? -1 : x > y;
}

static void leads_to(void *arg, uintptr_t word, uintptr_t where) {
    struct leaks *l = arg;
    struct lost key, *to;
    if (!image_find(l->m, word, &key.o) || !(to = bsearch(&key, l->lost, l->n, sizeof key, by_start))) return;
    if (to - l->lost == l->from || to->through != NOBODY) return;
    to->through = l->from;
    if (l->n_todo == l->room_todo) l->todo = need_more(l->todo, (l->room_todo = l->room_todo * 2 + 256) * sizeof *l->todo);
    l->todo[l->n_todo++] = (size_t)(to - l->lost);
}

/* Everything that lost[i] leads to is its own; one that was on top before comes under it. */
static void follow(struct leaks *l, size_t i) {
    l->from = (long)i;
    l->n_todo = 0;
    if (!l->lost[i].o.noscan) each_pointer(l->m, &l->lost[i].o, leads_to, l);
    while (l->n_todo) {
        const struct lost *x = &l->lost[l->todo[--l->n_todo]];
        if (!x->o.noscan) each_pointer(l->m, &x->o, leads_to, l);
    }
}

static void find_lost(struct leaks *l) {
    marks_make(&l->marks, l->m);
    image_each(l->m, add_lost, l);
    qsort(l->lost, l->n, sizeof *l->lost, by_start);
    for (size_t i = 0; i < l->n; i++)
        if (l->lost[i].through == NOBODY) follow(l, i);
}

/* ---- by site */

struct table { struct row *row; size_t n, room; struct counts lost, through; };

static struct row *row_of(struct table *t, const struct site *site, size_t size) {
    for (size_t i = 0; i < t->n; i++)
        if (t->row[i].site == site && (site || t->row[i].size == size)) return &t->row[i];
    if (t->n == t->room) t->row = need_more(t->row, (t->room = t->room * 2 + 64) * sizeof *t->row);
    t->row[t->n] = (struct row){ .site = site, .size = size };
    return &t->row[t->n++];
}

static void count(struct counts *c, size_t bytes) {
    c->objects++;
    c->bytes += bytes;
}

/* The block that starts at p, of `size` bytes unless it is known better. */
static void add_block(struct table *t, const struct leaks *l, uintptr_t p, size_t size, const struct lost *top) {
    const struct sampled *own = sample_of(l->sites, p), *of_top = top ? sample_of(l->sites, top->o.start) : own;
    if (top && !of_top && top->o.cls == GM_CLASS_8) of_top = sample_of(l->sites, top->o.start + 8);
    size_t bytes = own ? own->bytes : size;
    struct row *r = row_of(t, of_top ? of_top->site : NULL, top ? top->o.size : size);
    if (!top && !r->first) r->first = p;
    count(top ? &r->through : &r->lost, bytes);
    count(top ? &t->through : &t->lost, bytes);
}

static void add_row(struct table *t, const struct leaks *l, const struct lost *x) {
    const struct lost *top = x;
    while (top->through != NOBODY) top = &l->lost[top->through];
    if (top == x) top = NULL;
    if (x->o.cls != GM_CLASS_8) return add_block(t, l, x->o.start, x->o.size, top);
    /* Two slots that share a mark: which of them live is known if they are sampled. */
    bool first = sample_of(l->sites, x->o.start), second = sample_of(l->sites, x->o.start + 8);
    if (first || !second) add_block(t, l, x->o.start, 8, top);
    if (second) add_block(t, l, x->o.start + 8, 8, top);
}

static int by_bytes(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    uint64_t i = x->lost.bytes + x->through.bytes, k = y->lost.bytes + y->through.bytes;
    return i > k ? -1 : i < k;
}

/* ---- the report */

static const char *blocks(uint64_t n) {
    static char text[4][32];
    static unsigned next;
    char *t = text[next++ % 4];
    snprintf(t, sizeof text[0], n == 1 ? "%lu block" : "%lu blocks", n);
    return t;
}

static void print_row(FILE *f, const struct leaks *l, const struct row *r) {
    fprintf(f, "\n%lu bytes in %s definitely lost", r->lost.bytes, blocks(r->lost.objects));
    fprintf(f, r->lost.objects == 1 ? " (0x%lx)" : " (0x%lx and so on)", r->first);
    if (r->through.objects) fprintf(f, ", and through them %lu bytes in %s", r->through.bytes, blocks(r->through.objects));
    if (r->site) {
        fputs(", allocated at\n", f);
        site_print(f, l->sites, r->site, "    ");
    } else {
        fprintf(f, ", of size %lu, allocated at an unknown place\n", r->size);
    }
}

static void print_report(FILE *f, const struct leaks *l, const struct table *t) {
    fprintf(f, "process %d: %lu bytes in %s definitely lost, %lu bytes in %s indirectly lost, %lu bytes in %s still reachable\n", (int)l->sites->pid,
            t->lost.bytes, blocks(t->lost.objects), t->through.bytes, blocks(t->through.objects), l->marks.bytes, blocks(l->marks.objects));
    if (l->sites->rate != 1 && l->n)
        fputs("(where they were allocated is known of samples only: gomalloc leaks -- PROGRAM, or GOMALLOC=profile:1, remembers every site)\n", f);
    for (size_t i = 0; i < t->n; i++) print_row(f, l, &t->row[i]);
}

/* In the profile, what is lost through a block counts at its site. */
static void write_pprof(const char *path, const struct sites *s, const struct table *t) {
    struct counts *c = need(s->n * sizeof *c);
    FILE *f = fopen(path, "we");
    if (!f) fail(1, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < t->n; i++) {
        if (!t->row[i].site) continue;
        struct counts *to = &c[t->row[i].site - s->site];
        to->objects = t->row[i].lost.objects + t->row[i].through.objects;
        to->bytes = t->row[i].lost.bytes + t->row[i].through.bytes;
    }
    pprof_write(f, s, c, c, 0);
    if (fclose(f) != 0) fail(1, "%s: %s", path, strerror(errno));
    free(c);
}

struct request { const char *pprof, *out, *lib; long status; char **argv; };

/* Reports on the process; true: something is definitely lost. */
static bool report(pid_t pid, const struct request *q) {
    struct remote r;
    struct snapshot s;
    struct image m;
    struct sites sites;
    remote_open_or_fail(&r, pid);
    snapshot_take(&s, &r);
    enum remote_result result = sites_read(&sites, &s.copy, pid, true);
    if (result != REMOTE_OK) {
        snapshot_drop(&s);
        fail(1, "process %d: %s", (int)pid, remote_explain(result));
    }
    image_read(&m, &s, false);
    struct leaks l = { .m = &m, .sites = &sites };
    struct table t = { 0 };
    find_lost(&l);
    double held = s.held_seconds;
    snapshot_drop(&s);
    for (size_t i = 0; i < l.n; i++) add_row(&t, &l, &l.lost[i]);
    qsort(t.row, t.n, sizeof *t.row, by_bytes);
    FILE *f = q->out ? fopen(q->out, "we") : q->argv ? stderr : stdout;
    if (!f) fail(1, "%s: %s", q->out, strerror(errno));
    print_report(f, &l, &t);
    if (!q->argv) fprintf(f, "\nthe process stood still for %s\n", seconds_text(held));
    if (fflush(f) != 0 || (q->out && fclose(f) != 0)) fail(1, "%s: %s", q->out ? q->out : "write", strerror(errno));
    if (q->pprof) write_pprof(q->pprof, &sites, &t);
    bool any = t.lost.objects != 0;
    free(t.row);
    free(l.lost);
    free(l.todo);
    marks_free(&l.marks);
    image_free(&m);
    sites_free(&sites);
    return any;
}

/* ---- a program of the command's own */

static int run_program(const struct request *q) {
    struct program p;
    struct exit_point exit_point;
    struct launch l = { .argv = q->argv, .preload = library_path(q->lib), .options = "profile:1,gc:leak" };
    program_find(&p, q->argv[0]);
    const char *refuses = program_refuses(&p);
    if (refuses) fail(126, "%s: nothing can be preloaded into it: %s", p.path, refuses);
    exit_point_make(&exit_point);
    l.exit_fifo = exit_point.fifo;
    pid_t pid = launch_start(&l);
    signals_pass_to(pid);
    int watch = process_watch(pid), status;
    struct rusage usage;
    bool seen = false, any = false;
    for (;;) {
        if (exit_point.fd >= 0 && exit_point_wait(&exit_point, watch, 1)) {
            seen = true;
            any = report(pid, q);
            exit_point_close(&exit_point);
        }
        if (process_wait(pid, watch, exit_point.fd >= 0 ? 0 : 1, &status, &usage)) break;
    }
    signals_pass_to(0);
    exit_point_close(&exit_point);
    if (!seen) say("%s: no report: the program did not end by exit(), or the library was not in it", q->argv[0]);
    if (any && q->status >= 0) return (int)q->status;
    end_as(status);
}

int command_leaks(int argc, char **argv) {
    struct request q = { .status = -1 };
    int i = 1;
    for (const char *v; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++) {
        if ((v = option_value(argc, argv, &i, "--pprof"))) q.pprof = v;
        else if ((v = option_value(argc, argv, &i, "--lib"))) q.lib = v;
        else if ((v = option_value(argc, argv, &i, "-o"))) q.out = v;
        else if ((v = option_value(argc, argv, &i, "--error-exitcode"))) q.status = (long)parse_number("--error-exitcode", v, 0, 255);
        else usage("leaks: no option '%s'", argv[i]);
    }
    bool program = i < argc && strcmp(argv[i], "--") == 0;
    if (program && i + 1 < argc) {
        q.argv = argv + i + 1;
        return run_program(&q);
    }
    if (program || i + 1 != argc) usage("leaks wants a process id, or -- and a program");
    bool any = report(parse_pid(argv[i]), &q);
    return any && q.status >= 0 ? (int)q.status : 0;
}
