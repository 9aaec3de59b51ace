/* Which function's frame an address of a snapshot's stacks lies in. By libunwind, on the copy. */
#ifndef GM_COMMAND_FRAMES_H
#define GM_COMMAND_FRAMES_H

#include "preload/command/snapshot.h"

struct frame { uintptr_t pc, sp; };      /* pc: of the innermost, else the address after the call; sp: where it stood there */
/* Frames of thread i, the innermost first; returns how many. */
unsigned frames_of(const struct snapshot *s, size_t thread, struct frame *out, unsigned max);

#endif
