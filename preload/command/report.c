/* The report of one run: see report.h. The figures the pictures are drawn from stand in the page as JSON too. */
#include "preload/command/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "libgomalloc/gomalloc.h"
#include "preload/command/chart.h"
#include "preload/command/command.h"
#include "preload/command/style.h"

void report_head(FILE *to, const char *title) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n<title>", to);
    html_text(to, title);
    fprintf(to, "</title>\n<style>%s</style></head>\n<body><main>\n", report_style);
}

void report_command(FILE *to, char *const *argv) {
    fputs("<pre>", to);
    for (int i = 0; argv[i]; i++) {
        if (i) putc(' ', to);
        html_text(to, argv[i]);
    }
    fputs("</pre>\n", to);
}

void report_tail(FILE *to) {
    fprintf(to, "<p class=\"note\">gomalloc %s</p>\n</main></body></html>\n", GOMALLOC_VERSION);
}

static void tile(FILE *to, const char *id, const char *value, const char *what) {
    fprintf(to, "<div class=\"tile\" id=\"%s\"><b>%s</b><span>%s</span></div>\n", id, value, what);
}

static const char *percent_text(double part, double whole) {
    static char text[8][16];
    static unsigned next;
    char *t = text[next++ % 8];
    snprintf(t, 16, "%.1f %%", whole > 0 ? 100 * part / whole : 0);
    return t;
}

static void tiles(FILE *to, const struct report *r) {
    const struct gomalloc_stats *f = r->final, *p = &r->series->at_peak;
    char *count = format_new("%lu", f->mallocs);
    fputs("<div class=\"tiles\">\n", to);
    tile(to, "wall", seconds_text(r->seconds), "wall time");
    tile(to, "cpu", seconds_text(r->cpu), "CPU time");
    tile(to, "peak-rss", bytes_text((double)r->peak_rss), "peak RSS");
    tile(to, "peak-inuse", bytes_text((double)p->heap_inuse), "most in use by the heap");
    tile(to, "peak-live", bytes_text((double)p->heap_alloc), "of that in live objects");
    tile(to, "end-live", bytes_text((double)f->heap_alloc), r->final_is_exact ? "live at exit" : "live at the last sample");
    tile(to, "mallocs", count, "allocations");
    tile(to, "total", bytes_text((double)f->total_alloc), "allocated in all");
    tile(to, "internal", percent_text((double)p->heap_alloc - (double)p->heap_requested_estimate, (double)p->heap_alloc), "internal fragmentation at the peak");
    tile(to, "external", percent_text((double)p->heap_inuse - (double)p->heap_alloc, (double)p->heap_inuse), "external fragmentation at the peak");
    fputs("</div>\n", to);
    free(count);
}

/* ---- over time */

struct columns {
    size_t n;
    double *t, *rss, *live, *requested, *inuse, *backed, *all, *idle, *released, *internal, *external, *unused, *rate;
};

static double *column(size_t n) { return need(n * sizeof(double)); }
static double share(double part, double whole) { return whole > 0 ? 100 * fmax(part, 0) / whole : 0; }

static void fill_row(struct columns *c, size_t i, const struct sample *s, const struct sample *before) {
    c->t[i] = s->t;
    c->rss[i] = (double)s->p.rss;
    c->live[i] = s->heap ? (double)s->live : NAN;
    c->requested[i] = s->heap ? (double)s->requested : NAN;
    c->inuse[i] = s->heap ? (double)s->inuse : NAN;
    c->backed[i] = s->heap ? (double)(s->inuse + s->idle) : NAN;
    c->all[i] = s->heap ? (double)(s->inuse + s->idle + s->released) : NAN;
    c->idle[i] = s->heap ? (double)s->idle : NAN;
    c->released[i] = s->heap ? (double)s->released : NAN;
    c->internal[i] = s->heap ? share((double)s->live - (double)s->requested, (double)s->live) : NAN;
    c->external[i] = s->heap ? share((double)s->inuse - (double)s->live, (double)s->inuse) : NAN;
    c->unused[i] = s->heap ? share((double)s->idle, (double)(s->inuse + s->idle)) : NAN;
    bool both = before && s->heap && before->heap && s->t > before->t && s->mallocs >= before->mallocs;
    c->rate[i] = both ? (double)(s->mallocs - before->mallocs) / (s->t - before->t) : NAN;
}

