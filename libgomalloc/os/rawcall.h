/* System calls that touch no thread-local storage: for code that runs on threads whose thread register may
 * point anywhere, where even errno is out of bounds. The answer is the kernel's: a value or -errno. */
#ifndef GM_OS_RAWCALL_H
#define GM_OS_RAWCALL_H

#include "libgomalloc/base/compiler.h"

#if defined(__x86_64__)
GM_INLINE long gm_rawcall(long number, long a, long b, long c, long d) {
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
GM_INLINE long gm_rawcall(long number, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#endif

#endif
