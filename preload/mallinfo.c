/* glibc's ways to ask about and to tune its allocator, answered with our figures.
 *
 * The structures speak of one heap that grows by brk and of single mappings beside it. Here everything
 * is the one heap, large blocks too, so what glibc counts as mapped is 0 and the sums that programs
 * make (arena + hblkhd: taken from the system; uordblks + hblkhd: in use) come out right. Pages that
 * went back to the kernel are counted as not taken. */
#define _GNU_SOURCE 1
#include "libgomalloc/alloc.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/gomalloc.h"
#include "libgomalloc/stats_format.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t minus(size_t a, size_t b) { return a > b ? a - b : 0; }

GM_EXPORT struct mallinfo2 mallinfo2(void) {
    struct gomalloc_stats s;
    gomalloc_read_stats(&s, sizeof s);
    struct mallinfo2 m = {
        .arena = minus(s.heap_sys, s.heap_released),
        .uordblks = s.heap_alloc,
        .keepcost = minus(s.heap_idle, s.heap_released),
    };
    m.fordblks = minus(m.arena, m.uordblks);
    m.ordblks = m.fordblks > 0;
    return m;
}

/* The old structure has ints. glibc lets them wrap; a figure that stands still at its bound misleads
 * less than a small or negative one. */
GM_EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 m = mallinfo2();
    return (struct mallinfo){
        .arena = (int)gm_min(m.arena, INT_MAX),
        .ordblks = (int)m.ordblks,
        .uordblks = (int)gm_min(m.uordblks, INT_MAX),
        .fordblks = (int)gm_min(m.fordblks, INT_MAX),
        .keepcost = (int)gm_min(m.keepcost, INT_MAX),
    };
}

/* Copies what was written to fd into the stream. */
static int copy_to_stream(int fd, FILE *stream) {
    char text[1024];
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, text, sizeof text, at)) > 0; at += n)
        if (fwrite(text, 1, (size_t)n, stream) != (size_t)n) return errno;
    return n < 0 ? errno : 0;
}

/* The text is made by code that writes to a descriptor, and the stream may have none (open_memstream)
 * or one whose position stdio keeps itself; a memory file stands between. Figures are taken before it
 * is made, so the stream's own buffer is not in them. */
GM_EXPORT int malloc_info(int options, FILE *stream) {
    if (options != 0) return EINVAL;
    int saved = errno;
    struct gomalloc_stats s;
    struct gm_out out;
    gomalloc_read_stats(&s, sizeof s);
    int fd = memfd_create("malloc_info", MFD_CLOEXEC), error = errno;
    if (fd >= 0) {
        gm_out_init(&out, fd);
        error = -gm_stats_malloc_info(&s, &out);
        if (error == 0) error = copy_to_stream(fd, stream);
        close(fd);
    }
    errno = saved;
    return error;
}

GM_EXPORT void malloc_stats(void) { gomalloc_write_stats(STDERR_FILENO, "text"); }

/* `pad` asks to keep bytes at the top of the brk heap, which there is none of. */
GM_EXPORT int malloc_trim(size_t pad) { return gm_trim() > 0; }

/* None of glibc's knobs has a counterpart here, and a program that turns one must not fail; so the
 * answers are glibc's: it accepts every number and refuses one value, fast bins that are too large. */
GM_EXPORT int mallopt(int parameter, int value) {
    enum { LARGEST_FASTBIN = 80 * sizeof(size_t) / 4 };
    return parameter != M_MXFAST || (value >= 0 && value <= LARGEST_FASTBIN);
}
