/* Threads and heap, for programs with a sanitizer linked in. Arguments plant a bug: "heap" uses a
 * freed block, "race" writes a variable from two threads without a lock. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long counter;
static int racing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *arg) {
    for (int i = 0; i < 2000; i++) {
        char *volatile p = calloc(1, (size_t)i + 1);
        p = realloc(p, (size_t)i * 3 + 1);
        free(p);
        if (!racing) pthread_mutex_lock(&lock);
        counter++;
        if (!racing) pthread_mutex_unlock(&lock);
    }
    return arg;
}

int main(int argc, char **argv) {
    pthread_t t[2];
    const char *bug = argc > 1 ? argv[1] : "";
    racing = strcmp(bug, "race") == 0;
    for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, work, NULL);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    void *aligned = NULL;
    if (posix_memalign(&aligned, 4096, 100) || (size_t)aligned % 4096) return 3;
    free(aligned);
    char *volatile p = malloc(100);
    free(p);
    if (strcmp(bug, "heap") == 0) p[5] = 1;
    printf("done %d\n", counter == 4000 || racing);
    return 0;
}
