/* Three workers share nine jobs. (Output in any order.) */
#include <gosched.h>
#include <stdio.h>

struct result {
    int job, value;
};

static gochan *jobs, *results;

static void worker(void *arg) {
    (void)arg;
    for (int job; gochan_recv(jobs, &job);) {
        go_sleep(1000000); /* something expensive */
        struct result r = {job, job * 2};
        gochan_send(results, &r);
    }
}

int main(void) {
    jobs = gochan_make(sizeof(int), 9);
    results = gochan_make(sizeof(struct result), 9);
    for (int i = 0; i < 3; i++) go(worker, NULL);
    for (int job = 1; job <= 9; job++) gochan_send(jobs, &job);
    gochan_close(jobs);
    for (int i = 0; i < 9; i++) {
        struct result r;
        gochan_recv(results, &r);
        printf("job %d: %d\n", r.job, r.value);
    }
    return 0;
}
