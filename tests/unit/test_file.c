/* Reading small files, and folders of numbers. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libgomalloc/os/os.h"
#include "tests/check.h"

static void path_of(int fd, char *path, size_t size) { snprintf(path, size, "/proc/self/fd/%d", fd); }

TEST(the_beginning_is_read_whatever_the_pieces) {
    int p[2];
    char path[64], text[6];
    errno = 4711;
    for (size_t room = 1; room <= sizeof text; room++) {
        expect_eq(pipe(p), 0);
        path_of(p[0], path, sizeof path);
        for (const char *c = "abcdefgh"; *c; c++) expect_eq(write(p[1], c, 1), 1); /* one read of a pipe gives all, of /proc a page */
        expect_eq(gm_os_read_file(path, text, room), room - 1);
        expect(memcmp(text, "abcdefgh", room - 1) == 0 && text[room - 1] == 0);
        close(p[0]);
        close(p[1]);
    }
    expect_eq(errno, 4711);
}

static void *writes_in_pieces(void *fd) {
    for (const char *c = "one"; *c; c++) {
        expect_eq(write(*(int *)fd, c, 1), 1);
        usleep(20000);
    }
    close(*(int *)fd);
    return NULL;
}
TEST(what_comes_in_pieces_is_put_together) {
    int p[2];
    char path[64], text[16];
    pthread_t t;
    expect_eq(pipe(p), 0);
    path_of(p[0], path, sizeof path);
    pthread_create(&t, NULL, writes_in_pieces, &p[1]);
    expect_eq(gm_os_read_file(path, text, sizeof text), 3);
    expect_str(text, "one");
    pthread_join(t, NULL);
}

TEST(what_cannot_be_read_is_empty) {
    char text[8] = "before";
    errno = 4711;
    expect_eq(gm_os_read_file("/nowhere/at/all", text, sizeof text), 0);
    expect_str(text, "");
    strcpy(text, "before");
    expect_eq(gm_os_read_file("/", text, sizeof text), 0); /* opened, not read */
    expect_str(text, "");
    expect_eq(gm_os_read_thread_file(INT32_MAX, "stat", text, sizeof text), 0);
    expect_eq(gm_os_thread_state(INT32_MAX), 0);
    expect_eq(errno, 4711);
}

TEST(a_thread_has_a_state) {
    char text[64];
    expect_eq(gm_os_thread_state(gm_os_gettid()), 'R');
    expect(gm_os_read_thread_file(gm_os_gettid(), "comm", text, sizeof text) > 0);
    expect(strstr(text, "test_file") == text);
}

struct numbers { int n, stop_at, sum; };
static bool add(int n, void *arg) {
    struct numbers *c = arg;
    c->sum += n;
    return ++c->n != c->stop_at;
}
TEST(numbers_of_a_folder) {
    struct numbers all = { 0 }, two = { .stop_at = 2 };
    char folder[] = "/tmp/gomalloc-file-XXXXXX", path[64];
    if (!expect(mkdtemp(folder) != NULL)) return;
    for (int i = 0; i < 300; i++) { /* more than one call's worth */
        snprintf(path, sizeof path, "%s/%d", folder, i);
        expect_eq(mkdir(path, 0700), 0);
    }
    errno = 4711;
    expect(gm_os_each_number(folder, add, &all) && all.n == 300 && all.sum == 300 * 299 / 2);
    expect(gm_os_each_number(folder, add, &two) && two.n == 2);
    expect(!gm_os_each_number("/nowhere/at/all", add, &two) && two.n == 2);
    expect_eq(errno, 4711);
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "%s/%d", folder, i);
        rmdir(path);
    }
    rmdir(folder);
}

TEST_MAIN()
