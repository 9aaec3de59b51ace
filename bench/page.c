/* One page of pictures and tables from the summaries of bench/run and bench/micro/run, readable without a network.
 *
 *   page RUNS.csv...        on standard output; beside each file lies its RUNS-summary.csv
 *
 * A picture shows ratios to glibc on a logarithmic axis, a dot an allocator, with its interval; left is better. Its scale
 * stands in data- attributes, the numbers in the JSON at the end, so that a test can compute one from the other. */
#include <math.h>

#define TABLE_PROGRAM "page"
#include "bench/table.h"
#include "preload/command/style.h"

enum { MAX_ROWS = 512 };
enum { WIDTH = 1080, LEFT = 170, RIGHT = 30, TOP = 26, ROW = 17, AXIS = 26 };

struct figure {
    double ratio, low, high;
    int cases, failed, there; /* cases: of a mean, how many */
    double median;
};

/* A case, or a mean over some. */
struct row {
    char name[NAME], kind[NAME];
    struct figure at[METRICS][MAX_ALLOCS];
};

static const char *const metric_title[METRICS] = { "Time", "CPU time", "Peak resident memory", "Page faults" };
static const struct { double unit; const char *name; } metric_unit[METRICS] = { { 1e9, "s" }, { 1e9, "s" }, { 1024, "MiB" }, { 1000, "thousand" } };

static struct row rows[MAX_ROWS];
static int row_count;

static void put_text(const char *text) {
    for (; *text; text++) {
        if (*text == '<') fputs("&lt;", stdout);
        else if (*text == '>') fputs("&gt;", stdout);
        else if (*text == '&') fputs("&amp;", stdout);
        else if (*text == '"') fputs("&quot;", stdout);
        else putchar(*text);
    }
}

/* ---- reading */

static struct row *row_of(const char *name, const char *kind) {
    for (int r = 0; r < row_count; r++)
        if (strcmp(rows[r].name, name) == 0 && strcmp(rows[r].kind, kind) == 0) return &rows[r];
    if (row_count == MAX_ROWS) die("too many cases at", name);
    snprintf(rows[row_count].name, NAME, "%s", name);
    snprintf(rows[row_count].kind, NAME, "%s", kind);
    return &rows[row_count++];
}

static int metric_of(const char *name) {
    for (int m = 0; m < METRICS; m++)
        if (strcmp(metric_name[m], name) == 0) return m;
    die("no such metric:", name);
    return 0;
}

/* case,kind,metric,allocator,runs,dropped,failed,median,ratio,low,high,cases; a mean has nothing in the second four. */
static void read_line(char *line) {
    enum { CASE, KIND, METRIC, ALLOC, RUNS, DROPPED, FAILED, MEDIAN, RATIO, LOW, HIGH, CASES, FIELDS };
    char *field[FIELDS];
    int n = 0;
    for (char *rest = line; rest != NULL && n < FIELDS; n++) field[n] = strsep(&rest, ",");
    if (n != FIELDS) die("not a line of a summary:", line);
    struct row *r = row_of(field[CASE], field[KIND]);
    r->at[metric_of(field[METRIC])][alloc_of(field[ALLOC])] = (struct figure){
        .ratio = atof(field[RATIO]), .low = atof(field[LOW]), .high = atof(field[HIGH]), .cases = atoi(field[CASES]),
        .failed = atoi(field[FAILED]), .there = 1, .median = atof(field[MEDIAN]),
    };
}

static void read_summary(const char *runs) {
    char path[4096], line[1024];
    size_t n = strlen(runs);
    if (n > 4 && strcmp(runs + n - 4, ".csv") == 0) n -= 4;
    snprintf(path, sizeof path, "%.*s-summary.csv", (int)n, runs);
    FILE *f = fopen(path, "r");
    if (f == NULL) die("cannot read", path);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "case,", 5) != 0) read_line(line);
    fclose(f);
}

/* What the file of runs says about itself. */
static void put_head_of(const char *runs) {
    char line[1024];
    FILE *f = fopen(runs, "r");
    if (f == NULL) die("cannot read", runs);
    while (fgets(line, sizeof line, f) != NULL && line[0] == '#') put_text(line + 2);
    fclose(f);
}

