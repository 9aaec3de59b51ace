/* gomalloc: free of memory never allocated: ADDR */
#include "tests/misuse/crime.h"

#include <pthread.h>

static void *free_local(void *arg) {
    (void)arg;
    _Alignas(16) char local[64] = {0};
    free(crime(local));
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, free_local, NULL);
    pthread_join(thread, NULL);
    return 0;
}
