/* Turns the lines of runs into the table and the means.
 *
 *   summary RUNS.csv [SUMMARY.csv]
 *
 * Why paired: this machine's speed drifts by several per cent over minutes. In a round every allocator runs
 * a case within seconds of the others, so the ratio of the two runs of one round is free of most of that
 * drift; the ratio of two medians taken over the whole hour is not. So:
 *
 *   a case's figure       median over its undisturbed runs
 *   a case's ratio        median over the rounds of (allocator's run / glibc's run of the same round)
 *   a mean                geometric mean of the cases' ratios
 *   its spread            bootstrap: the rounds of every case are drawn again with replacement 2000 times,
 *                         each time all medians and the mean are taken anew; the 2.5 % and 97.5 % quantiles
 *                         are printed
 *
 * The list of cases is fixed and is not drawn again: the interval says how well the mean over *these* cases
 * is known. A case that failed under an allocator in any round has no ratio there and is in none of its
 * means. Since means over different cases do not compare, `common` takes only the cases in which no
 * allocator failed. Single paths (bench/micro) have one figure, a time, and no mean. */
#include <math.h>
#include <stdint.h>

#define TABLE_PROGRAM "summary"
#include "bench/table.h"

enum { MAX_CASES = 256, MAX_ROUNDS = 256, DRAWS = 2000 };

struct cell {
    double value[METRICS][MAX_ROUNDS]; /* NaN where the round has no undisturbed run */
    int failed, runs, dropped;
};

struct one_case {
    char name[NAME], kind[NAME];
};

static const char *const metric_titles[METRICS] = {
    "Wall time (glibc in s)", "CPU time (glibc in s)", "Peak RSS (glibc in MiB)", "Page faults (glibc in thousands)"};
static const double metric_units[METRICS] = {1e9, 1e9, 1024, 1000};

static const char path_title[] = "Time (glibc in ns an item)";
static const double path_unit = 1e3; /* their files have picoseconds */

static struct one_case cases[MAX_CASES];
static struct cell *cells; /* [case][allocator] */
static int case_count, rounds;

static int is_path(int c) { return strcmp(cases[c].kind, "path") == 0; }

static struct cell *cell(int c, int a) { return &cells[c * MAX_ALLOCS + a]; }

/* ---- Reading ---- */

static int find_case(const char *name, const char *kind) {
    for (int c = 0; c < case_count; c++)
        if (strcmp(cases[c].name, name) == 0) return c;
    if (case_count == MAX_CASES) die("too many cases at", name);
    snprintf(cases[case_count].name, NAME, "%s", name);
    snprintf(cases[case_count].kind, NAME, "%s", kind);
    return case_count++;
}

static void read_line(const char *line) {
    char name[NAME], kind[NAME], alloc[NAME], result[NAME];
    int round, attempt;
    double wall, cpu, peak, minor, major, foreign;
    if (sscanf(line, "%d,%d,%63[^,],%63[^,],%63[^,],%63[^,],%lf,%lf,%lf,%lf,%lf,%lf", &round, &attempt, name,
               kind, alloc, result, &wall, &cpu, &peak, &minor, &major, &foreign) != 12)
        die("not a line of runs:", line);
    if (round < 1 || round > MAX_ROUNDS) die("round out of bounds:", line);
    if (round > rounds) rounds = round;
    struct cell *at = cell(find_case(name, kind), alloc_of(alloc));
    if (strcmp(result, "dropped") == 0) at->dropped++;
    else if (strcmp(result, "ok") != 0) at->failed = 1;
    else {
        double values[METRICS] = {wall, cpu, peak, minor + major};
        for (int m = 0; m < METRICS; m++) at->value[m][round - 1] = values[m] > 0 ? values[m] : 1;
        at->runs++;
    }
}

static void read_runs(const char *path) {
    char line[1024];
    FILE *f = fopen(path, "r");
    if (f == NULL) die("cannot read", path);
    cells = calloc((size_t)MAX_CASES * MAX_ALLOCS, sizeof *cells);
    if (cells == NULL) die("no memory for", path);
    for (int i = 0; i < MAX_CASES * MAX_ALLOCS; i++)
        for (int k = 0; k < METRICS * MAX_ROUNDS; k++) cells[i].value[k / MAX_ROUNDS][k % MAX_ROUNDS] = NAN;
    while (fgets(line, sizeof line, f) != NULL)
        if (line[0] != '#' && strncmp(line, "round,", 6) != 0) read_line(line);
    fclose(f);
}

