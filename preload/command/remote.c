/* See remote.h; libgomalloc/endpoint.c for the way in.
 *
 * All walks are bounded and tolerate that the process goes on: a list that is cut under the reader's eyes ends in a
 * record that makes no sense, and the whole is tried again. */
#include "preload/command/remote.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "libgomalloc/os/os.h"
#include "libgomalloc/span.h"
#include "libgomalloc/stats_format.h"
#include "libgomalloc/stats_sum.h"
#include "preload/command/command.h"

enum { TRIES = 20, MAX_THREADS = 200000, MAX_ARENAS = 65536 };

const char *remote_explain(enum remote_result r) {
    switch (r) {
    case REMOTE_OK: return "no error";
    case REMOTE_NO_PROCESS: return "no such process";
    case REMOTE_NO_PERMISSION:
        return "no permission to read its memory: it belongs to another user or is privileged, or kernel.yama.ptrace_scope keeps all but its "
               "ancestors out (then root may)";
    case REMOTE_NO_LIBRARY: return "it was not started with libgomalloc.so (start it with: gomalloc run -- PROGRAM)";
    case REMOTE_OTHER_BUILD: return "its libgomalloc.so is of another build than this command";
    case REMOTE_UNSTEADY: return "its records could not be read in one piece";
    }
    return "?";
}

bool remote_read(const struct remote *r, const void *at, void *to, size_t n) {
    struct iovec local = { to, n }, there = { (void *)(uintptr_t)at, n };
    return n == 0 || process_vm_readv(r->pid, &local, 1, &there, 1, 0) == (ssize_t)n;
}

/* ---- finding the endpoint */

/* The address that our note in [notes, notes + n) names, which lies at `at` in the process; 0: it is not there. */
static uintptr_t scan_notes(const char *notes, size_t n, uintptr_t at) {
    for (size_t i = 0; i + sizeof(Elf64_Nhdr) <= n;) {
        Elf64_Nhdr h;
        memcpy(&h, notes + i, sizeof h);
        size_t name = i + sizeof h, desc = name + ((h.n_namesz + 3u) & ~3u), end = desc + ((h.n_descsz + 3u) & ~3u);
        if (end > n || end < i) return 0;
        if (h.n_type == 1 && h.n_namesz == sizeof GM_ENDPOINT_NOTE && h.n_descsz == 8 && memcmp(notes + name, GM_ENDPOINT_NOTE, h.n_namesz) == 0) {
            int64_t distance;
            memcpy(&distance, notes + desc, sizeof distance);
            return at + desc + (uintptr_t)distance;
        }
        i = end;
    }
    return 0;
}

/* The same for the ELF file whose first page is mapped at `base`. */
static uintptr_t scan_file(const struct remote *r, uintptr_t base) {
    char page[4096], notes[4096];
    if (!remote_read(r, (void *)base, page, sizeof page)) return 0;
    Elf64_Ehdr *e = (Elf64_Ehdr *)page;
    if (memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 || e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_phentsize != sizeof(Elf64_Phdr)) return 0;
    if (e->e_phoff > sizeof page || e->e_phoff % 8 || e->e_phnum > (sizeof page - e->e_phoff) / sizeof(Elf64_Phdr)) return 0;
    const Elf64_Phdr *p = (const Elf64_Phdr *)(page + e->e_phoff);
    uintptr_t bias = base;
    for (unsigned i = 0; i < e->e_phnum; i++)
        if (p[i].p_type == PT_LOAD && p[i].p_offset == 0) bias = base - p[i].p_vaddr;
    for (unsigned i = 0; i < e->e_phnum; i++) {
        if (p[i].p_type != PT_NOTE || p[i].p_filesz > sizeof notes) continue;
        if (!remote_read(r, (void *)(bias + p[i].p_vaddr), notes, p[i].p_filesz)) continue;
        uintptr_t found = scan_notes(notes, p[i].p_filesz, bias + p[i].p_vaddr);
        if (found) return found;
    }
    return 0;
}

static enum remote_result find(struct remote *r, FILE *maps) {
    char line[4300];
    bool anything = false;
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end, offset;
        char rights[5];
        int path = 0;
        if (sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &start, &end, rights, &offset, &path) < 4) continue;
        anything = true;
        if (offset != 0 || rights[0] != 'r' || line[path] != '/') continue;
        uintptr_t at = scan_file(r, start);
        if (!at || !remote_read(r, (void *)at, &r->endpoint, sizeof r->endpoint)) continue;
        if (memcmp(r->endpoint.magic, GM_ENDPOINT_MAGIC, sizeof r->endpoint.magic) != 0) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(r->library, sizeof r->library, "%s", line + path);
        r->at = at;
        return r->endpoint.layout == gm_endpoint_layout() ? REMOTE_OK : REMOTE_OTHER_BUILD;
    }
    return anything ? REMOTE_NO_LIBRARY : REMOTE_NO_PROCESS; /* a zombie has no mappings */
}

