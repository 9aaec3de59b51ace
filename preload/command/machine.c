/* The machine's half of doctor: limits and kernel features. */
#include "preload/command/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "preload/command/command.h"

/* The first line of a file, or "". */
static const char *line_of(const char *path) {
    static char text[4][512];
    static unsigned next;
    char *t = text[next++ % 4];
    t[0] = 0;
    FILE *f = fopen(path, "re");
    if (!f) return t;
    if (!fgets(t, 512, f)) t[0] = 0;
    fclose(f);
    t[strcspn(t, "\n")] = 0;
    return t;
}

static void limit(int which, const char *name, double low, const char *what) {
    struct rlimit l;
    if (getrlimit((__rlimit_resource_t)which, &l) != 0) return;
    if (l.rlim_cur == RLIM_INFINITY) doctor_line(V_OK, "%s is not limited", name);
    else doctor_line((double)l.rlim_cur < low ? V_WARN : V_NOTE, "%s is limited to %s: %s", name, bytes_text((double)l.rlim_cur), what);
}

static void overcommit(void) {
    int mode = atoi(line_of("/proc/sys/vm/overcommit_memory"));
    if (mode == 2) doctor_line(V_WARN, "vm.overcommit_memory is 2: every committed page counts; the heap commits in small steps, reservations do not count");
    else doctor_line(V_OK, "vm.overcommit_memory is %d", mode);
    long maps = atol(line_of("/proc/sys/vm/max_map_count"));
    doctor_line(maps < 16384 ? V_WARN : V_OK, "vm.max_map_count is %ld; the heap needs a few mappings, large blocks that realloc moves up to 4096", maps);
}

static void huge_pages(void) {
    const char *thp = line_of("/sys/kernel/mm/transparent_hugepage/enabled");
    const char *chosen = strchr(thp, '[');
    if (!chosen) doctor_line(V_NOTE, "this kernel has no transparent huge pages");
    else if (strncmp(chosen, "[always]", 8) == 0) doctor_line(V_NOTE, "transparent huge pages are always on: fewer faults, and RSS in steps of 2 MiB (see thp:never)");
    else doctor_line(V_OK, "transparent huge pages: %s", thp);
}

/* The control group's own limit, version 2 or 1. */
static void control_group(void) {
    char line[4096], path[4200] = "";
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "0::", 3) == 0) snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", line + 3);
    }
    if (f) fclose(f);
    const char *max = path[0] ? line_of(path) : "";
    if (!*max) max = line_of("/sys/fs/cgroup/memory.max");
    if (!*max) max = line_of("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    double bytes = atof(max);
    if (bytes > 0 && bytes < 1e18) doctor_line(V_NOTE, "the control group has %s of memory", bytes_text(bytes));
    else doctor_line(V_OK, "no limit of memory by a control group");
}

/* ---- the collector's choice. The kernel's words, for headers that are older than it. */

struct uffd_api { uint64_t api, features, ioctls; };
#define UFFD_API_CALL _IOWR(0xAA, 0x3F, struct uffd_api)
enum { UFFD_USER_ONLY = 1 };
#define FEATURE_WP_UNPOPULATED (UINT64_C(1) << 13)
#define FEATURE_WP_ASYNC (UINT64_C(1) << 15)

static bool async_write_protection(int *error) {
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_ONLY);
    if (fd < 0) {
        *error = errno;
        return false;
    }
    struct uffd_api a = { 0xAA, FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED, 0 };
    bool done = ioctl(fd, UFFD_API_CALL, &a) == 0;
    *error = done ? 0 : errno;
    close(fd);
    return done;
}

struct scan_args { uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, return_mask; };
#define PAGEMAP_SCAN_CALL _IOWR('f', 16, struct scan_args)

static bool page_scan(void) {
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    struct scan_args a = { .size = sizeof a };
    bool done = fd >= 0 && ioctl(fd, PAGEMAP_SCAN_CALL, &a) >= 0;
    if (fd >= 0) close(fd);
    return done;
}

static void collector(void) {
    int error;
    bool protects = async_write_protection(&error), scans = page_scan();
    if (protects && scans) doctor_line(V_OK, "the collector would use userfaultfd (barrier:uffd)");
    else if (protects) doctor_line(V_NOTE, "the collector would use snapshots by fork (barrier:fork): this kernel has no PAGEMAP_SCAN (6.7 has)");
    else doctor_line(V_NOTE, "the collector would use snapshots by fork (barrier:fork): userfaultfd with write tracking: %s", strerror(error));
}

static void guards(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return;
    bool done = madvise(p, page, 102 /* MADV_GUARD_INSTALL */) == 0;
    munmap(p, page);
    doctor_line(V_NOTE, done ? "guard pages cost no mapping (MADV_GUARD_INSTALL)" : "guard pages cost a mapping each (the kernel has MADV_GUARD_INSTALL from 6.13 on)");
}

void doctor_machine(void) {
    struct utsname u;
    if (uname(&u) == 0) doctor_line(V_OK, "%s %s, %s", u.sysname, u.release, u.machine);
    limit(RLIMIT_AS, "address space (ulimit -v)", 1e9, "the heap reserves no more than five eighths of it");
    limit(RLIMIT_DATA, "data (ulimit -d)", 256e6, "the heap grows until it is reached");
    overcommit();
    huge_pages();
    control_group();
    collector();
    guards();
    const char *yama = line_of("/proc/sys/kernel/yama/ptrace_scope");
    if (atoi(yama) > 0)
        doctor_line(V_WARN, "kernel.yama.ptrace_scope is %s: stat, top and profile of a process that they did not start need root%s", yama,
                    atoi(yama) == 3 ? ", and even that is refused" : "");
    else doctor_line(V_OK, "live processes of the same user can be looked at (stat, top, profile)");
}
