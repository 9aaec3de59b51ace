/* Places of threads where a pointer can be: registers, stacks of all kinds, what the C library keeps for a thread. */
#include "tests/gc/hide.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

/* A thread takes the pointer from here, in its changed form, and keeps it in its place until it is to go. */
static _Atomic(uintptr_t) handed;
static atomic_int there, leave;
static pthread_t holder;

static HIDE_NOINLINE uintptr_t take(void) {
    while (!handed) sched_yield();
    return atomic_exchange(&handed, 0);
}

static void start(void *(*run)(void *), const pthread_attr_t *attr, void *arg) {
    if (!expect_eq(pthread_create(&holder, attr, run, arg), 0)) _exit(1);
}

static void nap(void) { usleep(20000); }

/* Where the one that takes the pointer holds it in nothing but its changed form until it is in a call that sleeps. */
static bool taker_sleeps;
static atomic_int taker;
static bool asleep(int tid) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    const char *end_of_name = n ? strrchr(text, ')') : NULL;
    return end_of_name && end_of_name[1] == ' ' && end_of_name[2] == 'S';
}

/* What a thread does once the pointer is in its place: washes, and sleeps until it is to go. */
static HIDE_NOINLINE void stay(void) {
    hide_wash();
    there = 1;
    while (!leave) nap();
}

static void hand_to(void *p, void *(*run)(void *), const pthread_attr_t *attr) {
    handed = ~(uintptr_t)p;
    start(run, attr, NULL);
    while (!there) sched_yield();
    while (taker_sleeps && !asleep(taker)) sched_yield();
    nap(); /* it has washed, and sleeps or spins */
}

/* The C library keeps the stacks of threads that have ended: others come by and wash them. */
static void *wash_thread(void *arg) {
    hide_wash();
    return NULL;
}
static void churn(void) {
    for (int i = 0; i < 8; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, wash_thread, NULL) == 0) pthread_join(t, NULL);
    }
}
static void let_it_go(void) {
    leave = 1;
    pthread_join(holder, NULL);
    churn();
}

#define THREAD_PLACE(name, ...) \
    static void name##_hide(void *p) { hand_to(p, name##_thread, __VA_ARGS__); } \
    PLACE(name, name##_hide, let_it_go)

/* ---- registers of a thread that runs */

#if defined(__x86_64__)
#define KEEPING_THREAD(attributes, name, into, clobbers...) \
    attributes static HIDE_NOINLINE void *name##_thread(void *arg) { \
        uintptr_t hidden = take(); \
        hide_wash(); \
        __asm__ volatile("not %0\n\t" into "\n\txor %k0, %k0\n\tmovl $1, (%1)\n1: pause\n\tcmpl $0, (%2)\n\tje 1b" \
                         : "+a"(hidden) : "D"(&there), "S"(&leave) : "memory", clobbers); \
        return NULL; \
    }
#define KEEP(name, into, clobbers...) \
    KEEPING_THREAD(, name, into, clobbers) \
    THREAD_PLACE(name, NULL)
KEEP(register_rbx, "mov %0, %%rbx", "rbx")
KEEP(register_rcx, "mov %0, %%rcx", "rcx")
KEEP(register_r8, "mov %0, %%r8", "r8")
KEEP(register_r11, "mov %0, %%r11", "r11")
KEEP(register_r15, "mov %0, %%r15", "r15")
KEEP(low_half_of_xmm9, "movq %0, %%xmm9", "xmm9")
KEEP(high_half_of_xmm3, "movq %0, %%xmm3\n\tpslldq $8, %%xmm3", "xmm3")
KEEP(register_mm2, "movq %0, %%mm2", "mm2")
KEEP(the_red_zone, "mov %0, -120(%%rsp)", "cc")
KEEP(a_stack_slot_aligned_to_four, "sub $256, %%rsp\n\tmov %0, 124(%%rsp)\n\tmovl $1, (%1)\n2: pause\n\tcmpl $0, (%2)\n\tje 2b\n\tadd $256, %%rsp",
     "cc")

