/* Writes the man pages from the tables that make the code: `mkman 3` the functions of gomalloc.h and
 * the fields of its statistics, `mkman 7` the environment. Runs at build time on the build machine and
 * is no part of the library, so it may use stdio.
 *
 * What the tables know (options, defaults, bounds, what is built, fields, units) is not written by hand
 * here; the hand-written rest is what a table cannot say. Pages carry the version but no date, so that
 * the same source gives the same page. */
#include "libgomalloc/conf.h"
#include "libgomalloc/stats_format.h"

#include <stdio.h>
#include <string.h>

/* Text for a line of roff: hyphens that are to be typed stay hyphens, and a leading dot is no request. */
static void put(const char *s) {
    if (*s == '.' || *s == '\'') fputs("\\&", stdout);
    for (; *s != 0; s++) {
        if (*s == '-') fputs("\\-", stdout);
        else if (*s == '\\') fputs("\\e", stdout);
        else putchar(*s);
    }
}

static void sentence(const char *s) {
    if (s[0] >= 'a' && s[0] <= 'z') {
        putchar(s[0] - 'a' + 'A');
        s++;
    }
    put(s);
    puts(".");
}

static void head(const char *section, const char *title) {
    printf(".\\\" Made by libgomalloc/mkman.c. Do not edit.\n");
    printf(".TH gomalloc %s \"\" \"gomalloc %s\" \"%s\"\n", section, GOMALLOC_VERSION, title);
    puts(".nh");      /* no hyphenation: a broken option name would read as another one */
}

/* ---- section 7: options */

struct row {
    const char *name, *values, *built, *go, *help;
    long long init, low, high;
};
static const struct row rows[] = {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) \
    {#name, values, built, go, help, init, low, high},
#include "libgomalloc/conf.def"
#undef GM_OPTION
};

/* Whether these n letters stand for a number. */
static int is_number(const char *form, size_t n) {
    return (n == 6 && strncmp(form, "number", n) == 0) || (n == 5 && strncmp(form, "bytes", n) == 0);
}

static int takes_bytes(const struct row *r) { return strstr(r->values, "bytes") != NULL; }
static int takes_number(const struct row *r) { return takes_bytes(r) || strstr(r->values, "number") != NULL; }

static void put_number(long long v, int bytes) {
    int unit = 0;
    for (; bytes && v != 0 && v % 1024 == 0 && unit < 4; v /= 1024) unit++;
    printf("%lld", v);
    if (unit > 0) putchar(" KMGT"[unit]);
}

/* The forms with words in bold and what stands for a number in italics. */
static void put_forms(const char *forms) {
    while (*forms != 0) {
        size_t n = strcspn(forms, "|");
        int variable = is_number(forms, n);
        printf("\\f%c%.*s\\fP", variable ? 'I' : 'B', (int)n, forms);
        forms += n;
        if (*forms == '|') {
            fputs("\\ | ", stdout);
            forms++;
        }
    }
}

static void put_default(const struct row *r) {
    if (takes_number(r) && r->init >= 0) {
        put_number(r->init, takes_bytes(r));
        return;
    }
    long long wanted = takes_number(r) ? -1 - r->init : r->init;
    for (const char *p = r->values; *p != 0; p += *p == '|') {
        size_t n = strcspn(p, "|");
        if (!is_number(p, n) && wanted-- == 0) printf("%.*s", (int)n, p);
        p += n;
    }
}

static void option(const struct row *r) {
    printf(".TP\n\\fB%s\\fP:(", r->name);
    put_forms(r->values);
    puts(")");
    sentence(r->help);
    fputs("Default: ", stdout);
    put_default(r);
    puts(".");
    if (takes_number(r)) {
        fputs("Bounds: ", stdout);
        put_number(r->low, takes_bytes(r));
        fputs(" to ", stdout);
        put_number(r->high, takes_bytes(r));
        puts(".");
    }
    if (r->go != NULL) {
        fputs("Go's word: ", stdout);
        put(r->go);
        puts(".");
    }
    if (strcmp(r->built, r->values) == 0) return;
    fputs("Built so far: ", stdout);
    if (r->built[0] != 0) put_forms(r->built);
    else put_default(r);
    puts(".");
}

static void section7(void) {
    head("7", "Miscellaneous Information Manual");
    puts(".SH NAME\n"
         "gomalloc \\- options of the gomalloc memory allocator\n"
         ".SH SYNOPSIS\n"
         ".nf\n"
         "LD_PRELOAD=libgomalloc.so GOMALLOC=\\fIkey\\fP:\\fIvalue\\fP,\\fIkey\\fP:\\fIvalue\\fP,... "
         "\\fIprogram\\fP\n"
         ".fi\n"
         ".SH DESCRIPTION\n"
         "The library puts an allocator of the design of the Go runtime under a program that was not\n"
         "written for it.\n"
         "It is told what to do by the variable\n"
         ".B GOMALLOC\n"
         "in the environment, read once at program start.\n"
         "A key that is not known, a value that is not one of the key's, and a value whose part of the\n"
         "library is not built yet get one line on standard error each; the option keeps its default.\n"
         "Bytes are decimal numbers, alone or with one of K, M, G, T (or KiB, MiB, GiB, TiB) behind them,\n"
         "powers of 1024.\n"
         "A key alone stands for \\fIkey\\fP:on where the values are off and on.\n"
         ".PP\n"
         "The whole environment is ignored in set-user-ID and set-group-ID programs and in those with\n"
         "capabilities of their own.\n"
         ".SH OPTIONS");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) option(&rows[i]);
    puts(".SH ENVIRONMENT\n"
         ".TP\n"
         ".B GOMALLOC\n"
         "The options above.\n"
         ".TP\n"
         ".BR GOGC \", \" GOMEMLIMIT \", \" GOMAXPROCS \", \" GODEBUG\n"
         "Go's own variables, read as well; GOMALLOC wins.\n"
         "They may stand there for Go programs only, so what is not understood in them is not\n"
         "complained about.\n"
         ".SH EXAMPLES\n"
         ".nf\n"
         "LD_PRELOAD=libgomalloc.so GOMALLOC=stats:exit sort big.txt\n"
         "LD_PRELOAD=libgomalloc.so GOMALLOC=help true\n"
         ".fi\n"
         ".SH SEE ALSO\n"
         ".BR gomalloc (3),\n"
         ".BR malloc (3),\n"
         ".BR ld.so (8)");
}

