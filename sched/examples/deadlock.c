/* Everybody waits for somebody else: the library says so, shows where, and ends the process with status 2. */
#include <gosched.h>
#include <stdio.h>

static void never_told(void *ch) {
    gochan_recv(ch, NULL);
    printf("not reached\n");
}

int main(void) {
    gowaitgroup done = {0};
    printf("waiting\n");
    fflush(stdout);
    gowaitgroup_add(&done, 1); /* and nobody calls gowaitgroup_done */
    go(never_told, gochan_make(0, 0));
    gowaitgroup_wait(&done);
    return 0;
}
