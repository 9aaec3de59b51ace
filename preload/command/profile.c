/* gomalloc profile: which calls allocated what a live process holds, and switching the sampling on and off. What is
 * sampled and how: libgomalloc/profile.c.
 *
 * THE FRAGMENTATION PROFILE. A span goes back to the page heap when its last object does, so an object in a nearly empty
 * span holds on to memory that is not its own. Of a span at most a quarter full, each live object is charged with
 * an equal share of the span's idle bytes. Sampled objects stand for those that are not; the shares, scaled up, are summed
 * by site: "bytes" are then idle bytes that freeing the site's objects would set free. */
#include "preload/command/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "preload/command/sites.h"

enum { NEARLY_EMPTY = 4 }; /* a span is, from one in so many slots on */

/* Idle bytes that the object at p holds on to, in its span; 0: none. */
static double pinned_by(const struct remote *r, const struct gm_arena *a, uintptr_t p) {
    uint64_t e;
    struct gm_span s;
    if (p - a->base >= a->committed || !remote_read(r, a->pages + ((p - a->base) >> GM_PAGE_SHIFT), &e, sizeof e)) return 0;
    if (e <= GM_ENTRY_FREED || gm_entry_class(e) == 0 || !remote_read(r, gm_entry_span(e), &s, sizeof s)) return 0;
    unsigned slots = s.nslots, size = gm_class_size[gm_entry_class(e)];
    if (s.nfree >= slots || (slots - s.nfree) * NEARLY_EMPTY > slots) return 0;
    return (double)s.nfree * size / (slots - s.nfree);
}

static bool charge(const struct remote *r, const struct sites *s, struct counts *pinned) {
    struct gm_space space;
    if (!remote_read(r, r->endpoint.space, &space, sizeof space)) return false;
    for (size_t i = 0; i < s->n_samples; i++) {
        const struct sampled *x = &s->sample[i];
        double bytes = pinned_by(r, &space.primary, x->address), weight = sample_weight(s, (double)x->bytes);
        if (bytes == 0) continue;
        struct counts *c = &pinned[x->site - s->site];
        c->objects += (uint64_t)(weight + 0.5);
        c->bytes += (uint64_t)(bytes * weight + 0.5);
    }
    return true;
}

/* ---- the text */

static const struct counts *ranked;
static int by_bytes(const void *a, const void *b) {
    uint64_t x = ranked[*(const size_t *)a].bytes, y = ranked[*(const size_t *)b].bytes;
    return x > y ? -1 : x < y;
}

static void print_text(FILE *f, const struct sites *s, const struct counts *c, const char *what) {
    size_t *order = need(s->n * sizeof *order), shown = 0;
    struct counts sum = { 0 };
    for (size_t i = 0; i < s->n; i++) {
        order[i] = i;
        sum.objects += c[i].objects;
        sum.bytes += c[i].bytes;
    }
    ranked = c;
    qsort(order, s->n, sizeof *order, by_bytes);
    fprintf(f, "%s %s in %lu objects, by the calls that allocated them\n", bytes_text((double)sum.bytes), what, sum.objects);
    for (; shown < s->n && shown < 50 && c[order[shown]].objects; shown++) {
        fprintf(f, "\n%s in %lu objects\n", bytes_text((double)c[order[shown]].bytes), c[order[shown]].objects);
        site_print(f, s, &s->site[order[shown]], "    ");
    }
    free(order);
}

static struct counts scaled(const struct sites *s, struct counts c) {
    if (!c.objects) return c;
    double w = sample_weight(s, (double)c.bytes / (double)c.objects);
    return (struct counts){ (uint64_t)((double)c.objects * w + 0.5), (uint64_t)((double)c.bytes * w + 0.5) };
}

/* ---- the command */

struct request { const char *out; bool text, fragmentation, change; int64_t rate; };

static void write_out(FILE *f, const struct remote *r, const struct sites *s, const struct request *q) {
    struct counts *c = need(s->n * sizeof *c);
    if (q->fragmentation) {
        if (!charge(r, s, c)) fail(1, "process %d: %s", (int)r->pid, remote_explain(REMOTE_NO_PROCESS));
        if (q->text) print_text(f, s, c, "idle in nearly empty spans, held by what is live");
        else pprof_write(f, s, c, c, 0);
    } else if (q->text) {
        for (size_t i = 0; i < s->n; i++) c[i] = scaled(s, s->site[i].live);
        print_text(f, s, c, "live");
    } else {
        pprof_write_heap(f, s);
    }
    free(c);
}

static int64_t parse_rate(const char *text) {
    char *end;
    double v = strtod(text, &end);
    for (const char *u = "KMG"; *end && *u; u++) {
        v *= 1024;
        if (*end == *u) {
            end++;
            break;
        }
    }
    if (end == text || *end || v < 1 || v > 1e12) usage("--on: '%s' is no number of bytes", text);
    return (int64_t)v;
}

int command_profile(int argc, char **argv) {
    struct request q = { 0 };
    int i = 1;
    for (const char *v; i < argc && argv[i][0] == '-'; i++) {
        if ((v = option_value(argc, argv, &i, "-o"))) q.out = v;
        else if (strcmp(argv[i], "--text") == 0) q.text = true;
        else if (strcmp(argv[i], "--fragmentation") == 0) q.fragmentation = true;
        else if (strcmp(argv[i], "--on") == 0) q.change = true, q.rate = 512 * 1024;
        else if (strncmp(argv[i], "--on=", 5) == 0) q.change = true, q.rate = parse_rate(argv[i] + 5);
        else if (strcmp(argv[i], "--off") == 0) q.change = true, q.rate = 0;
        else usage("profile: no option '%s'", argv[i]);
    }
    if (i + 1 != argc) usage("profile wants one process id");
    struct remote r;
    struct sites s;
    pid_t pid = parse_pid(argv[i]);
    remote_open_or_fail(&r, pid);
    if (q.change) {
        if (!remote_ask_profile(&r, q.rate)) fail(1, "process %d: %s", (int)pid, strerror(errno));
        return 0;
    }
    enum remote_result result = sites_read(&s, &r, pid, q.fragmentation);
    if (result != REMOTE_OK) fail(1, "process %d: %s", (int)pid, remote_explain(result));
    if (!s.rate) fail(1, "process %d: its allocations are not sampled (start it with gomalloc run --profile FILE, or: gomalloc profile --on %d)", (int)pid, (int)pid);
    FILE *f = q.out ? fopen(q.out, "we") : stdout;
    if (!f) fail(1, "%s: %s", q.out, strerror(errno));
    write_out(f, &r, &s, &q);
    if (fflush(f) != 0 || (q.out && fclose(f) != 0)) fail(1, "%s: %s", q.out ? q.out : "write", strerror(errno));
    sites_free(&s);
    return 0;
}
