/* The prime sieve of Go's first talks: a chain of goroutines, each of which lets through what its prime does not divide. */
#include <gosched.h>
#include <stdio.h>
#include <stdlib.h>

struct filter {
    gochan *in, *out;
    int prime;
};

static void generate(void *ch) {
    for (int i = 2;; i++) gochan_send(ch, &i);
}

static void filter(void *arg) {
    struct filter *f = arg;
    for (int i;;) {
        gochan_recv(f->in, &i);
        if (i % f->prime != 0) gochan_send(f->out, &i);
    }
}

int main(void) {
    gochan *ch = gochan_make(sizeof(int), 0);
    go(generate, ch);
    for (int i = 0; i < 30; i++) {
        struct filter *f = malloc(sizeof *f);
        f->in = ch;
        gochan_recv(ch, &f->prime);
        printf("%d%c", f->prime, i % 10 == 9 ? '\n' : ' ');
        f->out = ch = gochan_make(sizeof(int), 0);
        go(filter, f);
    }
    return 0; /* the process ends with main, whatever still runs */
}
