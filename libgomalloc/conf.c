/* Reads the options and explains them; conf.def is the table, conf.h what the rest sees of it.
 *
 * GOMALLOC is ours, so everything in it that has no effect gets a line on stderr: a key that does not
 * exist, a value that is not one of the key's, a value whose part is not built yet. Go's words (GOGC,
 * GOMEMLIMIT, GOMAXPROCS, GODEBUG) are not ours alone: they may stand in the environment for the sake of
 * Go programs that share it, under which we would otherwise complain in every shell and compiler. So a
 * Go word whose part is not built, or whose value is not one of ours, is passed over in silence.
 * Go's words are read first and GOMALLOC last; that is how GOMALLOC wins.
 *
 * The parser works on slices of the environment and copies nothing: it runs in the constructor of a
 * preloaded library, where allocation is what it is about to set up. */
#include "libgomalloc/conf.h"

#include "libgomalloc/base/print.h"
#include "libgomalloc/gomalloc.h"
#include "libgomalloc/os/os.h"

#include <string.h>

struct gm_conf gm_conf = {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) .name = init,
#include "libgomalloc/conf.def"
#undef GM_OPTION
};

/* Texts in place: a pointer would cost a relocation, and with it a page that every process writes. */
struct option {
    char name[16], values[32], built[32], help[128];
    int64_t init, low, high;
    uint16_t offset, size;             /* of the member of gm_conf */
};

enum {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) INDEX_##name,
#include "libgomalloc/conf.def"
#undef GM_OPTION
};

static const struct option options[] = {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) \
    {#name, values, built, help, init, low, high, offsetof(struct gm_conf, name), sizeof(type)},
#include "libgomalloc/conf.def"
#undef GM_OPTION
};
enum { OPTIONS = sizeof options / sizeof options[0] };

/* Go's word for an option, NULL if there is none. */
static const char *go_word(const struct option *op) {
    switch (op - options) {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) case INDEX_##name: return go;
#include "libgomalloc/conf.def"
#undef GM_OPTION
    default: return NULL;
    }
}

static void store(const struct option *op, int64_t value) {
    char *member = (char *)&gm_conf + op->offset;
    int32_t word = (int32_t)value;
    if (op->size == sizeof value) memcpy(member, &value, sizeof value);
    else memcpy(member, &word, sizeof word);
}

static int64_t load(const struct option *op) {
    const char *member = (const char *)&gm_conf + op->offset;
    int64_t value;
    int32_t word;
    if (op->size == sizeof value) {
        memcpy(&value, member, sizeof value);
        return value;
    }
    memcpy(&word, member, sizeof word);
    return word;
}

#define GM_OPTION(name, type, init, low, high, values, built, go, help) \
    GM_STATIC_ASSERT(sizeof(type) == 8 || sizeof(type) == 4, "store and load know these sizes");
#include "libgomalloc/conf.def"
#undef GM_OPTION

/* ---- slices of text */

struct slice {
    const char *p;
    size_t n;
};

static struct slice whole(const char *s) { return (struct slice){s, strlen(s)}; }

static bool same(struct slice a, const char *s) {
    for (size_t i = 0; i < a.n; i++) {
        if (s[i] != a.p[i]) return false;      /* the end of s included: no slice holds a 0 */
    }
    return s[a.n] == 0;
}

/* Cuts the part before the first `sep` off the front of *rest; all of it if there is none. */
static struct slice cut(struct slice *rest, char sep) {
    struct slice head = {rest->p, 0};
    while (head.n < rest->n && head.p[head.n] != sep) head.n++;
    size_t step = head.n < rest->n ? head.n + 1 : head.n;
    rest->p += step;
    rest->n -= step;
    return head;
}

static bool has_form(const char *forms, struct slice form) {
    for (struct slice rest = whole(forms); rest.n > 0;) {
        struct slice f = cut(&rest, '|');
        if (f.n == form.n && memcmp(f.p, form.p, f.n) == 0) return true;
    }
    return false;
}

