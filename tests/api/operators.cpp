/* The C++ allocation functions: every form of new and delete, the new_handler loop, bad_alloc, and
 * mixtures with malloc that the C library allows and programs contain. */
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>

#include "tests/check.h"

using std::align_val_t;
using std::nothrow;
using std::size_t;

static void *volatile sink;
static volatile size_t huge = SIZE_MAX / 2 - 100, most = SIZE_MAX;

static void *opaque(void *p) {
    sink = p;
    return sink;
}

static void use(void *p, size_t n, size_t align) {
    expect(p != nullptr);
    expect_eq((uintptr_t)p % align, 0);
    expect(malloc_usable_size(p) >= n);
    if (p && n) memset(p, 0xa5, n);
}

TEST(plain_forms) {
    for (size_t n = 0; n < 200000; n += n / 20 + 1) {
        size_t align = n <= 8 ? 8 : 16;
        void *p = opaque(operator new(n)), *q = opaque(operator new(n));
        expect(p != q);
        use(p, n, align);
        operator delete(p);
        operator delete(q, n);
        use(p = opaque(operator new[](n)), n, align);
        operator delete[](p);
        use(p = opaque(operator new[](n)), n, align);
        operator delete[](p, n);
        use(p = opaque(operator new(n, nothrow)), n, align);
        operator delete(p, nothrow);
        use(p = opaque(operator new[](n, nothrow)), n, align);
        operator delete[](p, nothrow);
    }
    operator delete(nullptr);
    operator delete[](nullptr);
    operator delete(nullptr, (size_t)8);
    operator delete(nullptr, align_val_t(64));
    operator delete[](nullptr, (size_t)8, align_val_t(64));
    operator delete(nullptr, nothrow);
}

TEST(aligned_forms) {
    for (size_t a = 1; a <= (size_t)16 << 20; a *= 2)
        for (size_t n : {(size_t)0, (size_t)1, a - 1, a, a + 1, a * 3 / 2, (size_t)5000}) {
            align_val_t al{a};
            void *p;
            use(p = opaque(operator new(n, al)), n, a);
            operator delete(p, al);
            use(p = opaque(operator new(n, al)), n, a);
            operator delete(p, n, al);
            use(p = opaque(operator new[](n, al)), n, a);
            operator delete[](p, al);
            use(p = opaque(operator new[](n, al)), n, a);
            operator delete[](p, n, al);
            use(p = opaque(operator new(n, al, nothrow)), n, a);
            operator delete(p, al, nothrow);
            use(p = opaque(operator new[](n, al, nothrow)), n, a);
            operator delete[](p, al, nothrow);
        }
}

template <class F> static bool throws_bad_alloc(F f) {
    try {
        sink = f();
    } catch (const std::bad_alloc &e) {
        return e.what() != nullptr;
    }
    return false;
}

TEST(bad_alloc) {
    for (int i = 0; i < 100; i++) {
        expect(throws_bad_alloc([] { return operator new(huge); }));
        expect(throws_bad_alloc([] { return operator new[](most); }));
        expect(throws_bad_alloc([] { return operator new(huge, align_val_t(64)); }));
        expect(throws_bad_alloc([] { return operator new[](most, align_val_t(4096)); }));
        expect(throws_bad_alloc([] { return new long[huge / 100]; }));
    }
    expect(opaque(operator new(huge, nothrow)) == nullptr);
    expect(opaque(operator new[](most, nothrow)) == nullptr);
    expect(opaque(operator new(huge, align_val_t(128), nothrow)) == nullptr);
    expect(opaque(operator new[](most, align_val_t(128), nothrow)) == nullptr);
    expect(throws_bad_alloc([] {
        std::string s;
        s.reserve((size_t)1 << 47);
        return nullptr;
    }));
}

static int handled, give_up_after;

static void counting_handler() {
    if (++handled == give_up_after) std::set_new_handler(nullptr);
}

