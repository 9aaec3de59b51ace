/* Memory from Linux. The contract stands in os.h.
 *
 * Every call goes through syscall(2), not through mmap(3) and its kin: a host may interpose those
 * and allocate inside, which would call us again. errno is put back, because free() and a
 * successful malloc() must not change it. */
#include "libgomalloc/os/os.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "libgomalloc/base/bits.h"
#include "libgomalloc/os/maps.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* The system call's result, or -errno; errno itself is as before. */
static long quiet(long number, long a, long b, long c, long d, long e, long f) {
    int saved = errno;
    long r = syscall(number, a, b, c, d, e, f);
    if (r == -1) r = -errno;
    errno = saved;
    return r;
}

static void *map(void *hint, size_t size, int protection, int flags) {
    long r = quiet(SYS_mmap, (long)hint, (long)size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return r < 0 && r > -4096 ? NULL : (void *)r;
}

size_t gm_os_page_size(void) {
    static size_t size; /* written once with the same value by whoever comes first */
    size_t s = __atomic_load_n(&size, __ATOMIC_RELAXED);
    if (s == 0) {
        s = getauxval(AT_PAGESZ); /* sysconf lies in a part of libc that small processes do not touch otherwise */
        __atomic_store_n(&size, s, __ATOMIC_RELAXED);
    }
    return s;
}

/* Debuggers write core files of their own, and would write 300 GB of zeros for a reservation. */
static void *leave_out(void *p, size_t size) {
    quiet(SYS_madvise, (long)p, (long)size, MADV_DONTDUMP, 0, 0, 0);
    return p;
}

/* Without MAP_NORESERVE: an inaccessible private mapping is not charged anyway, and gm_os_commit is
 * then charged like any malloc, so that the kernel refuses what the machine can never hold (an
 * oversized request answers NULL at once) and strict accounting (overcommit 2) sees the truth. */
void *gm_os_reserve(void *hint, size_t size, size_t align) {
    uintptr_t page = gm_os_page_size();
    size_t extra = align > page ? align - page : 0;
    if (size + extra < size) return NULL;
    char *p = hint || extra == 0 ? map(hint, size, PROT_NONE, 0) : NULL; /* without a hint it would be aligned by chance only */
    if (p && gm_is_aligned((uintptr_t)p, align)) return leave_out(p, size);
    if (p) gm_os_unmap(p, size);
    p = map(NULL, size + extra, PROT_NONE, 0);
    if (!p) return NULL;
    char *start = (char *)gm_align_up((uintptr_t)p, align);
    if (start > p) gm_os_unmap(p, (size_t)(start - p));
    if (start + size < p + size + extra) gm_os_unmap(start + size, (size_t)(p + extra - start));
    return leave_out(start, size);
}

bool gm_os_commit(void *p, size_t size) {
    if (quiet(SYS_mprotect, (long)p, (long)size, PROT_READ | PROT_WRITE, 0, 0, 0) != 0) return false;
    quiet(SYS_madvise, (long)p, (long)size, MADV_DODUMP, 0, 0, 0);
    return true;
}

bool gm_os_uncommit(void *p, size_t size) {
    /* First the contents: memory that is locked stays, and must not be thought to be zero later. */
    return gm_os_release(p, size) && quiet(SYS_mprotect, (long)p, (long)size, PROT_NONE, 0, 0, 0) == 0 && leave_out(p, size);
}

void *gm_os_map(size_t size) { return map(NULL, size, PROT_READ | PROT_WRITE, 0); }

void *gm_os_map_sparse(size_t size, bool shared) {
    int flags = MAP_ANONYMOUS | MAP_NORESERVE | (shared ? MAP_SHARED : MAP_PRIVATE);
    long r = quiet(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, flags, -1, 0);
    return r < 0 && r > -4096 ? NULL : leave_out((void *)r, size);
}

void gm_os_unmap(void *p, size_t size) { quiet(SYS_munmap, (long)p, (long)size, 0, 0, 0, 0); }

bool gm_os_release(void *p, size_t size) {
    return quiet(SYS_madvise, (long)p, (long)size, MADV_DONTNEED, 0, 0, 0) == 0;
}

bool gm_os_release_lazily(void *p, size_t size) {
    return quiet(SYS_madvise, (long)p, (long)size, MADV_FREE, 0, 0, 0) == 0;
}

enum gm_os_moved gm_os_move(void *from, void *to, size_t size) {
    long flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    if (quiet(SYS_mremap, (long)from, (long)size, (long)size, flags, (long)to, 0) == (long)to) return GM_MOVED;
    /* Linux unmaps the target first and looks for reasons to refuse afterwards. */
    return gm_os_renew(to, size) ? GM_NOT_MOVED : GM_TARGET_LOST;
}

bool gm_os_renew(void *p, size_t size) {
    /* Replaces the mapping. Linux may fail half-way only for want of its own memory; the range is
     * inside a reservation nobody else maps into, so it could at worst be unmapped, and then the
     * second try, in the same place, decides. */
    for (int i = 0; i < 2; i++)
        if (map(p, size, PROT_READ | PROT_WRITE, MAP_FIXED) == p) return true;
    return false;
}

void gm_os_name(void *p, size_t size, const char *name) {
    static bool never; /* the kernel has no names for memory (CONFIG_ANON_VMA_NAME): it is not asked again */
    if (__atomic_load_n(&never, __ATOMIC_RELAXED)) return;
    if (quiet(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, (long)p, (long)size, (long)name, 0) == -EINVAL)
        __atomic_store_n(&never, true, __ATOMIC_RELAXED);
}

/* The first number of statm. */
static size_t mapped_bytes(void) {
    char text[64];
    size_t pages = 0;
    gm_os_read_file("/proc/self/statm", text, sizeof text);
    for (const char *s = text; *s >= '0' && *s <= '9'; s++) pages = pages * 10 + (size_t)(*s - '0');
    return pages * gm_os_page_size();
}

size_t gm_os_address_space_left(void) {
    struct rlimit limit;
    if (quiet(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&limit, 0, 0) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    size_t used = mapped_bytes();
    return limit.rlim_cur > used ? (size_t)limit.rlim_cur - used : 0;
}

size_t gm_os_physical_memory(void) {
    struct sysinfo info;
    if (quiet(SYS_sysinfo, (long)&info, 0, 0, 0, 0, 0) != 0) return 0;
    return (size_t)info.totalram * info.mem_unit;
}

struct question {
    uintptr_t address, here; /* here: on the caller's stack */
    enum gm_os_where where;
};

/* Apart, as it reads files. */
static void find_out(void *question) {
    struct question *q = question;
    struct gm_maps maps;
    struct gm_mapping m;
    if (!gm_maps_open(&maps)) return;
    q->where = GM_AT_NOTHING;
    while (gm_maps_next(&maps, &m)) {
        if (q->address < m.start || q->address >= m.end) continue;
        if (!m.readable || !m.writable) q->where = GM_AT_NOTHING;
        else if ((q->here >= m.start && q->here < m.end) || m.kind == GM_MAPPING_STACK) q->where = GM_AT_STACK;
        else if (m.kind == GM_MAPPING_FILE || (m.follows_file && q->address < gm_maps_image_end(maps.image))) q->where = GM_AT_FILE;
        else if (m.kind == GM_MAPPING_BRK) q->where = GM_AT_BRK;
        else q->where = GM_AT_ANONYMOUS;
        break;
    }
    gm_maps_close(&maps);
}

enum gm_os_where gm_os_where(const void *p) {
    /* No /proc: the verdict is left to the C library. */
    struct question q = { (uintptr_t)p, (uintptr_t)__builtin_frame_address(0), GM_AT_ANONYMOUS };
    gm_os_apart(find_out, &q);
    return q.where;
}
