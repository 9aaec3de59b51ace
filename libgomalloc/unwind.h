/* Who called: the return addresses on the calling thread's stack. See unwind.c. */
#ifndef GM_UNWIND_H
#define GM_UNWIND_H

#include "libgomalloc/base/compiler.h"

/* Stores up to `max` program counters, the innermost first: those inside this library are left out as long as
 * others remain, each of the rest is the address after a call. Returns how many. Takes no lock of the loader, calls
 * no malloc, touches no memory that is not there. One thread at a time (the rules it finds are kept). */
unsigned gm_unwind(uintptr_t *pc, unsigned max);

/* The object that an address of text belongs to. False: none that the loader knows. */
struct gm_object { uintptr_t start, end; const char *name /* the loader's, "" for the program; as long as it is loaded */; };
bool gm_unwind_object(uintptr_t pc, struct gm_object *o);

#endif