static void make_columns(struct columns *c, const struct series *s) {
    double **all[] = { &c->t, &c->rss, &c->live, &c->requested, &c->inuse, &c->backed, &c->all, &c->idle, &c->released, &c->internal, &c->external, &c->unused, &c->rate };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) *all[i] = column(s->n);
    c->n = s->n;
    for (size_t i = 0; i < s->n; i++) fill_row(c, i, &s->sample[i], i ? &s->sample[i - 1] : NULL);
}

static void free_columns(struct columns *c) {
    double *all[] = { c->t, c->rss, c->live, c->requested, c->inuse, c->backed, c->all, c->idle, c->released, c->internal, c->external, c->unused, c->rate };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void over_time(FILE *to, const struct columns *c) {
    const struct chart_line memory[] = { { "RSS of the process", "c1 thick", c->rss, false }, { "heap in use", "c3", c->inuse, false },
                                         { "live objects", "c2", c->live, false }, { "idle", "c4", c->idle, false },
                                         { "released", "c5", c->released, false } };
    const struct chart_line layers[] = { { "live objects", "c2", c->live, true }, { "free slots and caches in spans", "c3", c->inuse, true },
                                         { "idle pages", "c4", c->backed, true }, { "released pages", "c5", c->all, true },
                                         { "RSS of the process", "c1 thick", c->rss, false } };
    const struct chart_line waste[] = { { "internal: rounding up to size classes, of live", "c2", c->internal, false },
                                        { "external: free slots in spans, of in use", "c3", c->external, false },
                                        { "idle pages still backed, of the heap's memory", "c4", c->unused, false } };
    const struct chart_line rate[] = { { "allocations a second", "c1", c->rate, false } };
    fputs("<h2>Over time</h2>\n<div class=\"grid2\">\n", to);
    chart_lines(to, "memory", "Memory", c->t, c->n, memory, 5, CHART_BYTES);
    chart_lines(to, "layers", "What the heap consists of", c->t, c->n, layers, 5, CHART_BYTES);
    chart_lines(to, "fragmentation", "Fragmentation", c->t, c->n, waste, 3, CHART_PERCENT);
    chart_lines(to, "rate", "Allocation rate", c->t, c->n, rate, 1, CHART_COUNT);
    fputs("</div>\n", to);
}

static void pauses(FILE *to, const struct report *r, double start) {
    const struct gm_pauses *p = &r->series->pauses;
    if (p->count == 0) return;
    double x[GM_PAUSES], y[GM_PAUSES];
    size_t n = p->count < GM_PAUSES ? (size_t)p->count : GM_PAUSES;
    for (size_t i = 0; i < n; i++) {
        size_t k = (size_t)(p->count - n + i) % GM_PAUSES;
        x[i] = fmax((double)p->entry[k].at_ns / 1e9 - start, 0);
        y[i] = (double)p->entry[k].length_ns / 1e9;
    }
    fputs("<h2>Collections</h2>\n<div class=\"grid2\">\n", to);
    chart_sticks(to, "pauses", "Pauses", x, y, n, r->seconds);
    fprintf(to, "</div>\n<p>%lu cycles, %lu pauses, the longest %s, all together %s.</p>\n", r->final->num_gc, p->count,
            seconds_text((double)r->final->pause_max_ns / 1e9), seconds_text((double)r->final->pause_total_ns / 1e9));
}

/* ---- classes and map */

static void class_bars(FILE *to, const char *id, const char *title, const struct gomalloc_stats *g) {
    struct chart_bar bar[GOMALLOC_MAX_SIZE_CLASSES + 1];
    size_t n = 0;
    uint64_t large = g->heap_alloc;
    for (size_t i = 0; i < g->by_size_count && i < GOMALLOC_MAX_SIZE_CLASSES; i++) {
        const struct gomalloc_size_stats *c = &g->by_size[i];
        uint64_t live = (c->mallocs - c->frees) * c->size;
        large -= live < large ? live : large;
        if (!c->inuse) continue;
        bar[n].part = (double)live;
        bar[n].whole = (double)c->inuse;
        snprintf(bar[n++].label, sizeof bar->label, "%lu", c->size);
    }
    if (large) {
        bar[n].part = bar[n].whole = (double)large;
        snprintf(bar[n++].label, sizeof bar->label, "large");
    }
    chart_bars(to, id, title, bar, n, "live objects", "their spans");
}

static void where(FILE *to, const struct report *r) {
    const struct series *s = r->series;
    fputs("<h2>Where it lies</h2>\n<div class=\"grid2\">\n", to);
    class_bars(to, "classes", "Size classes when the most was in use", &s->at_peak);
    fputs("<div>\n", to);
    if (s->map_peak.pages) {
        char *title = format_new("The arenas near the peak (%.2f s)", s->map_peak_at);
        chart_map(to, "map-peak", title, &s->map_peak);
        free(title);
    }
    if (s->map_last.pages) {
        char *title = format_new("The arenas at the end (%.2f s)", s->map_last_at);
        fputs("<br>\n", to);
        chart_map(to, "map-last", title, &s->map_last);
        free(title);
    }
    fputs("</div></div>\n", to);
}

static void span_table(FILE *to, const struct heap_map *m) {
    if (!m->pages) return;
    fputs("<h2>How full the spans are</h2>\n<p class=\"note\">Spans of a class by the share of their slots that are taken (live or in caches). "
          "Nearly empty ones are what keeps pages from going back.</p>\n<div class=\"wrap\"><table id=\"spans\"><tr><th>size<th>spans", to);
    for (int b = 0; b < 10; b++) fprintf(to, "<th>%d%%", b * 10);
    fputs("<th>full<th>taken</tr>\n", to);
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        const struct map_class *c = &m->cls[cls];
        uint64_t spans = 0;
        for (int b = 0; b <= 10; b++) spans += c->spans[b];
        if (!spans) continue;
        fprintf(to, "<tr><td>%u<td>%lu", gm_class_size[cls], spans);
        for (int b = 0; b <= 10; b++) c->spans[b] ? fprintf(to, "<td>%lu", c->spans[b]) : fputs("<td>", to);
        fprintf(to, "<td>%s</tr>\n", percent_text((double)c->out, (double)c->slots));
    }
    fprintf(to, "</table></div>\n<p>Spans at most a quarter full: %s pinned by %s of slots.</p>\n", bytes_text((double)m->pinned_bytes),
            bytes_text((double)m->pinning_bytes));
}

