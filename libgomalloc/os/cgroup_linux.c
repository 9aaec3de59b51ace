/* The memory limit of the control group, from Linux. The contract stands in os.h.
 *
 * Version 2 is the line "0::/path" of /proc/self/cgroup, under /sys/fs/cgroup; version 1 the line with the
 * controller "memory", under /sys/fs/cgroup/memory. A group's ancestors limit it as well, so the way goes
 * up to the root. In a container the path may be that of the host, which cannot be seen from inside: then
 * only the root, which is the container's own group, answers. */
#include "libgomalloc/os/os.h"

#include <string.h>

enum { PATH_BYTES = 512 };

/* A decimal number; SIZE_MAX for "max" and what version 1 writes for it (close to 2^63). */
static size_t number(const char *s) {
    size_t v = 0;
    if (*s < '0' || *s > '9') return SIZE_MAX;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (size_t)(*s - '0'), &v)) return SIZE_MAX;
    return v >= (size_t)1 << 62 ? SIZE_MAX : v;
}

/* The least of `file` in the group and its ancestors. */
static size_t least(const char *root, const char *path, const char *file) {
    size_t best = SIZE_MAX, root_length = strlen(root), file_length = strlen(file);
    for (size_t n = strlen(path);; ) {
        char name[PATH_BYTES], text[32];
        while (n > 0 && path[n - 1] == '/') n--;
        if (root_length + n + file_length + 2 > sizeof name) return best;
        memcpy(name, root, root_length);
        memcpy(name + root_length, path, n);
        name[root_length + n] = '/';
        memcpy(name + root_length + n + 1, file, file_length + 1);
        size_t v = gm_os_read_file(name, text, sizeof text) ? number(text) : SIZE_MAX;
        if (v < best) best = v;
        if (n == 0) return best;
        while (n > 0 && path[n - 1] != '/') n--;
    }
}

/* The path in a line "id:controllers:path", if the controllers are `wanted` or a list with it; else NULL. */
static char *path_in(char *line, const char *wanted) {
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
    if (!path) return NULL;
    *path = 0;
    size_t n = strlen(wanted);
    for (char *c = list + 1;; c++) {
        char *end = strchrnul(c, ',');
        if ((size_t)(end - c) == n && memcmp(c, wanted, n) == 0) return path + 1;
        if (*end == 0) return NULL;
        c = end;
    }
}

static void find_limit(void *limit) {
    char text[2048], *end;
    size_t best = SIZE_MAX;
    if (!gm_os_read_file("/proc/self/cgroup", text, sizeof text)) return;
    for (char *line = text; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        size_t v = SIZE_MAX;
        char *path;
        if (strncmp(line, "0::", 3) == 0) {
            size_t max = least("/sys/fs/cgroup", line + 3, "memory.max"), high = least("/sys/fs/cgroup", line + 3, "memory.high");
            v = max < high ? max : high;
        } else if ((path = path_in(line, "memory")) != NULL) {
            v = least("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
        }
        if (v < best) best = v;
    }
    *(size_t *)limit = best;
}

size_t gm_os_cgroup_limit(void) {
    size_t limit = SIZE_MAX;
    gm_os_apart(find_limit, &limit);
    return limit;
}
