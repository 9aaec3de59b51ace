/* An error group: three tasks, one fails, the others are told by the group's context. */
#include <gosched.h>
#include <stdio.h>

static const int64_t MS = 1000000;
static gocontext *ctx;
static gosem told;

static int fails(void *arg) {
    (void)arg;
    go_sleep(5 * MS);
    return -EIO;
}

static int works(void *arg) {
    (void)arg;
    gochan *finished = go_after(60000 * MS);
    gocase cases[] = {GO_RECV(finished, NULL), GO_RECV(goctx_done(ctx), NULL)};
    int chosen = goselect(cases, 2);
    gochan_free(finished);
    if (chosen == 1) gosem_release(&told, 1);
    return chosen == 1 ? goctx_err(ctx) : 0;
}

int main(void) {
    gogroup group = {0};
    gosem_init(&told, 2);
    gosem_acquire(&told, 2);
    ctx = gogroup_context(&group, goctx_background());
    gogroup_go(&group, works, NULL);
    gogroup_go(&group, fails, NULL);
    gogroup_go(&group, works, NULL);
    printf("the group's result is %s\n", gogroup_wait(&group) == -EIO ? "EIO" : "something else");
    gosem_acquire(&told, 2);
    printf("both others stopped early\n");
    goctx_release(ctx);
    return 0;
}
