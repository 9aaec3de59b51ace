/* A fake operating system: all of libgomalloc/os/os.h, kept to the letter and able to refuse.
 *
 * A test that links os_fake.c in front of libgomalloc.a gets memory from one region with real addresses.
 * The fake knows the state of every page of it and what mapping it belongs to, ends the process at the
 * first call that os.h does not allow (`fake os: ...` on stderr), refuses what it is told to refuse, and
 * counts. The settings of `fake` are read at the library's first call: set them before. */
#ifndef TESTS_FAKE_OS_FAKE_H
#define TESTS_FAKE_OS_FAKE_H

#include "libgomalloc/os/os.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fake_kind {
    FAKE_RESERVE, FAKE_COMMIT, FAKE_MAP, FAKE_UNCOMMIT, FAKE_RELEASE, FAKE_MOVE, FAKE_RENEW, FAKE_KEY, FAKE_KEY_SET, FAKE_WRITE,
    FAKE_FALLIBLE,                /* the kinds above can fail; as an argument: any of them */
    FAKE_UNMAP = FAKE_FALLIBLE + 1, FAKE_NAME, FAKE_TIME, FAKE_KINDS
};
enum fake_state { FAKE_NONE, FAKE_RESERVED, FAKE_READY, FAKE_RELEASED, FAKE_STATES };

struct fake {
    /* Settings, and their defaults. */
    size_t page;                  /* page size: 4096 (default) or 65536 */
    size_t space;                 /* address space that exists; 4 GiB, at most 1 TiB */
    size_t limit;                 /* address space the process may use (RLIMIT_AS); SIZE_MAX */
    size_t memory;                /* physical; 1 GiB */
    size_t commit_limit;          /* strict overcommit: bytes that may be ready or released; SIZE_MAX */
    bool lose_target;             /* a move that fails takes the memory at its target along */
    uint64_t tick;                /* the clock moves by this at every look */
    bool (*refuse)(enum fake_kind kind, const void *p, size_t size); /* NULL: refuse nothing */
    size_t group_limit;           /* of the control group; 0: none */
    enum gm_os_huge_setting huge;
    uint64_t faults;              /* page faults so far */
    /* What happened. */
    unsigned huge_asked, small_asked, collapsed;
    unsigned group_asked;
    size_t calls[FAKE_KINDS];
    size_t failures;              /* calls that failed because a test said so, or a limit did */
    size_t failed[FAKE_FALLIBLE]; /* the same by kind */
    size_t misaligned;            /* release, move, renew refused because of the page size */
    size_t bytes[FAKE_STATES];    /* in each state; FAKE_NONE is not kept */
    size_t committed, peak_committed;
    uint64_t now;
};
extern struct fake fake;

/* The nth call of the kind from now on fails (1: the next one; 0: none does), or it and all after it. */
void fake_fail(enum fake_kind kind, size_t nth);
void fake_fail_from(enum fake_kind kind, size_t nth);
/* Calls that could have failed, so far. */
size_t fake_fallible_calls(void);

void fake_advance(uint64_t ns);
enum fake_state fake_state_of(const void *p);
bool fake_all(const void *p, size_t size, enum fake_state state);
/* Bytes of [p, p + size) that are backed by memory: those that have been written to. */
size_t fake_resident(const void *p, size_t size);

#endif
