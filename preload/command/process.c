/* See process.h. */
#include "preload/command/process.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/command/command.h"

/* ---- finding */

static bool is_program(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static void locate(char *to, size_t n, const char *name) {
    if (strchr(name, '/')) {
        struct stat st;
        if (stat(name, &st) != 0) fail(127, "%s: no such program", name);
        if (S_ISDIR(st.st_mode)) fail(126, "%s: is a directory", name);
        if (!is_program(name)) fail(126, "%s: no permission to run it", name);
        snprintf(to, n, "%s", name);
        return;
    }
    const char *path = getenv("PATH");
    for (path = path && *path ? path : "/usr/bin:/bin"; *path;) {
        size_t k = strcspn(path, ":");
        snprintf(to, n, "%.*s/%s", k ? (int)k : 1, k ? path : ".", name);
        if (is_program(to)) return;
        path += k + (path[k] == ':');
    }
    fail(127, "%s: no such program", name);
}

static void look_at_elf(struct program *p, int fd) {
    Elf64_Ehdr e;
    if (pread(fd, &e, sizeof e, 0) != sizeof e || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0) return;
    p->elf = true;
#if defined(__x86_64__)
    p->same_machine = e.e_machine == EM_X86_64 && e.e_ident[EI_CLASS] == ELFCLASS64;
#else
    p->same_machine = e.e_machine == EM_AARCH64;
#endif
    for (unsigned i = 0; p->same_machine && i < e.e_phnum; i++) {
        Elf64_Phdr h;
        if (pread(fd, &h, sizeof h, (off_t)(e.e_phoff + i * sizeof h)) == sizeof h && h.p_type == PT_INTERP) p->dynamic = true;
    }
}

static void look_at(struct program *p, const char *path, int depth) {
    char head[256] = "";
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { /* one may run what one may not read */
        p->elf = p->dynamic = p->same_machine = true;
        return;
    }
    p->privileged |= fstat(fd, &st) == 0 && (st.st_mode & (S_ISUID | S_ISGID)) && st.st_uid != getuid();
    if (pread(fd, head, sizeof head - 1, 0) > 2 && memcmp(head, "#!", 2) == 0 && depth < 5) {
        char *name = head + 2 + strspn(head + 2, " \t");
        name[strcspn(name, " \t\r\n")] = 0;
        if (depth == 0) snprintf(p->interpreter, sizeof p->interpreter, "%s", name);
        look_at(p, name, depth + 1);
    } else {
        look_at_elf(p, fd);
    }
    close(fd);
}

void program_find(struct program *p, const char *name) {
    memset(p, 0, sizeof *p);
    locate(p->path, sizeof p->path, name);
    look_at(p, p->path, 0);
}

const char *program_refuses(const struct program *p) {
    if (p->privileged) return "it is set-user-ID or set-group-ID: the loader ignores LD_PRELOAD there";
    if (p->elf && !p->same_machine) return "it is built for another machine than the library";
    if (p->elf && !p->dynamic) return "it is statically linked: there is no loader that could preload anything";
    return NULL;
}

const char *library_path(const char *wanted) {
    static char path[4096 + 64];
    if (wanted) {
        if (!realpath(wanted, path)) fail(1, "%s: %s", wanted, strerror(errno));
        return path;
    }
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) fail(1, "/proc is not there");
    self[n] = 0;
    *strrchr(self, '/') = 0;
    snprintf(path, sizeof path, "%s/libgomalloc.so", self);
    if (access(path, R_OK) == 0) return path;
    snprintf(path, sizeof path, "%s/../lib/libgomalloc.so", self);
    if (access(path, R_OK) == 0) return path;
    fail(1, "libgomalloc.so is neither in %s nor in %s/../lib (say where: --lib FILE)", self, self);
}

/* ---- starting */

static void prepend(const char *name, const char *value, const char *between, bool behind) {
    const char *have = getenv(name);
    char *text = !have || !*have ? format_new("%s", value)
                 : behind        ? format_new("%s%s%s", have, between, value)
                                 : format_new("%s%s%s", value, between, have);
    setenv(name, text, 1);
    free(text);
}

void launch_exec(const struct launch *l) {
    if (l->preload) prepend("LD_PRELOAD", l->preload, ":", false);
    if (l->options && *l->options) prepend("GOMALLOC", l->options, ",", true);
    if (l->stats_file) {
        char *text = format_new("%d:%s", (int)getpid(), l->stats_file);
        setenv("GOMALLOC_STATS_FILE", text, 1);
    }
    if (l->exit_fifo) {
        char *text = format_new("%d:%s", (int)getpid(), l->exit_fifo);
        setenv("GOMALLOC_EXIT_FIFO", text, 1);
    }
    execvp(l->argv[0], l->argv);
    fail(errno == ENOENT ? 127 : 126, "%s: %s", l->argv[0], strerror(errno));
}

pid_t launch_start(const struct launch *l) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) fail(1, "fork: %s", strerror(errno));
    if (pid > 0) return pid;
    if (l->silent) {
        int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (fd >= 0) dup2(fd, 1);
    }
    launch_exec(l);
}

/* ---- watching */

bool process_read(pid_t pid, struct process_now *out) {
    char name[64], text[1024];
    snprintf(name, sizeof name, "/proc/%d/stat", (int)pid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return false;
    text[n] = 0;
    const char *p = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long minor, major, user, system, threads, rss;
    if (!p || p[1] == 0 || p[2] == 'Z' || p[2] == 'X' ||
        sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %lu %*u %lu %*u %lu %lu %*d %*d %*d %*d %lu %*d %*u %*u %lu", &minor, &major, &user, &system,
               &threads, &rss) != 6)
        return false;
    double tick = (double)sysconf(_SC_CLK_TCK);
    *out = (struct process_now){ rss * (uint64_t)sysconf(_SC_PAGESIZE), (double)(user + system) / tick, minor, major, (unsigned)threads };
    return true;
}

int process_watch(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

bool process_wait(pid_t pid, int watch, double seconds, int *status, struct rusage *usage) {
    if (watch >= 0) {
        struct pollfd p = { watch, POLLIN, 0 };
        poll(&p, 1, (int)(seconds * 1000 + 0.999));
    } else {
        usleep((useconds_t)(seconds * 1e6));
    }
    return wait4(pid, status, WNOHANG, usage) == pid;
}

/* ---- signals and ends */

static volatile pid_t target;

/* The terminal sends its signals to the whole foreground group: the process has had them. */
static void pass(int sig, siginfo_t *info, void *context) {
    int saved = errno;
    if (target > 0 && info->si_code <= 0) kill(target, sig);
    errno = saved;
}

void signals_pass_to(pid_t pid) {
    static const int signals[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH };
    target = pid;
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction a = { .sa_flags = SA_SIGINFO | SA_RESTART };
        a.sa_sigaction = pass;
        sigaction(signals[i], &a, NULL);
    }
}

int status_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

void end_as(int status) {
    fflush(NULL);
    if (WIFSIGNALED(status)) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none); /* the process has left its core: not ours beside it */
        signal(WTERMSIG(status), SIG_DFL);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, WTERMSIG(status));
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        raise(WTERMSIG(status));
    }
    exit(status_code(status));
}
