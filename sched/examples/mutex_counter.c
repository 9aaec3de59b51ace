/* Tour of Go, "sync.Mutex": a counter that many goroutines may use at once. */
#include <gosched.h>
#include <stdio.h>

struct safe_counter {
    gomutex mu;
    int value; /* of one key; guarded by mu */
};

static struct safe_counter counter; /* the zero value is ready to use */
static gowaitgroup done;

static void increment(void *arg) {
    struct safe_counter *c = arg;
    gomutex_lock(&c->mu);
    c->value++;
    gomutex_unlock(&c->mu);
    gowaitgroup_done(&done);
}

int main(void) {
    gowaitgroup_add(&done, 1000);
    for (int i = 0; i < 1000; i++) go(increment, &counter);
    gowaitgroup_wait(&done);
    printf("%d\n", counter.value);
    return 0;
}
