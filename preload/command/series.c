/* See series.h. */
#include "preload/command/series.h"

#include <string.h>

#include "preload/command/command.h"

static void halve(struct series *s) {
    unsigned n = 0;
    for (unsigned i = 0; i < s->n; i += 2) s->sample[n++] = s->sample[i];
    s->n = n;
    s->interval *= 2;
}

static void read_pauses(struct series *s, const struct remote *r) {
    if (r->endpoint.pauses) remote_read(r, r->endpoint.pauses, &s->pauses, sizeof s->pauses);
}

/* Reading a map takes longer than a sample: it is done when the heap has a new peak by a twentieth, and for the last one
 * so rarely that it takes at most a twentieth of the time. */
static void take_maps(struct series *s, const struct remote *r, double t, bool new_peak) {
    static double cost;
    bool due = t - s->map_last_at > 20 * cost;
    if (!new_peak && !due) return;
    struct heap_map m;
    double before = now();
    if (remote_map(r, &m) != REMOTE_OK) {
        heap_map_free(&m);
        return;
    }
    cost = now() - before;
    struct heap_map *to = new_peak ? &s->map_peak : &s->map_last;
    heap_map_free(to);
    *to = m;
    *(new_peak ? &s->map_peak_at : &s->map_last_at) = t;
}

static void add_heap(struct series *s, struct sample *x, const struct remote *r, bool maps) {
    struct gomalloc_stats g;
    if (remote_stats(r, &g) != REMOTE_OK) return;
    x->heap = s->seen = true;
    x->live = g.heap_alloc;
    x->requested = g.heap_requested_estimate;
    x->inuse = g.heap_inuse;
    x->idle = g.heap_idle - g.heap_released;
    x->released = g.heap_released;
    x->own = g.sys - g.heap_sys;
    x->mallocs = g.mallocs;
    x->total_alloc = g.total_alloc;
    s->last = g;
    bool peak = g.heap_inuse > s->peak_inuse + s->peak_inuse / 20;
    if (g.heap_inuse > s->peak_inuse) s->at_peak = g;
    if (peak) s->peak_inuse = g.heap_inuse;
    read_pauses(s, r);
    if (maps) take_maps(s, r, x->t, peak);
}

void series_take(struct series *s, struct remote *r, pid_t pid, double t, bool maps) {
    if (s->n == SERIES_MAX) halve(s);
    struct sample *x = &s->sample[s->n];
    memset(x, 0, sizeof *x);
    x->t = t;
    if (!process_read(pid, &x->p)) return;
    if ((r->at && remote_is_current(r)) || remote_open(r, pid) == REMOTE_OK) add_heap(s, x, r, maps);
    else r->at = 0;
    if (x->p.rss > s->peak_rss) s->peak_rss = x->p.rss;
    s->n++;
}
