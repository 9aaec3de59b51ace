/* leaky [KIND...] [wait]: loses blocks, each kind from a function of its own whose name the report has to give. With `wait` it
 * says "ready" and the addresses of kept blocks (what a global's block points to, inside a block of a global, thread-local,
 * on the stack, in a register, of a pthread key), and sleeps instead of ending; `lib PATH` loses one from a library that is
 * unloaded again. Kept blocks of every kind are there as well, and must not be reported. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct node { struct node *next; char fill[40]; };

static void *volatile kept_global, *volatile kept_interior, *volatile one_short;
static pthread_key_t key;
static __thread void *volatile kept_tls;

#define SITE __attribute__((noinline, noclone))

/* What a call leaves on the stack and in registers must not keep anything. As deep as the deepest call goes, the allocator's of a
 * sampled block, the loader's: frames of later calls have holes in which its words stay. */
SITE static void wipe(void) {
    volatile char over[512 * 1024];
    memset((void *)over, 0, sizeof over);
}
SITE static void *allocate(size_t n) {
    void *p = malloc(n);
    memset(p, 0, n);
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}

SITE void lose_single(void) {
    void *p = allocate(1111);
    __asm__ volatile("" : : "r"(p) : "memory");
}
SITE void lose_chain(void) {
    struct node *first = NULL;
    for (int i = 0; i < 10; i++) {
        struct node *n = allocate(sizeof *n);
        n->next = first;
        first = n;
    }
    __asm__ volatile("" : : "r"(first) : "memory");
}
SITE void lose_cycle(void) {
    struct node *a = allocate(sizeof *a), *b = allocate(sizeof *b);
    a->next = b;
    b->next = a;
    __asm__ volatile("" : : "r"(a) : "memory");
}
SITE void lose_tiny(void) {
    for (int i = 0; i < 4; i++) {
        void *p = allocate(7);
        __asm__ volatile("" : : "r"(p) : "memory");
    }
}
SITE void lose_large(void) {
    void *p = allocate(300000);
    __asm__ volatile("" : : "r"(p) : "memory");
}
SITE void lose_one_short(void) {
    char *p = allocate(2222);
    one_short = p - 1;
}
SITE static void lose_in_thread(void) {
    void *p = allocate(3333);
    __asm__ volatile("" : : "r"(p) : "memory");
}
static void *thread(void *arg) {
    void *volatile on_stack = allocate(64);
    lose_in_thread();
    free(on_stack);
    return NULL;
}
SITE static void lose_by_thread(void) {
    pthread_t t;
    pthread_create(&t, NULL, thread, NULL);
    pthread_join(t, NULL);
}
/* The stack stays, with the block's address somewhere in it, and is one mapping with what lies above, as the kernel joins them where it
 * can: this is how one looks that the C library has kept. */
SITE static void lose_on_a_joined_stack(void) {
    enum { GUARD = 4096, STACK = 1 << 18, ABOVE = 1 << 16 };
    pthread_t t;
    pthread_attr_t attr;
    char *p = mmap(NULL, GUARD + STACK + ABOVE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, GUARD, PROT_NONE) != 0) exit(3);
    p[GUARD + STACK] = 1;
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, p + GUARD, STACK);
    pthread_create(&t, &attr, thread, NULL);
    pthread_join(t, NULL);
    pthread_attr_destroy(&attr);
}
SITE static void lose_by_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(3);
    }
    void (*lose)(void) = (void (*)(void))dlsym(library, "lose_in_library");
    lose();
    dlclose(library);
}

SITE static void keep(void) {
    struct node *n = allocate(sizeof *n);
    n->next = allocate(sizeof *n);
    kept_global = n;
    kept_interior = (char *)allocate(500) + 100;
    kept_tls = allocate(50);
    pthread_setspecific(key, allocate(60));
}

/* Its block is in a register, and nowhere else. */
static volatile uintptr_t in_register;
static void *spin(void *arg) {
    uintptr_t p = (uintptr_t)allocate(90);
    wipe();
    in_register = ~p;
    for (;;) __asm__ volatile("pause" : "+r"(p));
    return NULL;
}

int main(int argc, char **argv) {
    void *volatile on_stack = allocate(70);
    int wait = 0;
    pthread_key_create(&key, NULL);
    keep();
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "single")) lose_single();
        if (!strcmp(argv[i], "chain")) lose_chain();
        if (!strcmp(argv[i], "cycle")) lose_cycle();
        if (!strcmp(argv[i], "tiny")) lose_tiny();
        if (!strcmp(argv[i], "large")) lose_large();
        if (!strcmp(argv[i], "one_short")) lose_one_short();
        if (!strcmp(argv[i], "thread")) lose_by_thread();
        if (!strcmp(argv[i], "joined")) lose_on_a_joined_stack();
        if (!strcmp(argv[i], "lib")) lose_by_library(argv[++i]);
        if (!strcmp(argv[i], "wait")) wait = 1;
        wipe();
    }
    if (wait) {
        pthread_t t;
        pthread_create(&t, NULL, spin, NULL);
        while (!in_register) usleep(1000);
        printf("ready %p %p %p %p 0x%lx %p\n", (void *)((struct node *)kept_global)->next, kept_interior, kept_tls, on_stack, ~in_register, pthread_getspecific(key));
        fflush(stdout);
        sleep(600);
    }
    wipe();
    exit(on_stack == NULL);
}