/* ---- pictures */

static int is_mean(const struct row *r) { return strcmp(r->kind, "mean") == 0; }
static int has_ratio(const struct figure *f) { return f->there && f->cases > 0 && f->ratio > 0; }
/* Colours go round; this library has the first, and glibc, which is 1 everywhere, none. */
static int colour_of(int a) {
    int c = 2;
    if (strcmp(allocs[a], "gomalloc") == 0) return 1;
    for (int k = 0; k < a; k++) c += k != base && strcmp(allocs[k], "gomalloc") != 0;
    return (c - 1) % 6 + 1;
}

struct axis {
    double low, high; /* logarithms to base 2 of the edges */
};

static double x_of(const struct axis *x, double ratio) {
    return LEFT + (log2(ratio) - x->low) / (x->high - x->low) * (WIDTH - LEFT - RIGHT);
}

static int wanted(const struct row *r, const char *kind) { return strcmp(r->kind, kind) == 0; }

static struct axis axis_of(int metric, const char *const *kinds) {
    struct axis x = { -1, 1 };
    for (int r = 0; r < row_count; r++)
        for (const char *const *k = kinds; *k != NULL; k++)
            for (int a = 0; a < alloc_count && wanted(&rows[r], *k); a++) {
                const struct figure *f = &rows[r].at[metric][a];
                if (!has_ratio(f)) continue;
                x.low = fmin(x.low, floor(log2(f->ratio)));
                x.high = fmax(x.high, ceil(log2(f->ratio)));
            }
    return x;
}

static void put_axis(const struct axis *x, int lines) {
    for (double p = x->low; p <= x->high; p++) {
        double at = x_of(x, exp2(p));
        printf("<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text class=\"tick\" x=\"%.1f\" y=\"14\" text-anchor=\"middle\">",
               p == 0 ? "one" : "grid", at, at, TOP - 6, TOP + lines * ROW, at);
        if (p < 0) printf("1/%g</text>\n", exp2(-p));
        else printf("%g</text>\n", exp2(p));
    }
}

static void put_dot(const struct axis *x, const struct row *r, int metric, int a, double y) {
    const struct figure *f = &r->at[metric][a];
    if (a == base || !has_ratio(f)) return;
    double low = fmax(f->low, exp2(x->low)), high = fmin(f->high, exp2(x->high));
    printf("<line class=\"line c%d thin\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", colour_of(a), x_of(x, low), x_of(x, high), y, y);
    printf("<circle class=\"fill c%d\" cx=\"%.2f\" cy=\"%.1f\" r=\"%s\" data-case=\"%s\" data-alloc=\"%s\"><title>%s %s %.3f (%.3f to %.3f)</title></circle>\n",
           colour_of(a), x_of(x, f->ratio), y, strcmp(allocs[a], "gomalloc") == 0 ? "5" : "3.6", r->name, allocs[a], allocs[a], r->name, f->ratio,
           f->low, f->high);
}

static void put_legend(void) {
    fputs("<p class=\"legend\">", stdout);
    for (int a = 0; a < alloc_count; a++) {
        if (a == base) continue;
        printf("<span class=\"key c%d\"></span>", colour_of(a));
        put_text(allocs[a]);
    }
    fputs(" &nbsp; as ratios to glibc, 1: the same; left is better</p>", stdout);
}

