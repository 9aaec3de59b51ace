/* Ends the process with one fixed line on stderr. Allocates nothing, takes no lock, uses no stdio. */
#ifndef GM_BASE_PANIC_H
#define GM_BASE_PANIC_H

#include "libgomalloc/base/compiler.h"

/* "gomalloc: CRIME: 0xADDRESS\n", then abort(). The line tells misuse by the host program. */
GM_NORETURN GM_COLD void gm_misuse(const char *crime, const void *address);

/* "gomalloc: check failed: COND (FILE:LINE)\n", then abort(): a bug of the library's own. */
GM_NORETURN GM_COLD void gm_check_failed(const char *cond, const char *file, int line);

/* "gomalloc: TEXT\n", then abort(). */
GM_NORETURN GM_COLD void gm_fatal(const char *text);

/* The crimes, word for word; tests/misuse holds the library to them. */
#define GM_CRIME_DOUBLE_FREE        "double free"
#define GM_CRIME_FREE_INTERIOR      "free of an interior pointer"
#define GM_CRIME_FREE_MISALIGNED    "free of a misaligned pointer"
#define GM_CRIME_FREE_UNKNOWN       "free of memory never allocated"
#define GM_CRIME_REALLOC_FREED      "realloc of freed memory"
#define GM_CRIME_REALLOC_INTERIOR   "realloc of an interior pointer"
#define GM_CRIME_REALLOC_MISALIGNED "realloc of a misaligned pointer"
#define GM_CRIME_REALLOC_UNKNOWN    "realloc of memory never allocated"
#define GM_CRIME_USABLE_FREED       "malloc_usable_size of freed memory"

#endif