/* ---- tables */

static void class_table(FILE *to, const struct gomalloc_stats *g) {
    fputs("<table id=\"final-classes\"><tr><th>size<th>allocations<th>frees<th>live<th>live bytes<th>in spans<th>asked for on average</tr>\n", to);
    for (size_t i = 0; i < g->by_size_count && i < GOMALLOC_MAX_SIZE_CLASSES; i++) {
        const struct gomalloc_size_stats *c = &g->by_size[i];
        if (!c->mallocs) continue;
        fprintf(to, "<tr><td>%lu<td>%lu<td>%lu<td>%lu<td>%s<td>%s<td>%.1f</tr>\n", c->size, c->mallocs, c->frees, c->mallocs - c->frees,
                bytes_text((double)((c->mallocs - c->frees) * c->size)), bytes_text((double)c->inuse), (double)c->requested / (double)c->mallocs);
    }
    if (g->large_mallocs)
        fprintf(to, "<tr><td>large<td>%lu<td>%lu<td>%lu<td><td><td>%.1f</tr>\n", g->large_mallocs, g->large_frees, g->large_mallocs - g->large_frees,
                (double)g->large_requested / (double)g->large_mallocs);
    fputs("</table>\n", to);
}

static void sample_table(FILE *to, const struct series *s) {
    fputs("<details><summary>All samples</summary><div class=\"wrap\"><table id=\"samples\"><tr><th>time<th>RSS<th>live<th>in use<th>idle<th>released<th>CPU<th>faults<th>allocations</tr>\n", to);
    for (unsigned i = 0; i < s->n; i++) {
        const struct sample *x = &s->sample[i];
        fprintf(to, "<tr><td>%.3f s<td>%s<td>%s<td>%s<td>%s<td>%s<td>%.2f s<td>%lu<td>%lu</tr>\n", x->t, bytes_text((double)x->p.rss), bytes_text((double)x->live),
                bytes_text((double)x->inuse), bytes_text((double)x->idle), bytes_text((double)x->released), x->p.cpu, x->p.minor_faults, x->mallocs);
    }
    fputs("</table></div></details>\n", to);
}

