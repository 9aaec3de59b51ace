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

int main(void) {
    pthread_t thread;
    void *p;
    pthread_create(&thread, NULL, allocate_and_free, NULL);
    pthread_join(thread, &p);
    free(crime(p));
    return 0;
}
