/* Another process's allocator, read from outside. How that works and who may: libgomalloc/endpoint.c. */
#ifndef GM_COMMAND_REMOTE_H
#define GM_COMMAND_REMOTE_H

#include "libgomalloc/endpoint.h"

#include <sys/types.h>

enum remote_result {
    REMOTE_OK,
    REMOTE_NO_PROCESS,
    REMOTE_NO_PERMISSION,
    REMOTE_NO_LIBRARY,   /* the library is not in the process, or closed */
    REMOTE_OTHER_BUILD,  /* it is, but its records are not those this tool knows */
    REMOTE_UNSTEADY      /* what was read made no sense: things moved too fast */
};
const char *remote_explain(enum remote_result r);

struct remote {
    pid_t pid;
    uintptr_t at;                 /* of the endpoint in the process */
    struct gm_endpoint endpoint;  /* a copy */
    char library[256];            /* path of the file it was found in */
};

enum remote_result remote_open(struct remote *r, pid_t pid);
/* False: the process is gone, or runs another program by now. */
bool remote_is_current(const struct remote *r);
enum remote_result remote_stats(const struct remote *r, struct gomalloc_stats *out);
struct gm_stats_ranges;
/* Where the process's library has its memory, as far as it can be read. */
void remote_ranges(const struct remote *r, struct gm_stats_ranges *out);
/* Copies n bytes from the process; false: not all of them are there. */
bool remote_read(const struct remote *r, const void *at, void *to, size_t n);
/* Ends the command with a line if that fails. */
void remote_open_or_fail(struct remote *r, pid_t pid);
/* Asks for allocations to be sampled at the rate (0: not any more); false: the word could not be written. */
bool remote_ask_profile(const struct remote *r, int64_t rate);

/* ---- the heap page by page */

enum { MAP_UNUSED, MAP_RELEASED, MAP_IDLE, MAP_SMALL, MAP_LARGE };
struct map_page {
    uint8_t kind;
    uint8_t cls;          /* MAP_SMALL */
    uint8_t percent;      /* MAP_SMALL: of the span's slots that are not at home */
};
struct map_class {        /* spans by how full they are, in tenths; [10]: full */
    uint64_t spans[11], slots, out;
};
struct heap_map {
    size_t pages;         /* of all arenas, one after another */
    struct map_page *page;
    size_t arenas;
    struct map_class cls[GM_CLASSES];
    uint64_t pinned_bytes, pinning_bytes; /* small spans at most a quarter full: their bytes, and those taken in them */
    uint64_t large_spans, large_bytes;
};
/* Fills *m, which is freed with heap_map_free. */
enum remote_result remote_map(const struct remote *r, struct heap_map *m);
void heap_map_free(struct heap_map *m);

#endif
