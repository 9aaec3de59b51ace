/* Four ways to write one struct gomalloc_stats. See stats_format.h for the table they share.
 *
 * text is for people: one line a field with its help, then one row for each size class that was used.
 *
 * json is one object whose names are those of gomalloc.h, letter for letter; a program that reads it can
 * look its meaning up there. All numbers are integers; "mappings" lists address ranges, as strings.
 *
 * openmetrics follows the OpenMetrics text format 1.0: families in one piece, base units, HELP, TYPE and
 * UNIT before the samples, "# EOF" at the end. All classes are written, used or not: a rate over a
 * series that appears with its first increment misses that increment.
 *
 * malloc_info looks like glibc's, for programs that parse that. glibc lists the sizes of its *free*
 * chunks in <sizes>; a row of ours there would be taken for free memory, so the classes stand there as
 * elements of another name, and the free bytes that memory stands behind are summed in
 * <total type="rest">. Large objects are spans of the heap and part of <system>, so there is nothing
 * under "mmap". The last element has all figures under their names in gomalloc.h. */
#include "libgomalloc/stats_format.h"

#include <errno.h>
#include <string.h>

/* Texts in place, as in conf.c. */
struct field {
    char name[32], metric[32], help[96];
    uint16_t offset;
    uint8_t kind, unit;
};

