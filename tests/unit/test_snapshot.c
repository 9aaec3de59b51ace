/* The process that marks on a snapshot: how long it lives. */
#include "tests/check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gc/fork.h"

/* Shared with the child: it marks until it is told, 30 s at most. */
static volatile struct { int pid, go_on; } *marking;

static void rest(void) { nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL); }
static bool work(struct gc_fork_result *result) {
    marking->pid = (int)syscall(SYS_getpid);
    for (int i = 0; i < 15000 && !marking->go_on; i++) rest();
    return true;
}

static void *begin(void *arg) {
    expect(gc_fork_start(work));
    while (marking->pid == 0) rest();
    return NULL;
}

static void prepare(void) {
#if defined(__SANITIZE_THREAD__)
    skip("ThreadSanitizer does not live through a clone");
#endif
    marking = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (marking == MAP_FAILED) skip("no shared memory");
}

TEST_LIMIT(a_thread_may_end_while_what_it_has_begun_marks, 60) {
    pthread_t t;
    prepare();
    expect_eq(pthread_create(&t, NULL, begin, NULL), 0);
    expect_eq(pthread_join(t, NULL), 0);
    for (int i = 0; i < 30; i++) rest(); /* the thread's id is gone when it is joined; what the kernel does then, is done */
    marking->go_on = 1;
    unsigned outcome;
    while ((outcome = gc_fork_poll()) == 0) gc_fork_wait(5000000);
    expect_eq(outcome, 1u);
    expect_eq(marking->go_on, 1);
}

TEST_LIMIT(no_marking_outlives_its_process, 60) {
    prepare();
    expect_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0); /* whom a process leaves behind becomes our child */
    pid_t parent = fork();
    if (parent == 0) {
        begin(NULL);
        _exit(0);
    }
    int status = -1;
    expect_eq(waitpid(parent, &status, 0), parent);
    expect_eq(status, 0);
    expect_eq(waitpid(marking->pid, &status, __WALL), marking->pid);
    expect_eq(status, 0); /* by itself: not killed, not at its end, which would be seconds away */
}

TEST_MAIN()
