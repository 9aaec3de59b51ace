/* Tour of Go, "Default Selection": something else to do while nothing has come. (Output in any order, lines repeat.) */
#include <gosched.h>
#include <stdio.h>

static const int64_t MS = 1000000;

int main(void) {
    gochan *tick = go_tick(20 * MS), *boom = go_after(330 * MS);
    for (;;) {
        gocase cases[] = {GO_RECV(tick, NULL), GO_RECV(boom, NULL), GO_DEFAULT};
        switch (goselect(cases, 3)) {
        case 0:
            printf("tick.\n");
            break;
        case 1:
            printf("BOOM!\n");
            gochan_free(tick);
            gochan_free(boom);
            return 0;
        default:
            printf("    .\n");
            go_sleep(10 * MS);
        }
    }
}
