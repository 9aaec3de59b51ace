/* Runs one command and writes down what it cost, with all its descendants.
 *
 *   runner -o STAT [-p LIBRARY] [-t SECONDS] [-s PORT -l LOAD] -- [VAR=VALUE]... COMMAND [ARGUMENT]...
 *
 * STAT gets one line: wall ns, CPU ns, peak KiB, minor faults, major faults, foreign CPU ns, exit status.
 *
 * Why a program and not the shell's `time`: the runner is a child subreaper, so a descendant whose parent
 * has ended is still waited for and counted; what is left running afterwards is killed and makes the run a
 * failure. LIBRARY goes into LD_PRELOAD of the command alone, so neither the runner nor a shell in between
 * is part of the figures. And the runner is linked statically: a process's ru_maxrss starts with what its
 * parent's copy had before exec, so it must stay below the smallest program measured.
 *
 *   wall     from just before fork until the command has ended
 *   CPU      user + system of every descendant
 *   peak     the largest ru_maxrss of any one process (processes share pages: a sum would count them twice)
 *   foreign  what /proc/stat says all CPUs did in the meantime (steal included: the host's other guests are
 *            foreign load too), minus what the runner and its descendants used; never below 0
 *   status   the command's exit status, 128 + signal, 124 on timeout, 125 if it left processes behind
 *
 * With -s the command is a server: once PORT accepts, LOAD (a shell command, without the library) is run
 * and timed. CPU, faults and peak (VmHWM) are then the server's own, wall is the load's; afterwards the
 * server gets SIGTERM and must end by itself with status 0. A failing LOAD makes the run fail with its
 * status. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMED_OUT = 124, LEFT_BEHIND = 125, NOT_STARTED = 127 };

struct options {
    const char *stat, *library, *load;
    int seconds, port;
    char **command;
};

struct figures {
    int64_t wall, cpu, foreign;
    long peak, minor, major;
    int status;
};

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t cpu_ns(const struct rusage *u) {
    int64_t us = (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * INT64_C(1000000) + u->ru_utime.tv_usec;
    return (us + u->ru_stime.tv_usec) * 1000;
}

static int64_t own_cpu(void) {
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return cpu_ns(&self) + cpu_ns(&children);
}

/* What all CPUs have done since boot: user nice system idle iowait irq softirq steal, idle and iowait left
 * out. */
