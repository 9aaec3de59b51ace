/* For tests of the collector's roots: an object is made, its only pointer is put somewhere, everything is collected
 * several times over while new objects fill what came free, and it must be as it was. Then the pointer is
 * erased there, and the object must go: a place that keeps everything would prove nothing.
 *
 *     static void *slot;
 *     static void hide(void *p) { slot = p; }
 *     static void erase(void) { slot = NULL; }
 *     PLACE(a_global, hide, erase)
 *
 * Between the steps an address is kept as its complement, and stack and registers are washed. */
#ifndef TESTS_GC_HIDE_H
#define TESTS_GC_HIDE_H

#include "gc/gogc.h"
#include "tests/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The library is preloaded, not linked. */
#pragma weak gogc_collect
#pragma weak gogc_malloc_noscan
#pragma weak gogc_malloc_uncollectable
#pragma weak gogc_add_roots
#pragma weak gogc_remove_roots

enum { HIDE_BYTES = 200, HIDE_ROUNDS = 4, HIDE_FILLERS = 400 };
struct hide_object { /* a chain of two */
    struct hide_object *next;
    uint64_t words[HIDE_BYTES / 8 - 1];
};

#define HIDE_NOINLINE __attribute__((noinline, noclone, unused))

/* Zeroes the stack below the caller, and the registers a call may spoil. */
static HIDE_NOINLINE void hide_wash(void) {
    char below[48 * 1024];
    memset(below, 0, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
#if defined(__x86_64__)
    __asm__ volatile("pxor %%xmm0,%%xmm0\n pxor %%xmm1,%%xmm1\n pxor %%xmm2,%%xmm2\n pxor %%xmm3,%%xmm3\n pxor %%xmm4,%%xmm4\n"
                     "pxor %%xmm5,%%xmm5\n pxor %%xmm6,%%xmm6\n pxor %%xmm7,%%xmm7\n pxor %%xmm8,%%xmm8\n pxor %%xmm9,%%xmm9\n"
                     "pxor %%xmm10,%%xmm10\n pxor %%xmm11,%%xmm11\n pxor %%xmm12,%%xmm12\n pxor %%xmm13,%%xmm13\n"
                     "pxor %%xmm14,%%xmm14\n pxor %%xmm15,%%xmm15\n xor %%ebx,%%ebx\n xor %%r12d,%%r12d\n xor %%r13d,%%r13d\n"
                     "xor %%r14d,%%r14d\n xor %%r15d,%%r15d\n"
                     : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                       "xmm13", "xmm14", "xmm15", "rbx", "r12", "r13", "r14", "r15");
    if (__builtin_cpu_supports("avx")) __asm__ volatile("vzeroall"); /* the upper halves, which the above leaves alone */
    if (__builtin_cpu_supports("avx512f"))
        __asm__ volatile("vpxorq %zmm16,%zmm16,%zmm16\n vpxorq %zmm17,%zmm17,%zmm17\n vpxorq %zmm18,%zmm18,%zmm18\n"
                         "vpxorq %zmm19,%zmm19,%zmm19\n vpxorq %zmm20,%zmm20,%zmm20\n vpxorq %zmm21,%zmm21,%zmm21\n"
                         "vpxorq %zmm22,%zmm22,%zmm22\n vpxorq %zmm23,%zmm23,%zmm23\n vpxorq %zmm24,%zmm24,%zmm24\n"
                         "vpxorq %zmm25,%zmm25,%zmm25\n vpxorq %zmm26,%zmm26,%zmm26\n vpxorq %zmm27,%zmm27,%zmm27\n"
                         "vpxorq %zmm28,%zmm28,%zmm28\n vpxorq %zmm29,%zmm29,%zmm29\n vpxorq %zmm30,%zmm30,%zmm30\n"
                         "vpxorq %zmm31,%zmm31,%zmm31");
#endif
}

/* What the kernel tells of the call that a thread sleeps in: number, six arguments, stack pointer, pc. False: the kernel does not
 * tell. Allocates nothing: an allocation may end a cycle, and write its line. */
static HIDE_NOINLINE bool hide_call_of(int tid, char line[256]) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, line, 255);
    if (fd >= 0) close(fd);
    if (n > 0) line[n] = 0;
    return n > 0;
}

static HIDE_NOINLINE struct hide_object *hide_make(void) {
    struct hide_object *last = malloc(HIDE_BYTES), *first = malloc(HIDE_BYTES);
    for (size_t i = 0; i < HIDE_BYTES / 8 - 1; i++) first->words[i] = 0xa11ce000 + i, last->words[i] = 0xb0b000 + i;
    first->next = last;
    last->next = NULL;
    return first;
}

static HIDE_NOINLINE uintptr_t hide_in(void (*hide)(void *p)) {
    struct hide_object *p = hide_make();
    hide(p);
    return ~(uintptr_t)p;
}

static HIDE_NOINLINE bool hide_is_whole(uintptr_t hidden) {
    struct hide_object *first = (struct hide_object *)~hidden, *last = first->next;
    for (size_t i = 0; i < HIDE_BYTES / 8 - 1; i++) {
        if (first->words[i] != 0xa11ce000 + i) return false;
        if (last->words[i] != 0xb0b000 + i) return false;
    }
    return last->next == NULL;
}

/* Fills slots of the object's size that came free; whether its own was among them. */
static HIDE_NOINLINE bool hide_fill(uintptr_t hidden) {
    bool met = false;
    for (int i = 0; i < HIDE_FILLERS; i++) {
        uint64_t *p = malloc(HIDE_BYTES);
        if (~(uintptr_t)p == hidden) met = true;
        for (size_t k = 0; k < HIDE_BYTES / 8; k++) p[k] = 0x5a5a5a5a5a5a5a5a;
        __asm__ volatile("" : : "r"(p) : "memory");
    }
    return met;
}

/* Whether the object's slot is free: to free it once more is a crime then, which a child commits. */
static HIDE_NOINLINE bool hide_is_free(uintptr_t hidden) {
    pid_t child = fork();
    if (child == 0) {
        close(2);
        free((void *)~hidden);
        _exit(0);
    }
    int status = check_wait(child, 20);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* Whether the object has gone by the end of so many rounds. */
static HIDE_NOINLINE bool hide_collect(uintptr_t hidden, int rounds) {
    bool gone = false;
    for (int i = 0; i < rounds && !gone; i++) {
        hide_wash();
        gogc_collect();
        hide_wash();
        gone = hide_is_free(hidden);
        hide_wash();
        gone |= hide_fill(hidden);
    }
    hide_wash();
    return gone;
}

static HIDE_NOINLINE void hide_test(void (*hide)(void *p), void (*erase)(void)) {
    if (!gogc_collect) skip("the library is not preloaded");
    volatile uintptr_t hidden = hide_in(hide);
    hide_wash();
    if (!expect(!hide_collect(hidden, HIDE_ROUNDS))) return;
    expect(hide_is_whole(hidden));
    hide_wash();
    if (!erase) return;
    erase();
    hide_wash();
    expect(hide_collect(hidden, 4 * HIDE_ROUNDS)); /* gone */
}

#define PLACE(name, hide, erase) TEST_LIMIT(name, 30) { hide_test(hide, erase); }

#endif