static void data(FILE *to, const struct report *r) {
    const struct gomalloc_stats *f = r->final, *p = &r->series->at_peak;
    fprintf(to, "<script type=\"application/json\" id=\"data\">{\"seconds\":%.6f,\"cpu\":%.6f,\"peak_rss\":%lu,\"faults\":%lu,\"status\":%d,\n", r->seconds, r->cpu, r->peak_rss,
            r->faults, status_code(r->status));
    fprintf(to, "\"final\":{\"heap_alloc\":%lu,\"mallocs\":%lu,\"frees\":%lu,\"total_alloc\":%lu},\"peak\":{\"heap_inuse\":%lu,\"heap_alloc\":%lu},\n\"samples\":[", f->heap_alloc,
            f->mallocs, f->frees, f->total_alloc, p->heap_inuse, p->heap_alloc);
    for (unsigned i = 0; i < r->series->n; i++) {
        const struct sample *x = &r->series->sample[i];
        fprintf(to, "%s\n{\"t\":%.6f,\"rss\":%lu,\"heap\":%s,\"live\":%lu,\"requested\":%lu,\"inuse\":%lu,\"idle\":%lu,\"released\":%lu,\"mallocs\":%lu}", i ? "," : "", x->t, x->p.rss,
                x->heap ? "true" : "false", x->live, x->requested, x->inuse, x->idle, x->released, x->mallocs);
    }
    fputs("],\n\"classes_at_peak\":[", to);
    for (size_t i = 0, first = 1; i < p->by_size_count && i < GOMALLOC_MAX_SIZE_CLASSES; i++) {
        const struct gomalloc_size_stats *c = &p->by_size[i];
        if (!c->inuse) continue;
        fprintf(to, "%s\n{\"size\":%lu,\"live\":%lu,\"inuse\":%lu}", first ? "" : ",", c->size, (c->mallocs - c->frees) * c->size, c->inuse);
        first = 0;
    }
    fputs("]}</script>\n", to);
}

void report_run(FILE *to, const struct report *r) {
    char *title = format_new("gomalloc: %s", r->argv[0]);
    report_head(to, title);
    free(title);
    fputs("<h1>Heap report</h1>\n", to);
    report_command(to, r->argv);
    if (r->options && *r->options) {
        fputs("<p class=\"note\">GOMALLOC=", to);
        html_text(to, r->options);
        fputs("</p>\n", to);
    }
    if (WIFSIGNALED(r->status)) fprintf(to, "<p>The program was ended by signal %d (%s).</p>\n", WTERMSIG(r->status), strsignal(WTERMSIG(r->status)));
    else if (WEXITSTATUS(r->status)) fprintf(to, "<p>The program ended with status %d.</p>\n", WEXITSTATUS(r->status));
    if (!r->series->seen) fputs("<p>The program ended before its heap could be looked at (see --interval), or the library was not in it.</p>\n", to);
    tiles(to, r);
    struct columns c;
    make_columns(&c, r->series);
    over_time(to, &c);
    free_columns(&c);
    pauses(to, r, now() - r->seconds);
    where(to, r);
    span_table(to, r->series->map_last.pages ? &r->series->map_last : &r->series->map_peak);
    fprintf(to, "<h2>Size classes %s</h2>\n<div class=\"wrap\">", r->final_is_exact ? "at exit" : "at the last sample");
    class_table(to, r->final);
    fputs("</div>\n<h2>Data</h2>\n", to);
    sample_table(to, r->series);
    data(to, r);
    report_tail(to);
}
