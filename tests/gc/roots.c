/* Places in memory where a pointer can be, and from which the collector must find it. See hide.h. */
#include "tests/gc/hide.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <threads.h>
#include <time.h>

/* SLOT(name, pointer expression): a place that is a word of memory. */
#define SLOT(name, ...) \
    static void name##_hide(void *p) { *(void *volatile *)(__VA_ARGS__) = p; } \
    static void name##_erase(void) { *(void *volatile *)(__VA_ARGS__) = NULL; } \
    PLACE(name, name##_hide, name##_erase)

/* ---- static data */

static void *volatile data_word = (void *)&data_word, *volatile bss_word;
static char bss_big[8 << 20];
SLOT(data_of_the_program, (void **)&data_word)
SLOT(bss_of_the_program, (void **)&bss_word)
SLOT(the_end_of_a_large_bss, (void **)(bss_big + sizeof bss_big - 8))

static void *library(const char *name) {
    static void *handle;
    if (!handle) {
        const char *build = getenv("GM_BUILD_DIR");
        handle = dlopen(check_format("%s/tests/programs/plugins/roots.so", build ? build : "build"), RTLD_NOW);
        if (!handle) diag("%s", dlerror());
        if (!expect(handle != NULL)) _exit(1);
    }
    return ((void *(*)(void))dlsym(handle, name))();
}
SLOT(data_of_a_dlopened_library, (void **)library("roots_data"))
SLOT(bss_of_a_dlopened_library, (void **)library("roots_bss"))
SLOT(dynamic_tls_of_a_dlopened_library, (void **)library("roots_tls"))
SLOT(a_large_dynamic_tls_block, (void **)library("roots_large_tls"))

/* ---- thread-local */

static __thread void *tls_word;
static thread_local void *tls_set = (void *)&bss_word;
SLOT(tls_of_the_program, &tls_word)
SLOT(initialised_tls_of_the_program, &tls_set)

static pthread_key_t key(unsigned n) {
    static pthread_key_t keys[64];
    static bool made;
    for (int i = 0; !made && i < 64; i++) expect_eq(pthread_key_create(&keys[i], NULL), 0);
    made = true;
    return keys[n];
}
static void key_hide(void *p) { pthread_setspecific(key(1), p); }
static void key_erase(void) { pthread_setspecific(key(1), NULL); }
PLACE(a_thread_key, key_hide, key_erase)
static void far_key_hide(void *p) { pthread_setspecific(key(60), p); } /* past the 32 inside the control block */
static void far_key_erase(void) { pthread_setspecific(key(60), NULL); }
PLACE(a_thread_key_of_the_second_level, far_key_hide, far_key_erase)

static tss_t tss;
static void tss_hide(void *p) { if (!tss) tss_create(&tss, NULL); tss_set(tss, p); }
static void tss_erase(void) { tss_set(tss, NULL); }
PLACE(a_c11_thread_key, tss_hide, tss_erase)

/* ---- mappings */

static void **mapped(int protection, int flags, int fd) {
    void **p = mmap(NULL, 1 << 20, protection, flags, fd, 0);
    if (!expect(p != MAP_FAILED)) _exit(1);
    return p + 1000;
}
static void **anonymous(void) { static void **p; return p ? p : (p = mapped(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1)); }
static void **shared(void) { static void **p; return p ? p : (p = mapped(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1)); }
static int file(void) {
    char name[] = "/tmp/gomalloc-roots-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    expect_eq(ftruncate(fd, 1 << 20), 0);
    return fd;
}
static void **private_file(void) { static void **p; return p ? p : (p = mapped(PROT_READ | PROT_WRITE, MAP_PRIVATE, file())); }
static void **shared_memfd(void) {
    static void **p;
    if (p) return p;
    int fd = memfd_create("roots", MFD_CLOEXEC);
    expect_eq(ftruncate(fd, 1 << 20), 0);
    return p = mapped(PROT_READ | PROT_WRITE, MAP_SHARED, fd);
}
static void **sysv(void) {
    static void **p;
    if (p) return p;
    int id = shmget(IPC_PRIVATE, 1 << 20, 0600);
    if (id < 0) skip("no System V shared memory");
    p = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    return p;
}
SLOT(an_anonymous_mapping, anonymous())
SLOT(a_private_mapping_of_a_file, private_file())
SLOT(shared_anonymous_memory, shared())
SLOT(a_memfd, shared_memfd())
SLOT(system_v_shared_memory, sysv())
static void **brk_heap(void) { static void **p; return p ? p : (p = (void **)(((uintptr_t)sbrk(8192) + 15) & ~(uintptr_t)15)); }
SLOT(memory_of_sbrk, brk_heap())

static void **protected_page(int protection) {
    mprotect(anonymous() - 1000, 1 << 20, protection);
    return anonymous();
}
static void read_only_hide(void *p) { *anonymous() = p; protected_page(PROT_READ); }
static void none_hide(void *p) { *anonymous() = p; protected_page(PROT_NONE); }
static void execute_only_hide(void *p) { *anonymous() = p; protected_page(PROT_EXEC); }
static void protected_erase(void) { *protected_page(PROT_READ | PROT_WRITE) = NULL; }
PLACE(a_page_that_was_made_read_only, read_only_hide, protected_erase)
PLACE(a_page_without_access, none_hide, protected_erase)
PLACE(a_page_that_may_only_be_executed, execute_only_hide, protected_erase)

static void moved_hide(void *p) {
    *anonymous() = p;
    void *to = mremap(anonymous() - 1000, 1 << 20, 4 << 20, MREMAP_MAYMOVE);
    expect(to != MAP_FAILED);
    data_word = (char *)to + 1; /* the mapping, not the object */
}
static void moved_erase(void) { munmap((char *)data_word - 1, 4 << 20); }
PLACE(a_mapping_that_was_moved, moved_hide, moved_erase)

static void given_back(void) { madvise(anonymous() - 1000, 1 << 20, MADV_DONTNEED); }
static void anonymous_hide(void *p) { *anonymous() = p; }
PLACE(a_mapping_until_it_is_given_back, anonymous_hide, given_back)
static void unmap(void) { munmap(anonymous() - 1000, 1 << 20); }
PLACE(a_mapping_until_it_is_unmapped, anonymous_hide, unmap)

static void swapped_hide(void *p) {
    FILE *f = fopen("/proc/swaps", "re");
    char line[256];
    int lines = 0;
    while (f && fgets(line, sizeof line, f)) lines++;
    if (f) fclose(f);
    if (lines < 2) skip("no swap space");
    *anonymous() = p;
    madvise(anonymous() - 1000, 1 << 20, MADV_PAGEOUT);
}
static void anonymous_erase(void) { *anonymous() = NULL; }
PLACE(a_page_in_swap_space, swapped_hide, anonymous_erase)

#if defined(__x86_64__)
/* mov $imm64, %rax at an odd address */
static void code_hide(void *p) {
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(code + 1, "\x48\xb8", 2);
    memcpy(code + 3, &p, 8);
    code[11] = 0xc3;
    mprotect(code, 4096, PROT_READ | PROT_EXEC);
    data_word = (void *)((uintptr_t)code | 1);
}
static void code_erase(void) { munmap((void *)((uintptr_t)data_word & ~(uintptr_t)1), 4096); }
PLACE(an_immediate_in_generated_code, code_hide, code_erase)
#endif

/* ---- the C library's */

static int epoll_fd, epoll_target[2];
static void epoll_hide(void *p) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    expect_eq(pipe(epoll_target), 0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    expect_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_target[0], &e), 0);
    memset(&e, 0, sizeof e);
    __asm__ volatile("" : : "r"(&e) : "memory");
}
static void epoll_erase(void) { epoll_ctl(epoll_fd, EPOLL_CTL_DEL, epoll_target[0], NULL); }
PLACE(the_data_of_an_epoll_interest, epoll_hide, epoll_erase)

