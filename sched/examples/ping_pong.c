/* A ball between two players, who count the strokes, until main takes it off the table. */
#include <gosched.h>
#include <stdio.h>

static gochan *table;

static void player(void *name) {
    for (int ball;;) {
        gochan_recv(table, &ball);
        ball++;
        if (ball <= 6) printf("%s %d\n", (const char *)name, ball);
        gochan_send(table, &ball);
    }
}

int main(void) {
    int ball = 0;
    go_maxprocs(1); /* so that the players take turns in a known order */
    table = gochan_make(sizeof(int), 0);
    go(player, "ping");
    go(player, "pong");
    go_sleep(1000000);
    gochan_send(table, &ball);
    go_sleep(50000000);
    gochan_recv(table, &ball);
    printf("%s\n", ball > 6 ? "game over" : "nobody played");
    return 0;
}
