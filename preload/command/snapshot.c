/* See snapshot.h.
 *
 * THE PROCESS IS DISTURBED BY ONE FORK. Its threads are stopped by ptrace (SEIZE and INTERRUPT: no signal, and a system call
 * that was interrupted goes on as if nothing had been), their registers are read, and one of them is made to call clone
 * at gm_endpoint_syscall. The child, a copy at one instant, is a tracee from birth and never runs an instruction of the
 * program's; everything else happens on it while the process goes on. Nothing of this needs the process's help: it
 * may be asleep, or deadlocked in malloc.
 *
 *   - clone without an exit signal: no SIGCHLD, the program's wait() does not see the child, no atfork handler runs.
 *   - The child closes its copies of the descriptors at once, or a pipe's reader would wait for it.
 *   - It dies with this command (EXITKILL). To its parent it is then a zombie, which the process is made to wait for in
 *     the same way: one thread, one more system call.
 *   - Blocking calls that answer EINTR after any stop (epoll_wait and a few more, signal(7)) are set back to their
 *     beginning, unless a signal is pending that would have ended them anyway. Their timeout begins anew.
 *
 * Who may: whoever may ptrace the process; see libgomalloc/endpoint.c. A process under a debugger cannot be seized, but it
 * stands: then it is its own snapshot, and the debugger says what is in the registers. */
#include "preload/command/snapshot.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/command/command.h"

#if defined(__x86_64__)

enum { STOP_SECONDS = 5 };

/* ---- threads */

static struct held_thread *find(struct snapshot *s, pid_t tid) {
    for (size_t i = 0; i < s->n_threads; i++)
        if (s->thread[i].tid == tid) return &s->thread[i];
    return NULL;
}

static void let_go(struct snapshot *s) {
    for (size_t i = 0; i < s->n_threads; i++) ptrace(PTRACE_DETACH, s->thread[i].tid, NULL, (void *)(long)s->thread[i].signal);
}

/* Seizes the threads that are not yet; how many there were. -1: refused. */
static int seize_new(struct snapshot *s) {
    char name[64];
    int found = 0;
    snprintf(name, sizeof name, "/proc/%d/task", (int)s->pid);
    DIR *dir = opendir(name);
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));) {
        pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
        if (tid <= 0 || find(s, tid)) continue;
        if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0) {
            if (errno == ESRCH || (errno == EPERM && s->n_threads)) continue; /* it has ended, or is ending */
            found = -1;
            break;
        }
        s->thread = need_more(s->thread, (s->n_threads + 1) * sizeof *s->thread);
        s->thread[s->n_threads++] = (struct held_thread){ .tid = tid };
        ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
        found++;
    }
    closedir(dir);
    return found;
}

static void forget(struct snapshot *s, struct held_thread *t) { *t = s->thread[--s->n_threads]; }

/* Waits for every seized thread to stop or end. Returns the thread that does neither; 0: they all did. */
static pid_t wait_for_stops(struct snapshot *s, double deadline) {
    for (size_t i = 0; i < s->n_threads;) {
        struct held_thread *t = &s->thread[i];
        int status;
        pid_t got = t->stopped ? 0 : waitpid(t->tid, &status, __WALL | WNOHANG);
        if (t->stopped) i++;
        else if (got == t->tid && WIFSTOPPED(status)) {
            t->stopped = true;
            t->signal = status >> 16 ? 0 : WSTOPSIG(status);
        } else if (got != 0) forget(s, t);
        else if (now() > deadline) return t->tid;
        else usleep(20);
    }
    return 0;
}

/* Every thread stands. False: *why says what stood against it; nobody stands then. */
static bool hold(struct snapshot *s, const char **why) {
    double deadline = now() + STOP_SECONDS;
    for (int found = 1; found > 0;) {
        found = seize_new(s);
        if (found < 0) *why = errno == EPERM ? "it is being debugged, or may not be" : strerror(errno);
        pid_t stuck = found < 0 ? 0 : wait_for_stops(s, deadline);
        if (stuck) *why = format_new("thread %d does not stop (it sits in the kernel, perhaps in vfork)", (int)stuck);
        if (found < 0 || stuck) {
            let_go(s);
            s->n_threads = 0;
            return false;
        }
    }
    return s->n_threads != 0;
}

static void read_registers(struct held_thread *t) {
    struct iovec v = { t->vector, sizeof t->vector };
    ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs);
    if (ptrace(PTRACE_GETREGSET, t->tid, (void *)NT_X86_XSTATE, &v) == 0) t->vector_bytes = v.iov_len;
}

/* ---- calls that would answer EINTR */

static bool signal_is_pending(pid_t pid, pid_t tid) {
    char name[64], line[256];
    unsigned long own = 0, of_all = 0, blocked = 0;
    snprintf(name, sizeof name, "/proc/%d/task/%d/status", (int)pid, (int)tid);
    FILE *f = fopen(name, "re");
    while (f && fgets(line, sizeof line, f)) {
        sscanf(line, "SigPnd: %lx", &own);
        sscanf(line, "ShdPnd: %lx", &of_all);
        sscanf(line, "SigBlk: %lx", &blocked);
    }
    if (f) fclose(f);
    return (own | of_all) & ~blocked;
}

