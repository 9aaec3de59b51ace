/* blocked: threads asleep in calls of all kinds, some of which would answer EINTR if they were stopped carelessly. Says
 * "ready PID", sleeps until its standard input is closed, then lets all of them go and reports: one line for what went
 * wrong, or "undisturbed". */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 8 };
static int ends[2];              /* closing ends[1] wakes whoever waits for it */
static int semaphores;
static sem_t semaphore;
static volatile int children;
static const char *names[CALLS] = { "read", "poll", "epoll_wait", "epoll_pwait", "nanosleep", "sigtimedwait", "semop", "sem_wait" };
static int answer[CALLS], error[CALLS];

static int call(long which) {
    struct pollfd p = { ends[0], POLLIN, 0 };
    struct epoll_event e = { .events = EPOLLIN };
    struct timespec t = { 3, 0 };
    struct sembuf b = { 0, -1, 0 };
    sigset_t none, usr2;
    char c;
    int fd = epoll_create1(0);
    epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &e);
    sigemptyset(&none);
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    switch (which) {
    case 0: return (int)read(ends[0], &c, 1);
    case 1: return poll(&p, 1, -1) == 1 ? 0 : -1;
    case 2: return epoll_wait(fd, &e, 1, -1) == 1 ? 0 : -1;
    case 3: return epoll_pwait(fd, &e, 1, -1, &none) == 1 ? 0 : -1;
    case 4: return nanosleep(&t, NULL);
    case 5: t.tv_sec = 2; return sigtimedwait(&usr2, NULL, &t) < 0 && errno == EAGAIN ? 0 : -1;
    case 6: return semop(semaphores, &b, 1);
    case 7: return sem_wait(&semaphore);
    }
    return -1;
}

static void *thread(void *arg) {
    long which = (long)arg;
    answer[which] = call(which);
    error[which] = errno;
    return NULL;
}

static void on_child(int sig) { children++; }

int main(void) {
    pthread_t t[CALLS];
    sigset_t usr2;
    char c;
    int bad = 0;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    sigprocmask(SIG_BLOCK, &usr2, NULL);
    signal(SIGCHLD, on_child);
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    sem_init(&semaphore, 0, 0);
    if (pipe(ends) != 0 || semaphores < 0) return 2;
    for (long i = 0; i < CALLS; i++) pthread_create(&t[i], NULL, thread, (void *)i);
    usleep(300000);
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    while (read(0, &c, 1) > 0) continue;
    close(ends[1]);
    sem_post(&semaphore);
    semop(semaphores, &(struct sembuf){ 0, 1, 0 }, 1);
    for (int i = 0; i < CALLS; i++) {
        pthread_join(t[i], NULL);
        if (answer[i] != 0) bad = printf("%s: %d, errno %d\n", names[i], answer[i], error[i]);
    }
    semctl(semaphores, 0, IPC_RMID);
    if (children) bad = printf("%d SIGCHLD\n", children);
    if (wait(NULL) != -1 || errno != ECHILD) bad = printf("wait sees a child\n");
    if (waitpid(-1, NULL, WNOHANG | __WALL) != -1 || errno != ECHILD) bad = printf("a child is left\n");
    if (!bad) puts("undisturbed");
    return bad != 0;
}
