/* Goroutines for C: what Go programmers have, in any C or C++ program that links or preloads the library.
 *
 * Semantics are Go's unless a line says otherwise. Every function may be called from goroutines and from plain
 * threads (main included); a plain thread that would wait sleeps. main is not a goroutine: the process lives as long as
 * main does. Errors are returned as -errno where a line says so; misuse panics with Go's text. errno of the caller is
 * kept by every call that does not say otherwise. A goroutine may continue on another thread after any call declared here,
 * and only there. So thread-local variables and pthread mutexes must not be carried across such calls, unless between
 * go_lock_thread and go_unlock_thread.
 *
 * The link names are gosched_*: a preloaded library never captures a program's own function called go. */
#ifndef GOSCHED_H
#define GOSCHED_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GOSCHED_API(name) __asm__("gosched_" #name) __attribute__((visibility("default")))

/* The C library declares the address of errno constant, so compilers keep it in a register across calls, and
 * a goroutine that continued on another thread would read a stranger's. This one is asked for each time. */
int *gosched_errno_location(void) GOSCHED_API(errno_location);
#undef errno
#define errno (*gosched_errno_location())

/* ---- goroutines */

/* Runs fn(arg) on a new goroutine. 0 or -errno (-EAGAIN: no thread could be made, -ENOMEM: no stack). */
int go(void (*fn)(void *), void *arg) GOSCHED_API(go);
/* The same with a stack of at least so many bytes in place of 256 KiB. Memory is only used where the stack was touched. */
int go_stack(size_t stack_bytes, void (*fn)(void *), void *arg) GOSCHED_API(go_stack);
void go_yield(void) GOSCHED_API(yield);
/* Ends the calling goroutine; on a plain thread, the thread. */
__attribute__((noreturn)) void go_exit(void) GOSCHED_API(exit);
/* Of the calling goroutine; 0 on a plain thread. */
uint64_t go_id(void) GOSCHED_API(id);
/* Goroutines that exist. */
int go_count(void) GOSCHED_API(count);
/* Sets how many goroutines may run at the same time; returns the previous number. n < 1: asks only. Waits until every
 * running goroutine has come to its next call of this header. */
int go_maxprocs(int n) GOSCHED_API(maxprocs);
/* Between the two the goroutine stays on its thread and the thread runs nothing else. They nest. */
void go_lock_thread(void) GOSCHED_API(lock_thread);
void go_unlock_thread(void) GOSCHED_API(unlock_thread);
/* Around a call that may block the thread: other goroutines go on meanwhile. No other call of this header between them. */
void go_entersyscall(void) GOSCHED_API(entersyscall);
void go_exitsyscall(void) GOSCHED_API(exitsyscall);

#ifdef __cplusplus
}
#endif

#endif
