/* See chart.h. */
#include "preload/command/chart.h"

#include <math.h>
#include <string.h>

#include "preload/command/command.h"

enum { WIDTH = 720, HEIGHT = 260, LEFT = 76, RIGHT = 14, TOP = 12, BOTTOM = 34 };

void html_text(FILE *to, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '&': fputs("&amp;", to); break;
        case '"': fputs("&quot;", to); break;
        default: putc(*text, to);
        }
    }
}

struct scale {
    double x0, x1, y1;       /* y begins at 0 */
    double step_x, step_y;
};

/* A step of 1, 2 or 5 times a power of ten (of two, for bytes) that gives about `want` of them. */
static double nice_step(double range, double want, bool binary) {
    if (!(range > 0)) return 1;
    double raw = range / want, base = binary ? exp2(floor(log2(raw))) : pow(10, floor(log10(raw)));
    if (binary) return raw > base ? 2 * base : base;
    double m = raw / base;
    return base * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
}

static struct scale scale_of(double x0, double x1, double top, enum chart_unit unit) {
    struct scale s = { .x0 = x0, .x1 = x1 > x0 ? x1 : x0 + 1e-3 };
    s.step_y = nice_step(top > 0 ? top : 1, 4, unit == CHART_BYTES);
    s.y1 = s.step_y * ceil((top > 0 ? top : 1) / s.step_y * 0.9999);
    s.step_x = nice_step(s.x1 - s.x0, 7, false);
    return s;
}

static double px(const struct scale *s, double x) { return LEFT + (x - s->x0) / (s->x1 - s->x0) * (WIDTH - LEFT - RIGHT); }
static double py(const struct scale *s, double y) { return HEIGHT - BOTTOM - y / s->y1 * (HEIGHT - TOP - BOTTOM); }

static void put_value(FILE *to, double v, enum chart_unit unit) {
    switch (unit) {
    case CHART_BYTES: fputs(bytes_text(v), to); break;
    case CHART_PERCENT: fprintf(to, "%g %%", v); break;
    case CHART_SECONDS: fputs(v == 0 ? "0" : seconds_text(v), to); break;
    case CHART_COUNT:
        if (v >= 1e6) fprintf(to, "%gM", v / 1e6);
        else if (v >= 1e3) fprintf(to, "%gk", v / 1e3);
        else fprintf(to, "%g", v);
    }
}

static void open_svg(FILE *to, const char *id, const char *title, double width, double height) {
    fprintf(to, "<figure id=\"%s\"><figcaption>", id);
    html_text(to, title);
    fprintf(to, "</figcaption>\n<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", width, height);
    html_text(to, title);
    fputs("\"", to);
}

static void axes(FILE *to, const struct scale *s, enum chart_unit unit) {
    fprintf(to, " data-x0=\"%.9g\" data-x1=\"%.9g\" data-y0=\"0\" data-y1=\"%.12g\" data-box=\"%d %d %d %d\">\n", s->x0, s->x1, s->y1, LEFT, TOP,
            WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    for (double y = 0; y <= s->y1 * 1.0001; y += s->step_y) {
        fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT,
                WIDTH - RIGHT, py(s, y), py(s, y), LEFT - 6, py(s, y) + 4);
        put_value(to, y, unit);
        fputs("</text>\n", to);
    }
    for (double x = ceil(s->x0 / s->step_x) * s->step_x; x <= s->x1 * 1.0001; x += s->step_x) {
        fprintf(to, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g s</text>\n",
                px(s, x), px(s, x), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, px(s, x), HEIGHT - BOTTOM + 18, x);
    }
}

static void legend(FILE *to, const struct chart_line *line, size_t lines) {
    fputs("<p class=\"legend\">", to);
    for (size_t i = 0; i < lines; i++) {
        fprintf(to, "<span class=\"key %s\"></span>", line[i].css);
        html_text(to, line[i].name);
        fputs(" ", to);
    }
    fputs("</p>", to);
}

static void put_points(FILE *to, const struct scale *s, const double *x, const double *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isnan(y[i])) fprintf(to, "%.2f,%.2f ", px(s, x[i]), py(s, y[i]));
}

