/* A C++ plugin with static and thread_local objects, exceptions and containers: what dlopen brings
 * into a program that may know nothing of libstdc++. */
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace {
struct State {
    std::map<std::string, std::vector<int>> m;
    State() {
        for (int i = 0; i < 200; i++) m["k" + std::to_string(i)].assign((size_t)i, i);
    }
    ~State() { m["last"].assign(1000, 1); }
};
State state;
thread_local std::unique_ptr<std::string> mine;
} // namespace

extern "C" {
char *plugin_text(int n);
int plugin_throw(int n);
int plugin_bad_alloc(size_t n);
int plugin_handler(size_t n);
}

/* n characters, from new[]. */
char *plugin_text(int n) {
    mine.reset(new std::string((size_t)n, 'p'));
    char *s = new char[(size_t)n + 1];
    for (int i = 0; i < n; i++) s[i] = (char)('a' + i % 26);
    s[n] = 0;
    return s;
}

/* Throws and catches; n if what arrived is what was thrown. */
int plugin_throw(int n) {
    try {
        throw std::runtime_error(std::string((size_t)n, 'e'));
    } catch (const std::exception &e) {
        return (int)std::string(e.what()).size();
    }
}

/* 1 if an impossible size throws bad_alloc from every throwing form. */
int plugin_bad_alloc(size_t n) {
    int caught = 0;
    void *volatile p = nullptr;
    try {
        p = operator new(n);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        p = operator new[](n);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        p = operator new(n, std::align_val_t(64));
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        std::vector<char> v(n);
        p = v.data();
    } catch (const std::exception &) {
        caught++;
    }
    return caught == 4 && p == nullptr;
}

static int calls;

/* How often the new_handler, which gives up at its third call, is called. */
int plugin_handler(size_t n) {
    calls = 0;
    std::set_new_handler([] {
        if (++calls == 3) std::set_new_handler(nullptr);
    });
    void *volatile p = nullptr;
    try {
        p = operator new(n);
    } catch (const std::bad_alloc &) {
        return calls;
    }
    return p ? -1 : -2;
}
