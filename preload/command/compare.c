/* gomalloc compare: the same program under several allocators, in turn, so that what the machine does meanwhile
 * falls on all of them alike; the order turns round by one from round to round. The C library's comes first in the table
 * and is what the others are measured by. */
#include "preload/command/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/command/chart.h"
#include "preload/command/options.h"
#include "preload/command/process.h"
#include "preload/command/report.h"

enum { WALL, CPU, PEAK_RSS, END_RSS, FAULTS, MEASURES };
static const char *const measure_name[MEASURES] = { "wall time", "CPU time", "peak RSS", "RSS at the end", "page faults" };

struct candidate {
    const char *name, *preload, *settings;
    double *value[MEASURES];  /* of each run; sorted at the end */
    double mid[MEASURES];     /* medians */
    int status;               /* the first that was not 0 */
};

static double timeval(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

/* RSS at the end is that of the last sample: the kernel keeps the peak only. */
static void run_once(const struct options *o, struct candidate *c, unsigned k) {
    struct launch l = { .argv = o->argv, .preload = c->preload, .options = c->settings, .silent = true };
    double start = now(), end_rss = 0;
    pid_t pid = launch_start(&l);
    signals_pass_to(pid);
    int fd = process_watch(pid), status;
    struct rusage u;
    struct process_now p;
    double step = 0.001;
    while (!process_wait(pid, fd, step, &status, &u)) {
        if (process_read(pid, &p) && p.rss) end_rss = (double)p.rss;
        if (step < o->interval / 5) step *= 1.1;
    }
    if (fd >= 0) close(fd);
    signals_pass_to(0);
    c->value[WALL][k] = now() - start;
    c->value[CPU][k] = timeval(u.ru_utime) + timeval(u.ru_stime);
    c->value[PEAK_RSS][k] = (double)u.ru_maxrss * 1024;
    c->value[END_RSS][k] = end_rss;
    c->value[FAULTS][k] = (double)u.ru_minflt;
    if (status && !c->status) c->status = status;
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM)) end_as(status);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* v is sorted afterwards. */
static double median(double *v, unsigned n) {
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static const char *value_text(unsigned measure, double v) {
    static char text[8][32];
    static unsigned next;
    if (measure <= CPU) return seconds_text(v);
    if (measure <= END_RSS) return bytes_text(v);
    char *t = text[next++ % 8];
    snprintf(t, 32, "%.0f", v);
    return t;
}

static void print_table(struct candidate *c, unsigned n, unsigned runs) {
    printf("%-14s", "");
    for (unsigned m = 0; m < MEASURES; m++) printf(" %22s", measure_name[m]);
    printf("\n");
    for (unsigned i = 0; i < n; i++) {
        printf("%-14.14s", c[i].name);
        for (unsigned m = 0; m < MEASURES; m++) {
            double v = c[i].mid[m], base = c[0].mid[m];
            char cell[48];
            snprintf(cell, sizeof cell, "%s %6.2f", value_text(m, v), base > 0 ? v / base : 0);
            printf(" %22s", cell);
        }
        if (c[i].status) printf("  status %d", status_code(c[i].status));
        putchar('\n');
    }
    printf("medians of %u runs; the second number is the ratio to %s\n", runs, c[0].name);
}

static void report_measure(FILE *to, unsigned m, struct candidate *c, unsigned n, unsigned runs) {
    struct chart_group g[MAX_WITH + 2];
    for (unsigned i = 0; i < n; i++) {
        double v = c[i].mid[m], base = c[0].mid[m];
        g[i] = (struct chart_group){ c[i].name, v, c[i].value[m][0], c[i].value[m][runs - 1], "" };
        snprintf(g[i].text, sizeof g[i].text, "%s (%.2f)", value_text(m, v), base > 0 ? v / base : 0);
    }
    char id[16];
    snprintf(id, sizeof id, "measure%u", m);
    chart_groups(to, id, measure_name[m], g, n);
}

static void write_page(const struct options *o, struct candidate *c, unsigned n) {
    FILE *to = fopen(o->report, "we");
    if (!to) fail(1, "%s: %s", o->report, strerror(errno));
    report_head(to, "gomalloc compare");
    fputs("<h1>Allocators compared</h1>\n", to);
    report_command(to, o->argv);
    fprintf(to, "<p class=\"note\">Medians of %u runs each, in turn; the thin line is the range; in brackets the ratio to %s.</p>\n<div class=\"grid2\">\n", o->runs, c[0].name);
    for (unsigned m = 0; m < MEASURES; m++) report_measure(to, m, c, n, o->runs);
    fputs("</div>\n<h2>All runs, each column sorted</h2>\n<div class=\"wrap\"><table id=\"runs\"><tr><th>allocator", to);
    for (unsigned m = 0; m < MEASURES; m++) fprintf(to, "<th>%s", measure_name[m]);
    fputs("<th>status</tr>\n", to);
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < o->runs; k++) {
            fputs("<tr><td>", to);
            html_text(to, c[i].name);
            for (unsigned m = 0; m < MEASURES; m++) fprintf(to, "<td data-value=\"%.9g\">%s", c[i].value[m][k], value_text(m, c[i].value[m][k]));
            fprintf(to, "<td>%d</tr>\n", status_code(c[i].status));
        }
    fputs("</table></div>\n", to);
    report_tail(to);
    if (fclose(to) != 0) fail(1, "%s: %s", o->report, strerror(errno));
}

