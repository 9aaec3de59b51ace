/* Tour of Go, "Channels": the sum of an array, half of it on each of two goroutines. */
#include <gosched.h>
#include <stdio.h>

struct part {
    const int *from, *to;
    gochan *sums;
};

static void sum(void *arg) {
    struct part *p = arg;
    int total = 0;
    for (const int *v = p->from; v < p->to; v++) total += *v;
    gochan_send(p->sums, &total);
}

int main(void) {
    int s[] = {7, 2, 8, -9, 4, 0}, x, y;
    gochan *sums = gochan_make(sizeof(int), 0);
    struct part low = {s, s + 3, sums}, high = {s + 3, s + 6, sums};
    go(sum, &low);
    go(sum, &high);
    gochan_recv(sums, &x);
    gochan_recv(sums, &y);
    printf("%d %d\n", x > y ? x : y, x + y); /* which half comes first is open */
    gochan_free(sums);
    return 0;
}