static void put_area(FILE *to, const struct scale *s, const double *x, const double *y, const double *below, size_t n) {
    put_points(to, s, x, y, n);
    for (size_t i = n; i-- > 0;)
        if (!isnan(y[i])) fprintf(to, "%.2f,%.2f ", px(s, x[i]), py(s, below && !isnan(below[i]) ? below[i] : 0));
}

void chart_lines(FILE *to, const char *id, const char *title, const double *x, size_t n, const struct chart_line *line, size_t lines,
                 enum chart_unit unit) {
    double top = 0;
    for (size_t k = 0; k < lines; k++)
        for (size_t i = 0; i < n; i++)
            if (line[k].y[i] > top) top = line[k].y[i];
    struct scale s = scale_of(n ? fmin(x[0], 0) : 0, n ? x[n - 1] : 1, top, unit);
    open_svg(to, id, title, WIDTH, HEIGHT);
    axes(to, &s, unit);
    for (size_t k = 0; k < lines; k++) {
        const struct chart_line *below = k && line[k - 1].area ? &line[k - 1] : NULL;
        fprintf(to, line[k].area ? "<polygon class=\"area %s\" data-name=\"" : "<polyline class=\"line %s\" data-name=\"", line[k].css);
        html_text(to, line[k].name);
        fputs("\" points=\"", to);
        if (line[k].area) put_area(to, &s, x, line[k].y, below ? below->y : NULL, n);
        else put_points(to, &s, x, line[k].y, n);
        fputs("\"/>\n", to);
    }
    fputs("</svg>\n", to);
    legend(to, line, lines);
    fputs("</figure>\n", to);
}

void chart_sticks(FILE *to, const char *id, const char *title, const double *x, const double *y, size_t n, double x1) {
    double top = 0;
    for (size_t i = 0; i < n; i++) top = fmax(top, y[i]);
    struct scale s = scale_of(0, x1, top, CHART_SECONDS);
    open_svg(to, id, title, WIDTH, HEIGHT);
    axes(to, &s, CHART_SECONDS);
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "<line class=\"stick\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.2f\" y2=\"%.2f\"><title>%s</title></line>\n", px(&s, x[i]), px(&s, x[i]),
                py(&s, 0), py(&s, y[i]), seconds_text(y[i]));
    }
    fputs("</svg></figure>\n", to);
}

void chart_bars(FILE *to, const char *id, const char *title, const struct chart_bar *bar, size_t n, const char *part, const char *whole) {
    enum { ROW = 16, LABEL = 70, TEXT = 190 };
    double top = 1, width = WIDTH - LABEL - TEXT;
    for (size_t i = 0; i < n; i++) top = fmax(top, bar[i].whole);
    open_svg(to, id, title, WIDTH, (double)n * ROW + 8);
    fprintf(to, " data-x0=\"0\" data-x1=\"%.12g\" data-box=\"%d 0 %g %zu\">\n", top, LABEL, width, n * ROW);
    for (size_t i = 0; i < n; i++) {
        double y = (double)i * ROW + 3;
        fprintf(to, "<text class=\"tick\" x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%s</text>", LABEL - 6, y + 10, bar[i].label);
        fprintf(to, "<rect class=\"whole\" x=\"%d\" y=\"%.0f\" width=\"%.2f\" height=\"11\" data-size=\"%s\"/>", LABEL, y, bar[i].whole / top * width, bar[i].label);
        fprintf(to, "<rect class=\"part\" x=\"%d\" y=\"%.0f\" width=\"%.2f\" height=\"11\" data-size=\"%s\"/>", LABEL, y, bar[i].part / top * width, bar[i].label);
        fprintf(to, "<text class=\"tick\" x=\"%.1f\" y=\"%.0f\">%s of %s, %.0f %%</text>\n", LABEL + bar[i].whole / top * width + 6, y + 10,
                bytes_text(bar[i].part), bytes_text(bar[i].whole), bar[i].whole > 0 ? 100 * bar[i].part / bar[i].whole : 0);
    }
    fputs("</svg>\n<p class=\"legend\"><span class=\"key k-part\"></span>", to);
    html_text(to, part);
    fputs(" <span class=\"key k-whole\"></span>", to);
    html_text(to, whole);
    fputs("</p></figure>\n", to);
}

