/* gomalloc stat and gomalloc top: what a live process holds. See libgomalloc/endpoint.c for how it is seen. */
#include "preload/command/command.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libgomalloc/stats_format.h"
#include "preload/command/process.h"
#include "preload/command/remote.h"

static void stats_or_fail(const struct remote *r, struct gomalloc_stats *s) {
    enum remote_result result = remote_stats(r, s);
    if (result != REMOTE_OK) fail(1, "process %d: %s", (int)r->pid, remote_explain(result));
}

/* ---- the heap as letters: a line for each 2 MiB and more */

static char letter(const struct map_page *p, size_t n) {
    unsigned count[5] = { 0 }, percent = 0;
    for (size_t i = 0; i < n; i++) {
        count[p[i].kind]++;
        percent += p[i].kind == MAP_SMALL ? p[i].percent : p[i].kind == MAP_LARGE ? 100 : 0;
    }
    if (count[MAP_LARGE] > n / 2) return '#';
    if (count[MAP_SMALL] + count[MAP_LARGE] > 0) return (char)('0' + (percent / n) * 9 / 100);
    return count[MAP_IDLE] ? '-' : '.';
}

static void print_map(const struct heap_map *m) {
    enum { WIDTH = 64 };
    size_t step = m->pages / 4096 + 1;
    printf("\neach letter %s; . given back or never used, - idle, 0-9 small objects by how full, # large\n", bytes_text((double)(step * GM_PAGE_SIZE)));
    for (size_t i = 0; i < m->pages; i += step * WIDTH) {
        printf("%9s  ", bytes_text((double)(i * GM_PAGE_SIZE)));
        for (size_t k = 0; k < WIDTH && i + k * step < m->pages; k++) {
            size_t left = m->pages - i - k * step;
            putchar(letter(m->page + i + k * step, left < step ? left : step));
        }
        putchar('\n');
    }
    printf("\nspans by how full they are\n%8s %8s %8s  %s\n", "size", "spans", "full", "0-9 % ... 90-99 %, 100 %");
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        const struct map_class *c = &m->cls[cls];
        uint64_t spans = 0;
        for (unsigned b = 0; b <= 10; b++) spans += c->spans[b];
        if (!spans) continue;
        printf("%8u %8lu %6.1f %% ", gm_class_size[cls], spans, c->slots ? 100.0 * (double)c->out / (double)c->slots : 0);
        for (unsigned b = 0; b <= 10; b++) printf(" %lu", c->spans[b]);
        putchar('\n');
    }
    printf("\nspans at most a quarter full: %s pinned by %s\n", bytes_text((double)m->pinned_bytes), bytes_text((double)m->pinning_bytes));
}

int command_stat(int argc, char **argv) {
    const char *format = "text";
    bool map = false;
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--json") == 0) format = "json";
        else if (strcmp(argv[i], "--openmetrics") == 0) format = "openmetrics";
        else if (strcmp(argv[i], "--map") == 0) map = true;
        else usage("stat: no option '%s'", argv[i]);
    }
    if (i + 1 != argc) usage("stat wants one process id");
    struct remote r;
    struct gomalloc_stats s;
    remote_open_or_fail(&r, parse_pid(argv[i]));
    stats_or_fail(&r, &s);
    struct gm_stats_ranges ranges;
    remote_ranges(&r, &ranges);
    int error = gm_stats_write(&s, &ranges, 1, format);
    if (error) fail(1, "write: %s", strerror(-error));
    if (!map) return 0;
    struct heap_map m;
    enum remote_result result = remote_map(&r, &m);
    if (result != REMOTE_OK) fail(1, "process %d: %s", (int)r.pid, remote_explain(result));
    print_map(&m);
    heap_map_free(&m);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* ---- top */

struct look {
    double at;
    struct gomalloc_stats s;
    struct process_now p;
};

static double rate(uint64_t after, uint64_t before, double seconds) { return seconds > 0 ? (double)(after - before) / seconds : 0; }

