/* C++'s allocation operators, without C++.
 *
 * Two operators allocate and two free: new, delete and their aligned forms. The other sixteen are by
 * the standard calls of these, and a program may replace any of them: one that defines only
 * operator new(size_t) and operator delete(void *), putting a header before each block, say, must see
 * its delete called for delete[], sized and nothrow delete as well. So the sixteen jump through the
 * dynamic linker's binding of the operator they stand on, which is ours unless the program has its own.
 *
 * When memory runs out, new calls the new_handler until it yields, and throws std::bad_alloc if there
 * is none. Both belong to the C++ runtime (libstdc++ or libc++), which must not become a dependency of
 * C programs: the references are weak, and where they are empty because the runtime came by dlopen,
 * and perhaps into a local scope, it is looked for behind the caller, whose library depends on it.
 * An exception passes through our frames by the unwind tables that the compiler writes for every
 * function; nothing here has to be cleaned up.
 *
 * nothrow new must swallow what a handler throws, and C cannot catch. But the runtime has that very
 * function: its own nothrow new calls operator new, which is ours or the program's, inside a try. It
 * is called when there is a handler to run or a replaced operator new to ask; else there is nothing to
 * catch and the answer is NULL. */
#define _GNU_SOURCE 1
#include "libgomalloc/alloc.h"
#include "libgomalloc/base/atomic.h"
#include "libgomalloc/base/bits.h"
#include "libgomalloc/base/panic.h"
#include "libgomalloc/fastpath.h"
#include "preload/next.h"

#include <dlfcn.h>

GM_STATIC_ASSERT(sizeof(size_t) == sizeof(unsigned long), "the mangled names say unsigned long");

/* noplt: a jump straight through the binding. `tag` is the std::nothrow_t reference. */
#define OPERATOR(result, name, mangled, ...) \
    GM_EXPORT __attribute__((noplt)) result name(__VA_ARGS__) __asm__(mangled)

OPERATOR(void *, gm_cxx_new, "_Znwm", size_t n);
OPERATOR(void *, gm_cxx_new_array, "_Znam", size_t n);
OPERATOR(void *, gm_cxx_new_nothrow, "_ZnwmRKSt9nothrow_t", size_t n, const void *tag);
OPERATOR(void *, gm_cxx_new_array_nothrow, "_ZnamRKSt9nothrow_t", size_t n, const void *tag);
OPERATOR(void *, gm_cxx_new_aligned, "_ZnwmSt11align_val_t", size_t n, size_t align);
OPERATOR(void *, gm_cxx_new_array_aligned, "_ZnamSt11align_val_t", size_t n, size_t align);
OPERATOR(void *, gm_cxx_new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t", size_t n, size_t align,
         const void *tag);
OPERATOR(void *, gm_cxx_new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t", size_t n,
         size_t align, const void *tag);

OPERATOR(void, gm_cxx_delete, "_ZdlPv", void *p);
OPERATOR(void, gm_cxx_delete_array, "_ZdaPv", void *p);
OPERATOR(void, gm_cxx_delete_sized, "_ZdlPvm", void *p, size_t n);
OPERATOR(void, gm_cxx_delete_array_sized, "_ZdaPvm", void *p, size_t n);
OPERATOR(void, gm_cxx_delete_nothrow, "_ZdlPvRKSt9nothrow_t", void *p, const void *tag);
OPERATOR(void, gm_cxx_delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", void *p, const void *tag);
OPERATOR(void, gm_cxx_delete_aligned, "_ZdlPvSt11align_val_t", void *p, size_t align);
OPERATOR(void, gm_cxx_delete_array_aligned, "_ZdaPvSt11align_val_t", void *p, size_t align);
OPERATOR(void, gm_cxx_delete_sized_aligned, "_ZdlPvmSt11align_val_t", void *p, size_t n, size_t align);
OPERATOR(void, gm_cxx_delete_array_sized_aligned, "_ZdaPvmSt11align_val_t", void *p, size_t n, size_t align);
OPERATOR(void, gm_cxx_delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t", void *p, size_t align,
         const void *tag);
OPERATOR(void, gm_cxx_delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t", void *p,
         size_t align, const void *tag);

/* ---- the C++ runtime, as far as it is needed when memory has run out */

typedef void handler(void);
typedef void thrower(void);
typedef handler *getter(void);

extern void gm_throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));
extern handler *gm_get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));

