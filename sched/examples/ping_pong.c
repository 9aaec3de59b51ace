/* A ball between two players, who count the strokes; the sixth ends the game. */
#include <gosched.h>
#include <stdio.h>

static gochan *table, *over;

static void player(void *name) {
    for (int ball;;) {
        gochan_recv(table, &ball);
        printf("%s %d\n", (const char *)name, ++ball);
        if (ball == 6) break;
        gochan_send(table, &ball);
    }
    gochan_send(over, NULL);
}

int main(void) {
    int ball = 0;
    go_maxprocs(1); /* so that who plays first is known */
    table = gochan_make(sizeof(int), 0);
    over = gochan_make(0, 0);
    go(player, "ping");
    go(player, "pong");
    gochan_send(table, &ball);
    gochan_recv(over, NULL);
    printf("game over\n");
    return 0;
}
