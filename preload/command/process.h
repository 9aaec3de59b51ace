/* Processes as the command starts and watches them. */
#ifndef GM_COMMAND_PROCESS_H
#define GM_COMMAND_PROCESS_H

#include "libgomalloc/base/compiler.h"

#include <sys/resource.h>
#include <sys/types.h>

/* A program as the shell would find it. */
struct program {
    char path[4096];         /* of the file that is run */
    char interpreter[4096];  /* of a script; else empty */
    bool elf, dynamic, same_machine, privileged; /* of the file, or of its interpreter */
};
/* Finds it in PATH; ends the command with 126 or 127 and a line if it cannot be run. */
void program_find(struct program *p, const char *name);
/* Why nothing can be preloaded into it, or NULL. */
const char *program_refuses(const struct program *p);

/* libgomalloc.so: `wanted`, else beside the command, else in ../lib of it. Ends the command if there is none. */
const char *library_path(const char *wanted);

struct launch {
    char **argv;             /* NULL at its end; argv[0] is found as the shell does */
    const char *preload;     /* NULL: nothing is preloaded */
    const char *options;     /* for GOMALLOC, added to what is there; may be NULL */
    const char *stats_file;  /* written at exit by the library; may be NULL */
    const char *exit_fifo;   /* the library waits there at exit (exitpoint.h); may be NULL */
    bool silent;             /* standard output goes nowhere */
};
/* Starts it; ends the command if that fails. */
pid_t launch_start(const struct launch *l);
/* In this process, for good. */
GM_NORETURN void launch_exec(const struct launch *l);

/* What the kernel says of a process; false: it is gone. */
struct process_now {
    uint64_t rss;            /* bytes */
    double cpu;              /* seconds, user and system, all threads */
    uint64_t minor_faults, major_faults;
    unsigned threads;
};
bool process_read(pid_t pid, struct process_now *out);

/* Waits at most so many seconds for the process to end. True: it has, with *status and *usage. */
int process_watch(pid_t pid); /* a descriptor to wait on; -1: none */
bool process_wait(pid_t pid, int watch, double seconds, int *status, struct rusage *usage);

/* Signals sent to the command go on to the process; those of the terminal reach it anyway. 0: no process. */
void signals_pass_to(pid_t pid);
/* Ends as the process ended: same status, same signal. */
GM_NORETURN void end_as(int status);
int status_code(int status); /* as a shell counts it */

#endif