#define THROW_BAD_ALLOC "_ZSt17__throw_bad_allocv"
#define GET_NEW_HANDLER "_ZSt15get_new_handlerv"

struct runtime {
    thrower *throw_bad_alloc;
    getter *get_new_handler; /* NULL: none, and then there is no handler either */
};

/* Closes the handle again: the library is in use, or its code would not be calling. */
static bool runtime_in(void *handle, struct runtime *rt) {
    if (handle == NULL) return false;
    rt->throw_bad_alloc = (thrower *)dlsym(handle, THROW_BAD_ALLOC);
    rt->get_new_handler = (getter *)dlsym(handle, GET_NEW_HANDLER);
    dlclose(handle);
    return rt->throw_bad_alloc != NULL;
}

/* The library that holds an address, if it is loaded by a name; NULL for the executable. */
static void *library_of(const void *address) {
    Dl_info where;
    return dladdr(address, &where) != 0 ? dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
}

static GM_COLD bool find_runtime(const void *caller, struct runtime *rt) {
    static const char *const names[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};
    *rt = (struct runtime){gm_throw_bad_alloc, gm_get_new_handler};
    if (rt->throw_bad_alloc != NULL) return true;
    bool found = runtime_in(library_of(caller), rt);
    for (size_t i = 0; !found && i < sizeof names / sizeof names[0]; i++)
        found = runtime_in(dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD), rt);
    dlerror(); /* the program did not call us to be told what we did not find */
    return found;
}

/* ---- new */

/* align 0: that of any object. */
static void *allocate(size_t n, size_t align) {
    if (align == 0) return gm_alloc(n);
    return GM_LIKELY(gm_is_pow2(align)) ? gm_alloc_aligned(align, n) : NULL;
}

static GM_COLD void *out_of_memory(size_t n, size_t align, const void *caller) {
    struct runtime rt;
    if (!find_runtime(caller, &rt))
        gm_fatal("operator new: out of memory, and no C++ runtime to throw std::bad_alloc");
    for (;;) {
        handler *h = rt.get_new_handler != NULL ? rt.get_new_handler() : NULL;
        if (h == NULL) rt.throw_bad_alloc();
        h();
        void *p = allocate(n, align);
        if (p != NULL) return p;
    }
}

void *gm_cxx_new(size_t n) {
    void *p = gm_alloc_fast(n);
    return GM_LIKELY(p != NULL) ? p : out_of_memory(n, 0, __builtin_return_address(0));
}

void *gm_cxx_new_aligned(size_t n, size_t align) {
    void *p = allocate(n, align);
    return GM_LIKELY(p != NULL) ? p : out_of_memory(n, align, __builtin_return_address(0));
}

/* The return address is looked at, so these have to be jumps. */
GM_TAIL_CALLS void *gm_cxx_new_array(size_t n) { return gm_cxx_new(n); }
GM_TAIL_CALLS void *gm_cxx_new_array_aligned(size_t n, size_t align) { return gm_cxx_new_aligned(n, align); }

/* ---- nothrow new */

/* Ours, by names that the program cannot bind otherwise. */
static void *own_new(size_t n) __attribute__((alias("_Znwm")));
static void *own_new_aligned(size_t n, size_t align) __attribute__((alias("_ZnwmSt11align_val_t")));

/* The runtime's definition of an operator of ours, to be called because there is something to catch:
 * a handler is set, or operator new is not our own. NULL: nothing to catch, or no runtime. `slot` keeps
 * it, for programs with an operator new of their own that get here every time. */