static timer_t timer;
static void timer_hide(void *p) {
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_ptr = p};
    if (access("/proc/self/timers", R_OK) != 0) skip("the kernel does not show timers");
    expect_eq(timer_create(CLOCK_MONOTONIC, &e, &timer), 0);
    memset(&e, 0, sizeof e);
    __asm__ volatile("" : : "r"(&e) : "memory");
}
static void timer_erase(void) { timer_delete(timer); }
PLACE(the_value_of_a_timer, timer_hide, timer_erase)

int __cxa_atexit(void (*fn)(void *), void *arg, void *dso);
int __cxa_thread_atexit_impl(void (*fn)(void *), void *arg, void *dso);
extern void *__dso_handle;
static void at_exit(void *arg) {}
static void on_exit_fn(int status, void *arg) {}
static void cxa_hide(void *p) { __cxa_atexit(at_exit, p, &__dso_handle); }
static void on_exit_hide(void *p) { on_exit(on_exit_fn, p); }
static void thread_exit_hide(void *p) { __cxa_thread_atexit_impl(at_exit, p, &__dso_handle); }
PLACE(an_argument_of_cxa_atexit, cxa_hide, NULL)
PLACE(an_argument_of_on_exit, on_exit_hide, NULL)
PLACE(the_object_of_a_thread_local_destructor, thread_exit_hide, NULL)