static void top_classes(const struct look *a, const struct look *b, unsigned rows) {
    uint8_t order[GOMALLOC_MAX_SIZE_CLASSES];
    unsigned n = (unsigned)b->s.by_size_count;
    for (unsigned i = 0; i < n; i++) { /* by the bytes of their spans, most first */
        unsigned k = i;
        for (; k > 0 && b->s.by_size[order[k - 1]].inuse < b->s.by_size[i].inuse; k--) order[k] = order[k - 1];
        order[k] = (uint8_t)i;
    }
    printf("\n%8s %12s %12s %10s %8s %12s\n", "size", "objects", "live", "in spans", "full", "mallocs/s");
    for (unsigned i = 0; i < n && i < rows; i++) {
        const struct gomalloc_size_stats *c = &b->s.by_size[order[i]];
        if (!c->inuse) break;
        uint64_t live = c->mallocs - c->frees;
        printf("%8lu %12lu %12s %10s %6.1f %% %12.0f\n", c->size, live, bytes_text((double)(live * c->size)), bytes_text((double)c->inuse),
               100.0 * (double)(live * c->size) / (double)c->inuse, rate(c->mallocs, a->s.by_size[order[i]].mallocs, b->at - a->at));
    }
}

static void top_print(pid_t pid, const struct look *a, const struct look *b) {
    double dt = b->at - a->at;
    const struct gomalloc_stats *s = &b->s;
    printf("process %d   rss %s   cpu %.0f %%   threads %u   faults %.0f/s\n", (int)pid, bytes_text((double)b->p.rss),
           dt > 0 ? (b->p.cpu - a->p.cpu) * 100 / dt : 0, b->p.threads, rate(b->p.minor_faults, a->p.minor_faults, dt));
    printf("live %s in %lu objects   in use %s   idle %s   released %s   own records %s\n", bytes_text((double)s->heap_alloc), s->heap_objects,
           bytes_text((double)s->heap_inuse), bytes_text((double)(s->heap_idle - s->heap_released)), bytes_text((double)s->heap_released),
           bytes_text((double)(s->sys - s->heap_sys)));
    printf("malloc %.0f/s   free %.0f/s   %s/s   collections %lu\n", rate(s->mallocs, a->s.mallocs, dt), rate(s->frees, a->s.frees, dt),
           bytes_text(rate(s->total_alloc, a->s.total_alloc, dt)), s->num_gc);
    top_classes(a, b, 20);
}

static bool look_at(struct look *l, struct remote *r, pid_t pid) {
    if (!remote_is_current(r) && remote_open(r, pid) != REMOTE_OK) return false; /* exec'ed */
    l->at = now();
    return remote_stats(r, &l->s) == REMOTE_OK && process_read(pid, &l->p);
}

int command_top(int argc, char **argv) {
    double interval = 1, rounds = 0;
    int i = 1;
    for (const char *v; i < argc && argv[i][0] == '-'; i++) {
        if ((v = option_value(argc, argv, &i, "--interval"))) interval = parse_number("--interval", v, 10, 3600e3) / 1000;
        else if ((v = option_value(argc, argv, &i, "-n"))) rounds = parse_number("-n", v, 1, 1e9);
        else usage("top: no option '%s'", argv[i]);
    }
    if (i + 1 != argc) usage("top wants one process id");
    pid_t pid = parse_pid(argv[i]);
    struct remote r;
    struct look looks[2];
    remote_open_or_fail(&r, pid);
    if (!look_at(&looks[0], &r, pid)) fail(1, "process %d: %s", (int)pid, remote_explain(REMOTE_UNSTEADY));
    bool terminal = isatty(1);
    looks[1] = looks[0];
    for (unsigned round = 0; rounds == 0 || round < rounds; round++) {
        if (round) poll(NULL, 0, (int)(interval * 1000));
        struct look *b = &looks[round & 1], *a = &looks[!(round & 1)];
        if (round && !look_at(b, &r, pid)) {
            printf("process %d has ended\n", (int)pid);
            return 0;
        }
        if (terminal) fputs("\033[H\033[2J", stdout);
        top_print(pid, a, b);
        fflush(stdout);
    }
    return 0;
}
