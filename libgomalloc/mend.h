/* Huge pages that a copy of the process has split become whole again. See mend.c. */
#ifndef GM_MEND_H
#define GM_MEND_H

#include "libgomalloc/base/compiler.h"

/* A copy has gone: everything is looked through from the beginning. Any thread, which wakes the scavenger's then. */
void gm_mend_begin(void);
/* There is another copy: what is made whole now would be split again. */
void gm_mend_stop(void);
/* Whether there is anything left to look at: a hint. */
bool gm_mend_due(void);
/* The next page that was huge; ns it took, some 300000 if it was split. 0: there was none left. No lock is held. */
uint64_t gm_mend_step(void);
/* What an allocating thread does where no thread of the library's is: a step now and then, a quarter of the time. */
void gm_mend_inline(void);

#endif
