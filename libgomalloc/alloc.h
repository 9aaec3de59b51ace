/* The allocator as the layers above see it: what preload/ turns into the C library's names, and
 * what a program linked with libgomalloc.a may call. See malloc.c for the overview.
 *
 * All functions may be called from any thread at any time, before the library's constructor and
 * inside the loader as well. Failure is NULL with errno = ENOMEM; success and gm_free leave errno
 * alone. Misuse (see base/panic.h) ends the process. */
#ifndef GM_ALLOC_H
#define GM_ALLOC_H

#include "libgomalloc/base/compiler.h"

/* `n` bytes, aligned to 16 (to 8 where n <= 8). n = 0 gives a unique pointer. */
void *gm_alloc(size_t n);
/* The same, zeroed. */
void *gm_alloc_zeroed(size_t n);
/* `align` is a power of two (the caller has checked). */
void *gm_alloc_aligned(size_t align, size_t n);
/* NULL is allowed. A pointer that is not the allocator's goes to the foreign hooks below. */
void gm_free(void *p);
/* p may be NULL (then gm_alloc); n may be 0 (then a block of the smallest size: what realloc(p, 0)
 * does is the caller's business). On failure p is as it was. */
void *gm_realloc(void *p, size_t n);
/* Writable bytes at p: constant for the life of the block, at least what was asked for; 0 for NULL. */
size_t gm_usable_size(const void *p);
/* True if p points to the start of a live block of this allocator. Touches no unknown memory. */
bool gm_owns(const void *p);
/* Pointer-free objects below 16 bytes: several share a 16-byte block (see tiny.c). n < 16. */
void *gm_alloc_tiny(size_t n);

/* Gives all free pages back to the kernel, after flushing the caller's and the shared caches;
 * returns the bytes given back. */
size_t gm_trim(void);

/* What to do with pointers that belong to somebody else's allocator (TRAPS: "foreign pointer or
 * crime"). Set once, before threads exist; NULL members mean misuse. */
struct gm_foreign {
    void (*free)(void *p);
    void *(*realloc)(void *p, size_t n);
    size_t (*usable_size)(void *p);
};
void gm_set_foreign(const struct gm_foreign *f);

/* Called from the library's constructor: options, fork handlers, exit report. `envp` may be NULL. */
void gm_constructor(char **envp);

/* Called around fork(2) by pthread_atfork: all locks in rank order; new identity in the child. */
extern GM_HIDDEN bool gm_forks_minded; /* somebody calls the next three around every fork: whoever has them registered says so */
void gm_fork_prepare(void);
void gm_fork_parent(void);
void gm_fork_child(void);
/* Instead of all three, in the child of a process that had one thread. */
void gm_fork_child_alone(void);
/* `call` is called before a thread makes its cache while another has one; it may allocate. */
void gm_before_second_thread(void (*call)(void));

/* A thread is about to sleep in a call that can be cut into pieces, of which it has made so many: ns after which it shall ask
 * again, 0: it may sleep on (scavenge.h). While gm_hooks.idle. */
uint64_t gm_before_sleep(unsigned looks);
/* The program has started a thread and could start another here (scavenge.h). */
void gm_threads_started(void);

/* The host sets RLIMIT_AS to `bytes`: gives back reserved, unused address space so that the rest of
 * the process still fits. */
void gm_limit_address_space(size_t bytes);

#endif
