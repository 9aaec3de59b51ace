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
    uint64_t offset;      /* in the file */
    bool follows_file;    /* anonymous or the brk heap, directly behind a writable mapping of a file: its bss, or what the
                             kernel has joined with it */
};

struct gm_maps {
    int fd;
    size_t used, next;    /* bytes in text, and the first not yet looked at */
    uintptr_t file_end;   /* end of the last writable file mapping, or of a bss that followed it */
    uintptr_t image;      /* start of the last readable mapping of a file from its beginning */
    char text[4096];
};

bool gm_maps_open(struct gm_maps *m);
bool gm_maps_next(struct gm_maps *m, struct gm_mapping *out);
void gm_maps_close(struct gm_maps *m);
/* Where the executable or library whose header is mapped at `image` ends, bss included; 0: there is no such header.
 * UINTPTR_MAX: the kernel does not let us look. */
uintptr_t gm_maps_image_end(uintptr_t image);

#endif
