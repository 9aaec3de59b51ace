/* Which pages of a range hold private memory of this process: present or swapped out, neither a file's
 * page nor the shared zero page. That is what a collector has to read, and all it may skip besides.
 *
 * By PAGEMAP_SCAN where the kernel has it (6.7), which jumps over what is not there, else by reading
 * /proc/self/pagemap entry by entry. Not thread-safe: one reader at a time. No allocation, errno kept. */
#ifndef GM_OS_PAGEMAP_H
#define GM_OS_PAGEMAP_H

#include "libgomalloc/base/compiler.h"

struct gm_page_run { uintptr_t start, end; };

/* Opens this process's page map; false: none to be had (then take all pages as private memory). */
bool gm_pagemap_open(void);
void gm_pagemap_close(void);
/* The first runs of private pages in [*next, end), at most `max`; *next moves on, to `end` when all is said.
 * Answers how many, or -1: the kernel refuses. Addresses up to `ahead` (which may be below `end`) will be asked for next: until the
 * page map is closed they may be answered by the same look, so nobody else changes memory between open and close. */
int gm_pagemap_private(uintptr_t *next, uintptr_t end, uintptr_t ahead, struct gm_page_run *runs, unsigned max);
/* Reads memory of this process whatever its protection, as far as it goes; bytes read. */
size_t gm_pagemap_read(uintptr_t from, void *to, size_t n);

#endif
