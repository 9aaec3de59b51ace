/* The four forms of the statistics, from one record in which every field has a value of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/check.h"

#include "libgomalloc/stats_format.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

static char text[1 << 17];

static struct gomalloc_stats sample(void) {
    struct gomalloc_stats s;
    memset(&s, 0, sizeof s);
    uint64_t n = 1000;
#define X(field, kind, unit, metric, help) s.field = n++ * 1000003;
    GM_STATS_FIELDS(X)
#undef X
    s.by_size_count = 3;
    s.by_size[0] = (struct gomalloc_size_stats){8, 100, 40, 700, 8192};
    s.by_size[1] = (struct gomalloc_size_stats){16, 0, 0, 0, 0};
    s.by_size[2] = (struct gomalloc_size_stats){32768, 7, 3, 200000, 262144};
    s.by_size[3] = (struct gomalloc_size_stats){99999, 5, 5, 5, 5};      /* beyond the count */
    s.heap_alloc = 60 * 8 + 4 * 32768 + 5 * 100000;
    s.total_alloc = 800 + 7 * 32768 + 9 * 100000;
    s.large_mallocs = 9;
    s.large_frees = 4;
    s.large_requested = 450000;
    s.pause_total_ns = 12345678901;
    s.pause_max_ns = 42;
    s.last_gc_ns = UINT64_C(1700000000000000007);
    s.pauses[0] = 5;                                                     /* below 10 us */
    s.pauses[7] = 3;                                                     /* from 640 us to 1.28 ms */
    s.pauses[GOMALLOC_PAUSE_BUCKETS - 1] = 2;
    return s;
}

static const char *read_back(int fd) {
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    close(fd);
    return text;
}

static const char *write_as(const struct gomalloc_stats *s, const char *format) {
    int fd = memfd_create("stats", 0);
    expect_eq(gm_stats_write(s, NULL, fd, format), 0);
    return read_back(fd);
}

/* The text must contain exactly this line once. */
static void has_line(const char *line) {
    size_t n = strlen(line);
    int found = 0;
    for (const char *p = text; (p = strstr(p, line)) != NULL; p += n) {
        if ((p == text || p[-1] == '\n') && (p[n] == '\n' || p[n] == 0)) found++;
    }
    if (!expect(found == 1)) diag("line \"%s\": found %d times", line, found);
}

