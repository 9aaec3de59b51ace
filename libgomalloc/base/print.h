/* Formats text into a fixed buffer and writes it to a descriptor: no malloc, no stdio, no locale,
 * errno untouched. For panics, statistics, traces. One gm_out belongs to one thread at a time. */
#ifndef GM_BASE_PRINT_H
#define GM_BASE_PRINT_H

#include "libgomalloc/base/compiler.h"
#include <stdarg.h>

struct gm_out {
    int fd;            /* where full buffers go; -1: nowhere, what does not fit is dropped */
    int error;         /* 0, or the first -errno of a write */
    size_t used;       /* bytes in text not yet written */
    char text[1024];
};

void gm_out_init(struct gm_out *o, int fd);
void gm_out_char(struct gm_out *o, char c);
void gm_out_str(struct gm_out *o, const char *s);
/* Conversions: %s %c %% %d %i %u %x %p with l, ll, z; field width, '-' and '0' flags, %.Nf and %f of a
 * double (N <= 9, rounded to nearest; magnitudes below 2^63). Anything else is a GM_ASSERT. */
void gm_out_printf(struct gm_out *o, const char *format, ...) GM_PRINTF(2, 3);
void gm_out_vprintf(struct gm_out *o, const char *format, va_list args);
/* Writes what is left (with fd -1: only terminates text with a 0 byte). Returns o->error. */
int gm_out_flush(struct gm_out *o);

/* One whole line to stderr through one write. */
void gm_eprintf(const char *format, ...) GM_PRINTF(1, 2);

#endif
