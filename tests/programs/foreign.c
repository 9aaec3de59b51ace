/* Pointers from another allocator: from the C library's own heap, which a plugin bound past us, a
 * second namespace or an early hook may have used. They must be freed, grown and measured by that
 * allocator, not taken for misuse. */
#include "tests/check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>

static void *libc_handle, *(*libc_malloc)(size_t), *(*libc_memalign)(size_t, size_t);

static bool find_the_c_library(void) {
    libc_handle = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    if (!libc_handle) return false;
    libc_malloc = (void *(*)(size_t))dlsym(libc_handle, "__libc_malloc");
    libc_memalign = (void *(*)(size_t, size_t))dlsym(libc_handle, "__libc_memalign");
    return libc_malloc && libc_memalign;
}

static void *hide(void *p) {
    void *volatile hidden = p;
    return hidden;
}

static void use_foreign_blocks(void) {
    for (size_t n = 1; n < (40 << 20); n = n * 3 / 2 + 1) {
        unsigned char *p = libc_malloc(n), *q = libc_malloc(n), *r = libc_malloc(n), *s = libc_memalign(256, n);
        void *own = malloc(n);
        if (!expect(p && q && r && s && own)) return;
        memset(p, 1, n);
        memset(q, 2, n);
        memset(r, 3, n);
        expect(malloc_usable_size(p) >= n);
        q = realloc(hide(q), n + n / 2 + 100);
        expect(q && q[0] == 2 && q[n - 1] == 2);
        r = realloc(hide(r), n / 2 + 1);
        expect(r && r[0] == 3 && r[n / 2] == 3);
        free(hide(p));
        free(hide(q));
        free(hide(r));
        free(hide(s));
        free(own);
    }
}

TEST(blocks_of_the_c_library) {
    if (!find_the_c_library()) skip("no __libc_malloc");
    use_foreign_blocks();
    expect(realloc(hide(libc_malloc(100)), 0) == NULL);
}

static void *in_thread(void *arg) {
    /* In a thread the C library uses an arena of its own, in a mapping of its own. */
    use_foreign_blocks();
    for (int i = 0; i < 100; i++) ((void **)arg)[i] = libc_malloc((size_t)i * 50 + 1);
    return NULL;
}

TEST(blocks_of_its_other_arenas) {
    if (!find_the_c_library()) skip("no __libc_malloc");
    pthread_t t[4];
    static void *left[4][100];
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, in_thread, left[i]);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 100; k++) free(hide(left[i][k]));
}

/* What the C library hands out for the caller to free comes from the malloc that it sees: ours. */
TEST(what_the_c_library_hands_out) {
    char *line = NULL, *text = NULL;
    size_t size = 0;
    FILE *f = tmpfile();
    if (!f) skip("no temporary file");
    for (int i = 0; i < 1000; i++) fprintf(f, "%0*d\n", i, i);
    rewind(f);
    int lines = 0;
    while (getline(&line, &size, f) > 0) lines++;
    expect_eq(lines, 1000);
    free(line);
    fclose(f);
    expect_eq(asprintf(&text, "%s %*d", "abc", 5000, 1), 5004);
    free(text);
    f = open_memstream(&text, &size);
    for (int i = 0; i < 10000; i++) fprintf(f, "%d,", i);
    fclose(f);
    expect_eq(size, 48890);
    free(text);
    text = realpath("/proc/self/../self/exe", NULL);
    expect(text);
    free(text);
    text = getcwd(NULL, 0);
    expect(text);
    text = realloc(text, 10000);
    free(text);
    for (int i = 0; i < 2000; i++) {
        char name[32], value[64];
        snprintf(name, sizeof name, "VARIABLE%d", i % 50);
        snprintf(value, sizeof value, "value %d", i);
        setenv(name, value, 1);
        if (i % 3 == 0) unsetenv(name);
    }
}

TEST_MAIN()
