/* See os_fake.h.
 *
 * The region is one PROT_NONE mapping of the real kernel; "ready" pages are opened with mprotect, and what
 * is released or unmapped is really given back, so that a use of memory that is not ready faults and
 * released memory really reads as zero. The lowest address that fits is always taken, and neighbours
 * touch: what works only because mappings happen to lie apart fails here.
 *
 * A mutex of the C library guards the tables. It is not held across fork(2): tests that fork while other
 * threads allocate use the real system. */
#include "tests/fake/os_fake.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/os/os.h"

enum { UNIT = GM_OS_PAGE, STATE_BITS = 2, STATE_MASK = 3 };

struct fake fake = {
    .page = 4096, .space = (size_t)4 << 30, .limit = SIZE_MAX, .memory = (size_t)1 << 30,
    .commit_limit = SIZE_MAX, .tick = 1000, .now = 1000000000,
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *region;                 /* NULL until the first call */
static uint32_t *unit;               /* of each 4 KiB: state, and above it the number of its mapping */
static uint32_t *patch;              /* of each: which move brought it here; 0: none */
static size_t units, settings_page;
static uint32_t mappings;
static size_t fail_at[FAKE_FALLIBLE + 1], fail_from[FAKE_FALLIBLE + 1], seen[FAKE_FALLIBLE + 1];

static _Noreturn void illegal(const char *call, const void *p, size_t size, const char *why) {
    char text[200];
    int n = snprintf(text, sizeof text, "fake os: %s(%p, %zu): %s\n", call, p, size, why);
    if (write(STDERR_FILENO, text, (size_t)n) < 0) abort();
    abort();
}

static size_t up(size_t n, size_t a) { return (n + a - 1) & ~(a - 1); }
static bool aligned(const void *p, size_t size) { return (((uintptr_t)p | size) & (settings_page - 1)) == 0; }

static void start(void) {
    if (region) return;
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* what is resident is what was written to, page by page */
    settings_page = fake.page;
    units = fake.space / UNIT;
    /* On purpose not aligned to more than a page: alignment is the caller's wish, not luck. */
    size_t slack = (size_t)64 << 20;
    char *p = mmap(NULL, fake.space + 2 * slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    unit = mmap(NULL, 2 * units * sizeof *unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || (void *)unit == MAP_FAILED) illegal("start", NULL, fake.space, "no address space for the fake");
    patch = unit + units;
    region = (char *)up((uintptr_t)p, slack) + settings_page;
}

static void enter(void) {
    pthread_mutex_lock(&mutex);
    start();
}
static void leave(void) { pthread_mutex_unlock(&mutex); }

/* ---- what is where */

static size_t unit_of(const void *p) { return (size_t)((const char *)p - region) / UNIT; }
static enum fake_state state_at(size_t i) { return (enum fake_state)(unit[i] & STATE_MASK); }

/* The range lies in the region and belongs to one mapping. */
static void check_range(const char *call, const void *p, size_t size) {
    if (((uintptr_t)p | size) % GM_OS_PAGE) illegal(call, p, size, "not a multiple of GM_OS_PAGE");
    if (size == 0) illegal(call, p, size, "nothing");
    if ((const char *)p < region || size > fake.space || (size_t)((const char *)p - region) > fake.space - size)
        illegal(call, p, size, "not ours");
    size_t from = unit_of(p);
    for (size_t i = from; i < from + size / UNIT; i++) {
        if (state_at(i) == FAKE_NONE) illegal(call, p, size, "nothing is there");
        if (unit[i] >> STATE_BITS != unit[from] >> STATE_BITS) illegal(call, p, size, "reaches into another mapping");
    }
}

static void check_states(const char *call, const void *p, size_t size, unsigned allowed) {
    check_range(call, p, size);
    for (size_t i = unit_of(p), end = i + size / UNIT; i < end; i++)
        if (!(allowed >> state_at(i) & 1)) illegal(call, p, size, "wrong state");
}

static void set_states(const void *p, size_t size, enum fake_state state, uint32_t mapping) {
    for (size_t i = unit_of(p), end = i + size / UNIT; i < end; i++) {
        if (state_at(i) >= FAKE_READY) fake.committed -= UNIT;
        if (state >= FAKE_READY) fake.committed += UNIT;
        fake.bytes[state_at(i)] -= UNIT;
        fake.bytes[state] += UNIT;
        unit[i] = mapping << STATE_BITS | state;
    }
    if (fake.committed > fake.peak_committed) fake.peak_committed = fake.committed;
}

/* What a move has brought is a patch of its own: no single mapping with what lies beside it. */
static void check_one_patch(const void *p, size_t size) {
    for (size_t i = unit_of(p), end = i + size / UNIT; i < end; i++)
        if (patch[i] != patch[unit_of(p)]) illegal("move", p, size, "of more than one mapping");
}
static void set_patch(const void *p, size_t size, uint32_t n) {
    for (size_t i = unit_of(p), end = i + size / UNIT; i < end; i++) patch[i] = n;
}

static uint32_t mapping_at(const void *p) { return unit[unit_of(p)] >> STATE_BITS; }

static size_t not_ready(const void *p, size_t size) {
    size_t n = 0;
    for (size_t i = unit_of(p), end = i + size / UNIT; i < end; i++) n += state_at(i) == FAKE_RESERVED;
    return n * UNIT;
}

/* The lowest free range; NULL. */
static char *find(size_t size, size_t align) {
    size_t n = size / UNIT, run = 0;
    for (size_t i = 0; i < units; i++) {
        if (run == 0 && ((uintptr_t)region + i * UNIT) % align) continue;
        run = unit[i] ? 0 : run + 1;
        if (run == n) return region + (i + 1 - n) * UNIT;
    }
    return NULL;
}

static void real_protect(void *p, size_t size, int protection) {
    if (mprotect(p, size, protection) != 0) illegal("mprotect", p, size, strerror(errno));
}
static void real_discard(void *p, size_t size) {
    if (madvise(p, size, MADV_DONTNEED) != 0) illegal("madvise", p, size, strerror(errno));
}

/* ---- failing */

static void arm(size_t *what, enum fake_kind kind, size_t nth) {
    pthread_mutex_lock(&mutex);
    for (unsigned k = 0; nth == 0 && k <= FAKE_FALLIBLE; k++) fail_at[k] = fail_from[k] = 0;
    if (nth) what[kind] = seen[kind] + nth;
    pthread_mutex_unlock(&mutex);
}
void fake_fail(enum fake_kind kind, size_t nth) { arm(fail_at, kind, nth); }
void fake_fail_from(enum fake_kind kind, size_t nth) { arm(fail_from, kind, nth); }
size_t fake_fallible_calls(void) { return seen[FAKE_FALLIBLE]; }

static bool hit(enum fake_kind kind) {
    size_t n = ++seen[kind];
    return n == fail_at[kind] || (fail_from[kind] && n >= fail_from[kind]);
}

/* Counts the call; true if it has to fail. `limits`: what a limit says. */
static bool fails(enum fake_kind kind, const void *p, size_t size, bool limits) {
    fake.calls[kind]++;
    bool by_kind = hit(kind), by_any = hit(FAKE_FALLIBLE);
    bool fail = by_kind || by_any || limits || (fake.refuse && fake.refuse(kind, p, size));
    fake.failures += fail;
    fake.failed[kind] += fail;
    return fail;
}

static size_t used(void) { return fake.bytes[FAKE_RESERVED] + fake.committed; }
static bool over_limit(size_t size) { return fake.limit != SIZE_MAX && used() + size > fake.limit; }
static bool over_commit(size_t size) { return fake.commit_limit != SIZE_MAX && fake.committed + size > fake.commit_limit; }

/* ---- memory */

size_t gm_os_page_size(void) {
    enter();
    leave();
    return settings_page;
}

void *gm_os_reserve(void *hint, size_t size, size_t align) {
    enter();
    if (align & (align - 1) || size == 0 || size % settings_page) illegal("reserve", hint, size, "bad size or alignment");
    void *p = NULL;
    if (!fails(FAKE_RESERVE, hint, size, over_limit(size))) p = find(size, align > settings_page ? align : settings_page);
    if (p) set_states(p, size, FAKE_RESERVED, ++mappings);
    leave();
    return p;
}

bool gm_os_commit(void *p, size_t size) {
    enter();
    check_range("commit", p, size);
    if (!aligned(p, size)) illegal("commit", p, size, "not a multiple of the page size");
    bool done = !fails(FAKE_COMMIT, p, size, over_commit(not_ready(p, size)));
    if (done) {
        real_protect(p, size, PROT_READ | PROT_WRITE);
        for (size_t o = 0; o < size; o += UNIT)
            if (state_at(unit_of((char *)p + o)) == FAKE_RESERVED) set_states((char *)p + o, UNIT, FAKE_READY, mapping_at(p));
    }
    leave();
    return done;
}

bool gm_os_uncommit(void *p, size_t size) {
    enter();
    check_states("uncommit", p, size, 1u << FAKE_READY | 1u << FAKE_RELEASED);
    if (!aligned(p, size)) illegal("uncommit", p, size, "not a multiple of the page size");
    bool done = !fails(FAKE_UNCOMMIT, p, size, false);
    if (done) {
        real_discard(p, size);
        real_protect(p, size, PROT_NONE);
        set_states(p, size, FAKE_RESERVED, mapping_at(p));
    }
    leave();
    return done;
}

void *gm_os_map(size_t size) {
    enter();
    if (size == 0 || size % settings_page) illegal("map", NULL, size, "not a multiple of the page size");
    void *p = NULL;
    if (!fails(FAKE_MAP, NULL, size, over_limit(size) || over_commit(size))) p = find(size, settings_page);
    if (p) {
        set_states(p, size, FAKE_READY, ++mappings);
        real_protect(p, size, PROT_READ | PROT_WRITE);
    }
    leave();
    return p;
}

void *gm_os_map_sparse(size_t size, bool shared) { return gm_os_map(size); }

void gm_os_unmap(void *p, size_t size) {
    enter();
    fake.calls[FAKE_UNMAP]++;
    check_range("unmap", p, size);
    if (!aligned(p, size)) illegal("unmap", p, size, "not a multiple of the page size");
    real_protect(p, size, PROT_NONE);
    real_discard(p, size);
    set_states(p, size, FAKE_NONE, 0);
    set_patch(p, size, 0);
    leave();
}

/* Of the three calls below the kernel would round lengths up to its page, into what lies behind. */
static bool refused(enum fake_kind kind, const char *call, const void *p, size_t size) {
    check_states(call, p, size, 1u << FAKE_READY | 1u << FAKE_RELEASED);
    if (!aligned(p, size)) {
        fake.misaligned++;
        return true;
    }
    return fails(kind, p, size, false);
}

bool gm_os_release(void *p, size_t size) {
    enter();
    bool done = !refused(FAKE_RELEASE, "release", p, size);
    if (done) {
        real_discard(p, size);
        set_states(p, size, FAKE_RELEASED, mapping_at(p));
    }
    leave();
    return done;
}

/* As Linux does it: the target is gone first, whatever comes then. */
bool gm_os_release_lazily(void *p, size_t size) { return gm_os_release(p, size); }

enum gm_os_moved gm_os_move(void *from, void *to, size_t size) {
    enter();
    check_states("move", to, size, 1u << FAKE_READY | 1u << FAKE_RELEASED);
    if ((char *)from < (char *)to + size && (char *)to < (char *)from + size) illegal("move", from, size, "onto itself");
    check_one_patch(from, size);
    enum gm_os_moved result = GM_MOVED;
    if (refused(FAKE_MOVE, "move", from, size) || !aligned(to, 0)) {
        real_discard(to, size);
        result = fake.lose_target ? GM_TARGET_LOST : GM_NOT_MOVED;
    } else {
        memcpy(to, from, size);
        real_discard(from, size);
        set_patch(to, size, ++mappings);
    }
    if (result == GM_TARGET_LOST) {
        real_protect(to, size, PROT_NONE);
        set_states(to, size, FAKE_NONE, 0);
    }
    leave();
    return result;
}

bool gm_os_renew(void *p, size_t size) {
    enter();
    bool done = !refused(FAKE_RENEW, "renew", p, size);
    if (done) {
        real_discard(p, size);
        set_patch(p, size, 0);
    }
    leave();
    return done;
}

/* Both are optional: holes in the range are no harm, but something of ours has to be there. */
static void touch(const char *call, void *p, size_t size) {
    enter();
    fake.calls[FAKE_NAME]++;
    check_range(call, p, settings_page);
    leave();
}
void gm_os_name(void *p, size_t size, const char *name) {
    if (!name) illegal("name", p, size, "no name");
    touch("name", p, size);
}

size_t gm_os_address_space_left(void) {
    enter();
    size_t left = fake.limit == SIZE_MAX ? SIZE_MAX : fake.limit > used() ? fake.limit - used() : 0;
    leave();
    return left;
}
size_t gm_os_cgroup_limit(void) {
    fake.group_asked++;
    return fake.group_limit ? fake.group_limit : SIZE_MAX;
}
size_t gm_os_physical_memory(void) { return fake.memory; }

enum gm_os_where gm_os_where(const void *p) { return fake_state_of(p) >= FAKE_READY ? GM_AT_ANONYMOUS : GM_AT_NOTHING; }

/* ---- threads, time, process: the real ones, but for failures and the clock */

int gm_os_gettid(void) { return (int)syscall(SYS_gettid); }
int gm_os_getpid(void) { return (int)syscall(SYS_getpid); }
bool gm_os_thread_exists(int tid) {
    int saved = errno;
    bool exists = syscall(SYS_tgkill, getpid(), tid, 0) == 0 || errno != ESRCH;
    errno = saved;
    return exists;
}

static bool fails_plainly(enum fake_kind kind) {
    enter();
    bool fail = fails(kind, NULL, 0, false);
    leave();
    return fail;
}

bool gm_os_thread_key(void (*at_exit)(void *), unsigned *key) {
    pthread_key_t k;
    if (fails_plainly(FAKE_KEY) || pthread_key_create(&k, at_exit) != 0) return false;
    *key = k;
    return true;
}
bool gm_os_thread_key_set(unsigned key, void *value) {
    return !fails_plainly(FAKE_KEY_SET) && pthread_setspecific((pthread_key_t)key, value) == 0;
}

uint64_t gm_os_nanotime(void) {
    __atomic_fetch_add(&fake.calls[FAKE_TIME], 1, __ATOMIC_RELAXED);
    return __atomic_add_fetch(&fake.now, fake.tick, __ATOMIC_RELAXED);
}

uint64_t gm_os_start_time(void) { return gm_os_nanotime(); }
uint64_t gm_os_coarse_time(void) { return gm_os_nanotime(); }
uint64_t gm_os_faults(void) { return fake.faults; }
uint64_t gm_os_thread_time(void) { return gm_os_nanotime(); }
void fake_advance(uint64_t ns) { __atomic_add_fetch(&fake.now, ns, __ATOMIC_RELAXED); }

enum gm_os_huge_setting gm_os_huge_setting(size_t size) { return fake.huge; }
bool gm_os_huge(void *p, size_t size, bool huge) {
    enter();
    check_range("huge", p, GM_OS_PAGE); /* its ends: it may be said of a whole reservation */
    check_range("huge", (char *)p + size - GM_OS_PAGE, GM_OS_PAGE);
    fake.huge_asked += huge;
    fake.small_asked += !huge;
    leave();
    return true;
}
bool gm_os_collapse(void *p, size_t size) {
    fake.collapsed++;
    memset(p, 0, 0);
    return true;
}
size_t gm_os_resident(void *p, size_t size) { return fake_resident(p, size); }
bool gm_os_asleep(int tid, struct gm_os_asleep *out) { return false; }
bool gm_os_thread_start(void (*run)(void), const char *name) { return false; }
unsigned gm_os_threads_alive(void) { return 1; }

int gm_os_write(int fd, const void *text, size_t n) {
    if (fails_plainly(FAKE_WRITE)) return -EIO;
    int saved = errno, error = 0;
    for (const char *p = text; n > 0 && !error;) {
        ssize_t r = write(fd, p, n);
        if (r < 0) error = -errno;
        else p += r, n -= (size_t)r;
    }
    errno = saved;
    return error;
}
bool gm_os_secure(void) { return false; }
void gm_os_abort(void) { abort(); }

/* ---- for tests */

enum fake_state fake_state_of(const void *p) {
    enter();
    bool inside = (const char *)p >= region && (const char *)p < region + units * UNIT;
    enum fake_state s = inside ? state_at(unit_of(p)) : FAKE_NONE;
    leave();
    return s;
}

bool fake_all(const void *p, size_t size, enum fake_state state) {
    for (size_t o = 0; o < size; o += UNIT)
        if (fake_state_of((const char *)p + o) != state) return false;
    return true;
}

size_t fake_resident(const void *p, size_t size) {
    size_t n = 0;
    for (size_t o = 0; o < size; o += UNIT) {
        unsigned char in = 0;
        if (mincore((void *)((uintptr_t)p + o), UNIT, &in) == 0) n += in & 1;
    }
    return n * UNIT;
}