/* The cases of the kinds, a row each, under the kind's name. */
static void put_dots(const char *id, const char *title, int metric, const char *const *kinds) {
    int lines = 0, y = 0;
    struct axis x = axis_of(metric, kinds);
    for (const char *const *k = kinds; *k != NULL; k++)
        for (int r = 0; r < row_count; r++) lines += wanted(&rows[r], *k);
    if (lines == 0) return;
    printf("<figure id=\"%s\"><figcaption>%s</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\" "
           "data-x0=\"%g\" data-x1=\"%g\" data-box=\"%d %d %d %d\">\n", id, title, WIDTH, TOP + lines * ROW + AXIS / 2, title, x.low, x.high, LEFT, TOP,
           WIDTH - LEFT - RIGHT, lines * ROW);
    put_axis(&x, lines);
    for (const char *const *k = kinds; *k != NULL; k++)
        for (int r = 0; r < row_count; r++) {
            if (!wanted(&rows[r], *k)) continue;
            double middle = TOP + (y++ + 0.5) * ROW;
            printf("<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", LEFT - 8, middle + 4, rows[r].name);
            printf("<line class=\"row\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, WIDTH - RIGHT, middle, middle);
            for (int a = 0; a < alloc_count; a++) put_dot(&x, &rows[r], metric, a, middle);
        }
    fputs("</svg>", stdout);
    put_legend();
    fputs("</figure>\n", stdout);
}

static const struct row *mean_named(const char *name) {
    for (int r = 0; r < row_count; r++)
        if (is_mean(&rows[r]) && strcmp(rows[r].name, name) == 0) return &rows[r];
    return NULL;
}

/* Both means at once: down and to the left is better. */
static void put_map(const char *id, const char *title, const char *mean) {
    enum { SIDE = 400, EDGE = 56 };
    const struct row *r = mean_named(mean);
    double most = 1.25, least = 0.5;
    for (int a = 0; r != NULL && a < alloc_count; a++)
        for (int m = 0; m <= 2; m += 2) {
            if (has_ratio(&r->at[m][a])) most = fmax(most, r->at[m][a].ratio * 1.1), least = fmin(least, r->at[m][a].ratio * 0.9);
        }
    double scale = (SIDE - EDGE - 20) / (most - least);
    if (r == NULL) return;
    printf("<figure id=\"%s\"><figcaption>%s</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", id, title, SIDE + 90, SIDE, title);
    for (double v = ceil(least * 4) / 4; v <= most; v += 0.25) {
        double x = EDGE + (v - least) * scale, y = SIDE - EDGE - (v - least) * scale;
        const char *css = v == 1 ? "one" : "grid";
        printf("<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><line class=\"%s\" y1=\"20\" y2=\"%d\" x1=\"%.1f\" x2=\"%.1f\"/>", css, EDGE,
               SIDE - 20, y, y, css, SIDE - EDGE, x, x);
        printf("<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text><text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n",
               EDGE - 6, y + 4, v, x, SIDE - EDGE + 16, v);
    }
    printf("<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">time</text><text class=\"tick\" x=\"4\" y=\"14\">peak memory</text>\n", SIDE / 2, SIDE - 14);
    for (int a = 0; a < alloc_count; a++) {
        const struct figure *t = &r->at[0][a], *s = &r->at[2][a];
        if (!has_ratio(t) || !has_ratio(s)) continue;
        double x = EDGE + (t->ratio - least) * scale, y = SIDE - EDGE - (s->ratio - least) * scale;
        printf("<circle class=\"fill c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"6\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", a == base ? 5 : colour_of(a),
               x, y, x + 10, y + 4, allocs[a]);
    }
    fputs("</svg></figure>\n", stdout);
}

/* ---- tables */

static void put_table_head(const char *second) {
    printf("<div class=\"wrap\"><table><tr><th></th><th>%s</th>", second);
    for (int a = 0; a < alloc_count; a++) {
        if (a == base) continue;
        fputs("<th>", stdout);
        put_text(allocs[a]);
        fputs("</th>", stdout);
    }
    fputs("</tr>\n", stdout);
}

static void put_ratio(const struct figure *f, int most_cases) {
    if (f->failed) fputs("<td>failed</td>", stdout);
    else if (!has_ratio(f)) fputs("<td>-</td>", stdout);
    else printf("<td>%.3f <span class=\"note\">%.3f-%.3f</span>%s</td>", f->ratio, f->low, f->high, f->cases < most_cases ? "*" : "");
}

static void put_means(void) {
    int starred = 0;
    for (int m = 0; m < METRICS; m++) {
        printf("<h3>%s</h3>", metric_title[m]);
        put_table_head("cases");
        for (int r = 0; r < row_count; r++) {
            if (!is_mean(&rows[r])) continue;
            int most = base < 0 ? 0 : rows[r].at[m][base].cases;
            printf("<tr><td>%s</td><td>%d</td>", rows[r].name, most);
            for (int a = 0; a < alloc_count; a++) {
                if (a == base) continue;
                put_ratio(&rows[r].at[m][a], most);
                starred += rows[r].at[m][a].cases < most;
            }
            fputs("</tr>\n", stdout);
        }
        fputs("</table></div>\n", stdout);
    }
    if (starred > 0) fputs("<p class=\"note\">* without the cases that failed there: compare in &ldquo;common&rdquo;, where all have the same.</p>\n", stdout);
}

static void put_cases(int m, const char *const *kinds, double unit, const char *unit_name) {
    char second[NAME];
    snprintf(second, sizeof second, "glibc, %s", unit_name);
    put_table_head(second);
    for (const char *const *k = kinds; *k != NULL; k++)
        for (int r = 0; r < row_count; r++) {
            if (!wanted(&rows[r], *k)) continue;
            printf("<tr><td>%s</td><td>%.3f</td>", rows[r].name, base < 0 ? 0 : rows[r].at[m][base].median / unit);
            for (int a = 0; a < alloc_count; a++)
                if (a != base) put_ratio(&rows[r].at[m][a], 0);
            fputs("</tr>\n", stdout);
        }
    fputs("</table></div>\n", stdout);
}

static void put_data(void) {
    const char *comma = "";
    fputs("<script type=\"application/json\" id=\"data\">[", stdout);
    for (int r = 0; r < row_count; r++)
        for (int m = 0; m < METRICS; m++)
            for (int a = 0; a < alloc_count; a++) {
                const struct figure *f = &rows[r].at[m][a];
                if (!has_ratio(f) || a == base) continue;
                printf("%s\n{\"case\":\"%s\",\"kind\":\"%s\",\"metric\":\"%s\",\"allocator\":\"%s\",\"ratio\":%.4f,\"low\":%.4f,\"high\":%.4f}", comma, rows[r].name,
                       rows[r].kind, metric_name[m], allocs[a], f->ratio, f->low, f->high);
                comma = ",";
            }
    fputs("]</script>\n", stdout);
}

static void put_page(int files, char **runs) {
    static const char *const workloads[] = { "real", "synthetic", "micro", NULL }, *const paths[] = { "path", NULL };
    static const char own_style[] = ".one{stroke:var(--fg);stroke-width:1.2}.row{stroke:var(--rule);stroke-width:.6}.thin{stroke-width:1.4;opacity:.7}"
                                    "figure{margin-bottom:18px}h3{font-size:14px;margin:18px 0 4px}";
    fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
          "<title>gomalloc: benchmarks</title>\n<style>", stdout);
    printf("%s%s</style>\n<main><h1>gomalloc beside other allocators</h1>\n<pre>", report_style, own_style);
    for (int i = 0; i < files; i++) put_head_of(runs[i]);
    fputs("</pre>\n<div class=\"grid2\">", stdout);
    put_map("map-all", "All workloads: geometric means, time and memory", "all");
    put_map("map-real", "Real programs: geometric means, time and memory", "real");
    fputs("</div>\n", stdout);
    put_dots("wall", "Time of each workload", 0, workloads);
    put_dots("rss", "Peak resident memory of each workload", 2, workloads);
    put_dots("paths", "Single paths: nanoseconds an item", 0, paths);
    if (mean_named("all") != NULL) {
        fputs("<h2>Means</h2>\n", stdout);
        put_means();
        for (int m = 0; m < METRICS; m++) {
            printf("<details><summary>%s of each workload</summary>\n", metric_title[m]);
            put_cases(m, workloads, metric_unit[m].unit, metric_unit[m].name);
            fputs("</details>\n", stdout);
        }
    }
    fputs("<details><summary>Single paths</summary>\n", stdout);
    put_cases(0, paths, 1e3, "ns");
    fputs("</details>\n", stdout);
    put_data();
    fputs("</main></html>\n", stdout);
}

int main(int argc, char **argv) {
    if (argc < 2) die("usage:", "page RUNS.csv...");
    for (int i = 1; i < argc; i++) read_summary(argv[i]);
    put_page(argc - 1, argv + 1);
    return ferror(stdout) || fflush(stdout) != 0;
}
