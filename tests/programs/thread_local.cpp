/* thread_local objects whose destructors allocate and free while the thread exits, in the main
 * thread as well; C++ threads that pass containers to each other. */
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/check.h"

static std::atomic<long> destroyed;

struct Late {
    std::map<int, std::string> m;
    ~Late() {
        for (int i = 0; i < 20; i++) m[i + 100] = std::string(200 + (size_t)i, 'z');
        std::vector<std::string> v(10, std::string(5000, 'q'));
        m[1] = v[3];
        bool whole = m[119] == std::string(219, 'z') && m[1].size() == 5000;
        if (expect(whole)) destroyed++;
    }
};
static thread_local Late late;
static thread_local std::unique_ptr<std::vector<std::string>> owned;

static void work(int n) {
    for (int i = 0; i < 30; i++) late.m[i] = std::string((size_t)(i * 10 + n % 7), 'a');
    owned.reset(new std::vector<std::string>(50, std::string(100, 'v')));
}

TEST_LIMIT(destructors_of_thread_locals, 30) {
    long before = 0;
    const int count = 3000;
    for (int i = 0; i < count; i += 2) {
        std::thread a(work, i), b(work, i + 1);
        a.join();
        b.join();
        if (i == count / 3 / 2 * 2) before = check_rss_kib();
    }
    expect_eq(destroyed.load(), count);
    expect_at_most(check_rss_kib(), before + 2048);
}

TEST_LIMIT(exit_while_threads_run, 30) {
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (child == 0) {
            for (int k = 0; k < 4; k++)
                std::thread([] {
                    for (int n = 0;; n++) work(n);
                }).detach();
            work(1);
            usleep(1000);
            std::quick_exit(0);
        }
        if (!expect_eq(check_wait(child, 10), 0)) return;
    }
}

TEST_LIMIT(main_threads_own_destructors, 30) {
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            work(1);
            exit(0);
        }
        expect_eq(check_wait(child, 10), 0);
    }
}

TEST_LIMIT(containers_cross_threads, 30) {
    for (int round = 0; round < 200; round++) {
        std::map<std::string, std::unique_ptr<std::string>> m;
        std::thread([&] {
            for (int i = 0; i < 500; i++) m["key " + std::to_string(i)].reset(new std::string((size_t)i, 'x'));
        }).join();
        std::thread([&] {
            for (int i = 0; i < 500; i += 2) m.erase("key " + std::to_string(i));
        }).join();
        expect_eq(m.size(), 250);
        expect_eq(m["key 499"]->size(), 499);
    }
}

TEST_MAIN()
