/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

#include <signal.h>
#include <sys/wait.h>

int main(void) {
    /* Freed before a fork, again in the child, which is what run.sh waits for. */
    void *p = get(200);
    give(p);
    pid_t child = fork();
    if (child == 0) free(crime(p));
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return 0;
}
