/* The Go blog, "Defer, Panic, and Recover": a panic runs what was deferred and ends where it is recovered. */
#include <gosched.h>
#include <stdio.h>

static void print_deferred(void *i) { printf("Defer in g %d\n", (int)(intptr_t)i); }

static void g(int i) {
    if (i > 3) {
        printf("Panicking!\n");
        go_panic("4");
        return; /* never, but the compiler is not to know (gosched.h) */
    }
    GO_DEFER(print_deferred, (void *)(intptr_t)i);
    printf("Printing in g %d\n", i);
    g(i + 1);
}

static void recovers(void *arg) {
    (void)arg;
    char *value = go_recover();
    if (value) printf("Recovered in f %s\n", value);
}

static void f(void) {
    GO_DEFER(recovers, NULL);
    printf("Calling g.\n");
    g(0);
    printf("Returned normally from g.\n");
}

int main(void) {
    f();
    printf("Returned normally from f.\n");
    return 0;
}
