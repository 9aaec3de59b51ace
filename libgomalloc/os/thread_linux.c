/* Threads, clock, process facts from Linux. The contract stands in os.h. */
#include "libgomalloc/os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libgomalloc/os/rawcall.h"

/* Without the C library's syscall: a child of fork would touch that part of it for this alone. */
int gm_os_gettid(void) { return (int)gm_rawcall(SYS_gettid, 0, 0, 0, 0); }
int gm_os_getpid(void) { return (int)gm_rawcall(SYS_getpid, 0, 0, 0, 0); }

bool gm_os_thread_exists(int tid) {
    int saved = errno;
    bool exists = syscall(SYS_tgkill, gm_os_getpid(), tid, 0) == 0 || errno != ESRCH;
    errno = saved;
    return exists;
}

unsigned gm_os_cpus(void) {
    uint64_t mask[16];
    int saved = errno;
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    errno = saved;
    unsigned n = 0;
    for (long i = 0; i < bytes / (long)sizeof *mask; i++) n += (unsigned)__builtin_popcountll(mask[i]);
    return n ? n : 1;
}

uint64_t gm_os_nanotime(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t gm_os_faults(void) {
    struct rusage u = { 0 };
    int saved = errno;
    syscall(SYS_getrusage, RUSAGE_SELF, &u);
    errno = saved;
    return (uint64_t)u.ru_minflt;
}

uint64_t gm_os_thread_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t gm_os_start_time(void) {
    struct timespec t;
    return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t) == 0 ? (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec : 0;
}

uint64_t gm_os_coarse_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The process may end on this thread, and with it run what the program has registered with atexit. */
enum { THREAD_STACK = 1 << 20 };

static void *thread_main(void *arg) {
    union { void *p; void (*run)(void); } u = { arg };
    gm_os_enter_library_thread(); /* refused: it is held and looked at like any other */
    u.run();
    gm_os_leave_library_thread(); /* the kernel gives its number to another one some day */
    gm_os_count_helper(-1);
    return NULL;
}

bool gm_os_thread_start(void (*run)(void), const char *name) {
    union { void (*run)(void); void *p; } u = { run };
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int saved = errno;
    sigfillset(&all); /* pthread_sigmask leaves out what the C library needs itself */
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    gm_os_count_helper(1);
    bool started = pthread_create(&thread, &attr, thread_main, u.p) == 0;
    if (!started) gm_os_count_helper(-1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (started) pthread_setname_np(thread, name);
    errno = saved;
    return started;
}

unsigned gm_os_threads_alive(void) {
    struct stat s;
    int saved = errno;
    unsigned n = stat("/proc/self/task", &s) == 0 && s.st_nlink > 2 ? (unsigned)s.st_nlink - 2 : UINT_MAX;
    if (n == 2 && gm_os_main_ended()) n = 1;
    errno = saved;
    return n;
}

/* /proc/self is the main thread's, and what has ended is in no folder any more. */
bool gm_os_main_ended(void) {
    char start;
    int saved = errno;
    bool ended = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/cwd", &start, sizeof start) < 0 && errno == ENOENT;
    errno = saved;
    return ended;
}

bool gm_os_thread_key(void (*at_exit)(void *), unsigned *key) {
    pthread_key_t k;
    if (pthread_key_create(&k, at_exit) != 0) return false;
    *key = k;
    return true;
}

bool gm_os_thread_key_set(unsigned key, void *value) {
    return pthread_setspecific((pthread_key_t)key, value) == 0;
}

int gm_os_write(int fd, const void *text, size_t n) {
    int saved = errno, error = 0;
    const char *p = text;
    while (n > 0) {
        long r = syscall(SYS_write, fd, p, n);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) {
            error = -errno;
            break;
        }
        p += r;
        n -= (size_t)r;
    }
    errno = saved;
    return error;
}

bool gm_os_secure(void) { return getauxval(AT_SECURE) != 0; }

void gm_os_abort(void) { abort(); }
