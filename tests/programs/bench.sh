#!/bin/bash
# The benchmarks work: workloads and single paths run under glibc and this library, their answers are checked, and the page
# shows what the summary says, as a browser sees it. No figure is judged here. TAP.
cd "$(dirname "$0")/../.." || exit 2
BUILD=${GM_BUILD_DIR:-build} GM_LIB=${GM_LIB:-${GM_BUILD_DIR:-build}/libgomalloc.so}
. tests/tap.sh

PYTHON=$(PATH=/usr/bin:$PATH type -P python3)
export BENCH_WORK=$SCRATCH/work

only_here() {
    [[ $BUILD == */build ]] || skip_because 'once is enough: with the release build'
    [[ -e /usr/include/benchmark/benchmark.h ]] || skip_because 'no Google Benchmark'
}

# One of each kind, and those that check most.
workloads() {
    only_here
    without bench/run --quick --only 'pair-random,regrow-doubling,xmalloc-1-3,server-8,fork-small,lua' --allocs gomalloc="$LIB" --csv "$SCRATCH/runs.csv" \
        >"$SCRATCH/out" 2>&1 || { cat "$SCRATCH/out"; return 1; }
    grep -q '^mean: all' "$SCRATCH/out" && (($(grep -c ',gomalloc,ok,' "$SCRATCH/runs.csv") == 6))
}

paths() {
    only_here
    without env -u MAKEFLAGS -u MFLAGS make -s bench-allocators >"$SCRATCH/out" 2>&1 || { cat "$SCRATCH/out"; return 1; }
    without bench/micro/run --quick --allocs gomalloc="$LIB" --csv "$SCRATCH/micro.csv" >"$SCRATCH/out" 2>&1 || { cat "$SCRATCH/out"; return 1; }
    local cases
    cases=$(without bench/micro/run --list | wc -l)
    ((cases > 70 && cases == $(grep -c ',path,gomalloc,ok,[1-9]' "$SCRATCH/micro.csv"))) || { echo "$cases cases"; return 1; }
}

# A file of runs whose ratios are known: one allocator twice as fast, at 1.5 times the memory.
made_up_runs() {
    local round
    echo '# a machine'
    echo 'round,attempt,case,kind,allocator,result,wall_ns,cpu_ns,peak_kib,minor_faults,major_faults,foreign_cpu_ns'
    for round in 1 2 3; do
        printf '%d,1,%s,ok,%d,%d,%d,%d,0,0\n' $round a,real,glibc $((1000000 * round)) 1000000 10000 100 $round a,real,fast $((500000 * round)) 1000000 15000 100 \
            $round b,synthetic,glibc 4000000 1000000 10000 100 $round b,synthetic,fast $((8000000 + round)) 1000000 15000 100
        printf '%d,1,c,synthetic,glibc,ok,1,1,1,1,0,0\n%d,1,c,synthetic,fast,FAIL(status 1),0,0,0,0,0,0\n' $round $round
    done
}

summary_counts() {
    only_here
    without env -u MAKEFLAGS -u MFLAGS make -s bench-allocators >"$SCRATCH/out" 2>&1 || { cat "$SCRATCH/out"; return 1; }
    made_up_runs >"$SCRATCH/m.csv"
    without build/bench/bin/summary "$SCRATCH/m.csv" "$SCRATCH/m-summary.csv" >"$SCRATCH/out" || { cat "$SCRATCH/out"; return 1; }
    grep -q '^a,real,wall,fast,3,0,0,1000000,0.5000,0.5000,0.5000,1$' "$SCRATCH/m-summary.csv" &&
        grep -q '^all,mean,wall,fast,,,,,1.0000,' "$SCRATCH/m-summary.csv" && grep -q '^all,mean,rss,fast,,,,,1.5000,1.5000,1.5000,2$' "$SCRATCH/m-summary.csv" &&
        grep -q '^c failed under fast' "$SCRATCH/out"
}

# Every dot stands where its number belongs, in both pages; nothing is fetched; dark where the reader's system is.
page_in_a_browser() {
    need chromium
    summary_counts || return
    local pages=("$SCRATCH/m.csv") page
    [[ ! -s $SCRATCH/micro-summary.csv ]] || pages+=("$SCRATCH/micro.csv")
    without build/bench/bin/page "${pages[@]}" >"$SCRATCH/bench.html" || return
    ! grep -nE '(src|href)=|https?:' "$SCRATCH/bench.html" || return
    grep -q 'prefers-color-scheme:dark' "$SCRATCH/bench.html" || return
    timeout "$(seconds 60)" chromium --headless --no-sandbox --disable-gpu --user-data-dir="$SCRATCH/profile" --dump-dom "file://$SCRATCH/bench.html" \
        >"$SCRATCH/dom" 2>/dev/null
    "$PYTHON" - "$SCRATCH/dom" <<'P'
import json, math, re, sys
dom = open(sys.argv[1]).read()
data = json.loads(re.search(r'id="data">(.*?)</script>', dom, re.S).group(1))
seen = 0
for name, metric, kinds in (("wall", "wall", ("real", "synthetic", "micro")), ("rss", "rss", ("real", "synthetic", "micro")), ("paths", "wall", ("path",))):
    want = {(d["case"], d["allocator"]): d["ratio"] for d in data if d["metric"] == metric and d["kind"] in kinds}
    figure = re.search(r'<figure id="%s">.*?</figure>' % name, dom, re.S)
    assert bool(figure) == bool(want), name
    if not figure: continue
    x0, x1 = (float(re.search(r'data-%s="([^"]*)"' % n, figure.group(0)).group(1)) for n in ("x0", "x1"))
    left, top, width, height = map(float, re.search(r'data-box="([^"]*)"', figure.group(0)).group(1).split())
    dots = re.findall(r'<circle [^>]*cx="([^"]*)" cy="([^"]*)"[^>]*data-case="([^"]*)" data-alloc="([^"]*)"', figure.group(0))
    assert len(dots) == len(want), (name, len(dots), len(want))
    for cx, cy, case, alloc in dots:
        ratio = 2 ** (x0 + (float(cx) - left) / width * (x1 - x0))
        assert abs(ratio / want[case, alloc] - 1) < 0.002 and top < float(cy) < top + height, (name, case, ratio)
        seen += 1
assert seen >= 4 and ("c", "fast") not in {(d["case"], d["allocator"]) for d in data}
assert 'id="map-all"' in dom and "<td>failed</td>" in dom
print("note: %d dots" % seen)
P
}

check workloads_run_and_answer_right workloads
check single_paths_have_figures paths
check summary_counts_right summary_counts
check page_shows_what_the_summary_says page_in_a_browser
plan
