/* gomalloc run: a program on the allocator. Without anything to report it becomes the program; else it watches it.
 *
 * The program's heap is looked at from outside (remote.h), so that a report costs the program nothing but the cycles
 * that this process takes from the machine: below one percent of a CPU at the default interval. */
#include "preload/command/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libgomalloc/stats_format.h"
#include "preload/command/exitpoint.h"
#include "preload/command/options.h"
#include "preload/command/process.h"
#include "preload/command/report.h"
#include "preload/command/series.h"
#include "preload/command/sites.h"

struct run {
    struct options o;
    struct series *series;
    struct remote remote;
    struct exit_point exit;
    bool profiled;
    double start, seconds, next_line;
    int status;
    struct rusage usage;
    bool progress, line_shown;
};

/* One line that is written over, once a run has taken a second. */
static void show_progress(struct run *r, double t) {
    const struct series *s = r->series;
    if (!r->progress || t < 1 || t < r->next_line || !s->n) return;
    const struct sample *x = &s->sample[s->n - 1];
    r->next_line = t + 0.25;
    r->line_shown = true;
    fprintf(stderr, "\r\033[Kgomalloc: %.0f s   rss %s (peak %s)", t, bytes_text((double)x->p.rss), bytes_text((double)s->peak_rss));
    if (x->heap) fprintf(stderr, "   live %s   in use %s   released %s", bytes_text((double)x->live), bytes_text((double)x->inuse), bytes_text((double)x->released));
    fflush(stderr);
}

/* The program stands at its exit. */
static void take_profile(struct run *r, pid_t pid) {
    struct remote remote;
    struct sites sites;
    enum remote_result result = remote_open(&remote, pid);
    if (result == REMOTE_OK) result = sites_read(&sites, &remote, pid, false);
    if (result != REMOTE_OK) {
        say("%s: %s", r->o.profile, remote_explain(result));
    } else {
        FILE *f = fopen(r->o.profile, "we");
        if (f) pprof_write_heap(f, &sites);
        if (!f || fclose(f) != 0) say("%s: %s", r->o.profile, strerror(errno));
        else r->profiled = true;
    }
    exit_point_close(&r->exit);
}

static void watch(struct run *r, pid_t pid) {
    int fd = process_watch(pid);
    bool maps = r->o.report != NULL;
    /* The first samples come fast: many programs are short. */
    double next = 0.001;
    for (;;) {
        double left = next - (now() - r->start) > 0 ? next - (now() - r->start) : 0;
        if (r->exit.fd >= 0 && exit_point_wait(&r->exit, fd, left)) take_profile(r, pid);
        if (process_wait(pid, fd, r->exit.fd >= 0 ? 0 : left, &r->status, &r->usage)) break;
        double t = now() - r->start;
        if (t < next) continue; /* a signal */
        series_take(r->series, &r->remote, pid, t, maps);
        show_progress(r, t);
        double step = r->series->interval;
        if (t < 20 * step && t / 4 < step) step = t / 4 > 0.002 ? t / 4 : 0.002;
        next = now() - r->start + step;
    }
    r->seconds = now() - r->start;
    if (fd >= 0) close(fd);
    if (r->line_shown) fputs("\r\033[K", stderr);
}

/* ---- the statistics at exit, which the library has written as JSON */

static bool parse_field(const char *text, const char *name, uint64_t *out) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *p = strstr(text, key);
    if (p) *out = strtoull(p + strlen(key), NULL, 10);
    return p != NULL;
}

static void parse_classes(const char *p, struct gomalloc_stats *s) {
    for (size_t i = 0; i < GOMALLOC_MAX_SIZE_CLASSES && (p = strstr(p, "{\"size\": ")); i++, p++) {
        struct gomalloc_size_stats *c = &s->by_size[i];
        parse_field(p, "size", &c->size);
        parse_field(p, "mallocs", &c->mallocs);
        parse_field(p, "frees", &c->frees);
        parse_field(p, "requested", &c->requested);
        parse_field(p, "inuse", &c->inuse);
        s->by_size_count = i + 1;
    }
}

static bool read_exit_stats(const char *path, struct gomalloc_stats *s) {
    enum { MAX = 256 * 1024 };
    FILE *f = fopen(path, "re");
    if (!f) return false;
    char *text = need(MAX + 1);
    size_t n = fread(text, 1, MAX, f);
    text[n] = 0;
    fclose(f);
    memset(s, 0, sizeof *s);
    bool whole = n > 2 && strstr(text, "\"by_size\"") && text[n - 2] == '}';
#define X(field, kind, unit, metric, help) if (whole) parse_field(text, #field, &s->field);
    GM_STATS_FIELDS(X)
#undef X
    if (whole) parse_classes(strstr(text, "\"by_size\""), s);
    free(text);
    return whole;
}