/* ---- section 3: functions */

struct stat_row {
    const char *name, *help;
    int kind, unit;
};
static const struct stat_row stat_rows[] = {
#define X(field, kind, unit, metric, help) {#field, help, GM_##kind, GM_UNIT_##unit},
    GM_STATS_FIELDS(X)
#undef X
};
static const struct stat_row class_rows[] = {
#define X(field, kind, unit, metric, help) {#field, help, GM_##kind, GM_UNIT_##unit},
    GM_STATS_CLASS_FIELDS(X)
#undef X
};

static void stat_field(const struct stat_row *r) {
    static const char *const unit[] = {"", "Bytes ", "Nanoseconds: "};
    printf(".TP\n.B %s\n", r->name);
    if (r->unit == GM_UNIT_NONE) {
        sentence(r->help);
        return;
    }
    fputs(unit[r->unit], stdout);
    put(r->help);
    puts(".");
}

static void functions(void) {
    puts(".TP\n"
         ".BR gomalloc_read_stats ()\n"
         "fills the first\n"
         ".I size\n"
         "bytes of\n"
         ".RI * out .\n"
         "Pass the size of the structure as the program was compiled with it: the structure only grows at\n"
         "its end, and fields that the library does not know are set to 0.\n"
         "Counters of threads that run during the call may be a few operations behind; in a quiescent\n"
         "program all figures are exact.\n"
         ".TP\n"
         ".BR gomalloc_write_stats ()\n"
         "writes the statistics to a descriptor.\n"
         "The\n"
         ".I format\n"
         "is \\(dqtext\\(dq (for people), \\(dqjson\\(dq (one object with the names of the fields below) or\n"
         "\\(dqopenmetrics\\(dq (for Prometheus and others; nanoseconds become seconds there).\n"
         ".TP\n"
         ".BR gomalloc_scavenge ()\n"
         "returns every free page to the kernel, those of the calling thread's cache included.\n"
         ".TP\n"
         ".BR gomalloc_set_memory_limit ()\n"
         "sets the soft limit of the memory in use; INT64_MAX stands for none, and a negative argument only\n"
         "asks.\n"
         "Allocation is never refused because of it.");
}

static void section3(void) {
    head("3", "Library Functions Manual");
    puts(".SH NAME\n"
         "gomalloc_read_stats, gomalloc_write_stats, gomalloc_scavenge, gomalloc_set_memory_limit \\-\n"
         "statistics and memory control of the gomalloc allocator\n"
         ".SH LIBRARY\n"
         "gomalloc (\\-lgomalloc)\n"
         ".SH SYNOPSIS\n"
         ".nf\n"
         ".B #include <gomalloc.h>\n"
         ".PP\n"
         ".BI \"void gomalloc_read_stats(struct gomalloc_stats *\" out \", size_t \" size );\n"
         ".BI \"int gomalloc_write_stats(int \" fd \", const char *\" format );\n"
         ".B size_t gomalloc_scavenge(void);\n"
         ".BI \"int64_t gomalloc_set_memory_limit(int64_t \" bytes );\n"
         ".fi\n"
         ".SH DESCRIPTION\n"
         "The allocation functions keep the C library's names, see\n"
         ".BR malloc (3).\n"
         "The functions here may be called from any thread, but not from a signal handler.");
    functions();
    puts(".SS Fields of struct gomalloc_stats\n"
         "All fields are of type uint64_t.");
    for (size_t i = 0; i < sizeof stat_rows / sizeof stat_rows[0]; i++) stat_field(&stat_rows[i]);
    puts(".SS Fields of struct gomalloc_size_stats\n"
         "One entry of\n"
         ".B by_size\n"
         "for each size class.\n"
         ".TP\n"
         ".B size\n"
         "Bytes of one object of the class.");
    for (size_t i = 0; i < sizeof class_rows / sizeof class_rows[0]; i++) stat_field(&class_rows[i]);
    puts(".SH RETURN VALUE\n"
         ".BR gomalloc_write_stats ()\n"
         "returns 0, \\-EINVAL for a format it does not have, or the negated error number of\n"
         ".BR write (2).\n"
         ".BR gomalloc_scavenge ()\n"
         "returns the number of bytes that went back, and\n"
         ".BR gomalloc_set_memory_limit ()\n"
         "the previous limit.\n"
         ".SH SEE ALSO\n"
         ".BR malloc (3),\n"
         ".BR mallinfo2 (3),\n"
         ".BR malloc_info (3),\n"
         ".BR gomalloc (7)");
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "3") == 0) section3();
    else if (argc == 2 && strcmp(argv[1], "7") == 0) section7();
    else {
        fputs("usage: mkman 3|7\n", stderr);
        return 2;
    }
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
