/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

#include <pthread.h>

static void *neighbour;

static void *allocate_and_free(void *arg) {
    (void)arg;
    neighbour = get(200); /* stays, so that the slot's span does */
    void *p = get(200);
    give(p);
    return p;
}

static void *nothing(void *arg) { return arg; }

int main(void) {
    pthread_t thread;
    void *p;
    /* The first thread brings the library's own with it, whose making allocates: not between the two frees. */
    pthread_create(&thread, NULL, nothing, NULL);
    pthread_join(thread, NULL);
    usleep(100000);
    pthread_create(&thread, NULL, allocate_and_free, NULL);
    pthread_join(thread, &p);
    free(crime(p));
    return 0;
}