/* "libjemalloc.so.2" becomes "jemalloc". */
static const char *short_name(const char *path) {
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    char *name = format_new("%s", strncmp(base, "lib", 3) == 0 ? base + 3 : base), *so = strstr(name, ".so");
    if (so) *so = 0;
    return name;
}

int command_compare(int argc, char **argv) {
    struct options o;
    struct candidate c[MAX_WITH + 2] = { { .name = "libc" }, { .name = "gomalloc" } };
    options_parse(&o, argc, argv);
    if (o.stats) usage("compare: no option '--stats'");
    struct program p;
    program_find(&p, o.argv[0]);
    if (program_refuses(&p)) fail(126, "%s: nothing can be preloaded into it: %s", p.path, program_refuses(&p));
    unsigned n = 2 + o.n_with;
    c[1].preload = format_new("%s", library_path(o.library));
    c[1].settings = o.settings;
    for (unsigned i = 0; i < o.n_with; i++) {
        char path[4096];
        if (!realpath(o.with[i], path)) fail(1, "%s: %s", o.with[i], strerror(errno));
        c[2 + i] = (struct candidate){ .name = short_name(path), .preload = format_new("%s", path) };
    }
    for (unsigned i = 0; i < n; i++)
        for (unsigned m = 0; m < MEASURES; m++) c[i].value[m] = need(o.runs * sizeof(double));
    bool progress = !o.quiet && isatty(2);
    unsetenv("LD_PRELOAD");
    for (unsigned k = 0; k < o.runs; k++)
        for (unsigned i = 0; i < n; i++) {
            struct candidate *next = &c[(i + k) % n];
            if (progress) fprintf(stderr, "\r\033[Kgomalloc: run %u of %u, %s", k * n + i + 1, n * o.runs, next->name);
            run_once(&o, next, k);
        }
    if (progress) fputs("\r\033[K", stderr);
    for (unsigned i = 0; i < n; i++)
        for (unsigned m = 0; m < MEASURES; m++) c[i].mid[m] = median(c[i].value[m], o.runs);
    print_table(c, n, o.runs);
    if (o.report) write_page(&o, c, n);
    for (unsigned i = 0; i < n; i++)
        if (c[i].status != c[0].status) say("%s: its exit status differs from the C library's", c[i].name);
    return 0;
}