enum remote_result remote_open(struct remote *r, pid_t pid) {
    char name[64];
    memset(r, 0, sizeof *r);
    r->pid = pid;
    snprintf(name, sizeof name, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(name, "re");
    if (!maps) return errno == ENOENT || errno == ESRCH ? REMOTE_NO_PROCESS : REMOTE_NO_PERMISSION;
    enum remote_result result = find(r, maps);
    fclose(maps);
    if (result != REMOTE_NO_LIBRARY) return result;
    char c; /* reading may be refused although the list of mappings is not */
    struct iovec local = { &c, 1 }, nowhere = { (void *)1, 1 };
    if (process_vm_readv(pid, &local, 1, &nowhere, 1, 0) < 0 && errno == EPERM) return REMOTE_NO_PERMISSION;
    return result;
}

void remote_open_or_fail(struct remote *r, pid_t pid) {
    enum remote_result result = remote_open(r, pid);
    if (result != REMOTE_OK) fail(1, "process %d: %s", (int)pid, remote_explain(result));
}

bool remote_ask_profile(const struct remote *r, int64_t rate) {
    struct iovec local = { &rate, sizeof rate }, there = { &r->endpoint.profile->request, sizeof rate };
    return process_vm_writev(r->pid, &local, 1, &there, 1, 0) == (ssize_t)sizeof rate;
}

bool remote_is_current(const struct remote *r) {
    char magic[8];
    return remote_read(r, (void *)r->at, magic, sizeof magic) && memcmp(magic, r->endpoint.magic, sizeof magic) == 0;
}

/* ---- the parts that statistics are made of, as stats.c gathers them */

#define READ(r, at, to) remote_read((r), (at), &(to), sizeof(to))

static bool add_cache(const struct remote *r, const struct gm_cache *c, struct gm_stats_parts *p) {
    struct gm_cache_more more;
    if (c->more && !READ(r, c->more, more)) return false;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        struct gm_cache_totals *t = &p->totals[cls];
        if (cls < GM_FIRST_MEDIUM) {
            t->mallocs += c->mallocs[cls];
            t->requested += c->requested[cls];
        } else if (c->more) {
            t->mallocs += more.mallocs[cls - GM_FIRST_MEDIUM];
            t->requested += more.requested[cls - GM_FIRST_MEDIUM];
        }
        t->cached += gm_bin_count((struct gm_cache *)(uintptr_t)c, gm_bin_of(cls));
    }
    return true;
}

static bool add_list(const struct remote *r, const struct gm_list *head, struct gm_stats_parts *p, unsigned *count) {
    struct gm_list list;
    if (!READ(r, head, list)) return false;
    const struct gm_list *l = list.next;
    for (*count = 0; l != head; ++*count) {
        struct gm_cache c;
        const char *at = (const char *)l - offsetof(struct gm_cache, link);
        if (*count > MAX_THREADS || !remote_read(r, at, &c, sizeof c) || !c.link.next || !add_cache(r, &c, p)) return false;
        l = c.link.next;
    }
    return true;
}

static bool read_caches(const struct remote *r, struct gm_stats_parts *p) {
    struct gm_cache_roots roots;
    struct gm_cache_counts dead[GM_CLASSES], direct[GM_CLASSES];
    struct gm_fix fix[16];
    unsigned orphans;
    if (!READ(r, r->endpoint.caches, roots) || !READ(r, roots.dead, dead) || !READ(r, roots.direct, direct)) return false;
    for (unsigned cls = 0; cls < GM_CLASSES; cls++) {
        p->totals[cls] = (struct gm_cache_totals){ .mallocs = dead[cls].mallocs + direct[cls].mallocs,
                                                   .requested = dead[cls].requested + direct[cls].requested };
    }
    if (!add_list(r, roots.all, p, &p->threads) || !add_list(r, roots.orphans, p, &orphans)) return false;
    if (roots.n_arrays > 14 || !READ(r, roots.caches, fix[0]) || !READ(r, roots.mores, fix[1]) ||
        !remote_read(r, roots.arrays, fix + 2, roots.n_arrays * sizeof *fix))
        return false;
    for (unsigned i = 0; i < 2 + roots.n_arrays; i++) p->cache_records += fix[i].total * fix[i].size;
    return true;
}

static bool read_central(const struct remote *r, struct gm_stats_parts *p) {
    struct gm_central_roots roots;
    if (!READ(r, r->endpoint.central, roots) || roots.stride > 4096) return false;
    char buffer[GM_CLASSES * 4096];
    if (!remote_read(r, roots.base, buffer, (size_t)roots.stride * GM_CLASSES)) return false;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        uint64_t pages;
        memcpy(&p->out[cls], buffer + cls * roots.stride + roots.out, sizeof p->out[cls]);
        memcpy(&pages, buffer + cls * roots.stride + roots.pages, sizeof pages);
        p->span_bytes[cls] = pages * GM_PAGE_SIZE;
    }
    return true;
}