static const struct field fields[] = {
#define X(field, kind, unit, metric, help) \
    {#field, metric, help, offsetof(struct gomalloc_stats, field), GM_##kind, GM_UNIT_##unit},
    GM_STATS_FIELDS(X)
#undef X
};
enum { FIELDS = sizeof fields / sizeof fields[0] };
GM_STATIC_ASSERT(FIELDS * sizeof(uint64_t) == offsetof(struct gomalloc_stats, by_size),
                 "a field of struct gomalloc_stats is missing in GM_STATS_FIELDS");

static const struct field class_fields[] = {
#define X(field, kind, unit, metric, help) \
    {#field, metric, help, offsetof(struct gomalloc_size_stats, field), GM_##kind, GM_UNIT_##unit},
    GM_STATS_CLASS_FIELDS(X)
#undef X
};
enum { CLASS_FIELDS = sizeof class_fields / sizeof class_fields[0] };
GM_STATIC_ASSERT((CLASS_FIELDS + 1) * sizeof(uint64_t) == sizeof(struct gomalloc_size_stats),
                 "a field of struct gomalloc_size_stats is missing in GM_STATS_CLASS_FIELDS");

static uint64_t value(const void *record, const struct field *f) {
    uint64_t v;
    memcpy(&v, (const char *)record + f->offset, sizeof v);
    return v;
}

static size_t classes(const struct gomalloc_stats *s) {
    return s->by_size_count < GOMALLOC_MAX_SIZE_CLASSES ? s->by_size_count : GOMALLOC_MAX_SIZE_CLASSES;
}

/* a - b, but never below 0: counters of running threads may be read a few operations apart. */
static uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

static double percent(uint64_t part, uint64_t of) { return of == 0 ? 0 : 100.0 * (double)part / (double)of; }

/* ---- text */

/* Bytes as people read them, right-aligned in ten columns. */
static void put_bytes(struct gm_out *o, uint64_t v) {
    static const char units[] = " KMGTPE";
    unsigned unit = 0;
    double d = (double)v;
    for (; d >= 1023.95; d /= 1024) unit++;
    if (unit == 0) gm_out_printf(o, "%8lu B", v);
    else gm_out_printf(o, "%6.1f %ciB", d, units[unit]);
}

static void text_field(struct gm_out *o, const struct field *f, uint64_t v) {
    gm_out_printf(o, "%-24s %20lu  ", f->name, v);
    if (f->unit == GM_UNIT_BYTES) put_bytes(o, v);
    else if (f->unit == GM_UNIT_NS) gm_out_printf(o, "%8.3f s", (double)v / 1e9);
    else gm_out_printf(o, "%10s", "");
    gm_out_printf(o, "  %s\n", f->help);
}

/* `size` 0 stands for the large objects, which have no common one. Waste is what rounding added to all
 * objects handed out so far. */
static void text_class(struct gm_out *o, const struct gomalloc_size_stats *c, uint64_t live_bytes,
                       uint64_t handed_out) {
    if (c->size == 0) gm_out_printf(o, "%8s", "large");
    else gm_out_printf(o, "%8lu", c->size);
    gm_out_printf(o, " %16lu %16lu %14lu  ", c->mallocs, c->frees, minus(c->mallocs, c->frees));
    put_bytes(o, live_bytes);
    gm_out_char(o, ' ');
    put_bytes(o, c->inuse);
    gm_out_printf(o, " %7.1f %%\n", percent(minus(handed_out, c->requested), handed_out));
}

static uint64_t pause_bound(unsigned bucket) { return (uint64_t)GOMALLOC_PAUSE_NS << bucket; }

/* Buckets that are worth a line: up to the last that is not empty. */
static unsigned pause_buckets(const struct gomalloc_stats *s) {
    unsigned n = GOMALLOC_PAUSE_BUCKETS;
    while (n > 0 && s->pauses[n - 1] == 0) n--;
    return n;
}

static void text_pauses(struct gm_out *o, const struct gomalloc_stats *s) {
    unsigned n = pause_buckets(s);
    if (n > 0) gm_out_printf(o, "\n%18s %16s\n", "pauses below", "how many");
    for (unsigned i = 0; i < n; i++) {
        if (i == GOMALLOC_PAUSE_BUCKETS - 1) gm_out_printf(o, "%18s", "longer");
        else gm_out_printf(o, "%15.2f ms", (double)pause_bound(i) / 1e6);
        gm_out_printf(o, " %16lu\n", s->pauses[i]);
    }
}

static void write_text(struct gm_out *o, const struct gomalloc_stats *s) {
    gm_out_str(o, "gomalloc " GOMALLOC_VERSION " statistics\n\n");
    for (const struct field *f = fields; f < fields + FIELDS; f++) text_field(o, f, value(s, f));

    uint64_t live = 0, handed_out = 0;
    gm_out_printf(o, "\n%8s %16s %16s %14s  %10s %10s %9s\n", "size", "mallocs", "frees", "live", "live bytes",
                  "in spans", "waste");
    for (size_t i = 0; i < classes(s); i++) {
        const struct gomalloc_size_stats *c = &s->by_size[i];
        if (c->mallocs == 0) continue;
        uint64_t bytes = minus(c->mallocs, c->frees) * c->size;
        live += bytes;
        handed_out += c->mallocs * c->size;
        text_class(o, c, bytes, c->mallocs * c->size);
    }
    struct gomalloc_size_stats large = {0, s->large_mallocs, s->large_frees, s->large_requested,
                                        minus(s->heap_alloc, live)};
    if (large.mallocs > 0) {
        text_class(o, &large, minus(s->heap_alloc, live), minus(s->total_alloc, handed_out));
    }
    text_pauses(o, s);
}

/* ---- json */

void gm_stats_add_range(struct gm_stats_ranges *r, uintptr_t start, uintptr_t end, const char *what) {
    if (start >= end || r->n == GM_STATS_RANGES) return;
    r->at[r->n].start = start;
    r->at[r->n].end = end;
    r->at[r->n++].what = what;
}

static void json_ranges(struct gm_out *o, const struct gm_stats_ranges *r) {
    gm_out_str(o, "  \"mappings\": [");
    for (unsigned i = 0; r && i < r->n; i++)
        gm_out_printf(o, "%s\n    {\"start\": \"0x%lx\", \"end\": \"0x%lx\", \"what\": \"%s\"}", i > 0 ? "," : "", r->at[i].start,
                      r->at[i].end, r->at[i].what);
    gm_out_str(o, r && r->n > 0 ? "\n  ],\n" : "],\n");
}

static void json_pauses(struct gm_out *o, const struct gomalloc_stats *s) {
    gm_out_printf(o, "  \"pauses_below_ns\": %lu,\n  \"pauses\": [", (uint64_t)GOMALLOC_PAUSE_NS);
    for (unsigned i = 0; i < GOMALLOC_PAUSE_BUCKETS; i++) gm_out_printf(o, "%s%lu", i > 0 ? ", " : "", s->pauses[i]);
    gm_out_str(o, "]\n");
}

static void write_json(struct gm_out *o, const struct gomalloc_stats *s, const struct gm_stats_ranges *ranges) {
    gm_out_str(o, "{\n");
    for (const struct field *f = fields; f < fields + FIELDS; f++) {
        gm_out_printf(o, "  \"%s\": %lu,\n", f->name, value(s, f));
    }
    json_ranges(o, ranges);
    gm_out_str(o, "  \"by_size\": [");
    for (size_t i = 0; i < classes(s); i++) {
        const struct gomalloc_size_stats *c = &s->by_size[i];
        gm_out_printf(o, "%s\n    {\"size\": %lu", i > 0 ? "," : "", c->size);
        for (const struct field *f = class_fields; f < class_fields + CLASS_FIELDS; f++) {
            gm_out_printf(o, ", \"%s\": %lu", f->name, value(c, f));
        }
        gm_out_char(o, '}');
    }
    gm_out_str(o, classes(s) > 0 ? "\n  ],\n" : "],\n");
    json_pauses(o, s);
    gm_out_str(o, "}\n");
}

/* ---- openmetrics */

/* The metric family's name; ends in its unit, as the format demands. */
static void put_family(struct gm_out *o, const struct field *f) {
    static const char *const suffix[] = {"", "_bytes", "_seconds"};
    gm_out_printf(o, "gomalloc_%s%s", f->metric, suffix[f->unit]);
}

static void metric_head(struct gm_out *o, const struct field *f) {
    gm_out_str(o, "# TYPE ");
    put_family(o, f);
    gm_out_str(o, f->kind == GM_COUNTER ? " counter\n" : " gauge\n");
    if (f->unit != GM_UNIT_NONE) {
        gm_out_str(o, "# UNIT ");
        put_family(o, f);
        gm_out_str(o, f->unit == GM_UNIT_BYTES ? " bytes\n" : " seconds\n");
    }
    gm_out_str(o, "# HELP ");
    put_family(o, f);
    gm_out_printf(o, " %s%s.\n", f->unit == GM_UNIT_BYTES ? "Bytes " : "", f->help);
}

/* `labels` stands between the name and the value, "" or "{...}". */
static void metric_sample(struct gm_out *o, const struct field *f, const char *labels, uint64_t v) {
    put_family(o, f);
    gm_out_printf(o, "%s%s ", f->kind == GM_COUNTER ? "_total" : "", labels);
    if (f->unit == GM_UNIT_NS) gm_out_printf(o, "%lu.%09lu\n", v / 1000000000, v % 1000000000);
    else gm_out_printf(o, "%lu\n", v);
}

/* A histogram of that format: each bucket has all that are below its bound. */
static void metric_pauses(struct gm_out *o, const struct gomalloc_stats *s) {
    uint64_t below = 0;
    gm_out_str(o, "# TYPE gomalloc_gc_pause_seconds histogram\n# UNIT gomalloc_gc_pause_seconds seconds\n"
                  "# HELP gomalloc_gc_pause_seconds stop-the-world pauses by length.\n");
    for (unsigned i = 0; i < GOMALLOC_PAUSE_BUCKETS - 1; i++) {
        below += s->pauses[i];
        gm_out_printf(o, "gomalloc_gc_pause_seconds_bucket{le=\"%lu.%05lu\"} %lu\n", pause_bound(i) / 1000000000, pause_bound(i) % 1000000000 / 10000, below);
    }
    below += s->pauses[GOMALLOC_PAUSE_BUCKETS - 1];
    gm_out_printf(o, "gomalloc_gc_pause_seconds_bucket{le=\"+Inf\"} %lu\ngomalloc_gc_pause_seconds_count %lu\n", below, below);
    gm_out_printf(o, "gomalloc_gc_pause_seconds_sum %lu.%09lu\n", s->pause_total_ns / 1000000000, s->pause_total_ns % 1000000000);
}

static void write_openmetrics(struct gm_out *o, const struct gomalloc_stats *s) {
    for (const struct field *f = fields; f < fields + FIELDS; f++) {
        metric_head(o, f);
        metric_sample(o, f, "", value(s, f));
    }
    for (const struct field *f = class_fields; f < class_fields + CLASS_FIELDS; f++) {
        metric_head(o, f);
        for (size_t i = 0; i < classes(s); i++) {
            struct gm_out label;
            gm_out_init(&label, -1);
            gm_out_printf(&label, "{size=\"%lu\"}", s->by_size[i].size);
            gm_out_flush(&label);
            metric_sample(o, f, label.text, value(&s->by_size[i], f));
        }
    }
    metric_pauses(o, s);
    gm_out_str(o, "# EOF\n");
}

int gm_stats_write(const struct gomalloc_stats *s, const struct gm_stats_ranges *ranges, int fd, const char *format) {
    struct gm_out o;
    gm_out_init(&o, fd);
    if (strcmp(format, "text") == 0) write_text(&o, s);
    else if (strcmp(format, "json") == 0) write_json(&o, s, ranges);
    else if (strcmp(format, "openmetrics") == 0) write_openmetrics(&o, s);
    else return -EINVAL;
    return gm_out_flush(&o);
}

/* ---- malloc_info */

/* What both the only <heap> and the whole <malloc> end with in glibc's form; "mmap" is in the second. */
static void info_totals(struct gm_out *o, const struct gomalloc_stats *s, bool outer) {
    uint64_t rest = minus(s->heap_sys, s->heap_released + s->heap_alloc);
    uint64_t backed = minus(s->heap_sys, s->heap_released);
    gm_out_str(o, "<total type=\"fast\" count=\"0\" size=\"0\"/>\n");
    gm_out_printf(o, "<total type=\"rest\" count=\"%d\" size=\"%lu\"/>\n", rest > 0, rest);
    if (outer) gm_out_str(o, "<total type=\"mmap\" count=\"0\" size=\"0\"/>\n");
    gm_out_printf(o, "<system type=\"current\" size=\"%lu\"/>\n", backed);
    gm_out_printf(o, "<system type=\"max\" size=\"%lu\"/>\n", s->heap_sys);
    gm_out_printf(o, "<aspace type=\"total\" size=\"%lu\"/>\n", s->heap_sys);
    gm_out_printf(o, "<aspace type=\"mprotect\" size=\"%lu\"/>\n", s->heap_sys);
}

int gm_stats_malloc_info(const struct gomalloc_stats *s, struct gm_out *o) {
    gm_out_str(o, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    for (size_t i = 0; i < classes(s); i++) {
        const struct gomalloc_size_stats *c = &s->by_size[i];
        if (c->mallocs == 0) continue;
        gm_out_printf(o, "  <class size=\"%lu\" mallocs=\"%lu\" frees=\"%lu\" requested=\"%lu\" inuse=\"%lu\"/>\n",
                      c->size, c->mallocs, c->frees, c->requested, c->inuse);
    }
    gm_out_str(o, "</sizes>\n");
    if (s->large_mallocs > 0)
        gm_out_printf(o, "<large mallocs=\"%lu\" frees=\"%lu\" requested=\"%lu\"/>\n", s->large_mallocs, s->large_frees, s->large_requested);
    info_totals(o, s, false);
    gm_out_str(o, "</heap>\n");
    info_totals(o, s, true);
    gm_out_str(o, "<gomalloc");
    for (const struct field *f = fields; f < fields + FIELDS; f++) gm_out_printf(o, " %s=\"%lu\"", f->name, value(s, f));
    gm_out_str(o, "/>\n");
    gm_out_str(o, "</malloc>\n");
    return gm_out_flush(o);
}
