/* From addresses in another process to names: its mappings, and the symbol tables of the files in it. */
#ifndef GM_COMMAND_SYMBOLS_H
#define GM_COMMAND_SYMBOLS_H

#include "libgomalloc/base/compiler.h"

#include <sys/types.h>

struct mapping {
    uintptr_t start, end;
    uint64_t offset;
    char rights[5];          /* "rw-p" */
    char *path;              /* "" if it has none */
};
struct mappings { struct mapping *m; size_t n; };
/* False: there is no such process, or it may not be looked at. */
bool mappings_read(struct mappings *out, pid_t pid);
void mappings_free(struct mappings *m);
const struct mapping *mapping_of(const struct mappings *m, uintptr_t p);
/* Where the file that lies at m begins in memory. */
uintptr_t mapping_base(const struct mappings *all, const struct mapping *m);

struct symbol { const char *name; uintptr_t offset; /* of the address in it */ };
/* The function (data: the variable) at `p`, of the file `path` whose first byte lies at `base` in memory. The file is looked
 * for as the process sees it. False: it has no symbol there. */
bool symbol_find(pid_t pid, const char *path, uintptr_t base, uintptr_t p, bool data, struct symbol *out);

#endif
