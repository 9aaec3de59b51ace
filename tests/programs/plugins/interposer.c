/* Interposes what an allocator is tempted to call, and allocates in each: mmap, munmap, mprotect,
 * madvise, open, read, dlsym, pthread_create, sched_getaffinity. An allocator that reaches the kernel
 * or the C library through these names recurses into itself here. In the chain before the library
 * or behind it. At exit it says on descriptor 2 how often it was called, if INTERPOSER_REPORT is set. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static unsigned long calls;
static __thread int inside __attribute__((tls_model("initial-exec")));

/* Blocks of three sizes, of which the last needs new memory now and then. */
static void allocate(void) {
    calls++;
    if (inside > 3) return;
    inside++;
    for (size_t n = 24; n < 3000000; n *= 300) {
        void *volatile p = malloc(n);
        void *volatile q = calloc(1, n);
        if (p) memset(p, 1, 24);
        free(p);
        free(q);
    }
    inside--;
}

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    allocate();
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

EXPORT void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    allocate();
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

EXPORT int munmap(void *address, size_t length) {
    allocate();
    return (int)syscall(SYS_munmap, address, length);
}

EXPORT int mprotect(void *address, size_t length, int protection) {
    allocate();
    return (int)syscall(SYS_mprotect, address, length, protection);
}

EXPORT int madvise(void *address, size_t length, int advice) {
    allocate();
    return (int)syscall(SYS_madvise, address, length, advice);
}

EXPORT int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    int mode = va_arg(list, int);
    va_end(list);
    allocate();
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

EXPORT ssize_t read(int fd, void *buffer, size_t n) {
    allocate();
    return syscall(SYS_read, fd, buffer, n);
}

/* RTLD_NEXT means "behind the caller", so the real one is jumped to, not called. */
__attribute__((optimize("optimize-sibling-calls"))) EXPORT void *dlsym(void *restrict handle,
                                                                       const char *restrict name) {
    static void *(*real)(void *, const char *);
    allocate();
    if (!real) real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (!real) real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    if (!real) return NULL;
    return real(handle, name);
}

EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                          void *(*run)(void *), void *restrict arg) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    allocate();
    if (!real)
        real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlvsym(
            RTLD_NEXT, "pthread_create", "GLIBC_2.34");
    if (!real)
        real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlvsym(
            RTLD_NEXT, "pthread_create", "GLIBC_2.2.5");
    return real ? real(thread, attributes, run, arg) : 11;
}

EXPORT int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
    allocate();
    long n = syscall(SYS_sched_getaffinity, pid, size, set);
    if (n < 0) return -1;
    memset((char *)set + n, 0, size - (size_t)n);
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    allocate();
}

__attribute__((destructor)) static void report(void) {
    char line[60];
    if (!getenv("INTERPOSER_REPORT")) return;
    int n = snprintf(line, sizeof line, "interposer: %lu calls\n", calls);
    if (write(2, line, (size_t)n) != n) _exit(9);
}
