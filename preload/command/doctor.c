/* gomalloc doctor: what stands in the way of a program and this library, without running the program. The machine's
 * side is in machine.c; here is the program's.
 *
 * Which malloc each object binds is asked of the loader itself: in its tracing mode (that of ldd) with LD_BIND_NOW it
 * loads everything the program needs, relocates it, says which definition it takes for every symbol (LD_DEBUG), and ends
 * before anything runs. */
#include "preload/command/doctor.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "preload/command/command.h"
#include "preload/command/options.h"
#include "preload/command/process.h"

static unsigned problems, warnings;

void doctor_line(enum verdict v, const char *format, ...) {
    static const char *const mark[] = { "ok  ", "note", "warn", "BAD " };
    va_list args;
    warnings += v == V_WARN;
    problems += v == V_BAD;
    printf("  %s  ", mark[v]);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* ---- the bindings */

enum { MAX_OBJECTS = 512, NAMES = 6 };
static const char *const names[NAMES] = { "malloc", "free", "calloc", "realloc", "_Znwm", "_ZdlPv" };

struct object {
    char path[512];
    char binds[NAMES][256];  /* to which file; empty: does not use the name */
    bool deep;               /* uses dlopen */
};
struct objects {
    struct object o[MAX_OBJECTS];
    unsigned n;
};

static struct object *object_of(struct objects *all, const char *path) {
    for (unsigned i = 0; i < all->n; i++)
        if (strcmp(all->o[i].path, path) == 0) return &all->o[i];
    if (all->n == MAX_OBJECTS) return NULL;
    struct object *o = &all->o[all->n++];
    snprintf(o->path, sizeof o->path, "%s", path);
    return o;
}

/* "   PID: binding file A [0] to B [0]: normal symbol `NAME' [VERSION]" */
static void add_binding(struct objects *all, const char *line) {
    char from[512], to[256], name[256];
    const char *p = strstr(line, "binding file ");
    if (!p || sscanf(p, "binding file %511s [%*d] to %255s [%*d]: %*s symbol `%255[^']'", from, to, name) != 3) return;
    struct object *o = object_of(all, from);
    for (unsigned i = 0; o && i < NAMES; i++)
        if (strcmp(name, names[i]) == 0) snprintf(o->binds[i], sizeof o->binds[i], "%s", to);
    if (o && strcmp(name, "dlopen") == 0) o->deep = true;
}

static bool read_bindings(struct objects *all, const char *directory, pid_t pid) {
    char path[600], line[4096];
    snprintf(path, sizeof path, "%s/debug.%d", directory, (int)pid);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    while (fgets(line, sizeof line, f)) add_binding(all, line);
    fclose(f);
    unlink(path);
    return true;
}

/* Lets the loader trace `program`. */
static bool trace(struct objects *all, const char *program, const char *library) {
    char directory[] = "/tmp/gomalloc-XXXXXX";
    if (!mkdtemp(directory)) return false;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        char *output = format_new("%s/debug", directory);
        int fd = open("/dev/null", O_RDWR);
        dup2(fd, 0);
        dup2(fd, 1);
        dup2(fd, 2);
        setenv("LD_PRELOAD", library, 1);
        setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
        setenv("LD_WARN", "yes", 1);
        setenv("LD_BIND_NOW", "1", 1);
        setenv("LD_DEBUG", "bindings", 1);
        setenv("LD_DEBUG_OUTPUT", output, 1);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    int status;
    bool done = pid > 0 && waitpid(pid, &status, 0) == pid && read_bindings(all, directory, pid);
    rmdir(directory);
    return done;
}

static const char *base_of(const char *path) { return strrchr(path, '/') ? strrchr(path, '/') + 1 : path; }

static void say_object(const struct object *o, const char *library, unsigned *ours) {
    char text[2048] = "";
    bool foreign = false, uses = false;
    for (unsigned i = 0; i < NAMES; i++) {
        if (!o->binds[i][0]) continue;
        uses = true;
        if (strcmp(o->binds[i], library) == 0) continue;
        foreign = true;
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s %s from %s", n ? "," : "", names[i], base_of(o->binds[i]));
    }
    if (foreign) doctor_line(V_BAD, "%s binds%s", o->path, text);
    else if (uses) ++*ours;
}

static void bindings(const char *program, const char *library) {
    struct objects *all = need(sizeof *all);
    unsigned ours = 0, openers = 0;
    puts("\nwhich malloc every object binds");
    if (!trace(all, program, library) || all->n == 0) {
        doctor_line(V_WARN, "the loader would not tell (it traces only what it could run)");
        free(all);
        return;
    }
    for (unsigned i = 0; i < all->n; i++) {
        if (strcmp(all->o[i].path, library) == 0) continue;
        say_object(&all->o[i], library, &ours);
        openers += all->o[i].deep;
    }
    doctor_line(ours ? V_OK : V_NOTE, "%u of %u objects bind malloc, free, new or delete, and take this library's", ours, all->n - 1);
    if (openers)
        doctor_line(V_NOTE, "%u of them call dlopen: what comes later is not seen here; RTLD_DEEPBIND is taken out of such calls (dlmopen is not)", openers);
    free(all);
}

/* ---- allocators of the program's own, and what else its file tells */

struct image {
    const char *p;
    size_t n;
};

static bool has_name(const char *table, size_t size, size_t at, const char *name) {
    return at < size && strncmp(table + at, name, size - at) == 0;
}

/* Names whose definition in the program itself means an allocator of its own. */
static const struct { const char *symbol, *allocator; } own[] = {
    { "malloc", "malloc itself" }, { "je_malloc", "jemalloc" }, { "_rjem_malloc", "jemalloc (Rust)" }, { "mi_malloc", "mimalloc" },
    { "tc_malloc", "tcmalloc" }, { "rpmalloc", "rpmalloc" }, { "sn_malloc", "snmalloc" }, { "scudo_malloc", "scudo" },
    { "__asan_init", "AddressSanitizer" }, { "__tsan_init", "ThreadSanitizer" }, { "__msan_init", "MemorySanitizer" }, { "__lsan_init", "LeakSanitizer" },
};

static void look_for_own(const struct image *m, const Elf64_Shdr *sh, const Elf64_Shdr *symbols, const Elf64_Shdr *strings, bool *seen) {
    const Elf64_Sym *s = (const Elf64_Sym *)(m->p + symbols->sh_offset);
    for (size_t i = 0; i < symbols->sh_size / sizeof *s; i++) {
        unsigned type = ELF64_ST_TYPE(s[i].st_info);
        if (s[i].st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC)) continue;
        for (unsigned k = 0; k < sizeof own / sizeof own[0]; k++)
            if (has_name(m->p + strings->sh_offset, strings->sh_size, s[i].st_name, own[k].symbol)) seen[k] = true;
    }
}

