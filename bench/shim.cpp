/* The C++ side of shim.h, and main: `struct bench` is benchmark::State, `struct bench_case` internal::Benchmark. */
#include "bench/shim.h"

#include <benchmark/benchmark.h>

#include <vector>

using benchmark::State;
using Registered = benchmark::internal::Benchmark;

static State &state(struct bench *b) { return *reinterpret_cast<State *>(b); }
static const State &state(const struct bench *b) { return *reinterpret_cast<const State *>(b); }
static Registered *registered(struct bench_case *c) { return reinterpret_cast<Registered *>(c); }

struct bench_case *bench_add_n(const char *name, bench_fn *fn, const int64_t *args, size_t n) {
    auto *added = benchmark::RegisterBenchmark(name, [fn](State &s) { fn(reinterpret_cast<struct bench *>(&s)); });
    if (n > 0) added->Args(std::vector<int64_t>(args, args + n));
    return reinterpret_cast<struct bench_case *>(added);
}

void bench_threads(struct bench_case *c, int n) { registered(c)->Threads(n); }
void bench_wall_time(struct bench_case *c) { registered(c)->UseRealTime()->MeasureProcessCPUTime(); }
void bench_manual_time(struct bench_case *c) { registered(c)->UseManualTime(); }
void bench_fixed(struct bench_case *c, int64_t iterations) { registered(c)->Iterations(iterations); }

void bench_unit(struct bench_case *c, enum bench_unit unit) {
    static const benchmark::TimeUnit units[] = {benchmark::kNanosecond, benchmark::kMicrosecond, benchmark::kMillisecond,
                                                benchmark::kSecond};
    registered(c)->Unit(units[unit]);
}

int64_t bench_arg(const struct bench *b, size_t i) { return state(b).range(i); }

/* One batch of all the iterations: the framework starts its clock, and says no when asked for a second batch. */
int64_t bench_begin(struct bench *b) {
    State &s = state(b);
    return s.KeepRunningBatch(s.max_iterations) ? s.max_iterations : 0;
}

void bench_end(struct bench *b) {
    State &s = state(b);
    if (!s.error_occurred()) s.KeepRunningBatch(s.max_iterations);
}

int64_t bench_iterations(const struct bench *b) { return state(b).iterations(); }
void bench_pause(struct bench *b) { state(b).PauseTiming(); }
void bench_resume(struct bench *b) { state(b).ResumeTiming(); }
void bench_time(struct bench *b, double seconds) { state(b).SetIterationTime(seconds); }
void bench_items(struct bench *b, int64_t n) { state(b).SetItemsProcessed(n); }
void bench_bytes(struct bench *b, int64_t n) { state(b).SetBytesProcessed(n); }
void bench_counter(struct bench *b, const char *name, double value) { state(b).counters[name] = value; }
void bench_label(struct bench *b, const char *text) { state(b).SetLabel(text); }
void bench_skip(struct bench *b, const char *why) { state(b).SkipWithError(why); }
int bench_thread_index(const struct bench *b) { return state(b).thread_index(); }
int bench_thread_count(const struct bench *b) { return state(b).threads(); }

int main(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
