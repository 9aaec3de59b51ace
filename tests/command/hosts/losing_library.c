/* Loses a block and is unloaded (leaky.c). */
#include <stdlib.h>

void lose_in_library(void);
__attribute__((noinline, noclone)) void lose_in_library(void) {
    void *p = malloc(4444);
    __asm__ volatile("" : : "r"(p) : "memory");
}
