/* Waiting for descriptors: what io.c asks of the poller. See netpoll.c. */
#ifndef GS_NETPOLL_H
#define GS_NETPOLL_H

#include "sched/timer.h"
#include "sched/waitq.h"

enum gs_poll_way { GS_POLL_READ, GS_POLL_WRITE };
/* How a descriptor is read and written; a guess that io.c corrects, because the number can have been used again. */
enum gs_poll_kind { GS_FD_UNKNOWN, GS_FD_SOCKET, GS_FD_STREAM /* pipes, terminals, ... */, GS_FD_PLAIN /* epoll refuses it */ };

/* One descriptor number. Records are made on first use and never go away. */
struct gs_poll {
    struct gs_lock lock;
    int fd;                    /* constant */
    uint32_t epoch;            /* of the epoll set it was put into; 0: none. atomic */
    uint32_t kind;             /* enum gs_poll_kind; atomic */
    uint32_t edges[2];         /* events so far, per way; atomic, changed under the lock */
    struct gs_waitq waiters[2];   /* under the lock, as all that follows */
    uint32_t parks, parks_seen;   /* how often somebody parked; at the last round of checking */
    bool young;                /* in the list of those to be checked */
    uint32_t accepting;        /* 1: somebody is between poll and accept, 2: and somebody else came meanwhile; atomic */
    bool has_timer;
    bool expired;              /* the deadline has passed; read without the lock as a hint */
    int64_t deadline;          /* nanotime; 0: none; atomic */
    uint64_t device, inode;    /* whose deadline that is */
    struct gs_poll *next;      /* in that list */
    struct gs_timer timer;
};

/* NULL and errno: a bad number or no memory. */
struct gs_poll *gs_poll_of(int fd);
/* Parks the calling goroutine until the descriptor may be ready: at once if edges[way] is not `seen` any more, which the
 * caller has read before its last try. `again`: it was woken for this before, so it stands first.
 * 0: try again. -ETIMEDOUT, -EBADF; -EPERM: epoll refuses this file; -errno of epoll. */
int gs_poll_wait(struct gs_poll *d, enum gs_poll_way way, uint32_t seen, bool again);
/* Whoever was woken and is through hands on to the next in the queue. */
void gs_poll_pass(struct gs_poll *d, enum gs_poll_way way);
/* Waits for any of `ways` (bits 1 << way) until the time; 0 (retry) or as above. */
int gs_poll_wait_any(struct gs_poll *d, unsigned ways, const uint32_t seen[2], int64_t until);
/* Counts as an event: readers that saw no chance try again. */
void gs_poll_retry(struct gs_poll *d, enum gs_poll_way way);
/* The registration may be another file's: all who wait try again. */
void gs_poll_all_retry(struct gs_poll *d);
/* Starts afresh for a new file of this number; those who wait get EBADF. */
void gs_poll_forget(struct gs_poll *d);
int gs_poll_set_deadline(struct gs_poll *d, int64_t when);
/* True if the deadline has passed and belongs to the file that has this number now. */
bool gs_poll_expired(struct gs_poll *d);

/* ---- netpoll.c for netpoll_epoll.c */
/* Wakes the first who waits that way; a goroutine is prepended to *list. */
void gs_poll_event(struct gs_poll *d, bool read, bool write, struct gs_g **list);
/* One round over those that wait for long: is their registration still there? */
void gs_poll_check(struct gs_g **list);
bool gs_poll_has_young(void);
void gs_poll_each(void (*fn)(struct gs_poll *d, void *arg), void *arg);
bool gs_poll_wanted(void);
void gs_poll_fork_child(void);

/* ---- netpoll_epoll.c for netpoll.c */
/* Puts d into the epoll set if it is not in the current one; `verify`: asks the kernel even if it seems to be. 0 or -errno. */
int gs_epoll_add(struct gs_poll *d, bool verify);
struct gs_g *gs_epoll_wait(int64_t wait_ns);
bool gs_epoll_interrupt(void);
bool gs_epoll_late(void);
void gs_epoll_fork_child(void);

#endif
