/* setrlimit and prlimit, for the sake of RLIMIT_AS.
 *
 * The allocator reserves far more address space than it uses. A program that limits its own address
 * space counts on having the difference between the limit and what it uses; the reservation would eat
 * that, and every later mmap and stack growth would fail. So the allocator learns of the limit first
 * and gives reserved space back. If the call then fails, nothing but unused address space was lost.
 *
 * Not for the child of vfork, which commonly limits itself before exec: it would shrink its parent's
 * reservation. A limit that the process inherits is seen when the reservation is made.
 *
 * The system call is made here and not by the next definition: it is one line, and a limit may be set
 * in places where dlsym is out of the question. */
#define _GNU_SOURCE 1
#include "preload/process.h"

#include "libgomalloc/alloc.h"
#include "libgomalloc/base/check.h"
#include "libgomalloc/os/os.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

GM_STATIC_ASSERT(sizeof(struct rlimit) == sizeof(struct rlimit64) && sizeof(rlim_t) == 8,
                 "struct rlimit is what the kernel's prlimit64 takes");

static int set_limit(pid_t pid, int resource, const struct rlimit64 *new, struct rlimit64 *old) {
    if (resource == RLIMIT_AS && new != NULL && new->rlim_cur != RLIM64_INFINITY && !gm_standing_aside &&
        gm_process_is_own() && (pid == 0 || pid == gm_os_getpid()))
        gm_limit_address_space(new->rlim_cur);
    return (int)syscall(SYS_prlimit64, pid, resource, new, old);
}

GM_EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit) {
    return set_limit(0, (int)resource, limit, NULL);
}

GM_EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) {
    return set_limit(0, (int)resource, (const struct rlimit64 *)limit, NULL);
}

GM_EXPORT int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *new,
                        struct rlimit64 *old) {
    return set_limit(pid, (int)resource, new, old);
}

GM_EXPORT int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *new,
                      struct rlimit *old) {
    return set_limit(pid, (int)resource, (const struct rlimit64 *)new, (struct rlimit64 *)old);
}