static void *runtime_operator(void **slot, const char *mangled, bool own, const void *caller) {
    struct runtime rt;
    void *f = gm_load_relaxed(slot);
    if (f != NULL && !own) return f;
    if (!find_runtime(caller, &rt)) return NULL;
    if (own && (rt.get_new_handler == NULL || rt.get_new_handler() == NULL)) return NULL;
    void *library = library_of((const void *)rt.throw_bad_alloc);
    if (library == NULL) return NULL;
    f = dlsym(library, mangled);
    dlclose(library);
    if (f == NULL) dlerror();
    gm_store_relaxed(slot, f);
    return f;
}

static GM_COLD void *nothrow_slow(size_t n, const void *tag, const void *caller) {
    static void *slot;
    bool own = gm_cxx_new == own_new;
    void *f = runtime_operator(&slot, "_ZnwmRKSt9nothrow_t", own, caller);
    if (f != NULL) return ((void *(*)(size_t, const void *))f)(n, tag);
    return own ? NULL : gm_cxx_new(n);
}

static GM_COLD void *aligned_nothrow_slow(size_t n, size_t align, const void *tag, const void *caller) {
    static void *slot;
    bool own = gm_cxx_new_aligned == own_new_aligned;
    void *f = runtime_operator(&slot, "_ZnwmSt11align_val_tRKSt9nothrow_t", own, caller);
    if (f != NULL) return ((void *(*)(size_t, size_t, const void *))f)(n, align, tag);
    return own ? NULL : gm_cxx_new_aligned(n, align);
}

void *gm_cxx_new_nothrow(size_t n, const void *tag) {
    void *p = gm_cxx_new == own_new ? gm_alloc_fast(n) : NULL;
    return GM_LIKELY(p != NULL) ? p : nothrow_slow(n, tag, __builtin_return_address(0));
}

void *gm_cxx_new_aligned_nothrow(size_t n, size_t align, const void *tag) {
    void *p = gm_cxx_new_aligned == own_new_aligned ? allocate(n, align) : NULL;
    return GM_LIKELY(p != NULL) ? p : aligned_nothrow_slow(n, align, tag, __builtin_return_address(0));
}

GM_TAIL_CALLS void *gm_cxx_new_array_nothrow(size_t n, const void *tag) { return gm_cxx_new_nothrow(n, tag); }
GM_TAIL_CALLS void *gm_cxx_new_array_aligned_nothrow(size_t n, size_t align, const void *tag) {
    return gm_cxx_new_aligned_nothrow(n, align, tag);
}

/* ---- delete */

void gm_cxx_delete(void *p) { gm_free_fast(p); }
void gm_cxx_delete_aligned(void *p, size_t align) { gm_free_fast(p); }

void gm_cxx_delete_array(void *p) { gm_cxx_delete(p); }
void gm_cxx_delete_sized(void *p, size_t n) { gm_cxx_delete(p); }
void gm_cxx_delete_nothrow(void *p, const void *tag) { gm_cxx_delete(p); }
void gm_cxx_delete_array_sized(void *p, size_t n) { gm_cxx_delete_array(p); }
void gm_cxx_delete_array_nothrow(void *p, const void *tag) { gm_cxx_delete_array(p); }

void gm_cxx_delete_array_aligned(void *p, size_t align) { gm_cxx_delete_aligned(p, align); }
void gm_cxx_delete_sized_aligned(void *p, size_t n, size_t align) { gm_cxx_delete_aligned(p, align); }
void gm_cxx_delete_aligned_nothrow(void *p, size_t align, const void *tag) {
    gm_cxx_delete_aligned(p, align);
}
void gm_cxx_delete_array_sized_aligned(void *p, size_t n, size_t align) {
    gm_cxx_delete_array_aligned(p, align);
}
void gm_cxx_delete_array_aligned_nothrow(void *p, size_t align, const void *tag) {
    gm_cxx_delete_array_aligned(p, align);
}