#define AVX(name, feature, into, clobbers...) \
    KEEPING_THREAD(__attribute__((target(feature))), name, into, clobbers) \
    static void name##_hide(void *p) { \
        if (!__builtin_cpu_supports(feature)) skip("no " feature " here"); \
        hand_to(p, name##_thread, NULL); \
    } \
    PLACE(name, name##_hide, let_it_go)
AVX(high_half_of_ymm5, "avx2", "vmovq %0, %%xmm5\n\tvinserti128 $1, %%xmm5, %%ymm5, %%ymm5\n\tvpxor %%xmm4, %%xmm4, %%xmm4\n\t"
    "vinserti128 $0, %%xmm4, %%ymm5, %%ymm5", "xmm4", "xmm5")
AVX(high_half_of_zmm6, "avx512f", "vpbroadcastq %0, %%zmm6\n\tvpxord %%ymm4, %%ymm4, %%ymm4\n\tvinserti64x4 $0, %%ymm4, %%zmm6, %%zmm6",
    "xmm4", "xmm6")
AVX(register_zmm20, "avx512f", "vpbroadcastq %0, %%zmm20", "xmm20")
AVX(mask_register_k3, "avx512bw", "kmovq %0, %%k3", "k3")

/* ---- of one that sleeps in a system call of its own, and in one of the C library's */

static HIDE_NOINLINE void *sleeping_register_thread(void *arg) {
    static int32_t word;
    uintptr_t hidden = take();
    hide_wash();
    register long r10 __asm__("r10") = 0;
    __asm__ volatile("not %%rbx\n\tmovl $1, (%1)\n1: mov $202, %%eax\n\tsyscall\n\tcmpl $0, (%4)\n\tje 1b"
                     : "+b"(hidden) : "r"(&there), "D"(&word), "S"(128 /* FUTEX_WAIT_PRIVATE */), "r"(&leave), "d"(0), "r"(r10)
                     : "rax", "rcx", "r11", "memory");
    return NULL;
}
static void sleeping_register_hide(void *p) { hand_to(p, sleeping_register_thread, NULL); }
PLACE(a_register_of_a_sleeping_thread, sleeping_register_hide, NULL)
#endif

/* Only the kernel knows where the bytes are to go. */
static int ends[2];
static HIDE_NOINLINE void read_into(uintptr_t hidden) { read(ends[0], (void *)~hidden, 0 * hidden + 8); }
static void *read_thread(void *arg) {
    uintptr_t hidden = take();
    hide_wash();
    taker = (int)syscall(SYS_gettid);
    there = 1;
    read_into(hidden);
    return NULL;
}
static void read_hide(void *p) {
    expect_eq(pipe(ends), 0);
    taker_sleeps = true;
    hand_to(p, read_thread, NULL);
}
static void read_erase(void) {
    expect_eq(write(ends[1], "12345678", 8), 8);
    let_it_go();
}
PLACE(the_buffer_of_a_read_that_waits, read_hide, read_erase)

static sem_t sem;
static HIDE_NOINLINE void *stack_thread(void *arg) {
    __attribute__((unused)) void *volatile word = (void *)~take();
    hide_wash();
    sem_init(&sem, 0, 0);
    there = 1;
    while (sem_wait(&sem) != 0) continue;
    word = NULL;
    hide_wash();
    return NULL;
}
static void stack_hide(void *p) { hand_to(p, stack_thread, NULL); }
static void stack_erase(void) {
    sem_post(&sem);
    let_it_go();
}
PLACE(the_stack_of_a_sleeping_thread, stack_hide, stack_erase)

/* ---- stacks the program made */

static pthread_attr_t attr;
static char *made_stack;
static pthread_attr_t *on_stack(void *stack, size_t size) {
    made_stack = stack;
    pthread_attr_init(&attr);
    expect_eq(pthread_attr_setstack(&attr, stack, size), 0);
    return &attr;
}
static void on_heap_hide(void *p) { hand_to(p, stack_thread, on_stack(aligned_alloc(4096, 1 << 18), 1 << 18)); }
static void on_heap_erase(void) {
    stack_erase();
    free(made_stack);
}
PLACE(a_thread_stack_in_the_heap, on_heap_hide, on_heap_erase)

/* What the collector itself has noted of a thread that stood there is no root. */
static HIDE_NOINLINE uintptr_t stack_that_ends(void) {
    void *stack = aligned_alloc(4096, 1 << 18);
    hand_to(hide_make(), stack_thread, on_stack(stack, 1 << 18));
    expect(!hide_collect(~(uintptr_t)stack, HIDE_ROUNDS));
    stack_erase();
    made_stack = NULL, holder = 0; /* a thread's identity is an address in its stack */
    memset(&attr, 0, sizeof attr);
    return ~(uintptr_t)stack;
}
TEST_LIMIT(a_thread_stack_in_the_heap_that_is_lost, 30) {
    if (!gogc_collect) skip("the library is not preloaded");
    uintptr_t hidden = stack_that_ends();
    expect(hide_collect(hidden, 4 * HIDE_ROUNDS));
}

static void on_mapping_hide(void *p) {
    hand_to(p, stack_thread, on_stack(mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1 << 18));
}
static void on_mapping_erase(void) {
    stack_erase();
    munmap(made_stack, 1 << 18);
}
PLACE(a_thread_stack_the_program_mapped, on_mapping_hide, on_mapping_erase)

static ucontext_t back, *inner;
static int go_on;
static HIDE_NOINLINE void keep_in_context(void) {
    __attribute__((unused)) void *volatile word = (void *)~take();
    hide_wash();
    while (!go_on) swapcontext(inner, &back);
    word = NULL;
}
static void context_on(char *stack, ucontext_t *c) {
    inner = c;
    getcontext(c);
    c->uc_stack.ss_sp = stack;
    c->uc_stack.ss_size = 1 << 18;
    c->uc_link = &back;
    makecontext(c, keep_in_context, 0);
}
static void suspend(void *p) {
    handed = ~(uintptr_t)p;
    swapcontext(&back, inner);
}
static void mapped_context_hide(void *p) {
    static ucontext_t c;
    context_on(mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), &c);
    suspend(p);
}
static void heap_context_hide(void *p) {
    context_on(malloc(1 << 18), malloc(sizeof *inner));
    suspend(p);
}
static void context_erase(void) {
    go_on = 1;
    swapcontext(&back, inner);
    munmap(inner->uc_stack.ss_sp, 1 << 18);
}
static void heap_context_erase(void) {
    go_on = 1;
    swapcontext(&back, inner);
    free(inner->uc_stack.ss_sp);
    free(inner);
    inner = NULL;
    memset(&back, 0, sizeof back);
}
PLACE(a_suspended_context_on_a_mapping, mapped_context_hide, context_erase)
PLACE(a_suspended_context_in_the_heap, heap_context_hide, heap_context_erase)

