/* See endpoint.h; malloc.c for the overview.
 *
 * HOW A TOOL SEES INTO A PROCESS. It reads its memory (process_vm_readv), and nothing runs inside: no thread, no
 * socket, no descriptor, no signal, no request that somebody would have to serve. A program that is busy, asleep,
 * stopped or deadlocked in the allocator is looked at alike, and one that nobody looks at pays nothing.
 *
 *   1. /proc/PID/maps lists the files in the process. Each is asked for an ELF note "gomalloc" (in memory, so
 *      that a library which has been replaced or deleted since is found as well, under any name, and one that is
 *      linked into its program too). The note holds the distance to gm_endpoint below.
 *   2. gm_endpoint says where the allocator keeps what statistics are made of. The tool is of the same build
 *      (`layout`) and does with those records what stats.c does with its own: it walks the thread caches, the
 *      counts of the classes, the arenas with their page tables and span records.
 *   3. What it reads may change under its hands, as it does under those of gomalloc_read_stats: sums may be a
 *      few operations apart. A list that is cut while it is followed ends the reading, which is repeated. All
 *      walks are bounded; records are never unmapped (meta.h), so a stale pointer reads stale data.
 *
 * WHO IS LET IN. The kernel decides, by the check it makes for ptrace: the same user and no more privilege than
 * the caller's, or CAP_SYS_PTRACE; where the Yama module restricts that to ancestors (ptrace_scope 1),
 * `gomalloc run` still sees its own child, and others need root. In a set-user-ID process the loader drops the
 * preload, and should the library be there by other ways (ld.so.preload, linked in), the kernel closes the
 * process's memory, and the magic word is wiped besides.
 *
 * WHAT IS WRITTEN. One word: gm_profile.request, the rate at which allocations are to be sampled (profile.h). The tool stores
 * it with process_vm_writev, which the kernel allows to those it lets read; a thread sees it at its next miss.
 *
 * A SNAPSHOT, for `gomalloc leaks` and `gomalloc why`, is a fork that the tool makes the process do: it stops the threads by
 * ptrace, has one of them make the system call at gm_endpoint_syscall, and lets go (preload/command/snapshot.c).
 *
 * AT THE EXIT the process can wait for the tool that started it: GOMALLOC_EXIT_FIFO=PID:PATH names a FIFO. It writes
 * one byte there, and goes on when nobody has it open for reading any more.
 *
 * AFTER FORK the child has its own copy of all this at once, as it has of the heap. A child of vfork shows its
 * parent's, whose memory it has. After exec there is a new library, or none; the tool finds it anew. */
#include "libgomalloc/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/front.h"
#include "libgomalloc/os/os.h"
#include "libgomalloc/scavenge.h"

#if defined(__x86_64__)
__asm__(".text\n.hidden gm_endpoint_syscall\n.type gm_endpoint_syscall, @function\ngm_endpoint_syscall: syscall\n        hlt\n");
#elif defined(__aarch64__)
__asm__(".text\n.hidden gm_endpoint_syscall\n.type gm_endpoint_syscall, @function\ngm_endpoint_syscall: svc 0\n        udf 0\n");
#endif
extern const char gm_endpoint_syscall[] GM_HIDDEN;

struct gm_endpoint gm_endpoint = {
    .magic = GM_ENDPOINT_MAGIC,
    .space = &gm_space,
    .sparse = &gm_sparse_arenas,
    .caches = &gm_cache_roots,
    .central = &gm_central_roots,
    .transfer = &gm_transfer_roots,
    .span_records = gm_span_roots,
    .conf = &gm_conf,
    .profile = &gm_profile,
    .syscall_at = gm_endpoint_syscall,
    .meta_mappings = &gm_meta_mappings,
};

/* The distance is the same wherever the library lies, so the note needs no relocation. */
__asm__(".pushsection .note.gomalloc,\"a\",%note\n"
        "    .balign 4\n"
        "    .long 9, 8, 1\n"
        "    .asciz \"" GM_ENDPOINT_NOTE "\"\n"
        "    .balign 4\n"
        "1:  .quad gm_endpoint - 1b\n"
        "    .popsection\n");

void gm_endpoint_add(size_t offset, const uint64_t *at) {
    for (unsigned i = 0; i < GM_ENDPOINT_COUNTERS; i++) {
        if (gm_endpoint.counter[i].at) continue;
        gm_endpoint.counter[i] = (struct gm_endpoint_counter){ at, offset };
        return;
    }
}

/* ---- the exit: statistics for `gomalloc run --stats`, and the wait. GOMALLOC_STATS_FILE=PID:PATH names the one process
 * that is meant, for its children inherit the environment. */

static char *exit_path, *exit_fifo;
static pid_t exit_pid; /* whose exit it is: children made by fork inherit the handlers */

/* Waits until the tool has seen what it wants to see. It may have gone: then nobody reads, and the open fails. */
static void wait_at_exit(void) {
    if (gm_os_getpid() != exit_pid) return;
    int saved = errno, fd = open(exit_fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && syscall(SYS_write, fd, "x", 1) == 1) { /* not by names that preload/ wraps */
        struct pollfd p = { fd, 0, 0 };
        while (syscall(SYS_ppoll, &p, 1, NULL, NULL, 0) < 0 && errno == EINTR) continue;
    }
    if (fd >= 0) close(fd);
    errno = saved;
}

static void write_at_exit(void) {
    if (gm_os_getpid() != exit_pid) return;
    int saved = errno, fd = open(exit_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd >= 0) {
        gomalloc_write_stats(fd, "json");
        close(fd);
    }
    errno = saved;
}

/* What NAME=PID:PATH in the environment says to this process; a copy, for a program may write over its environment.
 * NULL: nothing. */
static char *exit_word(char *const *envp, const char *name) {
    size_t n = strlen(name);
    for (; envp && *envp; envp++) {
        if (strncmp(*envp, name, n) != 0) continue;
        const char *p = *envp + n;
        long pid = 0;
        for (; *p >= '0' && *p <= '9'; p++) pid = pid * 10 + (*p - '0');
        if (*p != ':' || !p[1] || pid != gm_os_getpid()) return NULL;
        char *copy = gm_meta_alloc(strlen(p), 1);
        return copy ? memcpy(copy, p + 1, strlen(p)) : NULL;
    }
    return NULL;
}

void gm_endpoint_start(char *const *envp) {
    if (gm_os_secure()) {
        memset(gm_endpoint.magic, 0, sizeof gm_endpoint.magic);
        return;
    }
    gm_endpoint.heap = gm_heap_roots;
    gm_endpoint.scavenge_ns = gm_scavenge_root;
    gm_endpoint.meta_used = gm_meta_root;
    gm_endpoint.exact_live = gm_exact_root;
    gm_endpoint.layout = gm_endpoint_layout();
    exit_pid = gm_os_getpid();
    if ((exit_fifo = exit_word(envp, "GOMALLOC_EXIT_FIFO=")) != NULL) atexit(wait_at_exit);
    if ((exit_path = exit_word(envp, "GOMALLOC_STATS_FILE=")) != NULL) atexit(write_at_exit);
}
