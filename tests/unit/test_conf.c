/* The options: the table's own consistency, every form of value, every complaint to the letter. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/check.h"

#include "libgomalloc/conf.h"
#include "libgomalloc/gomalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

static char said[65536];

/* Reads this environment and returns what that printed on stderr. */
static const char *read_environment(const char *const *envp) {
    int fd = memfd_create("stderr", 0), saved = dup(2);
    dup2(fd, 2);
    gm_conf_read((char *const *)envp);
    dup2(saved, 2);
    ssize_t n = pread(fd, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = 0;
    close(saved);
    close(fd);
    return said;
}

#define ENVIRONMENT(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *read_gomalloc(const char *variable) {
    return read_environment(ENVIRONMENT("PATH=/bin", variable));
}

/* GOMALLOC=items makes exactly this complaint, given without the beginning that all share. */
#define complains(items, complaint) \
    expect_str(read_gomalloc("GOMALLOC=" items), "gomalloc: GOMALLOC: " complaint "\n")

static const struct gm_conf defaults = {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) .name = init,
#include "libgomalloc/conf.def"
#undef GM_OPTION
};

static bool is_default(void) {
    bool all = true;
#define GM_OPTION(name, type, init, low, high, values, built, go, help) \
    if (gm_conf.name != defaults.name) all = false;
#include "libgomalloc/conf.def"
#undef GM_OPTION
    return all;
}

/* ---- accepted */

TEST(nothing_set) {
    expect(is_default());
    expect_str(read_environment(ENVIRONMENT(NULL)), "");
    expect(is_default());
    expect_str(read_environment(NULL), "");
    expect_str(read_gomalloc("GOMALLOC="), "");
    expect_str(read_gomalloc("GOMALLOC"), "");
    expect_str(read_gomalloc("GOMALLOCS=stats:exit"), "");
    expect_str(read_gomalloc("XGOMALLOC=stats:exit"), "");
    expect_str(read_gomalloc("GOMALLOC=,,,"), "");
    expect(is_default());
}

TEST(built_values_land_in_gm_conf) {
    expect_str(read_gomalloc("GOMALLOC=stats:exit"), "");
    expect_eq(gm_conf.stats, GM_STATS_EXIT);
    expect_str(read_gomalloc("GOMALLOC=gc:off,stats:exact,free:honour"), "");
    expect_eq(gm_conf.stats, GM_STATS_EXACT);
    expect_str(read_gomalloc("GOMALLOC=,stats:off,"), "");
    expect(is_default());
}

TEST(last_item_and_first_variable_count) {
    expect_str(read_gomalloc("GOMALLOC=stats:exit,stats:exact"), "");
    expect_eq(gm_conf.stats, GM_STATS_EXACT);
    gm_conf = defaults;
    expect_str(read_environment(ENVIRONMENT("GOMALLOC=stats:exit", "GOMALLOC=stats:exact")), "");
    expect_eq(gm_conf.stats, GM_STATS_EXIT);
}

/* Whatever is not built: giving the default is allowed for every option, as help prints it. */
TEST(defaults_can_be_given) {
    expect_str(read_gomalloc("GOMALLOC=gc:off,gcpercent:100,memlimit:cgroup,free:honour,barrier:auto,"
                             "scavenge:on,madvise:dontneed,thp:auto,harden:off,stats:off,profile:off,"
                             "maxprocs:0,gctrace:0,scavtrace:0,schedtrace:0,scheddetail:0,help:off"),
               "");
    expect(is_default());
}

/* ---- refused */

TEST(unknown_keys) {
    complains("colour:red,stats:exit", "unknown key \"colour\"");
    expect_eq(gm_conf.stats, GM_STATS_EXIT);
    complains("stat:exit", "unknown key \"stat\"");
    complains("statsx:exit", "unknown key \"statsx\"");
    complains(" stats:exit", "unknown key \" stats\"");
    complains(":exit", "unknown key \"\"");
    complains("stats=exit", "unknown key \"stats=exit\"");
}

TEST(bad_values) {
    complains("stats:exi", "bad value \"exi\" for stats (off|exit|exact)");
    complains("stats:", "bad value \"\" for stats (off|exit|exact)");
    complains("stats", "bad value \"\" for stats (off|exit|exact)");
    complains("stats:exit:exact", "bad value \"exit:exact\" for stats (off|exit|exact)");
    expect_str(read_gomalloc("GOMALLOC=gc:yes,harden:1"),
               "gomalloc: GOMALLOC: bad value \"yes\" for gc (off|leak|verify|on)\n"
               "gomalloc: GOMALLOC: bad value \"1\" for harden (off|on)\n");
    expect(is_default());
}

