/* Goroutines and their stacks in the format of Go's tracebacks: go_dump, the report on SIGQUIT, the last words of a panic and of
 * a deadlock. See proc.c for the overview, frames.c for how stacks are walked.
 *
 *   goroutine 7 [chan receive, 2 minutes]:
 *   gosched_chan_recv(...)
 *           /usr/lib/libgomalloc.so +0x1f
 *   consumer(...)
 *           /usr/src/prog/main.c:35 +0x25
 *   created by main
 *           /usr/src/prog/main.c:97 +0x61
 *
 * The library's own frames are left out, but for the function that the program called. A plain thread that waits in a call of the
 * library is `thread 4711 [...]`, main's is `main thread [...]`. An object without
 * line tables (made without -g, or stripped) is named in place of the source; what follows is how far into the function the frame
 * stands.
 *
 * Whose stack can be walked: of a waiting goroutine by what gs_switch saved, in a system call by where it entered it
 * (gs_caller), of a waiting plain thread likewise. Who runs on another thread can only be asked by a signal. The report on SIGQUIT
 * does that (quit.c), as the process ends anyway. go_dump does not disturb anybody and says what Go says.
 *
 * Nothing here allocates. The report on SIGQUIT takes no lock, so it may interrupt anything; records are never given back, and what
 * is read of others while they run may be of two moments, but every stack address is checked. */
#include "sched/dump.h"

#include <string.h>

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"
#include "sched/gosched.h"
#include "sched/quit.h"
#include "sched/sanitize.h"
#include "sched/stack.h"
#include "sched/state.h"
#include "sched/switch.h"
#include "sched/symbol.h"
#include "sched/frames.h"

enum { FRAMES = 100 /* Go's bound */, ENTRY_WITHIN = 12, SORTED_UP_TO = 2000 };

/* One dump that is being written. */
struct dump {
    struct gm_out out;
    struct gs_symbols *symbols;
    struct gs_g *self;         /* the caller's, shown first; NULL: none of interest */
    const struct gs_caller *from;
    const void *context;       /* instead of `from`, of a thread that a signal interrupted */
    bool begun;                /* something stands before: a blank line parts it from what follows */
};

static void part(struct dump *d) {
    if (d->begun) gm_out_char(&d->out, '\n');
    d->begun = true;
}

/* ---- frames */

struct frames {
    unsigned n;
    uintptr_t pc[FRAMES];      /* of the instruction: a call's, or the interrupted one */
    uintptr_t offset[FRAMES];  /* what to add for printing: return addresses are one further */
};

/* The scheduler's two outermost frames are no news. */
static bool is_root(uintptr_t function) { return function == (uintptr_t)gs_main || function == (uintptr_t)gs_entry; }

static void collect(struct frames *f, struct gs_cursor *c) {
    bool more = true;
    for (f->n = 0; f->n < FRAMES && more && c->pc != 0;) {
        unsigned one = c->exact ? 0 : 1;
        f->pc[f->n] = c->pc - one;
        f->offset[f->n++] = one;
        more = gs_cursor_up(c);
        if (is_root(c->function)) {
            f->n--;
            break;
        }
    }
}

/* Without what the compiler adds to the names of a function's parts and copies: f.isra.0, f.cold. */
static void put_name(struct dump *d, const char *name) {
    gm_out_char(&d->out, *name);
    while (*name && *++name && *name != '.') gm_out_char(&d->out, *name);
}

/* The parts of a path: each later one may be absolute by itself. */
static void put_line(struct dump *d, const struct gs_line *l) {
    const char *part[] = { l->base, l->directory, l->file };
    unsigned i = part[2][0] == '/' ? 2 : part[1][0] == '/' ? 1 : 0;
    for (; i < 3; i++) {
        gm_out_str(&d->out, part[i]);
        if (i < 2 && *part[i]) gm_out_char(&d->out, '/');
    }
    gm_out_printf(&d->out, ":%u", l->line);
}

static void put_place(struct dump *d, uintptr_t address, uintptr_t add, const char *before, const char *after) {
    struct gs_symbol y = gs_symbol_of(d->symbols, address);
    gm_out_str(&d->out, before);
    if (y.function && *y.function) put_name(d, y.function);
    else gm_out_printf(&d->out, "%p", (void *)address);
    gm_out_str(&d->out, after);
    gm_out_str(&d->out, "\n\t");
    if (y.line.line != 0) put_line(d, &y.line);
    else gm_out_str(&d->out, y.object);
    gm_out_printf(&d->out, " +0x%llx\n", (unsigned long long)(y.offset + add));
}

static bool begins(const char *name, const char *with) { return name && strncmp(name, with, strlen(with)) == 0; }

/* How many frames of the library lie above the call that the program made. That call's own is shown where it is on the stack (a
 * jump at the end of a function leaves no frame). `inside`: the innermost frame is the library's. */