static bool read_transfer(const struct remote *r, struct gm_stats_parts *p) {
    struct gm_transfer_roots roots;
    struct gm_fix records;
    if (!READ(r, r->endpoint.transfer, roots) || !READ(r, roots.records, records) || roots.stride > 4096) return false;
    char buffer[GM_CLASSES * 4096];
    if (!remote_read(r, roots.base, buffer, (size_t)roots.stride * GM_CLASSES)) return false;
    p->cache_records += records.total * records.size;
    for (unsigned cls = 1; cls < GM_CLASSES; cls++) {
        const char **at = (const char **)(buffer + cls * roots.stride + roots.at);
        for (unsigned i = 0; i < roots.places; i++) {
            unsigned n;
            if (at[i] && READ(r, at[i] + roots.n, n) && n <= GM_BATCH_MAX) p->transfer[cls] += n;
        }
    }
    return true;
}

/* The arena after *a (in the process at *at): the primary first. False: there is none. */
static bool next_arena(const struct remote *r, struct gm_arena *a, bool *first) {
    struct gm_arena *next;
    if (*first) {
        struct gm_space space;
        if (!READ(r, r->endpoint.space, space)) return false;
        *a = space.primary;
        *first = false;
        a->next = NULL;
        if (READ(r, r->endpoint.sparse, next)) a->next = next;
        return true;
    }
    return a->next && READ(r, a->next, *a);
}

void remote_ranges(const struct remote *r, struct gm_stats_ranges *out) {
    struct gm_arena a;
    struct gm_meta_mapping *m, mapping;
    bool first = true;
    out->n = 0;
    for (unsigned n = 0; n < MAX_ARENAS && next_arena(r, &a, &first); n++) {
        gm_stats_add_range(out, gm_arena_tables(&a), a.base, "tables and records");
        gm_stats_add_range(out, a.base, a.base + a.committed, "heap");
    }
    if (!READ(r, r->endpoint.meta_mappings, m)) return;
    for (unsigned n = 0; n < GM_STATS_RANGES && m && READ(r, m, mapping); n++, m = mapping.next)
        gm_stats_add_range(out, (uintptr_t)m, (uintptr_t)m + mapping.size, "records");
}

static bool read_heap(const struct remote *r, struct gm_stats_parts *p) {
    struct gm_arena a;
    bool first = true;
    struct gm_pace pace;
    if (!READ(r, r->endpoint.heap.stats, p->heap) || !READ(r, r->endpoint.heap.pace, pace) ||
        !READ(r, r->endpoint.heap.memory_limit, p->memory_limit) || !READ(r, r->endpoint.scavenge_ns, p->scavenge_ns))
        return false;
    p->heap.goal = gm_pace_goal(&pace, gm_os_coarse_time());
    for (unsigned n = 0; n < MAX_ARENAS && next_arena(r, &a, &first); n++) {
        p->heap.committed += a.committed;
        p->heap.idle += a.index.free_pages << GM_PAGE_SHIFT;
        p->heap.released += a.index.zero_pages << GM_PAGE_SHIFT;
        p->heap.tables += gm_arena_table_bytes(&a);
    }
    return true;
}

static bool read_parts(const struct remote *r, struct gm_stats_parts *p) {
    const struct gm_fix *fixes[GM_SPAN_FIXES];
    struct gm_conf conf;
    memset(p, 0, sizeof *p);
    if (!read_central(r, p) || !read_caches(r, p) || !read_transfer(r, p) || !read_heap(r, p)) return false;
    if (!READ(r, r->endpoint.span_records, fixes) || !READ(r, r->endpoint.conf, conf)) return false;
    for (unsigned i = 0; i < GM_SPAN_FIXES; i++) {
        struct gm_fix f;
        if (!READ(r, fixes[i], f)) return false;
        p->span_records += f.in_use * f.size;
    }
    p->exact = conf.stats == GM_STATS_EXACT;
    return READ(r, r->endpoint.meta_used, p->meta_used) && (!p->exact || READ(r, r->endpoint.exact_live, p->exact_live));
}

enum remote_result remote_stats(const struct remote *r, struct gomalloc_stats *out) {
    struct gm_stats_parts parts;
    for (unsigned i = 0; i < TRIES; i++) {
        if (!read_parts(r, &parts)) {
            if (!remote_is_current(r)) return REMOTE_NO_PROCESS;
            continue;
        }
        gm_stats_sum(&parts, out);
        for (unsigned k = 0; k < GM_ENDPOINT_COUNTERS && r->endpoint.counter[k].at; k++) {
            uint64_t v, offset = r->endpoint.counter[k].offset;
            if (offset > offsetof(struct gomalloc_stats, by_size) || !READ(r, r->endpoint.counter[k].at, v)) continue;
            *(uint64_t *)((char *)out + offset) += v;
        }
        struct gm_pauses pauses;
        if (r->endpoint.pauses && READ(r, r->endpoint.pauses, pauses)) memcpy(out->pauses, pauses.by_length, sizeof out->pauses);
        out->sys = out->heap_sys + out->mspan_sys + out->mcache_sys + out->other_sys + out->gc_sys + out->stacks_sys;
        return REMOTE_OK;
    }
    return REMOTE_UNSTEADY;
}