static void begin_again(const struct snapshot *s, struct held_thread *t) {
    static const long calls[] = { SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_rt_sigtimedwait, SYS_semop, SYS_semtimedop, SYS_msgrcv, SYS_msgsnd };
    if ((long)t->regs.rax != -EINTR || t->signal) return;
    for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if ((long)t->regs.orig_rax != calls[i] || signal_is_pending(s->pid, t->tid)) continue;
        t->regs.rax = t->regs.orig_rax;
        t->regs.rip -= 2; /* the instruction's length */
        ptrace(PTRACE_SETREGS, t->tid, NULL, &t->regs);
        return;
    }
}

/* ---- a system call by a held thread */

static bool wait_stop(pid_t tid, int *status) {
    pid_t got;
    while ((got = waitpid(tid, status, __WALL)) < 0 && errno == EINTR) continue;
    return got == tid && WIFSTOPPED(*status);
}

/* Makes the thread, which stands in a stop, do the call and stand in another stop, its registers as they were.
 * *born: the child, if it was a clone. Returns what the call did; -ESRCH: the thread is gone. */
static long call_in(pid_t tid, const char *at, const struct user_regs_struct *regs, long number, const long arg[6], pid_t *born) {
    struct user_regs_struct r = *regs;
    unsigned long message;
    uint64_t mask, all = ~UINT64_C(0);
    long answer = -ESRCH;
    int status;
    r.rip = (uintptr_t)at;
    r.rax = (unsigned long)number;
    r.orig_rax = (unsigned long)-1; /* no call to be restarted */
    r.rdi = (unsigned long)arg[0], r.rsi = (unsigned long)arg[1], r.rdx = (unsigned long)arg[2];
    r.r10 = (unsigned long)arg[3], r.r8 = (unsigned long)arg[4], r.r9 = (unsigned long)arg[5];
    if (ptrace(PTRACE_GETSIGMASK, tid, (void *)8, &mask) != 0) return answer;
    ptrace(PTRACE_SETSIGMASK, tid, (void *)8, &all);
    ptrace(PTRACE_SETOPTIONS, tid, NULL, (void *)(long)(PTRACE_O_TRACESYSGOOD | (born ? PTRACE_O_TRACECLONE : 0)));
    ptrace(PTRACE_SETREGS, tid, NULL, &r);
    for (unsigned stops = 0; stops < 2;) { /* at the entry and at the exit */
        if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL) != 0 || !wait_stop(tid, &status)) return answer;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) stops++;
        else if (status >> 16 == PTRACE_EVENT_CLONE && born && ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message) == 0) *born = (pid_t)message;
    }
    ptrace(PTRACE_GETREGS, tid, NULL, &r);
    answer = (long)r.rax;
    /* Back to a stop in which the kernel looks at interrupted calls again when the thread goes on: the one it was
     * in is restarted by the registers it had, as if this had not been. */
    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    ptrace(PTRACE_CONT, tid, NULL, NULL);
    if (!wait_stop(tid, &status)) return answer;
    ptrace(PTRACE_SETOPTIONS, tid, NULL, NULL);
    ptrace(PTRACE_SETREGS, tid, NULL, regs);
    ptrace(PTRACE_SETSIGMASK, tid, (void *)8, &mask);
    return answer;
}

/* One that was not stopped with a signal in hand, which would be lost on the way. */
static struct held_thread *one_to_call(struct snapshot *s) {
    for (size_t i = 0; i < s->n_threads; i++)
        if (!s->thread[i].signal) return &s->thread[i];
    return NULL;
}

static long make_child(struct snapshot *s, const struct remote *r) {
    struct held_thread *t = one_to_call(s);
    int status;
    if (!t) return -EAGAIN;
    long answer = call_in(t->tid, r->endpoint.syscall_at, &t->regs, SYS_clone, (const long[6]){ 0 }, &s->child);
    if (answer < 0 || !s->child) return answer < 0 ? answer : -ECHILD;
    return wait_stop(s->child, &status) ? 0 : -ECHILD;
}

static void close_descriptors(struct snapshot *s, const struct remote *r) {
    struct user_regs_struct regs;
    ptrace(PTRACE_SETOPTIONS, s->child, NULL, (void *)PTRACE_O_EXITKILL);
    if (ptrace(PTRACE_GETREGS, s->child, NULL, &regs) != 0) return;
    call_in(s->child, r->endpoint.syscall_at, &regs, SYS_close_range, (const long[6]){ 0, ~0u }, NULL);
    ptrace(PTRACE_SETOPTIONS, s->child, NULL, (void *)PTRACE_O_EXITKILL);
}

