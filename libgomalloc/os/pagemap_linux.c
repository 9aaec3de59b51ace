/* See pagemap.h. */
#include "libgomalloc/os/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/os/os.h"

/* The kernel's interface (linux/fs.h of 6.7); older headers do not have it. */
struct page_region { uint64_t start, end, categories; };
struct pm_scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN 0xc0606610ul /* _IOWR('f', 16, struct pm_scan_arg) */
enum { IS_FILE = 4, IS_PRESENT = 8, IS_SWAPPED = 16, IS_ZERO_PAGE = 32 };
GM_STATIC_ASSERT(sizeof(struct pm_scan_arg) == 96, "the size is part of the request's number");

enum { REGIONS = 256, ENTRIES = 512 };
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_FILE    (UINT64_C(1) << 61)

static int map_fd = -1, mem_fd = -1;
static bool no_scan; /* the kernel does not know the request */
static uint64_t entries[ENTRIES];
static struct page_region regions[REGIONS];
static struct { uintptr_t from, to; unsigned n, at; } seen; /* what `regions` speaks of, and the first that was not asked for yet */

static int open_at(const char *path) { return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0); }

bool gm_pagemap_open(void) {
    int saved = errno;
    map_fd = open_at("/proc/self/pagemap");
    seen.to = 0;
    mem_fd = open_at("/proc/self/mem");
    errno = saved;
    return map_fd >= 0;
}

void gm_pagemap_close(void) {
    int saved = errno;
    if (map_fd >= 0) syscall(SYS_close, map_fd);
    if (mem_fd >= 0) syscall(SYS_close, mem_fd);
    map_fd = mem_fd = -1;
    errno = saved;
}

/* A look costs as much as many mappings do: several of them are seen at once. */
static bool look(uintptr_t from, uintptr_t to) {
    struct pm_scan_arg a = {
        .size = sizeof a, .start = from, .end = to, .vec = (uintptr_t)regions, .vec_len = REGIONS,
        .category_inverted = IS_FILE | IS_ZERO_PAGE, .category_mask = IS_FILE | IS_ZERO_PAGE,
        .category_anyof_mask = IS_PRESENT | IS_SWAPPED, .return_mask = IS_PRESENT | IS_SWAPPED,
    };
    long n = syscall(SYS_ioctl, map_fd, PAGEMAP_SCAN, &a);
    if (n < 0) return false;
    seen.from = from;
    seen.to = (uintptr_t)a.walk_end;
    seen.n = (unsigned)n;
    seen.at = 0;
    return true;
}

static int scan(uintptr_t *next, uintptr_t end, uintptr_t ahead, struct gm_page_run *runs, unsigned max) {
    unsigned n = 0;
    bool known = *next >= seen.from && *next < seen.to && (seen.at == 0 || *next >= regions[seen.at - 1].end);
    if (!known && !(ahead > end && look(*next, ahead)) && !look(*next, end)) return -1;
    if (end > seen.to) end = (uintptr_t)seen.to;
    for (; seen.at < seen.n && regions[seen.at].start < end; seen.at++) {
        uintptr_t from = (uintptr_t)regions[seen.at].start, to = (uintptr_t)regions[seen.at].end;
        if (to <= *next) continue;
        if (n == max) {
            *next = runs[n - 1].end;
            return (int)n;
        }
        runs[n++] = (struct gm_page_run){ from < *next ? *next : from, to < end ? to : end };
        if (to > end) break; /* the rest is the next mapping's */
    }
    *next = end;
    return (int)n;
}

/* The zero page cannot be told from others here; scanning it is harmless. */
static int read_entries(uintptr_t *next, uintptr_t end, struct gm_page_run *runs, unsigned max) {
    size_t page = gm_os_page_size(), want = (end - *next) / page;
    if (want > ENTRIES) want = ENTRIES;
    long got = syscall(SYS_pread64, map_fd, entries, want * sizeof *entries, *next / page * sizeof *entries);
    if (got < (long)sizeof *entries) return -1;
    unsigned n = 0;
    size_t i = 0, count = (size_t)got / sizeof *entries;
    for (; i < count; i++) {
        uintptr_t at = *next + i * page;
        if (!(entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED)) || (entries[i] & ENTRY_FILE)) continue;
        if (n && runs[n - 1].end == at) runs[n - 1].end += page;
        else if (n == max) break;
        else runs[n++] = (struct gm_page_run){ at, at + page };
    }
    *next += i * page;
    return (int)n;
}

int gm_pagemap_private(uintptr_t *next, uintptr_t end, uintptr_t ahead, struct gm_page_run *runs, unsigned max) {
    int saved = errno, n = -1;
    if (!no_scan && (n = scan(next, end, ahead, runs, max)) < 0) no_scan = true;
    if (n < 0) n = read_entries(next, end, runs, max);
    errno = saved;
    return n;
}

size_t gm_pagemap_read(uintptr_t from, void *to, size_t n) {
    int saved = errno;
    long got = mem_fd < 0 ? 0 : syscall(SYS_pread64, mem_fd, to, n, from);
    errno = saved;
    return got < 0 ? 0 : (size_t)got;
}