static int64_t machine_cpu(void) {
    long long v[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    if (f == NULL) return 0;
    int got = fscanf(f, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", v, v + 1, v + 2, v + 3, v + 4, v + 5,
                     v + 6, v + 7);
    fclose(f);
    if (got < 8) v[7] = 0;
    return (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) * (INT64_C(1000000000) / sysconf(_SC_CLK_TCK));
}

/* ---- Processes ---- */

static sigset_t watched;

static int exit_status(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static pid_t start(char **words, const char *library) {
    pid_t child = fork();
    if (child != 0) return child;
    setpgid(0, 0);
    sigprocmask(SIG_UNBLOCK, &watched, NULL);
    if (library != NULL) setenv("LD_PRELOAD", library, 1);
    while (*words != NULL && strchr(*words, '=') != NULL) putenv(*words++);
    if (*words != NULL) execvp(*words, words);
    fprintf(stderr, "runner: %s: %s\n", *words != NULL ? *words : "no command", strerror(errno));
    _exit(NOT_STARTED);
}

/* Kills all children, also those that were inherited, until none is left. Answers whether there was any. */
static int kill_the_rest(void) {
    char path[64], line[4096];
    int any = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (int tries = 0; tries < 1000; tries++) {
        while (waitpid(-1, NULL, WNOHANG) > 0) {}
        FILE *f = fopen(path, "r");
        char *pids = f != NULL ? fgets(line, sizeof line, f) : NULL;
        if (f != NULL) fclose(f);
        if (pids == NULL) return any;
        any = 1;
        for (char *end; *pids != '\0' && *pids != '\n'; pids = *end == ' ' ? end + 1 : end) {
            pid_t pid = (pid_t)strtol(pids, &end, 10);
            if (end == pids) break;
            kill(pid, SIGKILL);
        }
        usleep(2000);
    }
    return any;
}

/* Waits for `child`, reaping whatever else ends meanwhile. Answers its exit status, or TIMED_OUT at
 * `deadline`. */
static int await(pid_t child, int64_t deadline, struct rusage *usage) {
    for (;;) {
        int status;
        pid_t ended;
        struct rusage u;
        while ((ended = wait4(-1, &status, WNOHANG, &u)) > 0) {
            if (ended != child) continue;
            if (usage != NULL) *usage = u;
            return exit_status(status);
        }
        int64_t left = deadline - now();
        if (left <= 0) return TIMED_OUT;
        struct timespec t = {left / 1000000000, left % 1000000000};
        int s = sigtimedwait(&watched, NULL, &t);
        if (s == SIGINT || s == SIGTERM) {
            kill_the_rest();
            _exit(128 + s);
        }
    }
}

/* ---- Programs that end by themselves ---- */

static void measure_command(const struct options *o, struct figures *f) {
    int64_t begin = now();
    pid_t child = start(o->command, o->library);
    f->status = child < 0 ? NOT_STARTED : await(child, begin + o->seconds * INT64_C(1000000000), NULL);
    f->wall = now() - begin;
    if (kill_the_rest() && f->status == 0) f->status = LEFT_BEHIND;
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    f->cpu = cpu_ns(&u);
    f->peak = u.ru_maxrss;
    f->minor = u.ru_minflt;
    f->major = u.ru_majflt;
}

/* ---- Servers ---- */

static int accepts(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ok = s >= 0 && connect(s, (struct sockaddr *)&address, sizeof address) == 0;
    if (s >= 0) close(s);
    return ok;
}

static int wait_for_port(int port) {
    for (int64_t end = now() + INT64_C(10000000000); now() < end; usleep(10000))
        if (accepts(port)) return 1;
    return 0;
}

static long high_water(pid_t pid) {
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    if (f != NULL) fclose(f);
    return kib;
}

static void measure_server(const struct options *o, struct figures *f) {
    int64_t deadline = now() + o->seconds * INT64_C(1000000000);
    char *load_words[] = {"sh", "-c", (char *)o->load, NULL};
    struct rusage u = {0};
    pid_t server = start(o->command, o->library);
    if (server < 0 || !wait_for_port(o->port)) {
        f->status = NOT_STARTED;
        kill_the_rest();
        return;
    }
    int64_t begin = now();
    pid_t load = start(load_words, NULL);
    f->status = load < 0 ? NOT_STARTED : await(load, deadline, NULL);
    f->wall = now() - begin;
    f->peak = high_water(server);
    kill(server, SIGTERM);
    int ended = await(server, deadline, &u);
    if (f->status == 0) f->status = ended;
    if (kill_the_rest() && f->status == 0) f->status = LEFT_BEHIND;
    f->cpu = cpu_ns(&u);
    f->minor = u.ru_minflt;
    f->major = u.ru_majflt;
}

/* ---- Options and the end ---- */

static int usage(void) {
    fputs("usage: runner -o STAT [-p LIBRARY] [-t SECONDS] [-s PORT -l LOAD] -- [VAR=VALUE]... COMMAND...\n",
          stderr);
    return 2;
}

static int parse(int argc, char **argv, struct options *o) {
    for (int c; (c = getopt(argc, argv, "+o:p:t:s:l:")) != -1;) {
        switch (c) {
        case 'o': o->stat = optarg; break;
        case 'p': o->library = optarg; break;
        case 't': o->seconds = atoi(optarg); break;
        case 's': o->port = atoi(optarg); break;
        case 'l': o->load = optarg; break;
        default: return 0;
        }
    }
    o->command = argv + optind;
    return o->stat != NULL && *o->command != NULL && o->seconds > 0 && (o->port == 0) == (o->load == NULL);
}

int main(int argc, char **argv) {
    struct options o = {.seconds = 120};
    struct figures f = {0};
    if (!parse(argc, argv, &o)) return usage();
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGTERM);
    sigprocmask(SIG_BLOCK, &watched, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);

    int64_t machine = machine_cpu(), own = own_cpu();
    if (o.port != 0) measure_server(&o, &f);
    else measure_command(&o, &f);
    f.foreign = (machine_cpu() - machine) - (own_cpu() - own);
    if (f.foreign < 0) f.foreign = 0;

    FILE *out = fopen(o.stat, "w");
    if (out == NULL) {
        perror(o.stat);
        return 2;
    }
    fprintf(out, "%lld %lld %ld %ld %ld %lld %d\n", (long long)f.wall, (long long)f.cpu, f.peak, f.minor,
            f.major, (long long)f.foreign, f.status);
    return fclose(out) == 0 ? f.status : 2;
}
