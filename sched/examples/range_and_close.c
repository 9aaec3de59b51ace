/* Tour of Go, "Range and Close": the sender closes, the receiver takes until nothing is left. */
#include <gosched.h>
#include <stdio.h>

static void fibonacci(void *arg) {
    gochan *c = arg;
    int x = 0, y = 1;
    for (size_t i = 0, n = gochan_cap(c); i < n; i++) {
        gochan_send(c, &x);
        int next = x + y;
        x = y;
        y = next;
    }
    gochan_close(c);
}

int main(void) {
    gochan *c = gochan_make(sizeof(int), 10);
    go(fibonacci, c);
    for (int v; gochan_recv(c, &v);) printf("%d\n", v); /* for v := range c */
    gochan_free(c);
    return 0;
}
