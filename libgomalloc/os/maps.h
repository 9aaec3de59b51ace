/* Reads /proc/self/maps line by line without allocating. Used on slow, rare paths only.
 * The list may change between two reads of the file; each line by itself is consistent. */
#ifndef GM_OS_MAPS_H
#define GM_OS_MAPS_H

#include "libgomalloc/base/compiler.h"

enum gm_mapping_kind {
    GM_MAPPING_ANONYMOUS, /* no name, or a name given with PR_SET_VMA */
    GM_MAPPING_FILE,
    GM_MAPPING_STACK,
    GM_MAPPING_BRK,
    GM_MAPPING_OTHER      /* [vdso], [vvar] and the like */
};

struct gm_mapping {
    uintptr_t start, end;
    bool readable, writable, executable, shared;
    enum gm_mapping_kind kind;
    bool follows_file;    /* anonymous, directly behind a writable mapping of a file: its bss */
};

struct gm_maps {
    int fd;
    size_t used, next;    /* bytes in text, and the first not yet looked at */
    uintptr_t file_end;   /* end of the last writable file mapping, or of a bss that followed it */
    char text[4096];
};

bool gm_maps_open(struct gm_maps *m);
bool gm_maps_next(struct gm_maps *m, struct gm_mapping *out);
void gm_maps_close(struct gm_maps *m);

#endif
