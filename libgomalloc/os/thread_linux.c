/* Threads, clock, futex, process facts from Linux. The contract stands in os.h. */
#include "libgomalloc/os/os.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int gm_os_gettid(void) { return (int)syscall(SYS_gettid); }

bool gm_os_thread_exists(int tid) {
    int saved = errno;
    bool exists = syscall(SYS_tgkill, getpid(), tid, 0) == 0 || errno != ESRCH;
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

void gm_os_futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns) {
    int saved = errno;
    struct timespec t = { .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000 };
    syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, expected, timeout_ns < 0 ? NULL : &t, NULL, 0);
    errno = saved;
}

void gm_os_futex_wake(uint32_t *word, int count) {
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
    errno = saved;
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