void chart_groups(FILE *to, const char *id, const char *title, const struct chart_group *g, size_t n) {
    enum { ROW = 22, LABEL = 150, TEXT = 150 };
    double top = 1e-12, width = WIDTH - LABEL - TEXT;
    for (size_t i = 0; i < n; i++) top = fmax(top, g[i].high);
    open_svg(to, id, title, WIDTH, (double)n * ROW + 6);
    fprintf(to, " data-x0=\"0\" data-x1=\"%.12g\" data-box=\"%d 0 %g %zu\">\n", top, LABEL, width, n * ROW);
    for (size_t i = 0; i < n; i++) {
        double y = (double)i * ROW + 3, x = LABEL + g[i].value / top * width;
        fprintf(to, "<text class=\"tick\" x=\"%d\" y=\"%.0f\" text-anchor=\"end\">", LABEL - 6, y + 13);
        html_text(to, g[i].label);
        fprintf(to, "</text><rect class=\"c%zu fill\" x=\"%d\" y=\"%.0f\" width=\"%.2f\" height=\"15\"/>", i % 6 + 1, LABEL, y, g[i].value / top * width);
        fprintf(to, "<line class=\"whisker\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>", LABEL + g[i].low / top * width, LABEL + g[i].high / top * width,
                y + 7, y + 7);
        fprintf(to, "<text class=\"tick\" x=\"%.1f\" y=\"%.0f\">%s</text>\n", fmax(x, LABEL + g[i].high / top * width) + 6, y + 13, g[i].text);
    }
    fputs("</svg></figure>\n", to);
}

/* ---- the map */

/* What a cell of `n` pages looks like: a class of the style sheet. Small: m0..m4 by how full. */
static const char *cell_class(const struct map_page *p, size_t n) {
    static const char *const small[] = { "m0", "m1", "m2", "m3", "m4" };
    size_t count[5] = { 0 }, percent = 0;
    for (size_t i = 0; i < n; i++) {
        count[p[i].kind]++;
        percent += p[i].percent;
    }
    if (count[MAP_LARGE] * 2 > n) return "ml";
    if (count[MAP_SMALL]) {
        size_t full = (percent + 100 * count[MAP_LARGE]) / n;
        return small[full >= 100 ? 4 : full / 20];
    }
    return count[MAP_LARGE] ? "m1" : count[MAP_IDLE] ? "mi" : "mr";
}

void chart_map(FILE *to, const char *id, const char *title, const struct heap_map *m) {
    enum { COLUMNS = 128, CELLS = 4096 };
    const double side = (double)WIDTH / COLUMNS;
    size_t step = 1;
    while (m->pages / step > CELLS) step *= 2;
    size_t cells = (m->pages + step - 1) / step, rows = (cells + COLUMNS - 1) / COLUMNS;
    open_svg(to, id, title, WIDTH, (double)rows * side + 2);
    fprintf(to, " data-pages=\"%zu\" data-pages-per-cell=\"%zu\">\n", m->pages, step);
    for (size_t i = 0; i < cells;) { /* equal neighbours are one rectangle */
        size_t from = i * step, k = i + 1;
        const char *css = cell_class(m->page + from, m->pages - from < step ? m->pages - from : step);
        for (; k < cells && k % COLUMNS; k++) {
            size_t f = k * step;
            if (strcmp(css, cell_class(m->page + f, m->pages - f < step ? m->pages - f : step)) != 0) break;
        }
        fprintf(to, "<rect class=\"%s\" x=\"%.3g\" y=\"%.4g\" width=\"%.4g\" height=\"%.3g\" data-cells=\"%zu\"/>\n", css, (double)(i % COLUMNS) * side,
                (double)(i / COLUMNS) * side, (double)(k - i) * side - 0.4, side - 0.4, k - i);
        i = k;
    }
    fprintf(to, "</svg>\n<p class=\"legend\">a cell is %s, addresses from left to right and down: <span class=\"key k-mr\"></span>given back or never used "
                "<span class=\"key k-mi\"></span>idle <span class=\"key k-ml\"></span>large objects; small objects by how full their spans are: "
                "<span class=\"key k-m0\"></span>below 20 %% <span class=\"key k-m1\"></span>40 <span class=\"key k-m2\"></span>60 "
                "<span class=\"key k-m3\"></span>80 <span class=\"key k-m4\"></span>100</p></figure>\n",
            bytes_text((double)(step * GM_PAGE_SIZE)));
}