/* ---- saved registers */

#if defined(__x86_64__)
static HIDE_NOINLINE void save_with(uintptr_t hidden, void (*save)(void)) {
    __asm__ volatile("not %%rbx\n\tcall *%1\n\txor %%ebx, %%ebx" : "+b"(hidden) : "r"(save)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
}
static sigjmp_buf *registers;
int jump_to(sigjmp_buf *b);
__asm__(".pushsection .text\n.globl jump_to\njump_to: jmp *__sigsetjmp@GOTPCREL(%rip)\n.popsection"); /* the caller's registers */
static void save_in_jmp_buf(void) { __asm__ volatile("xor %%esi, %%esi\n\tcall *%1" : : "D"(registers), "r"(jump_to) : "rax", "rcx", "rdx", "rsi", "memory"); }
static void jmp_buf_hide(void *p) {
    registers = malloc(sizeof *registers);
    save_with(~(uintptr_t)p, save_in_jmp_buf);
}
static void jmp_buf_erase(void) { registers = NULL; }
PLACE(a_jump_buffer_in_the_heap, jmp_buf_hide, jmp_buf_erase)

static ucontext_t *saved;
static void save_in_context(void) { getcontext(saved); }
static void ucontext_hide(void *p) {
    saved = malloc(sizeof *saved);
    save_with(~(uintptr_t)p, save_in_context);
}
static void ucontext_erase(void) { saved = NULL; }
PLACE(a_saved_context_in_the_heap, ucontext_hide, ucontext_erase)
#endif

/* ---- two stacks of one thread */

static char other_stack[1 << 16];
static HIDE_NOINLINE void wait_on_other_stack(int signal) {
    __attribute__((unused)) void *volatile word = handed ? (void *)~take() : NULL;
    stay();
    word = NULL;
}
static void install(void) {
    stack_t s = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    struct sigaction a = {.sa_handler = wait_on_other_stack, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigaltstack(&s, NULL);
    sigaction(SIGUSR1, &a, NULL);
}
static void *on_other_stack_thread(void *arg) {
    install();
    raise(SIGUSR1);
    return NULL;
}
static void on_other_stack_hide(void *p) { hand_to(p, on_other_stack_thread, NULL); }
static void other_stack_erase(void) {
    let_it_go();
    memset(other_stack, 0, sizeof other_stack);
}
PLACE(on_other_stack, on_other_stack_hide, other_stack_erase)
static HIDE_NOINLINE void *below_other_stack_thread(void *arg) {
    __attribute__((unused)) void *volatile word = (void *)~take();
    install();
    raise(SIGUSR1);
    word = NULL;
    return NULL;
}
static void below_other_stack_hide(void *p) { hand_to(p, below_other_stack_thread, NULL); }
PLACE(below_other_stack, below_other_stack_hide, other_stack_erase)

/* ---- what the C library keeps for a thread */

static void *key_thread(void *arg) {
    pthread_key_t key;
    pthread_key_create(&key, NULL);
    pthread_setspecific(key, (void *)~take());
    stay();
    return NULL;
}
THREAD_PLACE(key, NULL)

static __thread void *volatile tls;
static void *tls_thread(void *arg) {
    tls = (void *)~take();
    stay();
    return NULL;
}
THREAD_PLACE(tls, NULL)

/* The thread's argument lies in its control block until it ends. */
static void *argument_thread(void *arg) {
    arg = NULL;
    __asm__ volatile("" : "+r"(arg));
    stay();
    return NULL;
}
static void argument_hide(void *p) {
    start(argument_thread, NULL, p);
    while (!there) sched_yield();
}
PLACE(the_argument_of_a_thread, argument_hide, let_it_go)

static void *result_thread(void *arg) {
    void *result = (void *)~take();
    there = (int)syscall(SYS_gettid);
    return result;
}
static void result_hide(void *p) {
    handed = ~(uintptr_t)p;
    start(result_thread, NULL, NULL);
    while (!there || syscall(SYS_tgkill, getpid(), there, 0) == 0) sched_yield(); /* it has ended */
}
static void result_erase(void) { let_it_go(); }
PLACE(the_result_of_a_thread_not_joined, result_hide, result_erase)

static HIDE_NOINLINE void cleanup(void *arg) { __asm__ volatile("" : : "r"(arg)); }
static HIDE_NOINLINE void *cleanup_thread(void *arg) {
    pthread_cleanup_push(cleanup, (void *)~take());
    stay();
    pthread_cleanup_pop(0);
    return NULL;
}
THREAD_PLACE(cleanup, NULL)

/* Theirs are the stacks that were used before. */
static void *volatile word;
static void word_hide(void *p) { word = p; churn(); }
static void word_erase(void) { word = NULL; churn(); }
PLACE(a_global_while_threads_come_and_go, word_hide, word_erase)

/* ---- which words on a stack */

static HIDE_NOINLINE void *end_thread(void *arg) {
    __attribute__((unused)) void *volatile end = (char *)~take() + 208; /* of its slot */
    stay();
    end = NULL;
    return NULL;
}
THREAD_PLACE(end, NULL)

/* ---- no place: a stack of the library's own. Addresses of swept objects lie dead on it, as the collector runs there. */

static int librarys_thread(void) {
    char path[64], name[16];
    int found = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/task/%.10s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof name, f) && strcmp(name, "gomalloc\n") == 0) found = atoi(e->d_name);
        if (f) fclose(f);
    }
    if (d) closedir(d);
    return found;
}

