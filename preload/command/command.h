/* What the files of the command share. The command is an ordinary program: it may use malloc and stdio as it likes.
 * Exit status: 0; 1 what was asked for could not be done; 2 wrong usage; of `run` that of the program, or 126/127 where
 * it could not be started (as the shell has it). */
#ifndef GM_COMMAND_H
#define GM_COMMAND_H

#include "libgomalloc/base/compiler.h"

#include <stdio.h>
#include <sys/types.h>

/* One line "gomalloc: ..." on stderr. fail: and exit with the status. */
void say(const char *format, ...) GM_PRINTF(1, 2);
GM_NORETURN void fail(int status, const char *format, ...) GM_PRINTF(2, 3);
GM_NORETURN void usage(const char *format, ...) GM_PRINTF(1, 2); /* status 2, and how to get help */
/* Never NULL. */
void *need(size_t bytes);
void *need_more(void *p, size_t bytes);
char *format_new(const char *format, ...) GM_PRINTF(1, 2); /* owned by the caller */

/* "12.3 MiB", in one of a few static buffers. */
const char *bytes_text(double bytes);
const char *seconds_text(double seconds);
double now(void);      /* monotonic, seconds */

/* An option's value: --name=VALUE or --name VALUE; moves *i on. NULL: argv[*i] is another option. */
const char *option_value(int argc, char **argv, int *i, const char *name);
double parse_number(const char *option, const char *text, double low, double high);
pid_t parse_pid(const char *text);

/* The subcommands; argv[0] is their name. */
int command_run(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_stat(int argc, char **argv);
int command_top(int argc, char **argv);
int command_profile(int argc, char **argv);
int command_leaks(int argc, char **argv);
int command_why(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_help(int argc, char **argv);

#endif
