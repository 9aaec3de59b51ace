/* Tour of Go, "Goroutines": two of them speak at the same time. (Output in any order.) */
#include <gosched.h>
#include <stdio.h>

static void say(void *text) {
    for (int i = 0; i < 5; i++) {
        go_sleep(10000000); /* 10 ms */
        printf("%s\n", (const char *)text);
    }
}

static void say_and_tell(void *done) {
    say("world");
    gowaitgroup_done(done);
}

int main(void) {
    gowaitgroup done = {0};
    gowaitgroup_add(&done, 1);
    go(say_and_tell, &done);
    say("hello");
    gowaitgroup_wait(&done); /* in Go's version the last "world" may be lost with main */
    return 0;
}
