/* Tour of Go, "Default Selection": something else to do while nothing has come. (Output in any order, lines repeat.)
 * The first tick lights the fuse: on a busy machine all the time may pass in one sleep. */
#include <gosched.h>
#include <stdio.h>

static const int64_t MS = 1000000;

int main(void) {
    gochan *tick = go_tick(20 * MS), *boom = NULL;
    for (;;) {
        gocase cases[] = {GO_RECV(tick, NULL), GO_RECV(boom, NULL), GO_DEFAULT};
        switch (goselect(cases, 3)) {
        case 0:
            printf("tick.\n");
            if (!boom) boom = go_after(310 * MS);
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
