/* The report on SIGQUIT. See quit.c. */
#ifndef GS_QUIT_H
#define GS_QUIT_H

#include "libgomalloc/base/compiler.h"

/* SIGQUIT dumps from now on, if its action is the default one. */
void gs_quit_listen(void);
/* Where the signal found that thread, its handler's third argument; NULL: nowhere, or there is no report under way. */
const void *gs_quit_context(int tid);

#endif
