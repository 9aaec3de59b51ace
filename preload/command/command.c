/* gomalloc: the command. Here: what it can do, and small things that all parts share. See command.h. */
#include "preload/command/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libgomalloc/gomalloc.h"

static const struct command {
    const char *name, *arguments, *what;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "run", "[OPTIONS] -- PROGRAM ARGS...", "runs a program on the allocator; reports if asked to", command_run },
    { "compare", "[OPTIONS] -- PROGRAM ARGS...", "runs it under the C library's, this and other allocators in turn", command_compare },
    { "stat", "[--json|--openmetrics|--map] PID", "prints the statistics of a live process", command_stat },
    { "top", "[--interval MS] PID", "shows them continuously", command_top },
    { "profile", "[--on[=BYTES]|--off|--text|--fragmentation] [-o FILE] PID", "which calls allocated what is live, for google-pprof", command_profile },
    { "leaks", "[--pprof FILE] [-o FILE] [--error-exitcode N] PID|-- PROGRAM ARGS...", "what the process, or the program at its exit, has lost", command_leaks },
    { "why", "PID ADDRESS", "what keeps the block at the address alive: the chain from a root", command_why },
    { "doctor", "-- PROGRAM ARGS...", "says what stands in the way of preloading", command_doctor },
    { "help", "", "prints this", command_help },
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const char options[] =
    "\noptions of run and compare:\n"
    "  --report FILE.html   one page with pictures of the heap over time, and tables\n"
    "  --stats FILE.json    run: statistics at the program's exit\n"
    "  --interval MS        between two samples (default 50)\n"
    "  --gc[=MODE]          the collector: on (default), leak, verify\n"
    "  --env KEY:VALUE      an option of the library, as in GOMALLOC=KEY:VALUE (repeatable)\n"
    "  --profile FILE       run: allocation sites at the exit, as google-pprof reads them\n"
    "  --quiet              run: no progress on the terminal\n"
    "  -n RUNS              compare: runs of each (default 3)\n"
    "  --with LIB.so        compare: one more allocator (repeatable)\n"
    "  --lib FILE.so        the library, if it is not where the command is\n";

int command_help(int argc, char **argv) {
    printf("gomalloc %s: the Go runtime's memory manager under any program\n\n", GOMALLOC_VERSION);
    for (unsigned i = 0; i < COMMANDS; i++)
        printf("  gomalloc %s %s\n      %s\n", commands[i].name, commands[i].arguments, commands[i].what);
    fputs(options, stdout);
    puts("\nThe library's own options: GOMALLOC=help gomalloc run -- true; gomalloc(7). This command: gomalloc(1).");
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        command_help(argc, argv);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) return printf("gomalloc %s\n", GOMALLOC_VERSION) < 0;
    for (unsigned i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return commands[i].run(argc - 1, argv + 1);
    usage("no command '%s'", name);
}

/* ---- words */

static void vsay(const char *format, va_list args) {
    char line[1024];
    vsnprintf(line, sizeof line, format, args);
    fprintf(stderr, "gomalloc: %s\n", line);
}

void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsay(format, args);
    va_end(args);
}

void fail(int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsay(format, args);
    va_end(args);
    exit(status);
}

void usage(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsay(format, args);
    va_end(args);
    fputs("gomalloc: see gomalloc help\n", stderr);
    exit(2);
}

void *need(size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p) fail(1, "out of memory");
    return p;
}

void *need_more(void *p, size_t bytes) {
    p = realloc(p, bytes);
    if (!p) fail(1, "out of memory");
    return p;
}

char *format_new(const char *format, ...) {
    va_list args;
    char *text;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) fail(1, "out of memory");
    va_end(args);
    return text;
}

static char *text_buffer(void) {
    static char buffers[16][32];
    static unsigned next;
    return buffers[next++ % 16];
}

const char *bytes_text(double v) {
    static const char unit[] = " KMGTPE";
    char *text = text_buffer();
    unsigned u = 0;
    for (; (v >= 1023.95 || v <= -1023.95) && u < 6; v /= 1024) u++;
    if (u == 0) snprintf(text, 32, "%.0f B", v);
    else snprintf(text, 32, "%.1f %ciB", v, unit[u]);
    return text;
}

const char *seconds_text(double s) {
    char *text = text_buffer();
    if (s < 1e-3) snprintf(text, 32, "%.0f us", s * 1e6);
    else if (s < 1) snprintf(text, 32, "%.1f ms", s * 1e3);
    else snprintf(text, 32, "%.2f s", s);
    return text;
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

const char *option_value(int argc, char **argv, int *i, const char *name) {
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0) return NULL;
    if (argv[*i][n] == '=') return argv[*i] + n + 1;
    if (argv[*i][n] != 0) return NULL;
    if (*i + 1 >= argc) usage("%s wants a value", name);
    return argv[++*i];
}

double parse_number(const char *option, const char *text, double low, double high) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= low && v <= high)) usage("%s: '%s' is not a number from %g to %g", option, text, low, high);
    return v;
}

pid_t parse_pid(const char *text) {
    char *end;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v <= 0 || v > 1 << 30) usage("'%s' is not a process id", text);
    return (pid_t)v;
}
