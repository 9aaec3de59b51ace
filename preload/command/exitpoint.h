/* The moment at which a program that the command has started is about to exit: its handlers have run, its memory is still
 * there. The library waits then until the command has seen what it wants (libgomalloc/endpoint.c). */
#ifndef GM_COMMAND_EXITPOINT_H
#define GM_COMMAND_EXITPOINT_H

#include "libgomalloc/base/compiler.h"

struct exit_point {
    char folder[64], fifo[80];
    int fd;                  /* readable when the program waits; -1: closed */
};
/* Ends the command if it cannot be made. */
void exit_point_make(struct exit_point *x);
/* Waits at most so many seconds for the program, or for `watch` (a descriptor; -1: none). True: it waits at its exit. */
bool exit_point_wait(struct exit_point *x, int watch, double seconds);
/* Lets the program go, and removes the files. Repeating is allowed. */
void exit_point_close(struct exit_point *x);

#endif
