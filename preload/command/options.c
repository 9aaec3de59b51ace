/* See options.h. */
#include "preload/command/options.h"

#include <stdlib.h>
#include <string.h>

#include "preload/command/command.h"

void options_add(struct options *o, const char *key, const char *value) {
    char *text = o->settings ? format_new("%s,%s%s%s", o->settings, key, value ? ":" : "", value ? value : "")
                             : format_new("%s%s%s", key, value ? ":" : "", value ? value : "");
    free(o->settings);
    o->profile_set |= strstr(key, "profile:") != NULL || strcmp(key, "profile") == 0;
    o->settings = text;
}

static bool parse_one(struct options *o, int argc, char **argv, int *i) {
    const char *v, *a = argv[*i];
    if (strcmp(a, "--gc") == 0) options_add(o, "gc", "on");
    else if (strncmp(a, "--gc=", 5) == 0) options_add(o, "gc", a + 5);
    else if ((v = option_value(argc, argv, i, "--report"))) o->report = v;
    else if ((v = option_value(argc, argv, i, "--stats"))) o->stats = v;
    else if (strcmp(argv[0], "run") == 0 && (v = option_value(argc, argv, i, "--profile"))) o->profile = v;
    else if ((v = option_value(argc, argv, i, "--lib"))) o->lib = v;
    else if ((v = option_value(argc, argv, i, "--interval"))) o->interval = parse_number("--interval", v, 1, 3600e3) / 1000;
    else if ((v = option_value(argc, argv, i, "--env"))) options_add(o, v, NULL);
    else if (strcmp(a, "--quiet") == 0) o->quiet = true;
    else if (strcmp(argv[0], "compare") == 0 && (v = option_value(argc, argv, i, "-n"))) o->runs = (unsigned)parse_number("-n", v, 1, 1000);
    else if (strcmp(argv[0], "compare") == 0 && (v = option_value(argc, argv, i, "--with"))) {
        if (o->n_with == MAX_WITH) usage("compare: at most %d libraries", MAX_WITH);
        o->with[o->n_with++] = v;
    } else return false;
    return true;
}

void options_parse(struct options *o, int argc, char **argv) {
    memset(o, 0, sizeof *o);
    o->interval = 0.05;
    o->runs = 3;
    int i = 1;
    for (; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++)
        if (!parse_one(o, argc, argv, &i)) usage("%s: no option '%s'", argv[0], argv[i]);
    if (i < argc && strcmp(argv[i], "--") == 0) i++;
    if (i >= argc) usage("%s wants a program", argv[0]);
    o->argv = argv + i;
}
