/* What the wrappers must know about the process they run in. init.c keeps it. */
#ifndef GM_PRELOAD_PROCESS_H
#define GM_PRELOAD_PROCESS_H

#include "libgomalloc/base/compiler.h"

/* A sanitizer owns malloc (sanitizer.c): the wrappers pass everything on unchanged. Written by the
 * constructor, before there are threads. */
extern bool gm_standing_aside;

/* False in the child of vfork or of a clone that shares memory: what is written here, the parent has
 * to live with. False as well in the child of a fork that ran no fork handlers (_Fork, raw clone). */
bool gm_process_is_own(void);

/* The calling process is a fork's child: its memory is its own from now on. */
void gm_process_is_new(void);

/* fork.c: from now on handlers stand around every fork. Before the first thread is made; cheap when repeated. */
void gm_fork_watch(void);

/* early.c */
void gm_early(void);

/* True if a sanitizer's runtime is in the process; says so on stderr. */
bool gm_sanitizer_in_charge(void);

/* Tells the collector which handlers there are (signal.c). Before it is switched on. */
void gm_signal_init(void);

/* Before the first thread or signal handler: finds what the wrappers of block.c call. Cheap when repeated. */
void gm_block_bind(void);

/* Finds the C library's own allocator and tells the allocator about it. */
void gm_foreign_init(void);
/* Before the first thread is made; cheap when repeated. */
void gm_foreign_before_threads(void);

#endif
