/* Pictures as inline SVG. Every chart carries its scale in data- attributes (data-x0 data-x1 data-y0 data-y1: values at
 * the edges of the plot; data-box: left top width height in the SVG's units), so that what is drawn can be computed
 * back from the points. Colours come from classes of the page's style sheet. */
#ifndef GM_COMMAND_CHART_H
#define GM_COMMAND_CHART_H

#include "preload/command/remote.h"

#include <stdio.h>

enum chart_unit { CHART_BYTES, CHART_PERCENT, CHART_SECONDS, CHART_COUNT };

struct chart_line {
    const char *name, *css;  /* legend; class of the colour, c1..c6 */
    const double *y;         /* NAN: a gap */
    bool area;               /* filled down to the line before it (or to 0) */
};

/* Lines over common x values (seconds). */
void chart_lines(FILE *to, const char *id, const char *title, const double *x, size_t n, const struct chart_line *line, size_t lines,
                 enum chart_unit unit);

/* Vertical sticks: pauses over time. */
void chart_sticks(FILE *to, const char *id, const char *title, const double *x, const double *y, size_t n, double x1);

/* Horizontal bars: `part` of `whole` bytes a row. */
struct chart_bar {
    char label[32];
    double part, whole;
};
void chart_bars(FILE *to, const char *id, const char *title, const struct chart_bar *bar, size_t n, const char *part, const char *whole);

/* Groups of bars: compare's runs. `text` stands at the bar's end. */
struct chart_group {
    const char *label;
    double value, low, high;
    char text[48];
};
void chart_groups(FILE *to, const char *id, const char *title, const struct chart_group *g, size_t n);

/* The heap as a field of cells. */
void chart_map(FILE *to, const char *id, const char *title, const struct heap_map *m);

void html_text(FILE *to, const char *text); /* escaped */

#endif