template <class F> static void handler_is_called(F f) {
    for (int times = 1; times < 4; times++) {
        handled = 0;
        give_up_after = times;
        std::set_new_handler(counting_handler);
        f();
        expect_eq(handled, times);
        expect(std::get_new_handler() == nullptr);
    }
}

TEST(new_handler_is_called_until_it_yields) {
    handler_is_called([] { expect(throws_bad_alloc([] { return operator new(huge); })); });
    handler_is_called([] { expect(throws_bad_alloc([] { return operator new[](huge); })); });
    handler_is_called([] { expect(throws_bad_alloc([] { return operator new(huge, align_val_t(64)); })); });
    handler_is_called([] { expect(opaque(operator new(huge, nothrow)) == nullptr); });
    handler_is_called([] { expect(opaque(operator new[](huge, nothrow)) == nullptr); });
    handler_is_called([] { expect(opaque(operator new(huge, align_val_t(64), nothrow)) == nullptr); });
}

/* A handler that makes room: the allocation then succeeds. Room is made by lifting the limit. */
static void lifting_handler() {
    handled++;
    struct rlimit r;
    getrlimit(RLIMIT_AS, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_AS, &r);
}

TEST(new_handler_makes_room) {
    struct rlimit r;
    getrlimit(RLIMIT_AS, &r);
    r.rlim_cur = (size_t)600 << 20;
    if (setrlimit(RLIMIT_AS, &r) != 0) skip("no address space limit");
    handled = 0;
    std::set_new_handler(lifting_handler);
    char *p = (char *)opaque(operator new((size_t)1 << 30));
    expect(p != nullptr);
    expect_eq(handled, 1);
    p[((size_t)1 << 30) - 1] = 1;
    operator delete(p);
}

static void throwing_handler() {
    handled++;
    throw std::runtime_error("mine");
}

TEST(new_handler_may_throw) {
    handled = 0;
    std::set_new_handler(throwing_handler);
    bool caught = false;
    try {
        sink = operator new(huge);
    } catch (const std::runtime_error &e) {
        caught = std::string(e.what()) == "mine";
    }
    expect(caught);
    expect_eq(handled, 1);
}

TEST(bad_alloc_in_threads) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([] {
            for (int i = 0; i < 500; i++) expect(throws_bad_alloc([] { return operator new(huge); }));
        });
    for (auto &t : threads) t.join();
}

struct Throws {
    Throws() { throw 5; }
    char body[1000];
};
struct alignas(256) Over {
    Over() {}
    char body[300];
};

TEST(language_forms) {
    for (int i = 0; i < 1000; i++) {
        try {
            delete new Throws;
            expect(!"an exception");
        } catch (int x) {
            expect_eq(x, 5);
        }
    }
    std::vector<Over> v(100);
    for (auto &o : v) expect_eq((uintptr_t)&o % 256, 0);
    auto array = std::make_unique<Over[]>(7);
    auto shared = std::make_shared<Over>();
    expect_eq((uintptr_t)shared.get() % 256, 0);
    expect_eq((uintptr_t)array.get() % 256, 0);
}

/* Not allowed by the standard; right with the C library, and met in real programs. */
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
TEST(mixtures_with_malloc) {
    free(opaque(operator new(40)));
    free(opaque(operator new[](40000)));
    operator delete(opaque(malloc(40)));
    operator delete[](opaque(strdup("text")));
    free(opaque(operator new(100, align_val_t(64))));
    operator delete(opaque(aligned_alloc(64, 100)), align_val_t(64));
    operator delete[](opaque(realloc(opaque(operator new(10)), 1000)));
}

TEST(errno_survives) {
    errno = 1234;
    void *p = opaque(operator new(100));
    operator delete(p);
    p = opaque(operator new((size_t)100 << 20));
    operator delete(p);
    expect_eq(errno, 1234);
}

TEST_MAIN()
