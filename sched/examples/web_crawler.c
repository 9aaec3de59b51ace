/* Tour of Go, "Web Crawler": fetches pages in parallel, none twice. The web is a table. (Output in any order.) */
#include <gosched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct page {
    const char *url, *body, *links[4];
} web[] = {
    {"https://golang.org/", "The Go Programming Language", {"https://golang.org/pkg/", "https://golang.org/cmd/"}},
    {"https://golang.org/pkg/",
     "Packages",
     {"https://golang.org/", "https://golang.org/cmd/", "https://golang.org/pkg/fmt/", "https://golang.org/pkg/os/"}},
    {"https://golang.org/pkg/fmt/", "Package fmt", {"https://golang.org/", "https://golang.org/pkg/"}},
    {"https://golang.org/pkg/os/", "Package os", {"https://golang.org/", "https://golang.org/pkg/"}},
};

static const struct page *fetch(const char *url) {
    go_sleep(5000000); /* the network */
    for (size_t i = 0; i < sizeof web / sizeof web[0]; i++)
        if (strcmp(web[i].url, url) == 0) return &web[i];
    return NULL;
}

static struct {
    gomutex mu;
    const char *url[16];
    size_t n;
} seen;
static gowaitgroup crawlers;

/* True for the first who asks about a URL. */
static bool is_new(const char *url) {
    bool fresh = true;
    gomutex_lock(&seen.mu);
    for (size_t i = 0; i < seen.n; i++) fresh = fresh && strcmp(seen.url[i], url) != 0;
    if (fresh) seen.url[seen.n++] = url;
    gomutex_unlock(&seen.mu);
    return fresh;
}

struct job {
    const char *url;
    int depth;
};

static void start(const char *url, int depth);

static void crawl(void *arg) {
    struct job job = *(struct job *)arg;
    free(arg);
    const struct page *p = fetch(job.url);
    if (p) printf("found: %s \"%s\"\n", p->url, p->body);
    else printf("not found: %s\n", job.url);
    for (int i = 0; p && i < 4 && p->links[i]; i++) start(p->links[i], job.depth - 1);
    gowaitgroup_done(&crawlers);
}

static void start(const char *url, int depth) {
    if (depth <= 0 || !is_new(url)) return;
    struct job *job = malloc(sizeof *job);
    *job = (struct job){url, depth};
    gowaitgroup_add(&crawlers, 1);
    go(crawl, job);
}

int main(void) {
    start("https://golang.org/", 4);
    gowaitgroup_wait(&crawlers);
    return 0;
}
