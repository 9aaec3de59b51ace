/* See kernel_roots.h. */
#include "gc/kernel_roots.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gc/mark.h"
#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"

static char text[8192]; /* static: the caller may stand on a small stack */

static uint64_t number(const char *p, unsigned base) {
    uint64_t n = 0;
    for (;; p++) {
        unsigned digit = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10 : 99;
        if (digit >= base) return n;
        n = n * base + digit;
    }
}

/* Marks the number behind every occurrence of `key` in a file. A word cut in two by the end of the buffer
 * is seen whole the next time round: the last line is carried over. */
static void mark_behind(const char *path, const char *key, unsigned base) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    size_t have = 0, key_length = strlen(key);
    if (fd < 0) return;
    for (;;) {
        long n = syscall(SYS_read, fd, text + have, sizeof text - 1 - have);
        if (n <= 0) break;
        have += (size_t)n;
        text[have] = 0;
        char *line = text, *end;
        while ((end = memchr(line, '\n', have - (size_t)(line - text))) != NULL) {
            *end = 0;
            char *at = strstr(line, key);
            if (at) {
                at += key_length;
                while (*at == ' ') at++;
                gc_mark_root_word(number(at, base), true);
            }
            line = end + 1;
        }
        have -= (size_t)(line - text);
        if (have == sizeof text - 1) have = 0;
        memmove(text, line, have);
    }
    syscall(SYS_close, fd);
}

static void path_of(struct gm_out *out, const char *folder, int fd) {
    gm_out_init(out, -1);
    gm_out_printf(out, "/proc/self/%s/%d", folder, fd);
    gm_out_flush(out);
}

static bool look_at(int fd, void *arg) {
    struct gm_out path;
    char target[32];
    path_of(&path, "fd", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, path.text, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    if (strcmp(target, "anon_inode:[eventpoll]") != 0) return true;
    path_of(&path, "fdinfo", fd);
    mark_behind(path.text, "data:", 16); /* "tfd: 5 events: 19 data: 7f0012345678 pos:..." */
    return true;
}

void gc_roots_scan_kernel(void) {
    int saved = errno;
    gm_os_each_number("/proc/self/fd", look_at, NULL);
    mark_behind("/proc/self/timers", "/", 16);        /* "signal: 14/00007f0012345678" */
    errno = saved;
}
