/* Sleeping on a word, from Linux: a file of its own, as the fake of the tests has all but this. The contract stands in os.h. */
#include "libgomalloc/os/os.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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
