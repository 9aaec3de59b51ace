/* The allocation sites of another process, and the profiles made of them. What they are: libgomalloc/profile.c. */
#ifndef GM_COMMAND_SITES_H
#define GM_COMMAND_SITES_H

#include <stdio.h>

#include "preload/command/remote.h"
#include "preload/command/symbols.h"

struct counts { uint64_t objects, bytes; };
struct site {
    uintptr_t at;                    /* of its record in the process */
    unsigned depth, modules;
    struct counts live, all;         /* of samples */
    uintptr_t pc[GM_PROFILE_DEPTH];  /* innermost first; addresses after calls */
};
struct module { unsigned number; uintptr_t start, end; char *path; };
struct sampled { uintptr_t address; size_t bytes; struct site *site; };

struct sites {
    pid_t pid;                       /* of the process that was meant: whose files are looked at */
    int64_t rate;                    /* at which was sampled last; 1: everything; 0: never */
    bool on;                         /* it is being sampled */
    struct site *site;
    size_t n;
    struct module *module;           /* the youngest first */
    size_t n_modules;
    struct sampled *sample;           /* live ones, by address; only if they were asked for */
    size_t n_samples;
    struct mappings maps;
};
/* Reads them by `r`, which may be a snapshot of the process `pid`. */
enum remote_result sites_read(struct sites *s, const struct remote *r, pid_t pid, bool samples);
void sites_free(struct sites *s);
const struct sampled *sample_of(const struct sites *s, uintptr_t address);

/* "function+0x12 (file)" for frame i of a site; in a static buffer. */
const char *site_frame(const struct sites *s, const struct site *at, unsigned i);
/* The stack, a frame a line. */
void site_print(FILE *f, const struct sites *s, const struct site *at, const char *indent);

/* A profile as google-pprof reads it: counts[i] of site i, and all[i]. `rate`: pprof scales what was sampled at it up; 1 or
 * less: not. */
void pprof_write(FILE *f, const struct sites *s, const struct counts *live, const struct counts *all, int64_t rate);
/* The same with the sites' own counts. */
void pprof_write_heap(FILE *f, const struct sites *s);
/* How many objects a sampled one stands for. */
double sample_weight(const struct sites *s, double bytes);

#endif
