/* Collects while a global's table holds a hundred blocks, loses one, says "ready" and its address as a complement, and sleeps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 100, LOST = 10 };
static void *volatile *table;

__attribute__((noinline, noclone)) static void wipe(void) {
    volatile char over[512 * 1024];
    memset((void *)over, 0, sizeof over);
}
__attribute__((noinline, noclone)) static uintptr_t make(void) {
    table = malloc(BLOCKS * sizeof *table);
    for (int i = 0; i < BLOCKS; i++) table[i] = malloc(600);
    return ~(uintptr_t)table[LOST];
}
int main(void) {
    void (*collect)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "gogc_collect");
    uintptr_t hidden = make();
    if (!collect) return 1;
    collect();
    table[LOST] = NULL;
    wipe();
    printf("ready 0x%lx\n", hidden);
    fflush(stdout);
    sleep(600);
}
