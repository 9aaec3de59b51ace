/* What /proc/self/maps says, line by line, and what lies at an address. */
#include "libgomalloc/os/maps.h"
#include "libgomalloc/os/os.h"
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static bool find(const void *p, struct gm_mapping *out) {
    struct gm_maps m;
    bool found = false;
    if (!expect(gm_maps_open(&m))) return false;
    while (!found && gm_maps_next(&m, out)) found = out->start <= (uintptr_t)p && (uintptr_t)p < out->end;
    gm_maps_close(&m);
    return found;
}

/* Every line, with no field misread: the same reading by sscanf. */
TEST(every_line_as_the_kernel_wrote_it) {
    static struct gm_mapping got[2000];
    static char line[6000];
    for (int i = 0; i < 300; i++) /* some more, so that the buffer is refilled in the middle of lines */
        mmap(NULL, 4096 * (size_t)(1 + i % 3), i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FILE *f = fopen("/proc/self/maps", "r");
    setvbuf(f, malloc(1 << 20), _IOFBF, 1 << 20);
    struct gm_maps m;
    int n = 0, same = 0;
    expect(gm_maps_open(&m));
    while (n < 2000 && gm_maps_next(&m, &got[n])) n++;
    gm_maps_close(&m);
    while (fgets(line, sizeof line, f)) {
        unsigned long start, end;
        char p[5];
        if (!expect_eq(sscanf(line, "%lx-%lx %4s", &start, &end, p), 3)) return;
        for (int i = 0; i < n; i++)
            same += got[i].start == start && got[i].end == end && got[i].readable == (p[0] == 'r') &&
                    got[i].writable == (p[1] == 'w') && got[i].executable == (p[2] == 'x') && got[i].shared == (p[3] == 's');
    }
    fclose(f);
    expect(n > 50);
    for (int i = 1; i < n; i++) expect(got[i].start >= got[i - 1].end);
    expect(same >= n - 3); /* stdio may have mapped something in between */
}

static int data = 1, bss[100000];
extern int main(int, char **);

TEST(kinds) {
    struct gm_mapping m;
    int local = 0;
    expect(find(&local, &m) && m.kind == GM_MAPPING_STACK && m.writable);
    expect(find((void *)main, &m) && m.kind == GM_MAPPING_FILE && m.executable && !m.writable);
    expect(find(&data, &m) && m.writable && (m.kind == GM_MAPPING_FILE || m.follows_file));
    expect(find(&bss[99999], &m) && m.writable && (m.kind == GM_MAPPING_FILE || m.follows_file));
    void *system = sbrk(4096);
    expect(find(system, &m) && m.kind == GM_MAPPING_BRK);
    expect(find((void *)main, &m) && gm_maps_image_end(m.start - m.offset) > (uintptr_t)&bss[99999]);
    expect_eq(gm_maps_image_end((uintptr_t)&local & ~4095ul), 0);
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(find(p, &m) && m.kind == GM_MAPPING_ANONYMOUS && m.readable && m.writable && !m.shared);
    expect(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, 8192, "a name") != 0 || (find(p, &m) && m.kind == GM_MAPPING_ANONYMOUS));
    p = mmap(NULL, 4096, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(find(p, &m) && m.shared && !m.readable && !m.writable && !m.executable);
    munmap(p, 4096);
    expect(!find(p, &m));
}

TEST(long_and_strange_file_names) {
    static char name[4300], dir[] = "/tmp/gm-maps-XXXXXX";
    struct gm_mapping m;
    if (!mkdtemp(dir)) skip("no place for files");
    snprintf(name, sizeof name, "%s/a-b r-xp 00 [heap] %0200d", dir, 1);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    expect(fd >= 0 && ftruncate(fd, 8192) == 0);
    char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
    void *after = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(find(p, &m) && m.kind == GM_MAPPING_FILE && m.readable && !m.writable && m.end == m.start + 8192);
    expect(find(after, &m) && m.writable);
    unlink(name);
    expect(find(p, &m) && m.kind == GM_MAPPING_FILE); /* "(deleted)" */
    /* A name longer than the reader's buffer: nested folders. */
    char deep[300];
    memset(deep, 'd', 250), deep[250] = 0;
    expect_eq(chdir(dir), 0);
    for (int i = 0; i < 20; i++) expect(mkdir(deep, 0700) == 0 && chdir(deep) == 0);
    fd = open("f", O_RDWR | O_CREAT, 0600);
    expect(fd >= 0 && ftruncate(fd, 4096) == 0);
    char *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect(q != MAP_FAILED && find(q, &m) && m.writable && m.shared);
    expect(find(after, &m) && find(&m, &m));
    expect(gm_os_where(&m) == GM_AT_STACK);
    unlink("f");
    for (int i = 0; i < 20; i++) expect(chdir("..") == 0 && rmdir(deep) == 0);
    expect(chdir("/") == 0 && rmdir(dir) == 0);
}

/* The kernel may put a new mapping right behind a bss, and joins the two where it can: they are told apart all the same. */
TEST(what_lies_behind_a_bss_is_no_part_of_it) {
    struct gm_mapping before, m;
    expect(find(&bss[99999], &before));
    char *p = mmap((void *)before.end, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (char *)before.end) skip("something else lies there");
    expect(find(p, &m) && m.follows_file);
    if (m.kind == GM_MAPPING_BRK) skip("the place of the heap is there, which is random");
    expect_eq(gm_os_where(&bss[99999]), GM_AT_FILE);
    expect_eq(gm_os_where(p), GM_AT_ANONYMOUS);
    expect_eq(gm_os_where(p + 65535), GM_AT_ANONYMOUS);
    for (int i = 0; i < 100000; i += 500) expect_eq(gm_os_where(&bss[i]), GM_AT_FILE);
}

static void *on_a_threads_stack(void *mains) {
    int local = 0;
    expect_eq(gm_os_where(&local), GM_AT_STACK);
    expect_eq(gm_os_where(mains), GM_AT_STACK);
    return NULL;
}

TEST(where) {
    int local = 0;
    errno = EXDEV;
    expect_eq(gm_os_where(&local), GM_AT_STACK);
    expect_eq(gm_os_where(&data), GM_AT_FILE);
    expect_eq(gm_os_where(&bss[50000]), GM_AT_FILE);
    expect_eq(gm_os_where((void *)main), GM_AT_NOTHING); /* not writable: nobody allocated it */
    expect_eq(gm_os_where(NULL), GM_AT_NOTHING);
    expect_eq(gm_os_where((void *)~(uintptr_t)0), GM_AT_NOTHING);
    expect_eq(gm_os_where(sbrk(4096)), GM_AT_BRK);
    void *p = gm_os_map(65536);
    expect_eq(gm_os_where(p), GM_AT_ANONYMOUS);
    gm_os_unmap(p, 65536);
    expect_eq(gm_os_where(p), GM_AT_NOTHING);
    pthread_t t;
    pthread_create(&t, NULL, on_a_threads_stack, &local);
    pthread_join(t, NULL);
    expect_eq(errno, EXDEV);
}

TEST_MAIN()
