/* The proof that another thread sleeps, from Linux. The contract stands in os.h, what it is good for in
 * idle.c.
 *
 * /proc/self/task/TID/syscall is written by a kernel that has waited until the thread is off its CPU: "running",
 * or the number and the arguments of the system call in which it sleeps, or -1 where it sleeps outside of one
 * (a page fault, stopped on its way back from an interrupt). The counts of context switches in the file `status`
 * grow when a thread is taken off its CPU. So when the counts are the same before and after a look that found it
 * asleep, it had gone to sleep before the first reading of the counts, and was asleep until the look.
 *
 * Both files of a thread are closed even to its own process where that has been made undumpable by changing its
 * user, and absent in some sandboxes: then nobody is known to sleep. */
#include "libgomalloc/os/os.h"

#include <string.h>
#include <sys/syscall.h>

/* The calls in which a program waits. Not in the list: those in which memory and thread registers are shared with a process that
 * runs meanwhile (vfork, clone, execve), and waiting for one (wait4, waitid), as it may share them; those that
 * the allocator makes itself (madvise, mmap, mprotect); those that end quickly. */
static const uint16_t waits[] = {
    SYS_futex, SYS_nanosleep, SYS_clock_nanosleep, SYS_ppoll, SYS_pselect6, SYS_epoll_pwait, SYS_read, SYS_readv,
    SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_accept, SYS_accept4, SYS_connect, SYS_rt_sigtimedwait, SYS_msgrcv,
    SYS_semop, SYS_semtimedop, SYS_io_getevents, SYS_flock,
#ifdef SYS_poll
    SYS_poll, SYS_select, SYS_epoll_wait, SYS_pause,
#endif
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2,
#endif
#ifdef SYS_io_uring_enter
    SYS_io_uring_enter,
#endif
#ifdef SYS_futex_waitv
    SYS_futex_waitv,
#endif
};

static uint64_t decimal(const char *s) {
    uint64_t v = 0;
    while (*s == ' ' || *s == '\t') s++;
    for (; *s >= '0' && *s <= '9'; s++) v = v * 10 + (uint64_t)(*s - '0');
    return v;
}

static uintptr_t hexadecimal(const char *s) {
    uintptr_t v = 0;
    for (s += s[0] == '0' && s[1] == 'x' ? 2 : 0;; s++) {
        char c = *s;
        if (c >= '0' && c <= '9') v = v * 16 + (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f') v = v * 16 + (uintptr_t)(c - 'a' + 10);
        else return v;
    }
}

static bool waits_in(unsigned number) {
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++)
        if (waits[i] == number) return true;
    return false;
}

static bool counted(const char *text, const char *name, uint64_t *sum) {
    const char *at = strstr(text, name);
    if (at) *sum += decimal(at + strlen(name));
    return at != NULL;
}

bool gm_os_asleep(int tid, struct gm_os_asleep *out) {
    char text[4096];
    /* "202 0x7f0123456789 0x189 ..."; anything but a digit first is "running", or no call. */
    if (!gm_os_read_thread_file(tid, "syscall", text, sizeof text) || text[0] < '0' || text[0] > '9') return false;
    unsigned number = (unsigned)decimal(text);
    const char *first = strchr(text, ' ');
    if (!first || !waits_in(number)) return false;
    bool futex = number == SYS_futex;
#ifdef SYS_futex_waitv
    futex = futex || number == SYS_futex_waitv;
#endif
    out->futex = futex ? hexadecimal(first + 1) : 0;
    out->switches = 0;
    return gm_os_read_thread_file(tid, "status", text, sizeof text) && counted(text, "\nvoluntary_ctxt_switches:", &out->switches) &&
           counted(text, "\nnonvoluntary_ctxt_switches:", &out->switches);
}
