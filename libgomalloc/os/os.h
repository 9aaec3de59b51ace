/* What the library asks of the operating system: the whole contract, so that a test can put a
 * fake in its place (tests/fake/). Functions never allocate, keep errno, and report failure as a
 * value. All addresses and lengths are multiples of GM_OS_PAGE unless said otherwise.
 *
 * Memory is in one of four states (Go's names):
 *   none      not ours                                   -- gm_os_reserve -->
 *   reserved  ours, any access faults, costs nothing, left out of core dumps
 *                                                        -- gm_os_commit  -->
 *   ready     readable and writable, zero when first touched
 *   released  ready, but its pages went back to the kernel: reads as zero (DONTNEED), RSS fell
 */
#ifndef GM_OS_H
#define GM_OS_H

#include "libgomalloc/base/compiler.h"

/* The unit of all calls here: the smallest page the kernel may use on x86-64 and the largest on
 * aarch64 differ, so the real one is asked for at start and must divide the allocator's 8 KiB or be
 * a multiple that the reservation is aligned to. */
#define GM_OS_PAGE 4096
size_t gm_os_page_size(void);

/* ---- memory */

/* none -> reserved. `size` bytes at an address aligned to `align` (power of two), near `hint` if it
 * is not NULL. NULL if the address space cannot be had. */
void *gm_os_reserve(void *hint, size_t size, size_t align);
/* reserved -> ready. False if the kernel refuses; the range is then as before. Repeating is allowed. */
bool gm_os_commit(void *p, size_t size);
/* ready -> reserved: contents are lost, and the memory counts against no limit on data any more. False:
 * refused, the range is as before. */
bool gm_os_uncommit(void *p, size_t size);
/* none -> ready. NULL if refused. */
void *gm_os_map(size_t size);
/* The same for a table that is large and mostly empty: it counts against no limit before it is touched, as far
 * as the kernel allows that. `shared`: with children made by fork. */
void *gm_os_map_sparse(size_t size, bool shared);
/* any -> none. */
void gm_os_unmap(void *p, size_t size);
/* ready -> released; contents are lost, addresses stay valid and read as zero. False if the kernel
 * refused (the contents are then as they were). */
bool gm_os_release(void *p, size_t size);
/* The same, but the kernel takes the pages only when it wants memory: until then they hold what they held
 * and count as resident. */
bool gm_os_release_lazily(void *p, size_t size);
/* Moves the pages of [from, from + size), one mapping, to [to, to + size), both ready; `from` reads as
 * zero afterwards. Not moved: this kernel cannot, `from` is as before and `to` reads as zero. */
enum gm_os_moved { GM_MOVED, GM_NOT_MOVED, GM_TARGET_LOST /* ... and `to` is not there any more */ };
enum gm_os_moved gm_os_move(void *from, void *to, size_t size);
/* After gm_os_move the target is a mapping of its own; this makes [p, p + size) ordinary, zeroed,
 * ready memory again that can merge with its neighbours. False: nothing changed. */
bool gm_os_renew(void *p, size_t size);
/* What the machine's administrator allows for transparent huge pages of `size` bytes; NEVER if theirs are of another size. */
enum gm_os_huge_setting { GM_OS_HUGE_NEVER, GM_OS_HUGE_ASKED, GM_OS_HUGE_ALWAYS };
enum gm_os_huge_setting gm_os_huge_setting(size_t size);
/* Reserved or ready memory asks for huge pages, or for none. False: refused. */
bool gm_os_huge(void *p, size_t size, bool huge);
/* Makes the ready range one huge page now, pages that nobody has touched included. False: could not. */
bool gm_os_collapse(void *p, size_t size);
/* Bytes of the ready range that memory stands behind; at most 1024 pages. */
size_t gm_os_resident(void *p, size_t size);
/* Names the range for /proc/self/maps; silently optional. */
void gm_os_name(void *p, size_t size, const char *name);
/* Bytes that the address-space limits (RLIMIT_AS) still allow; SIZE_MAX if there is none. */
size_t gm_os_address_space_left(void);
/* The least memory limit of the process's control groups (v2: memory.high, memory.max; v1); SIZE_MAX: none. */
size_t gm_os_cgroup_limit(void);
/* CPUs this process may run on, at least 1. */
unsigned gm_os_cpus(void);
/* Physical memory of the machine in bytes; 0 if unknown. */
size_t gm_os_physical_memory(void);

/* What lies at an address, for a pointer that is not the allocator's (reads /proc/self/maps; slow). */
enum gm_os_where {
    GM_AT_NOTHING,        /* not mapped, or not readable and writable */
    GM_AT_FILE,           /* a file's mapping: text or static data of an executable or library, bss */
    GM_AT_STACK,          /* the mapping that holds the caller's stack, or one named [stack] */
    GM_AT_BRK,            /* [heap]: the C library's own heap */
    GM_AT_ANONYMOUS       /* any other writable mapping */
};
enum gm_os_where gm_os_where(const void *p);

