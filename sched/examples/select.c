/* Tour of Go, "Select": sends as long as somebody takes, until told to quit. */
#include <gosched.h>
#include <stdio.h>

static gochan *c, *quit;

static void fibonacci(void) {
    for (int x = 0, y = 1, next;;) {
        gocase cases[] = {GO_SEND(c, &x), GO_RECV(quit, NULL)};
        if (goselect(cases, 2) == 1) {
            printf("quit\n");
            return;
        }
        next = x + y;
        x = y;
        y = next;
    }
}

static void takes_ten(void *arg) {
    (void)arg;
    for (int i = 0, v; i < 10; i++) {
        gochan_recv(c, &v);
        printf("%d\n", v);
    }
    gochan_send(quit, NULL);
}

int main(void) {
    c = gochan_make(sizeof(int), 0);
    quit = gochan_make(0, 0);
    go(takes_ten, NULL);
    fibonacci();
    return 0;
}
