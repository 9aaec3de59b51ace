/* Small files and folders, those of /proc above all, from Linux. The contract stands in os.h. */
#include "libgomalloc/os/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/base/print.h"

static int open_to_read(const char *path, int flags) { return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | flags); }

size_t gm_os_read_file(const char *path, char *text, size_t size) {
    int saved = errno, fd = open_to_read(path, 0);
    size_t used = 0;
    while (fd >= 0 && used < size - 1) {
        long n = syscall(SYS_read, fd, text + used, size - 1 - used);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        used += (size_t)n;
    }
    if (fd >= 0) syscall(SYS_close, fd);
    text[used] = 0;
    errno = saved;
    return used;
}

size_t gm_os_read_thread_file(int tid, const char *name, char *text, size_t size) {
    struct gm_out path;
    gm_out_init(&path, -1);
    gm_out_printf(&path, "/proc/self/task/%d/%s", tid, name);
    gm_out_flush(&path);
    return gm_os_read_file(path.text, text, size);
}

/* It stands behind the name, which is in brackets and may have some of its own. */
char gm_os_thread_state(int tid) {
    char text[512];
    gm_os_read_thread_file(tid, "stat", text, sizeof text);
    const char *end_of_name = strrchr(text, ')');
    return end_of_name && end_of_name[1] == ' ' ? end_of_name[2] : 0;
}

/* Of "." and "..", the only other names where this is used: negative. */
static int number(const char *name) {
    int n = *name >= '0' && *name <= '9' ? 0 : -1;
    for (; *name >= '0' && *name <= '9'; name++) n = n * 10 + (*name - '0');
    return n;
}

bool gm_os_each_number(const char *folder, bool (*fn)(int n, void *arg), void *arg) {
    GM_ALIGNED(16) char entries[2048];
    int saved = errno, fd = open_to_read(folder, O_DIRECTORY);
    bool more = fd >= 0;
    for (long got; more && (got = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0;) {
        for (long at = 0; more && at < got;) {
            const struct dirent64 *e = (const void *)(entries + at);
            int n = number(e->d_name);
            at += e->d_reclen;
            more = n < 0 || fn(n, arg);
        }
    }
    if (fd >= 0) syscall(SYS_close, fd);
    errno = saved;
    return fd >= 0;
}
