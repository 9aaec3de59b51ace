/* See sites.h. */
#include "preload/command/sites.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/command/command.h"

enum { MAX_SITES = 1 << 24, MAX_MODULES = 1 << 16, MAX_SAMPLES = 1 << 28 };

/* ---- reading */

static bool read_site(const struct remote *r, const void *at, struct site *out, struct gm_profile_site **next) {
    struct gm_profile_site s;
    if (!remote_read(r, at, &s, sizeof s) || s.depth > GM_PROFILE_DEPTH) return false;
    *out = (struct site){ (uintptr_t)at, s.depth, s.modules, { s.live_objects, s.live_bytes }, { s.all_objects, s.all_bytes }, { 0 } };
    *next = s.next;
    return remote_read(r, (const char *)at + sizeof s, out->pc, s.depth * sizeof *out->pc);
}

static bool read_sites(struct sites *s, const struct remote *r, const struct gm_profile *p) {
    struct gm_profile_site *bucket[GM_PROFILE_SITES];
    size_t room = 0;
    if (!remote_read(r, p->sites, bucket, sizeof bucket)) return false;
    for (unsigned b = 0; b < GM_PROFILE_SITES; b++) {
        for (struct gm_profile_site *at = bucket[b], *next; at; at = next) {
            if (s->n == room) s->site = need_more(s->site, (room = room * 2 + 256) * sizeof *s->site);
            if (s->n == MAX_SITES || !read_site(r, at, &s->site[s->n++], &next)) return false;
        }
    }
    return true;
}

static char *program_path(pid_t pid) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/%d/exe", (int)pid);
    ssize_t n = readlink(name, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return format_new("%s", path);
}

static bool read_modules(struct sites *s, const struct remote *r, const struct gm_profile *p) {
    const struct gm_profile_module *at = p->modules;
    for (; at && s->n_modules < MAX_MODULES; s->n_modules++) {
        struct gm_profile_module m;
        char path[4096 + 1] = "";
        if (!remote_read(r, at, &m, sizeof m)) return false;
        for (size_t i = 0; i < sizeof path - 1 && strlen(path) == i;) { /* up to the end of each page, until there is an end */
            size_t n = 4096 - ((uintptr_t)(at->name + i) & 4095);
            n = n < sizeof path - 1 - i ? n : sizeof path - 1 - i;
            if (!remote_read(r, at->name + i, path + i, n)) break;
            i += n;
        }
        s->module = need_more(s->module, (s->n_modules + 1) * sizeof *s->module);
        s->module[s->n_modules] = (struct module){ m.number, m.start, m.end, *path ? format_new("%s", path) : program_path(s->pid) };
        at = m.older;
    }
    return true;
}

static int by_record(const void *a, const void *b) {
    uintptr_t x = ((const struct site *)a)->at, y = ((const struct site *)b)->at;
    return x < y ? -1 : x > y;
}
static int by_address(const void *a, const void *b) {
    uintptr_t x = ((const struct sampled *)a)->address, y = ((const struct sampled *)b)->address;
    return x < y ? -1 : x > y;
}

static bool read_samples(struct sites *s, const struct remote *r, const struct gm_profile *p) {
    struct gm_profile_sample **bucket = need(p->buckets * sizeof *bucket);
    size_t room = 0;
    bool ok = p->buckets <= GM_PROFILE_BUCKETS && remote_read(r, p->samples, bucket, p->buckets * sizeof *bucket);
    for (uint64_t b = 0; ok && b < p->buckets; b++) {
        for (struct gm_profile_sample *at = bucket[b]; at;) {
            struct gm_profile_sample one;
            if (s->n_samples == MAX_SAMPLES || !remote_read(r, at, &one, sizeof one)) {
                ok = false;
                break;
            }
            if (s->n_samples == room) s->sample = need_more(s->sample, (room = room * 2 + 1024) * sizeof *s->sample);
            struct site key = { .at = (uintptr_t)one.site }, *site = bsearch(&key, s->site, s->n, sizeof key, by_record);
            if (site) s->sample[s->n_samples++] = (struct sampled){ ~one.inverted, one.bytes, site };
            at = one.next;
        }
    }
    free(bucket);
    qsort(s->sample, s->n_samples, sizeof *s->sample, by_address);
    return ok;
}

enum remote_result sites_read(struct sites *s, const struct remote *r, pid_t pid, bool samples) {
    struct gm_profile p;
    *s = (struct sites){ .pid = pid };
    if (!remote_read(r, r->endpoint.profile, &p, sizeof p)) return REMOTE_NO_PROCESS;
    if (!mappings_read(&s->maps, r->pid)) return REMOTE_NO_PROCESS;
    s->rate = p.last_rate;
    s->on = p.rate != 0;
    if (!s->rate || !p.sites) return REMOTE_OK;
    if (!read_sites(s, r, &p) || !read_modules(s, r, &p)) return REMOTE_UNSTEADY;
    qsort(s->site, s->n, sizeof *s->site, by_record);
    return !samples || read_samples(s, r, &p) ? REMOTE_OK : REMOTE_UNSTEADY;
}