/* ---- what is written */

static FILE *open_out(const char *path) {
    FILE *f = fopen(path, "we");
    if (!f) fail(1, "%s: %s", path, strerror(errno));
    return f;
}

static void close_out(FILE *f, const char *path) {
    if (fclose(f) != 0) fail(1, "%s: %s", path, strerror(errno));
}

static void write_report(struct run *r, const struct gomalloc_stats *final, bool exact) {
    uint64_t peak = (uint64_t)r->usage.ru_maxrss * 1024;
    struct report report = {
        .argv = r->o.argv, .options = r->o.settings, .series = r->series, .final = final, .final_is_exact = exact, .seconds = r->seconds,
        .cpu = (double)r->usage.ru_utime.tv_sec + (double)r->usage.ru_stime.tv_sec + (double)(r->usage.ru_utime.tv_usec + r->usage.ru_stime.tv_usec) / 1e6,
        .peak_rss = peak > r->series->peak_rss ? peak : r->series->peak_rss, .faults = (uint64_t)r->usage.ru_minflt, .status = r->status,
    };
    FILE *f = open_out(r->o.report);
    report_run(f, &report);
    close_out(f, r->o.report);
}

/* The program did not get as far as exit(): what was seen last stands in. */
static void write_last(const struct run *r) {
    if (!r->series->seen) {
        say("%s: no statistics: the program ended before it could be looked at, or the library was not in it", r->o.stats);
        return;
    }
    int fd = open(r->o.stats, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), error = fd < 0 ? -errno : gm_stats_write(&r->series->last, NULL, fd, "json");
    if (fd >= 0) close(fd);
    if (error) fail(1, "%s: %s", r->o.stats, strerror(-error));
    say("%s: the program did not end by exit(); these are the statistics of the last sample", r->o.stats);
}

/* The name of the file that the library writes at exit: absolute, for the program may change its directory. */
static char *exit_file(const struct options *o) {
    if (!o->stats) {
        char name[] = "/tmp/gomalloc-XXXXXX";
        int fd = mkstemp(name);
        if (fd < 0) fail(1, "/tmp: %s", strerror(errno));
        close(fd);
        return format_new("%s", name);
    }
    close_out(open_out(o->stats), o->stats); /* fails now rather than at the end */
    char path[4096];
    if (!realpath(o->stats, path)) fail(1, "%s: %s", o->stats, strerror(errno));
    return format_new("%s", path);
}

int command_run(int argc, char **argv) {
    static struct run r;
    options_parse(&r.o, argc, argv);
    struct program p;
    program_find(&p, r.o.argv[0]);
    const char *refuses = program_refuses(&p);
    if (refuses) fail(126, "%s: nothing can be preloaded into it: %s", p.path, refuses);
    if (r.o.profile && !r.o.profile_set) options_add(&r.o, "profile", "512K");
    r.progress = !r.o.quiet && isatty(2);
    struct launch l = { .argv = r.o.argv, .preload = library_path(r.o.lib), .options = r.o.settings };
    r.exit.fd = -1;
    if (!r.o.report && !r.o.stats && !r.o.profile) launch_exec(&l);
    if (r.o.profile) {
        close_out(open_out(r.o.profile), r.o.profile); /* fails now rather than at the end */
        exit_point_make(&r.exit);
        l.exit_fifo = r.exit.fifo;
    }
    l.stats_file = exit_file(&r.o);
    r.series = need(sizeof *r.series);
    r.series->interval = r.o.interval;
    r.start = now();
    pid_t pid = launch_start(&l);
    signals_pass_to(pid);
    watch(&r, pid);
    signals_pass_to(0);
    exit_point_close(&r.exit);
    if (r.o.profile && !r.profiled) say("%s: no profile: the program did not end by exit(), or the library was not in it", r.o.profile);
    static struct gomalloc_stats final;
    bool exact = read_exit_stats(l.stats_file, &final);
    if (!r.o.stats) unlink(l.stats_file);
    else if (!exact) write_last(&r);
    if (r.o.report) write_report(&r, exact ? &final : &r.series->last, exact);
    end_as(r.status);
}
