/* Text without stdio. See print.h.
 *
 * Why not snprintf: the C library's printf takes stdio's and the locale's locks, may allocate for wide
 * fields, and is not there yet when the loader calls malloc. What is needed here is small: integers,
 * strings, and a double now and then for a percentage. */
#include "libgomalloc/base/print.h"

#include "libgomalloc/base/check.h"
#include "libgomalloc/os/os.h"

#include <string.h>

/* One byte of the text is kept for the terminator of fd -1. */
enum { CAPACITY = sizeof((struct gm_out *)0)->text - 1 };

void gm_out_init(struct gm_out *o, int fd) {
    o->fd = fd;
    o->error = 0;
    o->used = 0;
}

/* After the first error nothing more is written: text with a hole in it is worse than text cut off. */
static void drain(struct gm_out *o) {
    if (o->error == 0 && o->used > 0) {
        int r = gm_os_write(o->fd, o->text, o->used);
        if (r < 0) o->error = r;
    }
    o->used = 0;
}

void gm_out_char(struct gm_out *o, char c) {
    if (o->used == CAPACITY) {
        if (o->fd < 0) return;
        drain(o);
    }
    o->text[o->used++] = c;
}

void gm_out_str(struct gm_out *o, const char *s) {
    while (*s != 0) gm_out_char(o, *s++);
}

int gm_out_flush(struct gm_out *o) {
    if (o->fd < 0) o->text[o->used] = 0;
    else drain(o);
    return o->error;
}

/* ---- conversions */

/* What stands between a '%' and the end of its conversion. */
struct spec {
    bool left, zero;
    bool wide;         /* l, ll or z: 64 bits on every machine the project runs on */
    unsigned width;
    unsigned decimals;
    char conversion;
};
GM_STATIC_ASSERT(sizeof(long) == 8 && sizeof(size_t) == 8, "l and z are 64 bits");

/* A va_list that can be passed on by address, which the array type of some ABIs cannot. */
struct arguments {
    va_list list;
};

static void repeat(struct gm_out *o, char c, size_t n) {
    while (n-- > 0) gm_out_char(o, c);
}

/* `sign` and then n bytes of text, in a field as the spec asks for. */
static void field(struct gm_out *o, const struct spec *sp, const char *sign, const char *text, size_t n) {
    size_t len = strlen(sign) + n;
    size_t pad = sp->width > len ? sp->width - len : 0;
    bool zero = sp->zero && !sp->left;

    if (!sp->left && !zero) repeat(o, ' ', pad);
    gm_out_str(o, sign);
    if (zero) repeat(o, '0', pad);
    for (size_t i = 0; i < n; i++) gm_out_char(o, text[i]);
    if (sp->left) repeat(o, ' ', pad);
}

/* Digits of v, at least `least` of them, written backwards from `end`; where they begin. */
static char *digits(char *end, uint64_t v, unsigned base, unsigned least) {
    char *p = end;
    while (v != 0 || (unsigned)(end - p) < least) {
        *--p = "0123456789abcdef"[v % base];
        v /= base;
    }
    return p;
}

static void integer(struct gm_out *o, const struct spec *sp, const char *sign, uint64_t v, unsigned base) {
    char text[20];
    char *end = text + sizeof text, *p = digits(end, v, base, 1);
    field(o, sp, sign, p, (size_t)(end - p));
}

/* The first `n` decimals of a fraction, as an integer, rounded to nearest; a tie goes to the even digit,
 * which for n = 0 is the one in front of the point: `odd` tells of it. The fraction is first scaled by a
 * power of two to an integer that holds all its bits, and multiplied exactly: what is rounded is the
 * value itself, not a product of doubles. */
static uint64_t decimals(double fraction, unsigned n, bool odd) {
    unsigned shift = 64;
    double scaled = fraction * 0x1p64;
    for (; scaled < 0x1p63 && shift < 126; shift++) scaled *= 2;
    unsigned __int128 product = (uint64_t)scaled, half = (unsigned __int128)1 << (shift - 1);
    for (unsigned i = 0; i < n; i++) product *= 10;      /* below 2^64 * 10^9 */
    uint64_t result = (uint64_t)(product >> shift);
    unsigned __int128 rest = product & (2 * half - 1);
    if (n > 0) odd = (result & 1) != 0;
    return result + (rest > half || (rest == half && odd));
}

