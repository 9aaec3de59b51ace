/* defer, panic and recover: Go's, for C frames.
 *
 * A deferred call is a record in the stack frame that defers, in a list of the goroutine, the youngest first. The
 * compiler's cleanup attribute runs it at the end of its block. A panic runs the records itself, on top of the stack of whoever
 * panicked, so nothing is unwound while nobody has recovered, and a core dump shows where it happened.
 *
 *   panic     -> runs the youngest deferred call, with the panic on top of g->panics
 *             -> a deferred call that panics anew: the new panic goes on with the records behind it, the old is `aborted`
 *             -> a deferred call that recovered returns: the rest of its frame's records are run, then that frame
 *                returns to its caller
 *             -> no record left: the end
 *
 * "That frame returns" is what setjmp cannot do without knowing the function's type: the frame's canonical address (CFA), which
 * the record has, is looked up with the unwinder of the compiler's runtime; it says what the callee-saved registers, the
 * stack pointer and the program counter were at the call, and these are loaded, with 0 as the result. That is the
 * ABI's definition of a return. Frames between are left behind: whatever they deferred has run.
 *
 * recover is allowed to the function called by the panic, nobody deeper: its frame address must be the stack pointer at that call. */
#include "sched/defer.h"

#include <dlfcn.h>
#include <unistd.h>
#include <unwind.h>

#include "libgomalloc/base/check.h"
#include "libgomalloc/base/print.h"
#include "sched/dump.h"
#include "sched/gosched.h"
#include "sched/proc.h"

struct gs_panic {
    struct gs_panic *link;     /* the older one, whose deferred call panicked */
    void *value;
    const char *text;          /* of the library's own, else NULL */
    void *callee_frame;        /* of the deferred call that runs; NULL: none, or it was run by nobody's panic */
    bool recovered, aborted;
    bool exiting;              /* not a panic: go_exit, which nothing recovers */
};

void __asan_handle_no_return(void) __attribute__((weak));

/* g->defers and g->panics are declared by tags of their own (gmp.h). */
static struct gosched_defer *top(struct gs_g *g) { return (struct gosched_defer *)g->defers; }
static void set_top(struct gs_g *g, struct gosched_defer *d) { g->defers = (struct gs_defer *)d; }

/* ---- the last words */

static void print_panics(struct gm_out *o, const struct gs_panic *p) {
    if (p->link) {
        print_panics(o, p->link);
        if (!p->link->exiting) gm_out_char(o, '\t');
    }
    if (p->exiting) return;
    if (p->text) gm_out_printf(o, "panic: %s", p->text);
    else gm_out_printf(o, "panic: (void *) %p", p->value);
    gm_out_str(o, p->recovered ? " [recovered]\n" : "\n");
}

/* What went before and the stack, and nothing else is written of a process that ends. */
GM_NORETURN static GM_NOINLINE void last_words(struct gm_out *o) {
    struct gs_caller from;
    gs_caller_here(&from);
    gs_dump_begin_last_words();
    gm_out_flush(o);
    gs_dump_last_words(&from);
    _exit(2);
}

void gs_fatal_text(const char *text) {
    struct gm_out o;
    gm_out_init(&o, 2);
    gm_out_printf(&o, "fatal error: %s\n", text);
    last_words(&o);
}

/* ---- the return from a frame that is not the caller's */

typedef _Unwind_Reason_Code backtrace_fn(_Unwind_Trace_Fn fn, void *arg);
typedef _Unwind_Word get_gr_fn(struct _Unwind_Context *c, int i);
typedef _Unwind_Word get_cfa_fn(struct _Unwind_Context *c);
typedef _Unwind_Ptr get_ip_fn(struct _Unwind_Context *c);