void snapshot_take(struct snapshot *s, const struct remote *r) {
    const char *why = "it has ended";
    *s = (struct snapshot){ .pid = r->pid, .copy = *r, .memory = -1 };
    double start = now();
    if (!hold(s, &why)) fail(1, "process %d: %s", (int)r->pid, why);
    for (size_t i = 0; i < s->n_threads; i++) {
        read_registers(&s->thread[i]);
        begin_again(s, &s->thread[i]);
    }
    long error = make_child(s, r);
    let_go(s);
    s->held_seconds = now() - start;
    if (error) fail(1, "process %d: no copy of it can be made: %s", (int)r->pid, strerror((int)-error));
    close_descriptors(s, r);
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/mem", (int)s->child);
    s->memory = open(name, O_RDONLY | O_CLOEXEC);
    s->copy.pid = s->child;
    if (s->memory < 0 || !mappings_read(&s->maps, s->child)) {
        snapshot_drop(s);
        fail(1, "process %d: its copy cannot be read: %s", (int)r->pid, strerror(errno));
    }
}

/* The process waits for its child. */
static void reap(struct snapshot *s) {
    struct snapshot again = { .pid = s->pid };
    size_t i = 0;
    int status;
    while (i < s->n_threads && ptrace(PTRACE_SEIZE, s->thread[i].tid, NULL, NULL) != 0) i++;
    if (i == s->n_threads) return; /* all have ended: the child is another's now */
    struct held_thread *t = again.thread = need(sizeof *again.thread);
    t->tid = s->thread[i].tid;
    again.n_threads = 1;
    ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
    if (wait_stop(t->tid, &status)) {
        t->signal = status >> 16 ? 0 : WSTOPSIG(status);
        read_registers(t);
        begin_again(&again, t);
        if (!t->signal) call_in(t->tid, s->copy.endpoint.syscall_at, &t->regs, SYS_wait4, (const long[6]){ s->child, 0, __WCLONE }, NULL);
        let_go(&again);
    }
    free(again.thread);
}

void snapshot_drop(struct snapshot *s) {
    int status;
    if (s->child && !s->held) {
        kill(s->child, SIGKILL);
        while (waitpid(s->child, &status, __WALL) == s->child && !WIFSIGNALED(status) && !WIFEXITED(status)) continue;
        reap(s);
    }
    if (s->memory >= 0) close(s->memory);
    mappings_free(&s->maps);
    free(s->thread);
    *s = (struct snapshot){ .memory = -1 };
}

/* ---- a process that a debugger holds */

static const struct { const char *name; size_t offset; } general[] = {
#define R(name) { #name, offsetof(struct user_regs_struct, name) }
    R(rax), R(rbx), R(rcx), R(rdx), R(rsi), R(rdi), R(rbp), R(rsp), R(r8), R(r9), R(r10), R(r11), R(r12), R(r13), R(r14), R(r15), R(rip), R(fs_base), R(gs_base),
#undef R
};

static void set_register(struct held_thread *t, const char *name, unsigned long value) {
    for (size_t i = 0; i < sizeof general / sizeof general[0]; i++) {
        if (strcmp(name, general[i].name) != 0) continue;
        memcpy((char *)&t->regs + general[i].offset, &value, sizeof value);
        return;
    }
    if (t->vector_bytes + sizeof value > sizeof t->vector) return;
    memcpy(t->vector + t->vector_bytes, &value, sizeof value);
    t->vector_bytes += sizeof value;
}

void snapshot_of_held(struct snapshot *s, const struct remote *r, const char *file) {
    char name[64];
    unsigned long value;
    int tid;
    FILE *f = fopen(file, "re");
    if (!f) fail(1, "%s: %s", file, strerror(errno));
    *s = (struct snapshot){ .pid = r->pid, .child = r->pid, .held = true, .copy = *r };
    while (fscanf(f, "%d %63s %lx", &tid, name, &value) == 3) {
        if (!find(s, tid)) {
            s->thread = need_more(s->thread, (s->n_threads + 1) * sizeof *s->thread);
            s->thread[s->n_threads++] = (struct held_thread){ .tid = tid };
        }
        set_register(find(s, tid), name, value);
    }
    fclose(f);
    if (!s->n_threads) fail(1, "%s: no registers", file);
    snprintf(name, sizeof name, "/proc/%d/mem", (int)s->pid);
    s->memory = open(name, O_RDONLY | O_CLOEXEC);
    if (s->memory < 0 || !mappings_read(&s->maps, s->pid)) fail(1, "process %d: %s", (int)s->pid, strerror(errno));
}

#else

void snapshot_of_held(struct snapshot *s, const struct remote *r, const char *file) { fail(1, "leaks and why are built for x86-64 only"); }
void snapshot_take(struct snapshot *s, const struct remote *r) { fail(1, "leaks and why are built for x86-64 only"); }
void snapshot_drop(struct snapshot *s) {}

#endif

size_t snapshot_read(const struct snapshot *s, uintptr_t at, void *to, size_t n) {
    ssize_t got = pread(s->memory, to, n, (off_t)at);
    return got < 0 ? 0 : (size_t)got;
}
