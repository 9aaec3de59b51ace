/* The dynamic loader around the library: plugins that come and go, C++ arriving in a plain C
 * program, plugins that bind past the preload (RTLD_DEEPBIND), other namespaces with a C library of
 * their own, static TLS that must be left over, threads that load while others allocate.
 *
 * This program is C and not linked with libstdc++. */
#include "tests/check.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static const char *plugin_path(const char *name) {
    static __thread char path[4200];
    ssize_t n = readlink("/proc/self/exe", path, 4000);
    path[n > 0 ? n : 0] = 0;
    char *slash = strrchr(path, '/');
    if (slash) strcpy(slash, "/plugins/");
    strcat(path, name);
    return path;
}

static void *open_plugin(const char *name, int flags) {
    void *handle = dlopen(plugin_path(name), flags);
    if (!handle) {
        expect(!"plugin opened");
        diag("%s", dlerror());
        _exit(1);
    }
    return handle;
}

static void *symbol(void *handle, const char *name) {
    void *address = dlsym(handle, name);
    if (!expect(address)) _exit(1);
    return address;
}

/* ---- C++ in a C program */

TEST(cxx_arrives_by_dlopen) {
    expect(dlsym(RTLD_DEFAULT, "__cxa_throw") == NULL);
    void *h = open_plugin("cxx.so", RTLD_NOW | RTLD_LOCAL);
    int (*bad_alloc)(size_t) = (int (*)(size_t))symbol(h, "plugin_bad_alloc");
    int (*handler)(size_t) = (int (*)(size_t))symbol(h, "plugin_handler");
    int (*throws)(int) = (int (*)(int))symbol(h, "plugin_throw");
    for (int i = 0; i < 100; i++) {
        expect_eq(bad_alloc(SIZE_MAX / 2), 1);
        expect_eq(throws(i), i);
    }
    expect_eq(handler(SIZE_MAX / 2), 3);
    char *(*text)(int) = (char *(*)(int))symbol(h, "plugin_text");
    char *s = text(1000);
    expect_eq(strlen(s), 1000);
    free(s);
    dlclose(h);
}

TEST(cxx_arrives_after_the_first_failure) {
    /* A size that fails before libstdc++ is there must not settle for good how to fail. */
    void *volatile p = malloc(SIZE_MAX / 2);
    expect(p == NULL);
    void *h = open_plugin("cxx.so", RTLD_LAZY | RTLD_LOCAL);
    int (*bad_alloc)(size_t) = (int (*)(size_t))symbol(h, "plugin_bad_alloc");
    expect_eq(bad_alloc(SIZE_MAX / 2), 1);
    dlclose(h);
    h = open_plugin("cxx.so", RTLD_NOW | RTLD_GLOBAL);
    bad_alloc = (int (*)(size_t))symbol(h, "plugin_bad_alloc");
    expect_eq(bad_alloc(SIZE_MAX / 2), 1);
}

struct call {
    char *(*text)(int);
    int (*throws)(int);
    int n;
    char *result;
};

static void *call_in_thread(void *arg) {
    struct call *call = arg;
    call->result = call->text(call->n);
    expect_eq(call->throws(call->n), call->n);
    return NULL;
}

static void load_in_a_loop(int rounds) {
    enum { KEEP = 300 };
    char *keep[KEEP];
    for (int i = 0; i < rounds; i++) {
        void *h = open_plugin("cxx.so", (i % 2 ? RTLD_NOW : RTLD_LAZY) | RTLD_LOCAL);
        struct call call = {(char *(*)(int))symbol(h, "plugin_text"), (int (*)(int))symbol(h, "plugin_throw"),
                            i * 7, NULL};
        pthread_t t;
        pthread_create(&t, NULL, call_in_thread, &call);
        pthread_join(t, NULL);
        keep[i % KEEP] = call.result;
        expect(dlsym(h, "no_such_symbol") == NULL);
        expect(dlerror() != NULL);
        dlclose(h);
        /* What it has allocated outlives it. */
        expect_eq(strlen(keep[i % KEEP]), i * 7);
        free(keep[i % KEEP]);
    }
}

TEST_LIMIT(dlopen_and_dlclose_in_a_loop, 60) {
    load_in_a_loop(20);
    long before = check_rss_kib();
    load_in_a_loop(200);
    expect_at_most(check_rss_kib(), before + 4096);
}

static atomic_int stop;

static void *churn(void *arg) {
    struct check_rng rng = check_rng((unsigned)(size_t)arg);
    static __thread void *p[100];
    while (!stop) {
        size_t k = check_below(&rng, 100);
        free(p[k]);
        p[k] = malloc(check_random_size(&rng, 100000));
    }
    for (int i = 0; i < 100; i++) free(p[i]);
    return NULL;
}

