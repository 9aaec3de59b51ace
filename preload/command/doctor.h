/* What doctor's two halves share. */
#ifndef GM_COMMAND_DOCTOR_H
#define GM_COMMAND_DOCTOR_H

#include "libgomalloc/base/compiler.h"

#include <stdarg.h>

enum verdict { V_OK, V_NOTE, V_WARN, V_BAD };
void doctor_line(enum verdict v, const char *format, ...) GM_PRINTF(2, 3);
/* Limits, huge pages, overcommit, and what the collector would use. */
void doctor_machine(void);

#endif
