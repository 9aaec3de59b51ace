/* What is printed of goroutines and their stacks. See dump.c. */
#ifndef GS_DUMP_H
#define GS_DUMP_H

#include "sched/gmp.h"

/* The process is about to end with a report: returns to the first thread that asks only. */
void gs_dump_begin_last_words(void);
/* The calling goroutine's (or thread's) heading and stack on stderr, from the caller of the function whose gs_caller this is. */
void gs_dump_last_words(const struct gs_caller *from);
/* The same of a goroutine that a signal interrupted, by the handler's third argument. */
void gs_dump_last_words_at(struct gs_g *g, const void *context);
/* Every goroutine and every plain thread that waits in a call of the library, on stderr. */
void gs_dump_last_words_of_all(void);

#endif
