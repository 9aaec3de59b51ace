/* The one list of all locks of all folders, lowest first: a thread takes locks only upwards.
 * Locks of one rank are ordered by their index. Debug builds check it at run time (lock.c);
 * fork takes all of them in this order (init.c). */
#ifndef GM_BASE_LOCKRANK_H
#define GM_BASE_LOCKRANK_H

#include "libgomalloc/base/compiler.h"

enum gm_lockrank {
    GM_RANK_GC = 1,    /* the collector's cycle: who moves it on (gc/cycle.c) */
    GM_RANK_WATCH,     /* finalizers and weak references (gc/watch.c) */
    GM_RANK_INIT,      /* first call into the library: reservation, tables */
    GM_RANK_THREADS,   /* list of all thread caches (cache.c) */
    GM_RANK_TINY,      /* blocks of tiny objects (tiny.c) */
    GM_RANK_ODD,       /* spans of pointer-free and uncollectable objects (noscan.c) */
    GM_RANK_CENTRAL,   /* one per size class, index = class: lists of spans with room (central.c) */
    GM_RANK_HEAP,      /* page index, span records, growth (heap.c) */
    GM_RANK_PROFILE,   /* allocation sites and samples (profile.c) */
    GM_RANK_META,      /* memory for the library's own records (meta.c) */
    GM_RANK_SWEEP,     /* which pages are swept next (gc/sweep.c) */
    GM_RANK_COUNT
};

#endif