/* ---- Statistics ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    if (n == 0) return NAN;
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static double quantile(double *v, int n, double q) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[(int)(q * (n - 1) + 0.5)];
}

static double case_median(int c, int a, int m) {
    double v[MAX_ROUNDS];
    int n = 0;
    for (int r = 0; r < rounds; r++)
        if (!isnan(cell(c, a)->value[m][r])) v[n++] = cell(c, a)->value[m][r];
    return median(v, n);
}

/* The paired ratios of a case; none where either side failed. */
static int ratios(int c, int a, int m, double *out) {
    struct cell *mine = cell(c, a), *theirs = cell(c, base);
    int n = 0;
    if (mine->failed || theirs->failed) return 0;
    for (int r = 0; r < rounds; r++) {
        double ratio = mine->value[m][r] / theirs->value[m][r];
        if (!isnan(ratio)) out[n++] = ratio;
    }
    return n;
}

static uint32_t drawn(uint64_t *state, uint32_t bound) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 32) * bound >> 32);
}

struct estimate {
    double ratio, low, high;
    int cases;
};

/* The geometric mean over the chosen cases with its bootstrap interval; one chosen case gives that case's
 * own. */
static struct estimate estimate(int a, int m, const unsigned char *chosen) {
    static double v[MAX_CASES][MAX_ROUNDS], means[DRAWS];
    int n[MAX_CASES];
    struct estimate e = {NAN, NAN, NAN, 0};
    double logs = 0, copy[MAX_ROUNDS];
    for (int c = 0; c < case_count; c++) {
        n[c] = chosen[c] ? ratios(c, a, m, v[c]) : 0;
        if (n[c] == 0) continue;
        logs += log(median(v[c], n[c]));
        e.cases++;
    }
    if (e.cases == 0) return e;
    e.ratio = exp(logs / e.cases);
    uint64_t state = 1; /* always the same draws: the same runs give the same table */
    for (int d = 0; d < DRAWS; d++) {
        logs = 0;
        for (int c = 0; c < case_count; c++) {
            for (int k = 0; k < n[c]; k++) copy[k] = v[c][drawn(&state, (uint32_t)n[c])];
            if (n[c] > 0) logs += log(median(copy, n[c]));
        }
        means[d] = exp(logs / e.cases);
    }
    e.low = quantile(means, DRAWS, 0.025);
    e.high = quantile(means, DRAWS, 0.975);
    return e;
}

/* ---- The sets of cases that have a mean ---- */

enum set { ALL, REAL, SYNTHETIC, COMMON, WITH_MICRO, SETS };

static const char *const set_names[SETS] = {"all", "real", "synthetic", "common", "with-micro"};

static int in_set(enum set s, int c) {
    if (is_path(c)) return 0;
    int micro = strcmp(cases[c].kind, "micro") == 0, real = strcmp(cases[c].kind, "real") == 0;
    switch (s) {
    case ALL: return !micro;
    case REAL: return real;
    case SYNTHETIC: return !micro && !real;
    case COMMON:
        for (int a = 0; a < alloc_count; a++)
            if (cell(c, a)->failed || cell(c, a)->runs == 0) return 0;
        return !micro;
    default: return 1;
    }
}

static void choose(enum set s, unsigned char *chosen) {
    for (int c = 0; c < case_count; c++) chosen[c] = (unsigned char)in_set(s, c);
}

/* ---- Printing ---- */

static void print_head(const char *title) {
    printf("\n%s; the others as ratios to it\n%-18s %-9s %9s", title, "case", "kind", "glibc");
    for (int a = 0; a < alloc_count; a++)
        if (a != base) printf(" %20s", allocs[a]);
    putchar('\n');
}

static void print_case(int c, int m) {
    unsigned char only[MAX_CASES] = {0};
    only[c] = 1;
    if (cell(c, base)->failed) printf("%-18s %-9s %9s", cases[c].name, cases[c].kind, "FAIL");
    else if (cell(c, base)->runs == 0) printf("%-18s %-9s %9s", cases[c].name, cases[c].kind, "-");
    else printf("%-18s %-9s %9.3f", cases[c].name, cases[c].kind, case_median(c, base, m) / (is_path(c) ? path_unit : metric_units[m]));
    for (int a = 0; a < alloc_count; a++) {
        if (a == base) continue;
        struct estimate e = estimate(a, m, only);
        if (cell(c, a)->failed) printf(" %20s", "FAIL");
        else if (e.cases == 0) printf(" %20s", "-");
        else printf("  %5.2f (%5.2f-%5.2f)", e.ratio, e.low, e.high);
    }
    putchar('\n');
}