/* ---- threads and time */

int gm_os_gettid(void);
/* Not getpid(): that lies in a part of libc which small processes do not touch otherwise, 60 KiB as files are mapped. */
int gm_os_getpid(void);
/* True while the thread `tid` exists in this process. */
bool gm_os_thread_exists(int tid);
/* Whether thread `tid` of this process sleeps in a system call of the kinds in which programs wait. `futex`: the word
 * it waits for, 0 if it is no such call. When two answers with the same `switches` are true, the thread slept
 * all the time between the returns of both. False also where the kernel does not tell. */
struct gm_os_asleep { uint64_t switches; uintptr_t futex; };
bool gm_os_asleep(int tid, struct gm_os_asleep *out);
/* Starts a thread of the library's own: detached, all signals blocked that may be. Called where the
 * program could start one itself. False: refused. */
bool gm_os_thread_start(void (*run)(void), const char *name);
/* The calling thread is the library's own: the collector neither stops it nor looks for pointers on it. What
 * gm_os_thread_start has started is one. False: no room for one more. */
bool gm_os_enter_library_thread(void);
bool gm_os_is_library_thread(int tid);
/* One after the other, *i being 0 first: where the stacks of these threads become the library's own (frames below `from`,
 * and what lies dead there), and their control blocks. Asked for while the program's threads, who alone make such threads, stand still. */
struct gm_os_own_stack { uintptr_t from, control_block; };
bool gm_os_own_stack(unsigned *i, struct gm_os_own_stack *out);
/* The calling thread, one of those, runs the program's code from now on. */
void gm_os_leave_library_thread(void);
/* Threads that gm_os_thread_start has made and that still run. */
unsigned gm_os_helpers(void);
void gm_os_count_helper(int change);
/* Child of a fork: there are none. */
void gm_os_forget_library_threads(void);
/* Threads of the process that still run: a main thread that has ended does not count. UINT_MAX: unknown. */
unsigned gm_os_threads_alive(void);
/* Whether the main thread has ended and others have not; to be asked where /proc can be seen. */
bool gm_os_main_ended(void);
/* A key whose `at_exit` runs when a thread that has set it (to other than NULL) ends; the key's value
 * is NULL by then and may be set again for another round (POSIX: at least 4 rounds). */
bool gm_os_thread_key(void (*at_exit)(void *), unsigned *key);
bool gm_os_thread_key_set(unsigned key, void *value);
/* Monotonic clock, nanoseconds; and the same to a few milliseconds, in a tenth of the time. */
uint64_t gm_os_nanotime(void);
uint64_t gm_os_start_time(void); /* the same, slower, without touching the part of libc that the clock lies in: for the constructor */
uint64_t gm_os_coarse_time(void);
/* CPU time of the calling thread, nanoseconds. */
uint64_t gm_os_thread_time(void);
/* Page faults of the process so far that needed no device: pages first touched, and copied. */
uint64_t gm_os_faults(void);
/* Sleeps while *word == expected, at most timeout_ns (negative: for ever). Spurious returns allowed. */
void gm_os_futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns);
void gm_os_futex_wake(uint32_t *word, int count);

/* ---- small files and folders */

/* The beginning of a file as a string: reads into text[0 .. size - 1) until that or the file ends. Its length; 0: it is
 * empty, or cannot be read. */
size_t gm_os_read_file(const char *path, char *text, size_t size);
/* The same of /proc/self/task/TID/NAME. 0 if the thread has gone, or the kernel does not tell. */
size_t gm_os_read_thread_file(int tid, const char *name, char *text, size_t size);
/* R, S, D, T, t, Z, X ... as the kernel says it (the main thread is Z after pthread_exit); 0 likewise. */
char gm_os_thread_state(int tid);
/* Calls fn for each entry of a folder that is a number (a thread, a descriptor), until it answers false. False: the
 * folder cannot be opened. */
bool gm_os_each_number(const char *folder, bool (*fn)(int n, void *arg), void *arg);

/* Calls fn(arg) where the files that it opens and closes take no descriptor number away from the program: on a thread of its
 * own while the caller waits, if there are other threads. fn takes no lock, stays below 16 KiB of stack, and does nothing that
 * lasts; what it calls may be called by the caller. */
void gm_os_apart(void (*fn)(void *arg), void *arg);

/* ---- process */

/* write(2), whole or -errno. */
int gm_os_write(int fd, const void *text, size_t n);
/* True in a set-user-ID, set-group-ID or capability-raised program (AT_SECURE). */
bool gm_os_secure(void);
GM_NORETURN void gm_os_abort(void);

#endif