#if defined(__x86_64__)
static const unsigned char saved_registers[] = {3, 6, 12, 13, 14, 15}; /* DWARF's numbers: rbx rbp r12-r15 */
#elif defined(__aarch64__)
static const unsigned char saved_registers[] = {19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, /* x19-x29 */
                                                72, 73, 74, 75, 76, 77, 78, 79};            /* d8-d15 */
#endif

struct way_back {
    uint64_t reg[sizeof saved_registers];
    void *sp, *ip;
    void *frame;               /* wanted: the CFA of the frame to return from */
    bool found;
    get_gr_fn *get_gr;
    get_cfa_fn *get_cfa;
    get_ip_fn *get_ip;
};

/* The unwinder shows each frame at its call; its CFA is then the callee's, where the stack pointer is after the return. */
static _Unwind_Reason_Code look(struct _Unwind_Context *c, void *arg) {
    struct way_back *w = arg;
    if ((void *)w->get_cfa(c) != w->frame) return _URC_NO_REASON;
    for (size_t i = 0; i < sizeof saved_registers; i++) w->reg[i] = w->get_gr(c, saved_registers[i]);
    w->sp = w->frame;
    w->ip = (void *)w->get_ip(c);
    w->found = true;
    return _URC_NORMAL_STOP;
}

GM_NORETURN static void load(const struct way_back *w) {
#if defined(__x86_64__)
    __asm__ volatile("movq 0(%0), %%rbx\n\t"
                     "movq 16(%0), %%r12\n\t"
                     "movq 24(%0), %%r13\n\t"
                     "movq 32(%0), %%r14\n\t"
                     "movq 40(%0), %%r15\n\t"
                     "movq 48(%0), %%rsp\n\t"
                     "movq 56(%0), %%rcx\n\t"
                     "movq 8(%0), %%rbp\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "xorl %%edx, %%edx\n\t"
                     "pxor %%xmm0, %%xmm0\n\t"
                     "pxor %%xmm1, %%xmm1\n\t"
                     "jmp *%%rcx"
                     :
                     : "D"(w)
                     : "memory");
#elif defined(__aarch64__)
    register const struct way_back *from __asm__("x9") = w;
    __asm__ volatile("ldp x19, x20, [x9]\n\t"
                     "ldp x21, x22, [x9, 16]\n\t"
                     "ldp x23, x24, [x9, 32]\n\t"
                     "ldp x25, x26, [x9, 48]\n\t"
                     "ldp x27, x28, [x9, 64]\n\t"
                     "ldr x29, [x9, 80]\n\t"
                     "ldp d8, d9, [x9, 88]\n\t"
                     "ldp d10, d11, [x9, 104]\n\t"
                     "ldp d12, d13, [x9, 120]\n\t"
                     "ldp d14, d15, [x9, 136]\n\t"
                     "ldr x10, [x9, 152]\n\t"
                     "ldr x30, [x9, 160]\n\t"
                     "mov sp, x10\n\t"
                     "mov x0, 0\n\t"
                     "mov x1, 0\n\t"
                     "movi v0.2d, 0\n\t"
                     "movi v1.2d, 0\n\t"
                     "ret"
                     :
                     : "r"(from)
                     : "memory");
#endif
    __builtin_unreachable();
}
GM_STATIC_ASSERT(offsetof(struct way_back, sp) == 8 * sizeof saved_registers, "load() counts the registers");

/* The runtime of the compiler is no dependency of the library: it is loaded by the first recovery. A symbol of the
 * program's own, if it has one, is the same thing. */
static void *unwinder(const char *name) {
    void *f = dlsym(RTLD_DEFAULT, name);
    if (f) return f;
    void *lib = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL);
    return lib ? dlsym(lib, name) : NULL;
}

