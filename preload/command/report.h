/* The report pages: one self-contained HTML file each. */
#ifndef GM_COMMAND_REPORT_H
#define GM_COMMAND_REPORT_H

#include "preload/command/series.h"

#include <stdio.h>

struct report {
    char *const *argv;              /* of the program */
    const char *options;            /* for the library; may be NULL */
    const struct series *series;
    const struct gomalloc_stats *final; /* at exit; else the last sample's */
    bool final_is_exact;            /* written by the library at exit */
    double seconds;                 /* wall */
    double cpu;
    uint64_t peak_rss, faults;
    int status;                     /* as wait has it */
};
void report_run(FILE *to, const struct report *r);

/* Pieces, for compare's page. */
void report_head(FILE *to, const char *title);
void report_command(FILE *to, char *const *argv);
void report_tail(FILE *to);

#endif
