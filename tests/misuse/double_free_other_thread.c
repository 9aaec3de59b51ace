/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

#include <pthread.h>

static pthread_barrier_t freed;

static void *free_and_wait(void *p) {
    give(p);
    pthread_barrier_wait(&freed);
    pause();
    return NULL;
}

int main(void) {
    /* Another thread, still alive, has freed it. */
    pthread_t thread;
    void *p = get(200);
    pthread_barrier_init(&freed, NULL, 2);
    pthread_create(&thread, NULL, free_and_wait, p);
    pthread_barrier_wait(&freed);
    free(crime(p));
    return 0;
}
