/* planted MODE: says "ready" and waits until its standard input is closed.
 *   profile   50 MB live from planted(), and ten times as much from churn(), freed again
 *   pins      20 000 blocks of 2 KB from filled(), freed but for one in forty, which pinning() allocated between them */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 50000 };
static void *kept[BLOCKS];

#define SITE __attribute__((noinline, noclone))
SITE void *planted(size_t n) {
    void *p = malloc(n);
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}
SITE void churn(size_t n) {
    void *p = malloc(n);
    __asm__ volatile("" : : "r"(p) : "memory");
    free(p);
}
SITE void *filled(void) {
    void *p = malloc(2048);
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}
SITE void *pinning(void) {
    void *p = malloc(2048);
    __asm__ volatile("nop" : : "r"(p) : "memory");
    return p;
}

int main(int argc, char **argv) {
    char c;
    if (argc > 1 && !strcmp(argv[1], "pins")) {
        for (int i = 0; i < 20000; i++) kept[i] = i % 40 ? filled() : pinning();
        for (int i = 0; i < 20000; i++)
            if (i % 40) free(kept[i]);
    } else {
        for (int i = 0; i < BLOCKS; i++) {
            kept[i] = planted(1000);
            for (int k = 0; k < 10; k++) churn(1000);
            churn(8);
        }
    }
    puts("ready");
    fflush(stdout);
    while (read(0, &c, 1) > 0) continue;
    return 0;
}