static void print_mean(enum set s, int m) {
    unsigned char chosen[MAX_CASES] = {0};
    int cases_in = 0;
    choose(s, chosen);
    for (int c = 0; c < case_count; c++) cases_in += chosen[c];
    if (cases_in == 0) return;
    printf("mean: %-12s %9s %9d", set_names[s], "cases:", cases_in);
    for (int a = 0; a < alloc_count; a++) {
        if (a == base) continue;
        struct estimate e = estimate(a, m, chosen);
        if (e.cases == 0) printf(" %20s", "-");
        else printf(" %c%5.3f (%5.3f-%5.3f)", e.cases < cases_in ? '*' : ' ', e.ratio, e.low, e.high);
    }
    putchar('\n');
}

static void print_table(const char *title, int m, int paths) {
    int any = 0;
    for (int c = 0; c < case_count; c++) {
        if (is_path(c) != paths) continue;
        if (!any++) print_head(title);
        print_case(c, m);
    }
    for (int s = 0; s < SETS && any && !paths; s++) print_mean((enum set)s, m);
}

static void print_tables(void) {
    int failures = 0;
    for (int m = 0; m < METRICS; m++) print_table(metric_titles[m], m, 0);
    print_table(path_title, 0, 1);
    putchar('\n');
    for (int c = 0; c < case_count; c++)
        for (int a = 0; a < alloc_count; a++)
            if (cell(c, a)->failed) {
                printf("%s failed under %s and is in none of its means\n", cases[c].name, allocs[a]);
                failures++;
            }
    if (failures > 0) puts("* fewer cases than the set has: compare in `common`, where all have the same");
}

/* Where most rounds were dropped the interval says little: such figures are counted, and named by the CSV file. */
static void print_counts(void) {
    int runs = 0, dropped = 0, thin = 0;
    for (int i = 0; i < MAX_CASES * MAX_ALLOCS; i++) {
        runs += cells[i].runs;
        dropped += cells[i].dropped;
        thin += !cells[i].failed && cells[i].runs + cells[i].dropped > 0 && 2 * cells[i].runs < rounds;
    }
    printf("%d cases, %d allocators, %d rounds: %d runs counted, %d dropped for foreign load\n", case_count,
           alloc_count, rounds, runs, dropped);
    if (thin > 0) printf("%d figures stand on fewer than half of the rounds: not for conclusions\n", thin);
}

static void csv_line(FILE *f, const char *name, const char *kind, int m, int a, const char *rest,
                     struct estimate e) {
    fprintf(f, "%s,%s,%s,%s,%s,%.4f,%.4f,%.4f,%d\n", name, kind, metric_name[m], allocs[a], rest, e.ratio,
            e.low, e.high, e.cases);
}

static void write_csv(const char *path) {
    FILE *f = fopen(path, "w");
    if (f == NULL) die("cannot write", path);
    fputs("case,kind,metric,allocator,runs,dropped,failed,median,ratio,low,high,cases\n", f);
    for (int m = 0; m < METRICS; m++)
        for (int a = 0; a < alloc_count; a++) {
            char rest[128];
            unsigned char chosen[MAX_CASES];
            for (int c = 0; c < case_count; c++) {
                struct cell *at = cell(c, a);
                if (is_path(c) && m != 0) continue;
                memset(chosen, 0, sizeof chosen);
                chosen[c] = 1;
                snprintf(rest, sizeof rest, "%d,%d,%d,%.0f", at->runs, at->dropped, at->failed,
                         case_median(c, a, m));
                csv_line(f, cases[c].name, cases[c].kind, m, a, rest, estimate(a, m, chosen));
            }
            for (int s = 0; s < SETS; s++) {
                choose((enum set)s, chosen);
                if (memchr(chosen, 1, (size_t)case_count) != NULL) csv_line(f, set_names[s], "mean", m, a, ",,,", estimate(a, m, chosen));
            }
        }
    if (fclose(f) != 0) die("cannot write", path);
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) die("usage:", "summary RUNS.csv [SUMMARY.csv]");
    read_runs(argv[1]);
    if (base < 0) die("no runs of glibc in", argv[1]);
    print_tables();
    print_counts();
    if (argc > 2) write_csv(argv[2]);
    return 0;
}
