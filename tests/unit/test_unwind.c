/* Return addresses by the tables of call frame information: every kind of frame compilers make. */
#include "libgomalloc/unwind.h"

#include <alloca.h>
#include <gnu/libc-version.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/check.h"

enum { MAX = 64 };
static uintptr_t pc[MAX];
static unsigned n;

#define FRAME __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))

/* Each level notes where its call returns to; the walk has to find all of them, in order. */
static uintptr_t want[MAX];
static unsigned wanted;
static void note(void *address) { want[wanted++] = (uintptr_t)address; }
#define NOTE() note(__builtin_extract_return_addr(__builtin_return_address(0)))

static void expect_found(void) {
    unsigned at = 0;
    if (!n) skip("no table of objects in this C library");
    for (unsigned k = wanted; k-- > 0;) {
        while (at < n && pc[at] != want[k]) at++;
        if (!expect(at < n)) diag("call %u of %u, returning to 0x%lx", k, wanted, want[k]);
        at++;
    }
}

FRAME static void innermost(void) {
    NOTE();
    n = gm_unwind(pc, MAX);
    __asm__ volatile("" : : : "memory");
}
FRAME static void plain(int x) {
    NOTE();
    innermost();
    __asm__ volatile("" : : "r"(x));
}
FRAME static void variable_frame(int x) {
    char *p = alloca((size_t)x);
    NOTE();
    __asm__ volatile("" : : "r"(p) : "memory");
    plain(x);
    __asm__ volatile("" : : "r"(p) : "memory");
}
FRAME static void aligned_frame(int x) {
    _Alignas(128) char p[256];
    NOTE();
    __asm__ volatile("" : : "r"(p) : "memory");
    variable_frame(x);
    __asm__ volatile("" : : "r"(p) : "memory");
}
__attribute__((force_align_arg_pointer)) FRAME static void realigned_frame(int x) {
    char *p = alloca((size_t)x);
    NOTE();
    __asm__ volatile("" : : "r"(p) : "memory");
    aligned_frame(x);
    __asm__ volatile("" : : "r"(p) : "memory");
}
FRAME static void large_frame(int x) {
    char p[100000];
    NOTE();
    p[x] = 1;
    __asm__ volatile("" : : "r"(p) : "memory");
    realigned_frame(x);
    __asm__ volatile("" : : "r"(p) : "memory");
}

TEST(every_kind_of_frame) {
    large_frame(40);
    expect_found();
    wanted = 0;
    large_frame(40); /* by the rules that are kept now */
    expect_found();
}

static int compare(const void *a, const void *b) {
    if (!n) plain(1);
    return *(const int *)a - *(const int *)b;
}
FRAME static void sort_something(void) {
    int x[] = {3, 1, 2};
    NOTE();
    qsort(x, 3, sizeof *x, compare);
    __asm__ volatile("" : : "r"(x) : "memory");
}
TEST(through_the_c_library) {
    sort_something();
    wanted = wanted < 1 ? wanted : 1; /* compare's own call comes from inside qsort */
    expect_found();
}

static void *in_thread(void *arg) {
    large_frame(20);
    return NULL;
}
TEST(on_a_threads_stack) {
    pthread_t t;
    pthread_create(&t, NULL, in_thread, NULL);
    pthread_join(t, NULL);
    expect_found();
}

static int depth_left;
FRAME static void recursive(void) {
    if (depth_left-- > 0) recursive();
    else innermost();
    __asm__ volatile("" : : : "memory");
}
TEST(deeper_than_there_is_room) {
    depth_left = 1000;
    recursive();
    expect(n == 0 || n == MAX);
}

/* The walk ends at the first frame of a stack of the program's own making. */
static ucontext_t back, there;
TEST(on_a_hand_made_stack) {
    static char stack[512 * 1024];
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &back;
    makecontext(&there, (void (*)(void))large_frame, 1, 20);
    swapcontext(&back, &there);
    expect_found();
}

#if defined(__x86_64__)
/* A function without annotations has changed rbp to nonsense; its caller is found by rbp. */
static uintptr_t nonsense;
FRAME static void caller_by_rbp(int x) {
    char *p = alloca((size_t)x);
    NOTE();
    __asm__ volatile("push %%rbp\npush %%rbp\nmov %0, %%rbp\ncall *%1\npop %%rbp\npop %%rbp" : : "m"(nonsense), "r"((void (*)(void))innermost)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
    __asm__ volatile("" : : "r"(p) : "memory");
}
TEST(wrong_tables_are_survived) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    char *hole = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const uintptr_t values[] = {0, 8, 7, here + 4, (uintptr_t)hole, here - 64, UINTPTR_MAX - 7, UINT64_C(1) << 63, here + (64 << 20), (uintptr_t)&values};
    for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++) {
        nonsense = values[i];
        caller_by_rbp(64);
        expect(n <= MAX);
    }
}
#endif

TEST(an_object_by_its_address) {
    struct gm_object o;
    if (!gm_unwind_object((uintptr_t)innermost, &o)) skip("no table of objects in this C library");
    expect((uintptr_t)innermost >= o.start && (uintptr_t)innermost < o.end);
    expect_str(o.name, "");
    expect(gm_unwind_object((uintptr_t)gnu_get_libc_version, &o) && strstr(o.name, "libc"));
    expect(!gm_unwind_object(64, &o));
}

TEST_MAIN()