void sites_free(struct sites *s) {
    for (size_t i = 0; i < s->n_modules; i++) free(s->module[i].path);
    free(s->site);
    free(s->module);
    free(s->sample);
    mappings_free(&s->maps);
    *s = (struct sites){ 0 };
}

const struct sampled *sample_of(const struct sites *s, uintptr_t address) {
    struct sampled key = { .address = address };
    return s->n_samples ? bsearch(&key, s->sample, s->n_samples, sizeof key, by_address) : NULL;
}

/* ---- names */

/* The file an address of the site's stack lay in when the site was made. */
static const struct module *module_of(const struct sites *s, const struct site *at, uintptr_t p) {
    for (size_t i = 0; i < s->n_modules; i++) {
        const struct module *m = &s->module[i];
        if (m->number <= at->modules && p >= m->start && p < m->end) return m;
    }
    return NULL;
}

const char *site_frame(const struct sites *s, const struct site *at, unsigned i) {
    static char text[4600];
    uintptr_t p = at->pc[i] - 1;
    const struct module *m = module_of(s, at, p);
    struct symbol symbol;
    if (m && symbol_find(s->pid, m->path, m->start, p, false, &symbol)) snprintf(text, sizeof text, "%s+0x%lx (%s)", symbol.name, symbol.offset, m->path);
    else if (m) snprintf(text, sizeof text, "0x%lx (%s)", p - m->start, m->path);
    else snprintf(text, sizeof text, "0x%lx", p);
    return text;
}

void site_print(FILE *f, const struct sites *s, const struct site *at, const char *indent) {
    for (unsigned i = 0; i < at->depth; i++) fprintf(f, "%s%s\n", indent, site_frame(s, at, i));
    if (at->depth == 0) fprintf(f, "%sno stack\n", indent);
}

/* ---- the format of google-pprof: counts and stacks, then the mappings */

double sample_weight(const struct sites *s, double bytes) {
    double p = s->rate <= 1 ? 1 : -expm1(-bytes / (double)s->rate);
    return p > 0 ? 1 / p : 1;
}

static void write_mappings(FILE *f, const struct sites *s) {
    fputs("\nMAPPED_LIBRARIES:\n", f);
    for (size_t i = 0; i < s->maps.n; i++) {
        const struct mapping *m = &s->maps.m[i];
        fprintf(f, "%012lx-%012lx %s %08lx 00:00 0 %s\n", m->start, m->end, m->rights, m->offset, m->path);
    }
    for (size_t i = 0; i < s->n_modules; i++) { /* unloaded since, and nothing in their place */
        const struct module *m = &s->module[i];
        if (!mapping_of(&s->maps, m->start)) fprintf(f, "%012lx-%012lx r-xp 00000000 00:00 0 %s\n", m->start, m->end, m->path);
    }
}

void pprof_write(FILE *f, const struct sites *s, const struct counts *live, const struct counts *all, int64_t rate) {
    struct counts l = { 0 }, a = { 0 };
    for (size_t i = 0; i < s->n; i++) {
        l.objects += live[i].objects, l.bytes += live[i].bytes;
        a.objects += all[i].objects, a.bytes += all[i].bytes;
    }
    fprintf(f, "heap profile: %6lu: %8lu [%6lu: %8lu] @ ", l.objects, l.bytes, a.objects, a.bytes);
    if (rate > 1) fprintf(f, "heap_v2/%ld\n", rate);
    else fputs("heapprofile\n", f);
    for (size_t i = 0; i < s->n; i++) {
        if (!live[i].objects && !all[i].objects) continue;
        fprintf(f, "%6lu: %8lu [%6lu: %8lu] @", live[i].objects, live[i].bytes, all[i].objects, all[i].bytes);
        /* pprof takes the first as it stands, the others for return addresses. */
        for (unsigned k = 0; k < s->site[i].depth; k++) fprintf(f, " 0x%lx", s->site[i].pc[k] - (k == 0));
        fputc('\n', f);
    }
    write_mappings(f, s);
}

void pprof_write_heap(FILE *f, const struct sites *s) {
    struct counts *live = need(s->n * sizeof *live), *all = need(s->n * sizeof *all);
    for (size_t i = 0; i < s->n; i++) live[i] = s->site[i].live, all[i] = s->site[i].all;
    pprof_write(f, s, live, all, s->rate);
    free(live);
    free(all);
}
