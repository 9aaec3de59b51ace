/* The context package's WithTimeout: work that takes too long is told to stop. */
#include <gosched.h>
#include <stdio.h>

static const int64_t MS = 1000000;

static void operation(gocontext *ctx, int64_t takes) {
    gochan *finished = go_after(takes);
    gocase cases[] = {GO_RECV(finished, NULL), GO_RECV(goctx_done(ctx), NULL)};
    if (goselect(cases, 2) == 0) printf("finished in %lld ms\n", (long long)takes / MS);
    else printf("gave up: %s\n", goctx_err(ctx) == -ETIMEDOUT ? "deadline exceeded" : "canceled");
    gochan_free(finished);
}

int main(void) {
    gocontext *fast = goctx_with_timeout(goctx_background(), 60000 * MS, NULL);
    operation(fast, 5 * MS);
    goctx_cancel(fast);
    operation(fast, 60000 * MS);
    goctx_release(fast);

    gocontext *slow = goctx_with_timeout(goctx_background(), 20 * MS, NULL);
    static const char key; /* keys are addresses */
    gocontext *child = goctx_with_value(slow, &key, "its value comes from the context");
    operation(child, 60000 * MS);
    printf("%s\n", (const char *)goctx_value(child, &key));
    goctx_release(child);
    goctx_release(slow);
    return 0;
}