static unsigned entry(struct dump *d, const struct frames *f, bool inside) {
    struct gs_object library, o;
    unsigned n = 0;
    if (!inside || !gs_object_of((uintptr_t)gs_main, &library)) return 0;
    for (; n < f->n && n < ENTRY_WITHIN; n++) {
        const char *name = gs_symbol_of(d->symbols, f->pc[n]).function;
        if (begins(name, "gosched_")) return n;
    }
    bool linked = library.path[0] == 0; /* into the program: names must do */
    for (n = 0; n < f->n; n++) {
        if (linked ? !begins(gs_symbol_of(d->symbols, f->pc[n]).function, "gs_")
                   : !gs_object_of(f->pc[n], &o) || o.start != library.start) break;
    }
    return n < f->n ? n : 0;
}

/* What called main is the same in every program. */
static bool is_main(struct dump *d, uintptr_t pc) {
    const char *name = gs_symbol_of(d->symbols, pc).function;
    return name && strcmp(name, "main") == 0;
}

static void put_frames(struct dump *d, struct gs_cursor *c, bool inside) {
    struct frames f;
    collect(&f, c);
    for (unsigned i = entry(d, &f, inside); i < f.n; i++) {
        put_place(d, f.pc[i], f.offset[i], "", "(...)");
        if (is_main(d, f.pc[i])) return;
    }
    if (f.n == FRAMES) gm_out_str(&d->out, "...additional frames elided...\n");
}

/* ---- where a signal found a thread */

/* The ends of a stack that is not one of ours: the kernel checks each address. */
enum { FOREIGN_STACK = 8 << 20 };

static void cursor_of_context(struct gs_cursor *c, const void *context, const struct gs_g *g) {
    gs_cursor_context(c, context, 0, 0);
    uintptr_t sp = c->reg[GM_CFI_SP];
    c->foreign = !(sp >= (uintptr_t)g->stack_low && sp < (uintptr_t)g->stack_high);
    c->low = sp;
    c->high = c->foreign ? sp + FOREIGN_STACK : (uintptr_t)g->stack_high;
}

/* ---- one goroutine */

/* The stack's ends belong together (sizes are powers of two): a goroutine that ends and starts again meanwhile may have another
 * stack. */
GS_UNCHECKED static bool has_stack(const struct gs_g *g, uintptr_t sp, uintptr_t *high) {
    uintptr_t low = (uintptr_t)g->stack_low, size = (uintptr_t)g->stack_high - low;
    *high = low + size;
    return low != 0 && size >= GS_STACK_MIN && (size & (size - 1)) == 0 && sp > low && sp < *high;
}

GS_UNCHECKED static void put_stack(struct dump *d, const struct gs_g *g, uint32_t state) {
    struct gs_cursor c;
    uintptr_t high;
    const struct gs_m *m = gm_load_relaxed(&g->m);
    const void *context = m ? gs_quit_context(gm_load_relaxed(&m->tid)) : NULL;
    if (g == d->self && d->context) {
        cursor_of_context(&c, d->context, g);
        put_frames(d, &c, false);
    } else if (g == d->self) {
        gs_cursor_caller(&c, d->from, d->from->sp, (uintptr_t)g->stack_high);
        put_frames(d, &c, true);
    } else if (context && state != GS_G_SYSCALL) {
        cursor_of_context(&c, context, g);
        put_frames(d, &c, false);
    } else if (state == GS_G_SYSCALL && m && has_stack(g, m->syscall.sp, &high)) {
        gs_cursor_caller(&c, &m->syscall, m->syscall.sp, high);
        put_frames(d, &c, true);
    } else if (state == GS_G_RUNNING || state == GS_G_SYSCALL) {
        gm_out_str(&d->out, "\tgoroutine running on other thread; stack unavailable\n");
    } else if (has_stack(g, (uintptr_t)g->sp, &high)) {
        gs_cursor_saved(&c, g);
        c.high = high;
        if (c.pc == (uintptr_t)gs_entry) put_place(d, (uintptr_t)g->fn, 0, "", "(...)");
        else put_frames(d, &c, true);
    }
}

static void put_since(struct dump *d, int64_t since) {
    int64_t minutes = since ? ((int64_t)gm_os_nanotime() - since) / 60000000000 : 0;
    if (minutes >= 1) gm_out_printf(&d->out, ", %lld minutes", (long long)minutes);
}

GS_UNCHECKED static void put_goroutine(struct dump *d, struct gs_g *g) {
    static const char *const words[] = { "idle", "runnable", "running", "syscall", "waiting", "", "dead" };
    uint32_t state = g == d->self ? GS_G_RUNNING : gm_load_relaxed(&g->state);
    const char *reason = state == GS_G_WAITING ? gs_wait_text(g->wait_reason) : "";
    if (state == GS_G_IDLE || state >= GS_G_DEAD) return;
    part(d);
    gm_out_printf(&d->out, "goroutine %llu [%s", (unsigned long long)g->id, *reason ? reason : words[state]);
    if (state == GS_G_WAITING) put_since(d, g->wait_since);
    gm_out_str(&d->out, g->locked_m ? ", locked to thread]:\n" : "]:\n");
    put_stack(d, g, state);
    if (!g->created_at) return;
    put_place(d, (uintptr_t)g->created_at - 1, 1, "created by ", "");
}