static uintptr_t sleeps_at(int tid) {
    char line[256];
    unsigned long sp;
    return hide_call_of(tid, line) && sscanf(line, "%*d %*x %*x %*x %*x %*x %*x %lx", &sp) == 1 ? sp : 0;
}

/* The lowest word of the mapping that a stack pointer lies in: so deep nobody goes. */
static void **deepest_word(uintptr_t sp) {
    unsigned long low, high, found = 0;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%lx-%lx", &low, &high) == 2 && sp >= low && sp < high) found = low;
    if (f) fclose(f);
    return (void **)found;
}

static void **dead_word;
static void dead_hide(void *p) { *dead_word = p; }
TEST_LIMIT(what_lies_dead_on_the_librarys_stack_keeps_nothing, 30) {
    if (!gogc_collect) skip("the library is not preloaded");
    churn(); /* with the program's first thread comes the library's */
    uintptr_t sp = 0;
    for (int i = 0; i < 1000 && sp == 0; i++, nap()) sp = sleeps_at(librarys_thread());
    if (sp == 0) skip("the kernel does not tell where the library's thread sleeps");
    dead_word = deepest_word(sp);
    volatile uintptr_t hidden = hide_in(dead_hide);
    expect(hide_collect(hidden, 4 * HIDE_ROUNDS)); /* gone */
    expect_eq(~(uintptr_t)*dead_word, hidden);
}

TEST_MAIN()