TEST(the_collectors_values) {
    expect_str(read_gomalloc("GOMALLOC=gc:on,gcpercent:20,free:ignore,barrier:fork,gctrace:1"), "");
    expect_eq(gm_conf.gc, GM_GC_ON);
    expect_eq(gm_conf.gcpercent, 20);
    expect_eq(gm_conf.free, GM_FREE_IGNORE);
    expect_eq(gm_conf.barrier, GM_BARRIER_FORK);
    expect_eq(gm_conf.gctrace, 1);
    expect_str(read_gomalloc("GOMALLOC=gcpercent:off"), "");
    expect_eq(gm_conf.gcpercent, GM_CONF_OFF);
}

TEST(the_profiles_values) {
    expect_str(read_gomalloc("GOMALLOC=profile:512K,gc:leak"), "");
    expect_eq(gm_conf.profile, 512 * 1024);
    expect_eq(gm_conf.gc, GM_GC_LEAK);
    expect_str(read_gomalloc("GOMALLOC=profile:off"), "");
    expect_eq(gm_conf.profile, GM_CONF_OFF);
}

TEST(values_not_built_yet) {
    static const char *const cases[][2] = {
        {"gc:verify", "gc:verify is not built yet, using off"},
        {"barrier:uffd", "barrier:uffd is not built yet, using auto"},
        {"harden:on", "harden:on is not built yet, using off"},
        {"harden", "harden:on is not built yet, using off"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        read_gomalloc(check_format("GOMALLOC=%s", cases[i][0]));
        expect_str(said, check_format("gomalloc: GOMALLOC: %s\n", cases[i][1]));
    }
    expect(is_default());
}

/* A number that is well formed and in bounds is accepted in silence, or "not built"; any other is "bad". */
static bool is_number_for(const char *key, const char *value) {
    read_gomalloc(check_format("GOMALLOC=%s:%s", key, value));
    bool number = said[0] == 0 || strstr(said, "is not built yet") != NULL;
    bool bad = strstr(said, check_format("bad value \"%s\" for %s (", value, key)) != NULL;
    expect(number != bad);
    return number;
}

TEST(numbers) {
    static const char *const good[] = {"1", "100", "2147483647", "0000000000000000000000000000007"};
    static const char *const bad[] = {"", "-1", "+1", "1.5", "1K", "0x10", "1 ", " 1", "number", "OFF",
                                      "2147483648", "9223372036854775807", "9223372036854775808",
                                      "18446744073709551617", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) expect(is_number_for("gcpercent", good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) expect(!is_number_for("gcpercent", bad[i]));
    complains("gcpercent:-1", "bad value \"-1\" for gcpercent (number|off, 0..2147483647)");
}

TEST(bytes) {
    static const char *const good[] = {"0",    "1",  "1B",   "4096", "64K",    "64KiB",          "1M",
                                       "1MiB", "3G", "3GiB", "128T", "128TiB", "140737488355328"};
    static const char *const bad[] = {"", "K", "1k", "1KB", "1Ki", "1Kix", "1KiBB", "1KK", "1P", "1E", "-1M",
                                      "1.5G", "bytes", "129T", "140737488355329", "8388608T",
                                      "99999999999999T", "9007199254740992K", "18014398509481984K"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) expect(is_number_for("memlimit", good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) expect(!is_number_for("memlimit", bad[i]));
    expect(!is_number_for("profile", "0"));
    expect(is_number_for("profile", "1"));
    complains("memlimit:1P", "bad value \"1P\" for memlimit (bytes|off|cgroup, 0..128T)");
}

/* ---- Go's words */

TEST(go_words_are_silent) {
    const char *const *well_formed =
        ENVIRONMENT("GOGC=50", "GOMAXPROCS=2", "GODEBUG=gctrace=1,schedtrace=1000,scheddetail=1");
    struct gm_conf defaults = gm_conf;
    expect_str(read_environment(well_formed), "");
    expect_eq(gm_conf.gcpercent, 50);
    expect_eq(gm_conf.gctrace, 1);
    expect_eq(gm_conf.maxprocs, 2);
    expect_eq(gm_conf.schedtrace, 1000);
    expect_eq(gm_conf.scheddetail, 1);
    gm_conf = defaults;
    expect_str(read_environment(ENVIRONMENT("GOGC=off", "GODEBUG=gctrace=0,scavtrace=0")), "");
    expect_eq(gm_conf.gcpercent, GM_CONF_OFF);
    gm_conf = defaults;
    expect_str(read_environment(ENVIRONMENT("GOMEMLIMIT=1GiB", "GODEBUG=scavtrace=1")), "");
    expect_eq(gm_conf.memlimit, 1 << 30);
    expect_eq(gm_conf.scavtrace, 1);
    gm_conf = defaults;
    const char *const *rubbish = ENVIRONMENT("GOGC=rubbish", "GOMEMLIMIT=", "GOMAXPROCS=-1",
                                             "GODEBUG=,=,gctrace,asyncpreemptoff=1,gctrace=");
    expect_str(read_environment(rubbish), "");
    expect(is_default());
}

/* ---- help */

TEST(help_names_everything) {
    read_gomalloc("GOMALLOC=help");
    expect_eq(gm_conf.help, GM_ON);
    expect(strncmp(said, "gomalloc " GOMALLOC_VERSION ": GOMALLOC=key:value", 30) == 0);
#define GM_OPTION(name, type, init, low, high, values, built, go, help) \
    expect(strstr(said, "\n  " #name " ") != NULL);                      \
    expect(strstr(said, values) != NULL);                               \
    expect(strstr(said, help) != NULL);                                 \
    if (go != NULL) expect(strstr(said, check_format("; %s as well", (const char *)go)) != NULL);
#include "libgomalloc/conf.def"
#undef GM_OPTION
    expect(strstr(said, "memlimit    bytes|off|cgroup, 0..128T (default cgroup)\n") != NULL);
    expect(strstr(said, "stats       off|exit|exact (default off)\n") != NULL);
    expect(strstr(said, "free        honour|ignore (default honour)\n") != NULL);
    expect(strstr(said, "built so far: auto|fork|stop\n") != NULL);
}

TEST(help_comes_after_complaints_and_only_when_asked_for) {
    read_gomalloc("GOMALLOC=help:on,colour:red");
    const char *complaint = "gomalloc: GOMALLOC: unknown key \"colour\"\n";
    const char *help = "gomalloc " GOMALLOC_VERSION ":";
    expect(strncmp(said, complaint, strlen(complaint)) == 0);
    expect(strncmp(said + strlen(complaint), help, strlen(help)) == 0);
    gm_conf = defaults;
    expect_str(read_gomalloc("GOMALLOC=help:off"), "");
    complains("help:me", "bad value \"me\" for help (off|on)");
}

/* ---- the table */

static bool has_form(const char *forms, const char *form, size_t n) {
    for (const char *p = forms; *p != 0; p += *p == '|') {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, form, n) == 0) return true;
        p += len;
    }
    return false;
}

static void check_row(const char *name, const char *values, const char *built, const char *help, bool wide,
                      int64_t init, int64_t low, int64_t high) {
    bool number = has_form(values, "number", 6), bytes = has_form(values, "bytes", 5);
    expect(!(number && bytes));
    expect(wide == (number || bytes));       /* numbers are stored in 64 bits, words in 32 */
    expect(low <= high);
    expect(low >= 0);                        /* below are the words */
    expect(strpbrk(help, "%\"\\\n") == NULL);
    expect(help[0] != 0 && help[strlen(help) - 1] != '.');
    expect(strpbrk(values, ",: ") == NULL);
    int words = 0;
    for (const char *p = values; *p != 0; p += *p == '|') {
        size_t n = strcspn(p, "|");
        expect(n > 0);
        words += !has_form("number|bytes", p, n);
        p += n;
    }
    for (const char *p = built; *p != 0; p += *p == '|') {
        size_t n = strcspn(p, "|");
        if (!expect(has_form(values, p, n))) diag("%s: built names a form that values does not", name);
        p += n;
    }
    bool number_fits = init >= low && init <= high, word_fits = init < 0 && init >= -words;
    bool default_fits = wide ? number_fits || word_fits : init >= 0 && init < words;
    if (!expect(default_fits)) diag("%s: the default is not one of the values", name);
}

TEST(table_is_consistent) {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) \
    check_row(#name, values, built, help, sizeof(type) == 8, init, low, high);
#include "libgomalloc/conf.def"
#undef GM_OPTION
}

/* The place of a word among the words of a row; -1 if it has none there. */
static int place(const char *values, const char *word) {
    int i = 0;
    for (const char *p = values; *p != 0; p += *p == '|', i++) {
        size_t n = strcspn(p, "|");
        if (n == strlen(word) && memcmp(p, word, n) == 0) return i;
        if (has_form("number|bytes", p, n)) i--;
        p += n;
    }
    return -1;
}

static const char *values_of(const char *option) {
#define GM_OPTION(name, type, init, low, high, values, built, go, help) \
    if (strcmp(option, #name) == 0) return values;
#include "libgomalloc/conf.def"
#undef GM_OPTION
    return "";
}

TEST(enumerations_follow_the_table) {
    static const struct {
        const char *option, *word;
        int constant;
    } rows[] = {
        {"gc", "off", GM_GC_OFF}, {"gc", "leak", GM_GC_LEAK}, {"gc", "verify", GM_GC_VERIFY},
        {"gc", "on", GM_GC_ON}, {"free", "honour", GM_FREE_HONOUR}, {"free", "ignore", GM_FREE_IGNORE},
        {"barrier", "auto", GM_BARRIER_AUTO}, {"barrier", "uffd", GM_BARRIER_UFFD},
        {"barrier", "fork", GM_BARRIER_FORK}, {"barrier", "stop", GM_BARRIER_STOP},
        {"scavenge", "off", GM_SCAVENGE_OFF}, {"scavenge", "on", GM_SCAVENGE_ON},
        {"scavenge", "eager", GM_SCAVENGE_EAGER}, {"madvise", "dontneed", GM_MADVISE_DONTNEED},
        {"madvise", "free", GM_MADVISE_FREE}, {"thp", "auto", GM_THP_AUTO}, {"thp", "always", GM_THP_ALWAYS},
        {"thp", "never", GM_THP_NEVER}, {"harden", "off", GM_OFF}, {"harden", "on", GM_ON},
        {"stats", "off", GM_STATS_OFF}, {"stats", "exit", GM_STATS_EXIT}, {"stats", "exact", GM_STATS_EXACT},
        {"help", "off", GM_OFF}, {"help", "on", GM_ON},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int at = place(values_of(rows[i].option), rows[i].word);
        if (!expect_eq(at, rows[i].constant)) diag("%s:%s", rows[i].option, rows[i].word);
    }
    expect_eq(-1 - place(values_of("gcpercent"), "off"), GM_CONF_OFF);
    expect_eq(-1 - place(values_of("memlimit"), "off"), GM_CONF_OFF);
    expect_eq(-1 - place(values_of("memlimit"), "cgroup"), GM_CONF_CGROUP);
    expect_eq(-1 - place(values_of("profile"), "off"), GM_CONF_OFF);
}

/* ---- set-user-ID: a copy of this program with the bit set, run from a constructor of its own */

#define CHILD_VARIABLE "GM_TEST_CONF_SECURE_CHILD"
enum { CHILD_IGNORED = 0, CHILD_READ = 1, CHILD_NOT_SECURE = 77 };

__attribute__((constructor)) static void be_the_child(void) {
    if (getenv(CHILD_VARIABLE) == NULL) return;
    if (!getauxval(AT_SECURE)) _exit(CHILD_NOT_SECURE);
    gm_conf = defaults;      /* a preloaded or linked library may have read it already */
    gm_conf_read(environ);
    _exit(is_default() ? CHILD_IGNORED : CHILD_READ);
}

static bool copy_program(const char *to) {
    int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0700);
    char buffer[65536];
    ssize_t n;
    bool fine = in >= 0 && out >= 0;
    while (fine && (n = read(in, buffer, sizeof buffer)) > 0) fine = write(out, buffer, (size_t)n) == n;
    fine = fine && fchown(out, 65534, (gid_t)-1) == 0 && fchmod(out, 04755) == 0;
    close(in);
    close(out);
    return fine;
}

TEST(set_user_id_programs_ignore_everything) {
    char directory[] = "/tmp/gomalloc-conf-XXXXXX", path[64];
    if (geteuid() != 0) skip("needs root to make a set-user-ID program");
    if (!expect(mkdtemp(directory) != NULL)) return;
    expect_eq(chmod(directory, 0755), 0);
    strcpy(path, directory);
    strcat(path, "/program");
    int fd = memfd_create("stderr", 0), status = -1;
    if (copy_program(path)) {
        pid_t pid = fork();
        if (pid == 0) {
            dup2(fd, 2);
            execle(path, path, (char *)NULL,
                   (char *[]){CHILD_VARIABLE "=1", "GOMALLOC=stats:exit,colour:red,help", "GOGC=50", NULL});
            _exit(CHILD_NOT_SECURE);
        }
        status = check_wait(pid, 10);
    }
    unlink(path);
    rmdir(directory);
    if (!expect(status >= 0 && WIFEXITED(status))) return;
    if (WEXITSTATUS(status) == CHILD_NOT_SECURE) skip("set-user-ID has no effect here");
    expect_eq(WEXITSTATUS(status), CHILD_IGNORED);
    expect_eq(lseek(fd, 0, SEEK_END), 0);
}

TEST_MAIN()
