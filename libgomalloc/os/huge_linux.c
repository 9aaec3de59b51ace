/* Transparent huge pages from Linux. The contract stands in os.h. */
#include "libgomalloc/os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static bool advise(void *p, size_t size, int advice) {
    int saved = errno;
    bool done = syscall(SYS_madvise, p, size, advice) == 0;
    errno = saved;
    return done;
}

bool gm_os_huge(void *p, size_t size, bool huge) { return advise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE); }
bool gm_os_collapse(void *p, size_t size) { return advise(p, size, MADV_COLLAPSE); }

size_t gm_os_resident(void *p, size_t size) {
    enum { MOST = 1024 };
    unsigned char page[MOST];
    size_t page_size = gm_os_page_size(), n = size / page_size, resident = 0;
    int saved = errno;
    if (n > MOST || syscall(SYS_mincore, p, size, page) != 0) n = 0;
    errno = saved;
    for (size_t i = 0; i < n; i++) resident += page[i] & 1;
    return resident * page_size;
}

static const char *contents(const char *path, char *text, size_t size) {
    int saved = errno;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC), n = 0;
    if (fd >= 0) {
        n = syscall(SYS_read, fd, text, size - 1);
        syscall(SYS_close, fd);
    }
    errno = saved;
    text[n > 0 ? n : 0] = 0;
    return text;
}

enum gm_os_huge_setting gm_os_huge_setting(size_t size) {
    char text[64];
    size_t bytes = 0;
    for (const char *s = contents("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text, sizeof text); *s >= '0' && *s <= '9'; s++)
        bytes = bytes * 10 + (size_t)(*s - '0');
    if (bytes != size) return GM_OS_HUGE_NEVER;
    const char *s = contents("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    return strstr(s, "[always]") ? GM_OS_HUGE_ALWAYS : strstr(s, "[madvise]") ? GM_OS_HUGE_ASKED : GM_OS_HUGE_NEVER;
}
