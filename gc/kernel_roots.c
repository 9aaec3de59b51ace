/* See kernel_roots.h. */
#include "gc/kernel_roots.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gc/mark.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/print.h"

static char listing[8192], text[8192]; /* static: the caller may stand on a small stack */

struct dirent64 { uint64_t ino; int64_t off; uint16_t len; uint8_t type; char name[]; };

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

static void path_of(char *out, size_t size, const char *folder, const char *name) {
    size_t n = strlen(folder), k = gm_min(strlen(name), size - n - 1);
    memcpy(out, folder, n);
    memcpy(out + n, name, k);
    out[n + k] = 0;
}

static void look_at(const char *name) {
    char path[64], target[32];
    path_of(path, sizeof path, "/proc/self/fd/", name);
    long n = syscall(SYS_readlinkat, AT_FDCWD, path, target, sizeof target - 1);
    if (n < 0) return;
    target[n] = 0;
    if (strcmp(target, "anon_inode:[eventpoll]") != 0) return;
    path_of(path, sizeof path, "/proc/self/fdinfo/", name);
    mark_behind(path, "data:", 16); /* "tfd: 5 events: 19 data: 7f0012345678 pos:..." */
}

void gc_roots_scan_kernel(void) {
    int saved = errno;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    for (long n; fd >= 0 && (n = syscall(SYS_getdents64, fd, listing, sizeof listing)) > 0;)
        for (char *p = listing; p < listing + n; p += ((struct dirent64 *)p)->len) look_at(((struct dirent64 *)p)->name);
    if (fd >= 0) syscall(SYS_close, fd);
    mark_behind("/proc/self/timers", "/", 16);        /* "signal: 14/00007f0012345678" */
    errno = saved;
}