static bool section(const struct image *m, const Elf64_Shdr *s) { return s->sh_offset <= m->n && s->sh_size <= m->n - s->sh_offset; }

static void look_at_sections(const struct image *m) {
    const Elf64_Ehdr *e = (const Elf64_Ehdr *)m->p;
    bool seen[sizeof own / sizeof own[0]] = { false }, any = false, symbols = false;
    if (e->e_shoff > m->n || e->e_shentsize != sizeof(Elf64_Shdr) || e->e_shnum > (m->n - e->e_shoff) / sizeof(Elf64_Shdr)) return;
    const Elf64_Shdr *sh = (const Elf64_Shdr *)(m->p + e->e_shoff);
    for (unsigned i = 0; i < e->e_shnum; i++) {
        if ((sh[i].sh_type != SHT_SYMTAB && sh[i].sh_type != SHT_DYNSYM) || sh[i].sh_link >= e->e_shnum) continue;
        if (!section(m, &sh[i]) || !section(m, &sh[sh[i].sh_link])) continue;
        symbols |= sh[i].sh_type == SHT_SYMTAB;
        look_for_own(m, sh, &sh[i], &sh[sh[i].sh_link], seen);
    }
    for (unsigned k = 0; k < sizeof own / sizeof own[0]; k++) {
        if (!seen[k]) continue;
        any = true;
        doctor_line(V_BAD, "it defines %s (%s): what it allocates with that, this library does not see", own[k].symbol, own[k].allocator);
    }
    if (!any) doctor_line(V_OK, "it defines no allocator%s", symbols ? "" : " that its dynamic symbols show (it is stripped: one of its own, not exported, cannot be excluded)");
    const Elf64_Shdr *names_of = e->e_shstrndx < e->e_shnum ? &sh[e->e_shstrndx] : NULL;
    for (unsigned i = 0; names_of && section(m, names_of) && i < e->e_shnum; i++)
        if (has_name(m->p + names_of->sh_offset, names_of->sh_size, sh[i].sh_name, ".go.buildinfo"))
            doctor_line(V_WARN, "it is a Go program: its heap is that of the Go runtime, only its C parts are seen");
}

static void look_at_file(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(Elf64_Ehdr)) {
        doctor_line(V_WARN, "%s cannot be read: nothing is known of its allocators", path);
        if (fd >= 0) close(fd);
        return;
    }
    struct image m = { mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0), (size_t)st.st_size };
    close(fd);
    if (m.p == MAP_FAILED) return;
    look_at_sections(&m);
    munmap((void *)m.p, m.n);
    char value[64];
    if (getxattr(path, "security.capability", value, sizeof value) > 0)
        doctor_line(V_BAD, "it has file capabilities: the loader ignores LD_PRELOAD and all options there");
}

static void program_part(const struct program *p, const char *image, const char *library) {
    puts("the program");
    const char *refuses = program_refuses(p);
    if (refuses) {
        doctor_line(V_BAD, "%s", refuses);
        return;
    }
    doctor_line(V_OK, "the loader can preload into it");
    look_at_file(image);
    bindings(image, library);
}

static void same_already(void) {
    const char *preload = getenv("LD_PRELOAD");
    if (preload && *preload) doctor_line(V_NOTE, "LD_PRELOAD is set already: %s", preload);
    if (access("/etc/ld.so.preload", F_OK) == 0) doctor_line(V_NOTE, "/etc/ld.so.preload is there: its libraries come into every process");
    const char *tunables = getenv("GLIBC_TUNABLES"), *words[] = { "MALLOC_CONF", "MALLOC_ARENA_MAX", "MALLOC_CHECK_", "MIMALLOC_VERBOSE" };
    if (tunables && strstr(tunables, "malloc")) doctor_line(V_NOTE, "GLIBC_TUNABLES speaks of malloc: that has no effect on this library");
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        if (getenv(words[i])) doctor_line(V_NOTE, "%s is set: that has no effect on this library", words[i]);
}

int command_doctor(int argc, char **argv) {
    struct options o;
    struct program p;
    options_parse(&o, argc, argv);
    program_find(&p, o.argv[0]);
    const char *library = library_path(o.library);
    char image[4096];
    snprintf(image, sizeof image, "%s", p.interpreter[0] ? p.interpreter : p.path);
    printf("%s", p.path);
    if (p.interpreter[0]) printf(", a script for %s", p.interpreter);
    printf("\n%s\n\n", library);
    program_part(&p, image, library);
    puts("\nthis machine");
    same_already();
    doctor_machine();
    printf("\n%u in the way, %u to know of\n", problems, warnings);
    return problems ? 1 : 0;
}
