/* "Go Concurrency Patterns: Pipelines": numbers are made, squared by two stages at once, and merged. */
#include <gosched.h>
#include <stdio.h>

static gochan *numbers, *squares;
static gowaitgroup stages;

static void generate(void *arg) {
    (void)arg;
    for (int i = 1; i <= 100; i++) gochan_send(numbers, &i);
    gochan_close(numbers);
}

static void square(void *arg) {
    (void)arg;
    for (int n; gochan_recv(numbers, &n);) {
        n *= n;
        gochan_send(squares, &n);
    }
    gowaitgroup_done(&stages);
}

static void close_when_done(void *arg) {
    (void)arg;
    gowaitgroup_wait(&stages);
    gochan_close(squares);
}

int main(void) {
    numbers = gochan_make(sizeof(int), 0);
    squares = gochan_make(sizeof(int), 8);
    gowaitgroup_add(&stages, 2);
    go(generate, NULL);
    go(square, NULL);
    go(square, NULL);
    go(close_when_done, NULL);
    int count = 0, sum = 0;
    for (int n; gochan_recv(squares, &n); count++) sum += n;
    printf("%d squares, sum %d\n", count, sum);
    return 0;
}
