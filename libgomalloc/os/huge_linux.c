/* Transparent huge pages from Linux. The contract stands in os.h. */
#include "libgomalloc/os/os.h"

#include <errno.h>
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

enum gm_os_huge_setting gm_os_huge_setting(size_t size) {
    char text[64];
    size_t bytes = 0;
    gm_os_read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text, sizeof text);
    for (const char *s = text; *s >= '0' && *s <= '9'; s++) bytes = bytes * 10 + (size_t)(*s - '0');
    if (bytes != size) return GM_OS_HUGE_NEVER;
    gm_os_read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    return strstr(text, "[always]") ? GM_OS_HUGE_ALWAYS : strstr(text, "[madvise]") ? GM_OS_HUGE_ASKED : GM_OS_HUGE_NEVER;
}