static void *load(void *arg) {
    load_in_a_loop((int)(size_t)arg);
    return NULL;
}

TEST_LIMIT(threads_load_while_others_allocate, 60) {
    pthread_t t[4], l[2];
    for (size_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, churn, (void *)i);
    for (size_t i = 0; i < 2; i++) pthread_create(&l[i], NULL, load, (void *)60);
    for (int i = 0; i < 2; i++) pthread_join(l[i], NULL);
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}

/* ---- past the preload */

static void cross(int flags) {
    void *h = open_plugin("deep.so", RTLD_NOW | flags);
    void *(*make)(size_t) = (void *(*)(size_t))symbol(h, "deep_make");
    void *(*grow)(void *, size_t) = (void *(*)(void *, size_t))symbol(h, "deep_grow");
    void (*drop)(void *) = (void (*)(void *))symbol(h, "deep_drop");
    char *(*line)(void) = (char *(*)(void))symbol(h, "deep_line");
    int (*self)(void) = (int (*)(void))symbol(h, "deep_self");
    unsigned char *keep[500];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 500; i++) {
            size_t n = (size_t)i * 30 + (i % 100 == 0 ? 300000 : 1);
            keep[i] = memset(malloc(n), i, n);
        }
        for (int i = 0; i < 500; i++) {
            if (i % 3 == 1) {
                keep[i] = grow(keep[i], 40000 + (size_t)i);
                expect(keep[i] && keep[i][0] == (unsigned char)i);
            }
            if (i % 3 == 2)
                free(keep[i]);
            else
                drop(keep[i]);
        }
        for (int i = 0; i < 500; i++) keep[i] = make((size_t)i * 30 + (i % 100 == 0 ? 300000 : 1));
        for (int i = 0; i < 500; i++) {
            expect(malloc_usable_size(keep[i]) >= (size_t)i * 30 + 1);
            if (i % 2) keep[i] = realloc(keep[i], 50000);
            expect(keep[i] && keep[i][0] == 2);
            free(keep[i]);
        }
        char *text = line();
        expect(text && strncmp(text, "Name:", 5) == 0);
        free(text);
        expect_eq(self(), 0);
    }
    dlclose(h);
}

TEST(blocks_cross_to_a_plugin) {
    cross(0);
}

TEST(blocks_cross_to_a_deepbind_plugin) {
    cross(RTLD_DEEPBIND);
    cross(RTLD_DEEPBIND | RTLD_GLOBAL);
}

/* $ORIGIN and relative names are looked up from the caller: an interposed dlopen must keep it. */
TEST(dlopen_keeps_its_caller) {
    char path[4200];
    snprintf(path, sizeof path, "%s", plugin_path(""));
    if (chdir(path) != 0) skip("no plugins");
    void *h = dlopen("./deep.so", RTLD_NOW | RTLD_DEEPBIND);
    expect(h);
    if (h) dlclose(h);
    expect(dlopen("no-such-library.so", RTLD_NOW) == NULL);
    const char *said = dlerror();
    expect(said && strstr(said, "no-such-library.so"));
    expect(dlopen(NULL, RTLD_NOW) != NULL);
}

TEST(a_namespace_of_its_own) {
    void *h = dlmopen(LM_ID_NEWLM, plugin_path("deep.so"), RTLD_NOW);
    if (!expect(h)) {
        diag("%s", dlerror());
        return;
    }
    int (*self)(void) = (int (*)(void))symbol(h, "deep_self");
    for (int i = 0; i < 50; i++) {
        void *volatile p = malloc(100000), *volatile q = malloc(50);
        expect_eq(self(), 0);
        free(p);
        free(q);
    }
    dlclose(h);
}

/* ---- static TLS */

static bool copy(const char *from, const char *to) {
    char buffer[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    ssize_t n;
    bool ok = in >= 0 && out >= 0;
    while (ok && (n = read(in, buffer, sizeof buffer)) > 0) ok = write(out, buffer, (size_t)n) == n;
    close(in);
    close(out);
    return ok;
}

TEST(static_tls_is_left_for_plugins) {
    char directory[] = "/tmp/gomalloc-tls-XXXXXX", path[100];
    if (!mkdtemp(directory)) skip("no directory");
    for (int i = 0; i < 10; i++) {
        snprintf(path, sizeof path, "%s/tls%d.so", directory, i);
        if (!copy(plugin_path("tls.so"), path)) skip("no copy");
        void *h = dlopen(path, RTLD_NOW);
        if (!expect(h)) {
            diag("plugin %d: %s", i, dlerror());
        } else {
            const char *(*text)(void) = (const char *(*)(void))symbol(h, "tls_text");
            expect_str(text(), "static");
        }
        unlink(path);
    }
    rmdir(directory);
}

TEST_MAIN()