static void environment_hide(void *p) {
    char *text = malloc(4096); /* a variable whose tail the program uses for itself */
    strcpy(text, "GM_ROOT=x");
    memcpy(text + 64, &p, sizeof p);
    putenv(text);
}
static void environment_erase(void) { unsetenv("GM_ROOT"); }
PLACE(behind_the_environment, environment_hide, environment_erase)

static void stream_hide(void *p) {
    char *buffer = malloc(8192);
    FILE *f = fopen("/dev/null", "we");
    setvbuf(f, buffer, _IOFBF, 4096);
    memcpy(buffer + 8000, &p, sizeof p);
    bss_word = (void *)~(uintptr_t)f; /* the stream itself hangs in the C library's list */
}
static void stream_erase(void) { fclose((FILE *)~(uintptr_t)bss_word); }
PLACE(behind_the_buffer_of_a_stream, stream_hide, stream_erase)

static int compare(const void *a, const void *b) { return a < b ? -1 : a > b; }
static void *tree;
static void tree_hide(void *p) { tsearch(p, &tree, compare); }
static void tree_erase(void) { tree = NULL; }
PLACE(a_tree_of_the_c_library, tree_hide, tree_erase)

/* ---- which words */

static void interior_hide(void *p) { bss_word = (char *)p + HIDE_BYTES - 3; }
static void interior_erase(void) { bss_word = NULL; }
PLACE(an_interior_pointer, interior_hide, interior_erase)

static void uncollectable_hide(void *p) { *(void **)(uintptr_t)(bss_word = gogc_malloc_uncollectable(64)) = p; bss_word = (void *)~(uintptr_t)bss_word; }
static void uncollectable_erase(void) { free((void *)~(uintptr_t)bss_word); }
PLACE(an_uncollectable_object, uncollectable_hide, uncollectable_erase)

static void added_hide(void *p) {
    void **words = mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    words[5000] = p; /* past the size up to which shared memory is scanned by itself */
    expect_eq(gogc_add_roots(words + 5000, words + 5001), 0);
    bss_word = (char *)(words + 5000) + 1;
}
static void added_erase(void) { expect_eq(gogc_remove_roots((char *)bss_word - 1, (char *)bss_word + 7), 0); }
PLACE(a_range_that_was_added, added_hide, added_erase)

static void large_hide(void *p) { ((void **)(bss_word = malloc(3 << 20)))[(2 << 20) / 8 + 7] = p; }
static void large_erase(void) { ((void **)bss_word)[(2 << 20) / 8 + 7] = NULL; }
PLACE(deep_in_a_large_object, large_hide, large_erase)

/* ---- and which not */

static HIDE_NOINLINE uintptr_t lose(bool in_freed) {
    struct hide_object *p = hide_make();
    void **holder = in_freed ? malloc(96) : gogc_malloc_noscan(96);
    for (int i = 0; i < 12; i++) holder[i] = p;
    if (in_freed) free(holder);
    else bss_word = holder;
    return ~(uintptr_t)p;
}
TEST_LIMIT(not_a_freed_object, 30) {
    if (!gogc_collect) skip("the library is not preloaded");
    expect(hide_collect(lose(true), 16));
}
TEST_LIMIT(not_an_object_without_pointers, 30) {
    if (!gogc_collect) skip("the library is not preloaded");
    expect(hide_collect(lose(false), 16));
}

TEST_MAIN()
