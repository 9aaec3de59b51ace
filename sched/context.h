/* Contexts, for what waits and may be called off. See context.c. */
#ifndef GS_CONTEXT_H
#define GS_CONTEXT_H

#include "sched/gosched.h"
#include "sched/proc.h"

/* To be told when a context is cancelled. Lies on the stack of the one that waits. */
struct gs_watch {
    struct gs_watch *next, *prev;
    /* Called once, under the tree's lock: it takes locks of rank GS_RANK_SYNC at most, and does not park. */
    void (*cancelled)(struct gs_watch *w);
};

/* False: ctx is cancelled already, w was not taken. A context that cannot be cancelled takes every watch. */
bool gs_context_watch(gocontext *ctx, struct gs_watch *w);
/* Afterwards `cancelled` is not called any more, and no call of it is under way. */
void gs_context_unwatch(gocontext *ctx, struct gs_watch *w);

#endif