static bool takes_bytes(const struct option *op) { return has_form(op->values, whole("bytes")); }
static bool takes_number(const struct option *op) {
    return takes_bytes(op) || has_form(op->values, whole("number"));
}

static void put_slice(struct gm_out *o, struct slice s) {
    for (size_t i = 0; i < s.n; i++) gm_out_char(o, s.p[i]);
}

/* ---- values */

static const char units[] = "KMGT";

/* How far a unit shifts the number in front of it: B, K or KiB, and so on up to T; -1 for other text. */
static int unit_shift(struct slice unit) {
    if (unit.n == 0 || same(unit, "B")) return 0;
    for (int i = 0; units[i] != 0; i++) {
        bool first = unit.p[0] == units[i];
        bool full = unit.n == 3 && unit.p[1] == 'i' && unit.p[2] == 'B';
        if (first && (unit.n == 1 || full)) return 10 * (i + 1);
    }
    return -1;
}

/* A decimal number, with a unit if `bytes`. False if it is none or does not fit. */
static bool parse_number(struct slice text, bool bytes, int64_t *result) {
    int64_t v = 0;
    size_t i = 0;
    for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, text.p[i] - '0', &v)) return false;
    }
    struct slice unit = {text.p + i, text.n - i};
    int shift = bytes ? unit_shift(unit) : unit.n == 0 ? 0 : -1;
    return i > 0 && shift >= 0 && !__builtin_mul_overflow(v, INT64_C(1) << shift, result);
}

enum verdict { ACCEPTED, BAD, NOT_BUILT };

/* What a text means to an option; *result is set unless BAD. */
static enum verdict judge(const struct option *op, struct slice text, int64_t *result) {
    bool numeric = takes_number(op);
    int64_t position = 0;
    for (struct slice rest = whole(op->values); rest.n > 0;) {
        struct slice form = cut(&rest, '|');
        bool bytes = same(form, "bytes");
        if (bytes || same(form, "number")) {
            if (!parse_number(text, bytes, result) || *result < op->low || *result > op->high) continue;
        } else {
            *result = numeric ? -1 - position : position;
            position++;
            if (form.n != text.n || memcmp(form.p, text.p, text.n) != 0) continue;
        }
        return *result == op->init || has_form(op->built, form) ? ACCEPTED : NOT_BUILT;
    }
    return BAD;
}

/* A number as judge would read it: bytes with the largest unit that leaves nothing over. */
static void put_number(struct gm_out *o, int64_t v, bool bytes) {
    int unit = -1;
    for (; bytes && v != 0 && v % 1024 == 0 && unit < 3; v /= 1024) unit++;
    gm_out_printf(o, "%lld", (long long)v);
    if (unit >= 0) gm_out_char(o, units[unit]);
}

static void put_value(struct gm_out *o, const struct option *op, int64_t v) {
    bool numeric = takes_number(op);
    if (numeric && v >= 0) {
        put_number(o, v, takes_bytes(op));
        return;
    }
    int64_t position = 0, wanted = numeric ? -1 - v : v;
    for (struct slice rest = whole(op->values); rest.n > 0;) {
        struct slice form = cut(&rest, '|');
        if (same(form, "bytes") || same(form, "number")) continue;
        if (position++ == wanted) put_slice(o, form);
    }
}

/* The forms, and the bounds if there are numbers among them. */
static void put_values(struct gm_out *o, const struct option *op) {
    gm_out_str(o, op->values);
    if (!takes_number(op)) return;
    gm_out_str(o, ", ");
    put_number(o, op->low, takes_bytes(op));
    gm_out_str(o, "..");
    put_number(o, op->high, takes_bytes(op));
}

/* ---- the environment */

/* The value of a variable; a slice of NULL if it is not set. The first one counts, as in getenv. */
static struct slice variable(char *const *envp, struct slice name) {
    for (; *envp != NULL; envp++) {
        size_t i = 0;
        while (i < name.n && (*envp)[i] == name.p[i]) i++;
        if (i == name.n && (*envp)[i] == '=') return whole(*envp + i + 1);
    }
    return (struct slice){NULL, 0};
}