/* ---- one plain thread */

static void put_thread_name(struct dump *d, int tid) {
    part(d);
    if (tid == gm_os_getpid()) gm_out_str(&d->out, "main thread [");
    else gm_out_printf(&d->out, "thread %d [", tid);
}

GS_UNCHECKED static void put_thread(struct dump *d, const struct gs_g *g) {
    struct gs_cursor c;
    int tid = gm_load_relaxed(&g->tid);
    bool self = g == d->self, parked = gm_load_acquire(&g->parks) & 1;
    const void *context = gs_quit_context(tid);
    if (tid == 0 || (!self && !parked && !context)) return;
    put_thread_name(d, tid);
    if (!self && parked) {
        struct gs_caller from = *(const struct gs_caller *)g->sp;
        gm_out_str(&d->out, gs_wait_text(g->wait_reason));
        put_since(d, g->wait_since);
        gs_cursor_caller(&c, &from, from.sp, from.sp + FOREIGN_STACK);
    } else {
        gm_out_str(&d->out, "running");
        if (self) gs_cursor_caller(&c, d->from, d->from->sp, d->from->sp + FOREIGN_STACK);
        else cursor_of_context(&c, context, g);
    }
    c.foreign = true;
    gm_out_str(&d->out, "]:\n");
    put_frames(d, &c, self || parked);
}

/* ---- all */

static bool is_standin(const struct gs_g *g) { return gm_load_relaxed(&g->flags) & GS_G_STANDIN; }

GS_UNCHECKED static void put_all(struct dump *d) {
    unsigned n = 0;
    struct gs_g *all = gm_load_acquire(&gs_sched.all_g);
    if (d->self && gs_is_goroutine(d->self)) put_goroutine(d, d->self);
    for (struct gs_g *g = all; g; g = g->all_next) {
        if (is_standin(g)) put_thread(d, g);
        else n++;
    }
    if (n <= SORTED_UP_TO) {
        uint64_t id = 0;
        for (struct gs_g *g; (g = gs_next_by_id(id)); id = g->id)
            if (g != d->self) put_goroutine(d, g);
    } else {
        for (struct gs_g *g = all; g; g = g->all_next)
            if (g != d->self && !is_standin(g)) put_goroutine(d, g);
    }
}

GM_NOINLINE void go_dump(int fd) {
    static uint32_t busy;
    static struct gs_symbols symbols;
    struct gs_caller from;
    uint32_t nobody = 0;
    struct dump d = { .symbols = &symbols, .self = gs_self(), .from = &from };
    gs_caller_here(&from);
    int saved = gs_errno();
    go_entersyscall(); /* the descriptor may be a pipe that another goroutine reads */
    while (!gm_cas_acquire(&busy, &nobody, 1)) {
        nobody = 0;
        gm_os_futex_wait(&busy, 1, 1000000);
    }
    gm_out_init(&d.out, fd);
    put_all(&d);
    gm_out_flush(&d.out);
    gs_symbols_drop(&symbols);
    gm_store_release(&busy, 0);
    go_exitsyscall();
    gs_set_errno(saved);
}

/* ---- the end of the process */

static struct gs_symbols last_symbols;

/* The other threads have nothing to do any more. */
void gs_dump_begin_last_words(void) {
    static int last;
    static uint32_t never;
    int nobody = 0;
    if (gm_cas_acquire(&last, &nobody, gm_os_gettid()) || nobody == gm_os_gettid()) return;
    for (;;) gm_os_futex_wait(&never, 0, -1);
}

void gs_dump_last_words(const struct gs_caller *from) {
    struct dump d = { .symbols = &last_symbols, .self = gs_self(), .from = from, .begun = true };
    gm_out_init(&d.out, 2);
    if (gs_is_goroutine(d.self)) put_goroutine(&d, d.self);
    else put_thread(&d, d.self);
    gm_out_flush(&d.out);
}

void gs_dump_last_words_at(struct gs_g *g, const void *context) {
    struct dump d = { .symbols = &last_symbols, .self = g, .context = context, .begun = true };
    gm_out_init(&d.out, 2);
    put_goroutine(&d, g);
    gm_out_flush(&d.out);
}

void gs_dump_last_words_of_all(void) {
    struct dump d = { .symbols = &last_symbols, .begun = true };
    gm_out_init(&d.out, 2);
    put_all(&d);
    gm_out_flush(&d.out);
}