static void real(struct gm_out *o, const struct spec *sp, double v) {
    double a = __builtin_fabs(v);
    bool printable = a < 0x1p63;      /* false for NaN as well */
    GM_ASSERT(printable);
    if (!printable) {
        field(o, sp, "", "?", 1);
        return;
    }
    uint64_t whole = (uint64_t)a, one = 1;
    uint64_t part = decimals(a - (double)whole, sp->decimals, (whole & 1) != 0);
    for (unsigned i = 0; i < sp->decimals; i++) one *= 10;
    if (part == one) {
        part = 0;
        whole++;
    }
    char text[40];
    char *end = text + sizeof text, *p = end;
    if (sp->decimals > 0) {
        p = digits(p, part, 10, sp->decimals);
        *--p = '.';
    }
    p = digits(p, whole, 10, 1);
    field(o, sp, __builtin_signbit(v) ? "-" : "", p, (size_t)(end - p));
}

/* Parses what follows a '%'; returns the place after the conversion, or after what there is of it. */
static const char *parse_spec(const char *f, struct spec *sp) {
    *sp = (struct spec){.decimals = 6};
    for (;; f++) {
        if (*f == '-') sp->left = true;
        else if (*f == '0') sp->zero = true;
        else break;
    }
    for (; *f >= '0' && *f <= '9'; f++) sp->width = sp->width * 10 + (unsigned)(*f - '0');
    if (*f == '.') {
        for (sp->decimals = 0, f++; *f >= '0' && *f <= '9'; f++)
            sp->decimals = sp->decimals * 10 + (unsigned)(*f - '0');
        GM_ASSERT(*f == 'f' && sp->decimals <= 9);
        if (sp->decimals > 9) sp->decimals = 9;
    }
    for (; *f == 'l' || *f == 'z'; f++) sp->wide = true;
    sp->conversion = *f;
    return *f != 0 ? f + 1 : f;
}

static void convert(struct gm_out *o, const struct spec *sp, struct arguments *a) {
    switch (sp->conversion) {
    case '%': gm_out_char(o, '%'); break;
    case 'c': {
        char c = (char)va_arg(a->list, int);
        field(o, sp, "", &c, 1);
        break;
    }
    case 's': {
        const char *s = va_arg(a->list, const char *);
        if (s == NULL) s = "(null)";
        field(o, sp, "", s, strlen(s));
        break;
    }
    case 'd':
    case 'i': {
        int64_t v = sp->wide ? va_arg(a->list, int64_t) : va_arg(a->list, int);
        integer(o, sp, v < 0 ? "-" : "", v < 0 ? -(uint64_t)v : (uint64_t)v, 10);
        break;
    }
    case 'u':
    case 'x': {
        uint64_t v = sp->wide ? va_arg(a->list, uint64_t) : va_arg(a->list, unsigned);
        integer(o, sp, "", v, sp->conversion == 'x' ? 16 : 10);
        break;
    }
    case 'p': integer(o, sp, "0x", (uintptr_t)va_arg(a->list, void *), 16); break;
    case 'f': real(o, sp, va_arg(a->list, double)); break;
    default: GM_ASSERT(!"a conversion that print.c does not have"); gm_out_char(o, '?');
    }
}

void gm_out_vprintf(struct gm_out *o, const char *format, va_list args) {
    struct arguments a;
    va_copy(a.list, args);
    for (const char *f = format; *f != 0;) {
        if (*f != '%') {
            gm_out_char(o, *f++);
            continue;
        }
        struct spec sp;
        f = parse_spec(f + 1, &sp);
        convert(o, &sp, &a);
    }
    va_end(a.list);
}

void gm_out_printf(struct gm_out *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    gm_out_vprintf(o, format, args);
    va_end(args);
}

/* Formatted into memory first and cut to the buffer's size, so that it is one write whatever its
 * length, and lines of several threads do not mix. The line ends with one newline in any case. */
void gm_eprintf(const char *format, ...) {
    struct gm_out o;
    va_list args;
    gm_out_init(&o, -1);
    va_start(args, format);
    gm_out_vprintf(&o, format, args);
    va_end(args);
    if (o.used == CAPACITY) o.used--;
    if (o.used == 0 || o.text[o.used - 1] != '\n') o.text[o.used++] = '\n';
    o.fd = 2;
    gm_out_flush(&o);
}