static void take_go_word(const struct option *op, struct slice text) {
    int64_t value;
    if (judge(op, text, &value) == ACCEPTED) store(op, value);
}

/* One option from its Go word: a variable of its own, or one item of GODEBUG=key=value,... */
static void read_go_word(char *const *envp, const struct option *op) {
    struct slice key = whole(go_word(op));
    struct slice rest = variable(envp, cut(&key, '='));
    if (rest.p == NULL) return;
    if (key.n == 0) {
        take_go_word(op, rest);
        return;
    }
    while (rest.n > 0) {
        struct slice value = cut(&rest, ',');
        struct slice name = cut(&value, '=');
        if (same(name, key.p)) take_go_word(op, value);
    }
}

static void begin_complaint(struct gm_out *o) {
    gm_out_init(o, 2);
    gm_out_str(o, "gomalloc: GOMALLOC: ");
}

static void complain_key(struct slice key) {
    struct gm_out o;
    begin_complaint(&o);
    gm_out_str(&o, "unknown key \"");
    put_slice(&o, key);
    gm_out_str(&o, "\"\n");
    gm_out_flush(&o);
}

static void complain_value(const struct option *op, struct slice value, enum verdict why) {
    struct gm_out o;
    begin_complaint(&o);
    if (why == BAD) {
        gm_out_str(&o, "bad value \"");
        put_slice(&o, value);
        gm_out_printf(&o, "\" for %s (", op->name);
        put_values(&o, op);
        gm_out_str(&o, ")\n");
    } else {
        gm_out_printf(&o, "%s:", op->name);
        put_slice(&o, value);
        gm_out_str(&o, " is not built yet, using ");
        put_value(&o, op, load(op));
        gm_out_char(&o, '\n');
    }
    gm_out_flush(&o);
}

/* One item of GOMALLOC: "key:value"; a key alone stands for key:on where there is only off and on. */
static void read_item(struct slice item) {
    struct slice value = item;
    struct slice key = cut(&value, ':');
    bool bare = key.n == item.n;
    for (const struct option *op = options; op < options + OPTIONS; op++) {
        if (!same(key, op->name)) continue;
        if (bare && same(whole(op->values), "off|on")) value = whole("on");
        int64_t result;
        enum verdict v = judge(op, value, &result);
        if (v == ACCEPTED) store(op, result);
        else complain_value(op, value, v);
        return;
    }
    complain_key(key);
}

void gm_conf_read(char *const *envp) {
    if (envp == NULL || gm_os_secure()) return;
    for (const struct option *op = options; op < options + OPTIONS; op++) {
        if (go_word(op) != NULL) read_go_word(envp, op);
    }
    for (struct slice rest = variable(envp, whole("GOMALLOC")); rest.n > 0;) {
        struct slice item = cut(&rest, ',');
        if (item.n > 0) read_item(item);
    }
    if (gm_conf.help == GM_ON) gm_conf_print_help(2);
}

void gm_conf_print_help(int fd) {
    struct gm_out o;
    gm_out_init(&o, fd);
    gm_out_str(&o, "gomalloc " GOMALLOC_VERSION ": GOMALLOC=key:value,key:value,...\n");
    for (const struct option *op = options; op < options + OPTIONS; op++) {
        gm_out_printf(&o, "  %-11s ", op->name);
        put_values(&o, op);
        gm_out_str(&o, " (default ");
        put_value(&o, op, op->init);
        gm_out_str(&o, ")\n              ");
        gm_out_str(&o, op->help);
        if (go_word(op) != NULL) gm_out_printf(&o, "; %s as well", go_word(op));
        if (strcmp(op->built, op->values) != 0) {
            gm_out_str(&o, "\n              built so far: ");
            if (op->built[0] != 0) gm_out_str(&o, op->built);
            else put_value(&o, op, op->init);
        }
        gm_out_char(&o, '\n');
    }
    gm_out_flush(&o);
}
