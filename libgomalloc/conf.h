/* Options: GOMALLOC=key:value,... and Go's own variables. conf.def is the one table: it makes the
 * parser, the defaults, the bounds, the help text and the man page.
 *
 * gm_conf is written by gm_conf_read (constructor) and only read afterwards, except where a public
 * setter says so. Before the constructor every option has its default. */
#ifndef GM_CONF_H
#define GM_CONF_H

#include "libgomalloc/base/compiler.h"

/* Values of the enumerated options, in the order in which conf.def lists their names. */
enum gm_conf_gc { GM_GC_OFF, GM_GC_LEAK, GM_GC_VERIFY, GM_GC_ON };
enum gm_conf_free { GM_FREE_HONOUR, GM_FREE_IGNORE };
enum gm_conf_barrier { GM_BARRIER_AUTO, GM_BARRIER_UFFD, GM_BARRIER_FORK, GM_BARRIER_STOP };
enum gm_conf_scavenge { GM_SCAVENGE_OFF, GM_SCAVENGE_ON, GM_SCAVENGE_EAGER };
enum gm_conf_madvise { GM_MADVISE_DONTNEED, GM_MADVISE_FREE };
enum gm_conf_thp { GM_THP_AUTO, GM_THP_ALWAYS, GM_THP_NEVER };
enum gm_conf_stats { GM_STATS_OFF, GM_STATS_EXIT, GM_STATS_EXACT };
enum gm_conf_switch { GM_OFF, GM_ON };

/* Words in place of a number (gcpercent, memlimit, profile), below every number. */
enum { GM_CONF_OFF = -1, GM_CONF_CGROUP = -2 };

struct gm_conf {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) type name;
#include "libgomalloc/conf.def"
#undef GM_OPTION
};
extern struct gm_conf gm_conf;

/* Reads the environment (NULL: nothing); one line on stderr for each unknown key, bad value, or value
 * whose part is not built. Does nothing in set-user-ID programs. `help` prints the table on stderr. */
void gm_conf_read(char *const *envp);

/* Prints all options (name, default, values and bounds, help), as `help` does. */
void gm_conf_print_help(int fd);

#endif