static void has_linef(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void has_linef(const char *format, ...) {
    char line[400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    has_line(line);
}

/* ---- what all share */

TEST(unknown_formats) {
    struct gomalloc_stats s = sample();
    int fd = memfd_create("stats", 0);
    static const char *const names[] = {"", "xml", "JSON", "jsonx", "tex"};
    for (size_t i = 0; i < 5; i++) expect_eq(gm_stats_write(&s, NULL, fd, names[i]), -EINVAL);
    expect_str(read_back(fd), "");
}

TEST(failing_writes_are_reported) {
    struct gomalloc_stats s = sample();
    static const char *const names[] = {"text", "json", "openmetrics"};
    for (size_t i = 0; i < 3; i++) expect_eq(gm_stats_write(&s, NULL, 1234567, names[i]), -EBADF);
    struct gm_out o;
    gm_out_init(&o, 1234567);
    expect_eq(gm_stats_malloc_info(&s, &o), -EBADF);
}

TEST(errno_survives) {
    struct gomalloc_stats s = sample();
    errno = 4711;
    gm_stats_write(&s, NULL, 1234567, "json");
    expect_eq(errno, 4711);
}

/* A count beyond the array (a damaged record) reads no further than the array. */
TEST(count_is_clamped) {
    struct gomalloc_stats s = sample();
    s.by_size_count = UINT64_MAX;
    for (size_t i = 0; i < GOMALLOC_MAX_SIZE_CLASSES; i++) s.by_size[i].size = i + 1;
    const char *json = write_as(&s, "json");
    int rows = 0;
    for (const char *p = json; (p = strstr(p, "{\"size\": ")) != NULL; p++) rows++;
    expect_eq(rows, GOMALLOC_MAX_SIZE_CLASSES);
}

/* ---- text */

TEST(text_has_every_field) {
    struct gomalloc_stats s = sample();
    write_as(&s, "text");
#define X(field, kind, unit, metric, help) \
    if (!expect(strstr(text, check_format("\n%-24s %20lu  ", #field, s.field)) != NULL)) diag(#field);
    GM_STATS_FIELDS(X)
#undef X
    has_line("heap_idle                          1004003012   957.5 MiB  of pages in no span, or given back inside of one");
    has_line("mallocs                            1014003042              objects handed out since the start");
    has_line("pause_total_ns                    12345678901    12.346 s  all stop-the-world pauses together");
}

TEST(text_rows_are_the_classes_in_use) {
    struct gomalloc_stats s = sample();
    write_as(&s, "text");
    has_line("    size          mallocs            frees           live  live bytes   in spans     waste");
    has_line("       8              100               40             60       480 B    8.0 KiB    12.5 %");
    has_line("   32768                7                3              4   128.0 KiB  256.0 KiB    12.8 %");
    has_line("   large                9                4              5   488.3 KiB  488.3 KiB    50.0 %");
    expect(strstr(text, "\n      16 ") == NULL);
    expect(strstr(text, "\n   99999 ") == NULL);
}

TEST(text_pauses_by_length) {
    struct gomalloc_stats s = sample();
    write_as(&s, "text");
    has_line("      pauses below         how many");
    has_line("           0.01 ms                5");
    has_line("           1.28 ms                3");
    has_line("        2621.44 ms                0");
    has_line("            longer                2");
    s.pauses[GOMALLOC_PAUSE_BUCKETS - 1] = 0;
    write_as(&s, "text");
    has_line("           1.28 ms                3");
    expect(strstr(text, "2.56 ms") == NULL && strstr(text, "longer") == NULL);
    memset(s.pauses, 0, sizeof s.pauses);
    write_as(&s, "text");
    expect(strstr(text, "pauses below") == NULL);
}

TEST(text_units) {
    static const struct {
        uint64_t bytes;
        const char *shown;
    } cases[] = {{0, "         0         0 B  "},
                 {1023, "      1023      1023 B  "},
                 {1024, "      1024     1.0 KiB  "},
                 {1048000, "   1048000  1023.4 KiB  "},
                 {1048575, "   1048575     1.0 MiB  "},
                 {UINT64_MAX, "18446744073709551615    16.0 EiB  "}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gomalloc_stats s = {.heap_sys = cases[i].bytes};
        write_as(&s, "text");
        const char *line = strstr(text, "\nheap_sys ");
        expect(line != NULL && strstr(line, cases[i].shown) != NULL);
    }
}

/* Counters of a running thread may be ahead of one another; the differences stay at 0. */
TEST(frees_ahead_of_mallocs) {
    struct gomalloc_stats s = {.by_size_count = 1, .large_mallocs = 1, .large_frees = 2};
    s.by_size[0] = (struct gomalloc_size_stats){16, 3, 5, 100, 8192};
    write_as(&s, "text");
    has_line("      16                3                5              0         0 B    8.0 KiB     0.0 %");
    has_line("   large                1                2              0         0 B        0 B     0.0 %");
    struct gm_out o;
    int fd = memfd_create("info", 0);
    gm_out_init(&o, fd);
    s.heap_alloc = 100;
    expect_eq(gm_stats_malloc_info(&s, &o), 0);
    expect(strstr(read_back(fd), "<total type=\"rest\" count=\"0\" size=\"0\"/>") != NULL);
}

/* ---- json */

TEST(json_lists_the_mappings) {
    struct gomalloc_stats s = sample();
    struct gm_stats_ranges r = { 0 };
    gm_stats_add_range(&r, 0x7f0000000000, 0x7f0000200000, "heap");
    gm_stats_add_range(&r, 0x1000, 0x1000, "nothing");
    gm_stats_add_range(&r, 0x10000, 0x20000, "records");
    int fd = memfd_create("json", 0);
    expect_eq(gm_stats_write(&s, &r, fd, "json"), 0);
    expect(strstr(read_back(fd), "  \"mappings\": [\n    {\"start\": \"0x7f0000000000\", \"end\": \"0x7f0000200000\", \"what\": \"heap\"},\n"
                                 "    {\"start\": \"0x10000\", \"end\": \"0x20000\", \"what\": \"records\"}\n  ],\n") != NULL);
    for (int i = 0; i < 100; i++) gm_stats_add_range(&r, 1, 2, "more");
    expect_eq(r.n, GM_STATS_RANGES);
    write_as(&s, "json");
    has_line("  \"mappings\": [],");
}

TEST(json_has_every_field) {
    struct gomalloc_stats s = sample();
    write_as(&s, "json");
#define X(field, kind, unit, metric, help) has_linef("  \"%s\": %lu,", #field, s.field);
    GM_STATS_FIELDS(X)
#undef X
    has_line("  \"pauses_below_ns\": 10000,");
    has_line("  \"pauses\": [5, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]");
    has_line("    {\"size\": 8, \"mallocs\": 100, \"frees\": 40, \"requested\": 700, \"inuse\": 8192},");
    has_line("    {\"size\": 16, \"mallocs\": 0, \"frees\": 0, \"requested\": 0, \"inuse\": 0},");
    has_line("    {\"size\": 32768, \"mallocs\": 7, \"frees\": 3, \"requested\": 200000, \"inuse\": 262144}");
    expect(strstr(text, "99999") == NULL);
}

/* Just enough of JSON's grammar for what is written: true if *p was one value, *p is then behind it. */
static void blanks(const char **p) {
    while (isspace((unsigned char)**p)) ++*p;
}

static bool json_value(const char **p);

static bool json_members(const char **p, char end, bool named) {
    ++*p;
    blanks(p);
    if (**p == end) return ++*p, true;
    for (;; ++*p) {
        blanks(p);
        if (named) {
            if (**p != '"') return false;
            *p += strcspn(*p + 1, "\"\n") + 1;
            if (*(*p)++ != '"') return false;
            blanks(p);
            if (*(*p)++ != ':') return false;
        }
        if (!json_value(p)) return false;
        blanks(p);
        if (**p == end) return ++*p, true;
        if (**p != ',') return false;
    }
}

static bool json_value(const char **p) {
    blanks(p);
    if (**p == '{') return json_members(p, '}', true);
    if (**p == '[') return json_members(p, ']', false);
    size_t n = strspn(*p, "0123456789");
    *p += n;
    return n > 0;
}

static bool is_json(const char *p) {
    if (*p != '{' || !json_value(&p)) return false;
    blanks(&p);
    return *p == 0;
}

TEST(json_is_well_formed) {
    struct gomalloc_stats s = sample();
    for (s.by_size_count = 0; s.by_size_count <= GOMALLOC_MAX_SIZE_CLASSES; s.by_size_count += 32) {
        expect(is_json(write_as(&s, "json")));
    }
    expect(!is_json("{\"a\": 1,}"));      /* the checker is one */
    expect(!is_json("{\"a\": 1} 2"));
    expect(!is_json("{\"a\" 1}"));
    expect(!is_json("{\"a\": [1, 2}"));
}

/* ---- openmetrics */

TEST(openmetrics_samples) {
    struct gomalloc_stats s = sample();
    write_as(&s, "openmetrics");
    has_linef("gomalloc_heap_alloc_bytes %lu", s.heap_alloc);
    has_linef("gomalloc_requested_bytes_total %lu", s.total_requested);
    has_linef("gomalloc_alloc_bytes_total %lu", s.total_alloc);
    has_linef("gomalloc_mallocs_total %lu", s.mallocs);
    has_linef("gomalloc_heap_objects %lu", s.heap_objects);
    has_line("gomalloc_pause_seconds_total 12.345678901");
    has_line("gomalloc_pause_max_seconds 0.000000042");
    has_line("gomalloc_last_gc_timestamp_seconds 1700000000.000000007");
    has_line("gomalloc_class_mallocs_total{size=\"8\"} 100");
    has_line("gomalloc_class_frees_total{size=\"16\"} 0");
    has_line("gomalloc_class_requested_bytes_total{size=\"32768\"} 200000");
    has_line("# TYPE gomalloc_alloc_bytes counter");
    has_line("# UNIT gomalloc_alloc_bytes bytes");
    has_line("# HELP gomalloc_alloc_bytes Bytes handed out since the start, rounded to size classes.");
    has_line("# TYPE gomalloc_threads gauge");
    has_line("# TYPE gomalloc_gc_pause_seconds histogram");
    has_line("gomalloc_gc_pause_seconds_bucket{le=\"0.00001\"} 5");
    has_line("gomalloc_gc_pause_seconds_bucket{le=\"0.00064\"} 5");
    has_line("gomalloc_gc_pause_seconds_bucket{le=\"0.00128\"} 8");
    has_line("gomalloc_gc_pause_seconds_bucket{le=\"2.62144\"} 8");
    has_line("gomalloc_gc_pause_seconds_bucket{le=\"+Inf\"} 10");
    has_line("gomalloc_gc_pause_seconds_count 10");
    has_line("gomalloc_gc_pause_seconds_sum 12.345678901");
    size_t n = strlen(text);
    expect_str(text + (n > 7 ? n - 7 : 0), "\n# EOF\n");
}

static bool is_suffix(const char *kind, const char *s) {
    if (strcmp(kind, "histogram") == 0) return strcmp(s, "_bucket") == 0 || strcmp(s, "_count") == 0 || strcmp(s, "_sum") == 0;
    return strcmp(s, strcmp(kind, "counter") == 0 ? "_total" : "") == 0;
}

/* Go through the lines as a strict reader does: TYPE opens a family, once for each name; UNIT, if any,
 * ends the name; samples belong to the family last opened, have its suffix, and no two are the same. */
static const char *openmetrics_fault(char *p) {
    char family[100] = "", kind[20] = "", seen[64][100], samples[512][160];
    int families = 0, nsamples = 0, eof = 0;
    for (char *line = strtok(p, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char a[160], b[100];
        if (eof) return "text after EOF";
        if (strcmp(line, "# EOF") == 0) {
            eof = 1;
        } else if (sscanf(line, "# TYPE %99s %19s", a, b) == 2) {
            for (int i = 0; i < families; i++) {
                if (strcmp(seen[i], a) == 0) return "family twice";
            }
            strcpy(seen[families++], a);
            strcpy(family, a);
            strcpy(kind, b);
        } else if (sscanf(line, "# UNIT %99s %99s", a, b) == 2) {
            size_t nf = strlen(family), nu = strlen(b);
            if (strcmp(a, family) != 0) return "unit of another family";
            if (nf <= nu || family[nf - nu - 1] != '_') return "name without a unit";
            if (strcmp(family + nf - nu, b) != 0) return "name does not end in its unit";
        } else if (sscanf(line, "# HELP %99s %99s", a, b) == 2) {
            if (strcmp(a, family) != 0) return "help of another family";
        } else if (sscanf(line, "%159s %99[0-9.]", a, b) == 2) {
            for (int i = 0; i < nsamples; i++) {
                if (strcmp(samples[i], a) == 0) return "sample twice";
            }
            strcpy(samples[nsamples++], a);
            a[strcspn(a, "{")] = 0;
            size_t name = strlen(family);
            if (strncmp(a, family, name) != 0 || !is_suffix(kind, a + name)) return "sample of another family";
        } else {
            return "line of no form";
        }
    }
    return eof ? NULL : "no EOF";
}

TEST(openmetrics_is_strictly_formed) {
    struct gomalloc_stats s = sample();
    s.by_size_count = GOMALLOC_MAX_SIZE_CLASSES;
    for (size_t i = 0; i < GOMALLOC_MAX_SIZE_CLASSES; i++) s.by_size[i].size = 8 * (i + 1);
    write_as(&s, "openmetrics");
    expect_str(openmetrics_fault(text), NULL);
    char twice[] = "# TYPE a gauge\na 1\na 1\n# EOF\n";
    char unit[] = "# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n";
    char suffix[] = "# TYPE a counter\na 1\n# EOF\n", open[] = "# TYPE a gauge\na 1\n";
    expect_str(openmetrics_fault(twice), "sample twice");
    expect_str(openmetrics_fault(unit), "name without a unit");
    expect_str(openmetrics_fault(suffix), "sample of another family");
    expect_str(openmetrics_fault(open), "no EOF");
}

/* ---- malloc_info */

TEST(malloc_info_is_glibc_shaped) {
    struct gomalloc_stats s = {.heap_sys = 1 << 20, .heap_released = 1 << 18, .heap_alloc = 1 << 16};
    s.by_size_count = 2;
    s.by_size[0] = (struct gomalloc_size_stats){8, 100, 40, 700, 8192};
    s.by_size[1] = (struct gomalloc_size_stats){16, 0, 0, 0, 0};
    struct gm_out o;
    int fd = memfd_create("info", 0);
    gm_out_init(&o, fd);
    expect_eq(gm_stats_malloc_info(&s, &o), 0);
    char *text = strdup(read_back(fd)), *own = strstr(text, "<gomalloc ");
    if (!expect(own != NULL)) return;
#define X(field, kind, unit, metric, help) expect(strstr(own, check_format(" %s=\"%lu\"", #field, s.field)) != NULL);
    GM_STATS_FIELDS(X)
#undef X
    expect_str(strchr(own, '>'), ">\n</malloc>\n");
    *own = 0;
    expect_str(text, "<malloc version=\"1\">\n"
                              "<heap nr=\"0\">\n"
                              "<sizes>\n"
                              "  <class size=\"8\" mallocs=\"100\" frees=\"40\" requested=\"700\" inuse=\"8192\"/>\n"
                              "</sizes>\n"
                              "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
                              "<total type=\"rest\" count=\"1\" size=\"720896\"/>\n"
                              "<system type=\"current\" size=\"786432\"/>\n"
                              "<system type=\"max\" size=\"1048576\"/>\n"
                              "<aspace type=\"total\" size=\"1048576\"/>\n"
                              "<aspace type=\"mprotect\" size=\"1048576\"/>\n"
                              "</heap>\n"
                              "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
                              "<total type=\"rest\" count=\"1\" size=\"720896\"/>\n"
                              "<total type=\"mmap\" count=\"0\" size=\"0\"/>\n"
                              "<system type=\"current\" size=\"786432\"/>\n"
                              "<system type=\"max\" size=\"1048576\"/>\n"
                              "<aspace type=\"total\" size=\"1048576\"/>\n"
                              "<aspace type=\"mprotect\" size=\"1048576\"/>\n");
}

TEST_MAIN()