GM_NORETURN static void return_from(void *frame) {
    struct way_back w = {.frame = frame};
    backtrace_fn *backtrace = (backtrace_fn *)unwinder("_Unwind_Backtrace");
    w.get_gr = (get_gr_fn *)unwinder("_Unwind_GetGR");
    w.get_cfa = (get_cfa_fn *)unwinder("_Unwind_GetCFA");
    w.get_ip = (get_ip_fn *)unwinder("_Unwind_GetIP");
    if (!backtrace || !w.get_gr || !w.get_cfa || !w.get_ip) gs_fatal_text("recover: no libgcc_s.so.1");
    backtrace(look, &w);
    if (!w.found) gs_fatal_text("recover: a function on the stack has no unwind table");
    if (__asan_handle_no_return) __asan_handle_no_return();
    load(&w);
}

/* ---- panic and recover */

/* The stack pointer here is the callee's frame address, as nothing is passed on the stack. */
static GM_NOINLINE void call_deferred(struct gs_panic *p, struct gosched_defer *d) {
    void *sp;
#if defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
#elif defined(__aarch64__)
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
    p->callee_frame = sp;
    d->fn(d->arg);
    p->callee_frame = NULL; /* also keeps the call from becoming a jump */
}

static void exit_again(struct gs_g *g, struct gs_panic *p);

/* Back from the deferred call d, which had recovered from p. */
GM_NORETURN static void resume(struct gs_g *g, struct gs_panic *p, struct gosched_defer *d) {
    void *frame = d->frame;
    struct gs_panic *older = p->link;
    while (older && older->aborted && !older->exiting) older = older->link;
    g->panics = older;
    if (older && older->exiting && older->aborted) exit_again(g, older);
    while (top(g) && top(g)->frame == frame) gosched_defer_run(top(g));
    return_from(frame);
}

static void run_deferred(struct gs_g *g, struct gs_panic *p) {
    for (struct gosched_defer *d = top(g); d; d = top(g)) {
        if (d->panic) { /* its call has begun and panicked: we replace that panic */
            ((struct gs_panic *)d->panic)->aborted = true;
            d->panic = NULL;
            set_top(g, d->next);
            continue;
        }
        d->panic = p;
        call_deferred(p, d);
        GM_ASSERT(top(g) == d);
        d->panic = NULL;
        set_top(g, d->next);
        if (p->recovered) resume(g, p, d);
    }
}

GM_NORETURN static void panic(void *value, const char *text) {
    struct gs_g *g = gs_self();
    struct gs_panic p = {.link = g->panics, .value = value, .text = text};
    struct gm_out o;
    g->panics = &p;
    run_deferred(g, &p);
    gm_out_init(&o, 2);
    print_panics(&o, &p);
    last_words(&o);
}

/* noipa: nobody shall find out that it does not return (gosched.h). */
__attribute__((noipa)) void go_panic(void *value) { panic(value, NULL); }
void gs_panic_text(const char *text) { panic((void *)text, text); }

void *gosched_recover(void *frame) {
    struct gs_panic *p = gs_self()->panics;
    if (!p || p->exiting || p->recovered || p->callee_frame != frame) return NULL;
    p->recovered = true;
    return p->value;
}

/* ---- the ordinary ways */

void gosched_defer_push(struct gosched_defer *d) {
    struct gs_g *g = gs_self();
    d->next = top(g);
    set_top(g, d);
}

void gosched_defer_run(struct gosched_defer *d) {
    struct gs_g *g = gs_self();
    GM_ASSERT(top(g) == d);
    set_top(g, d->next);
    d->fn(d->arg);
}

/* A panic inside go_exit's deferred calls was recovered: go_exit goes on, in place of the frame's return. */
static void exit_again(struct gs_g *g, struct gs_panic *p) {
    p->aborted = false;
    run_deferred(g, p);
    g->panics = NULL;
    gs_exit();
}

/* All deferred calls first, last first. */
void go_exit(void) {
    struct gs_g *g = gs_self();
    struct gs_panic p = {.link = g->panics, .exiting = true};
    g->panics = &p;
    run_deferred(g, &p);
    g->panics = NULL;
    gs_exit();
}
