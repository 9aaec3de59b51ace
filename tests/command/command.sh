#!/bin/bash
# The command: what it passes through, what it says of live processes, what it refuses. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
GOMALLOC_COMMAND=$(dirname "$LIB")/gomalloc
PYTHON=$(PATH=/usr/bin:$PATH type -P python3)
run() { without timeout "$(seconds 60)" "$GOMALLOC_COMMAND" "$@"; }

status_is() { # STATUS COMMAND...
    local want=$1
    shift
    "$@" >"$SCRATCH/out" 2>"$SCRATCH/err"
    local got=$?
    ((got == want)) || { echo "status $got, not $want"; cat "$SCRATCH/err"; return 1; }
}
says() { grep -q -- "$1" "$SCRATCH/err" || { cat "$SCRATCH/err"; return 1; }; }

passes_status() {
    status_is 7 run run -- sh -c 'exit 7' && status_is 7 run run --stats "$SCRATCH/s.json" -- sh -c 'exit 7'
}
passes_signals() {
    rm -f "$SCRATCH/ready"
    run run --report "$SCRATCH/r.html" -- sh -c 'trap "exit 9" TERM; : >"$1"; while :; do sleep 0.1; done' - "$SCRATCH/ready" &
    local pid=$!
    until_true test -e "$SCRATCH/ready"
    kill -TERM "$(pgrep -P $pid)"
    wait $pid
    (($? == 9))
}
dies_as_the_program() { status_is 143 run run --stats "$SCRATCH/s.json" -- sh -c 'kill -TERM $$'; }
preloads() { run run -- grep -q libgomalloc /proc/self/maps; }
sets_options() { run run --env stats:exit -- true 2>&1 | grep -q 'statistics at exit'; }
exit_statistics() {
    run run --stats "$SCRATCH/s.json" -- "$PYTHON" -c 'x = [bytes(1000) for i in range(100001)]' || return
    "$PYTHON" -c "import json; s = json.load(open('$SCRATCH/s.json')); assert s['mallocs'] > 100000 and s['by_size']"
}
no_such_program() { status_is 127 run run -- no-such-program && says 'no such program'; }
a_directory() { status_is 126 run run -- /tmp && says directory; }
static_program() {
    echo 'int main(void) { return 0; }' >"$SCRATCH/s.c" && without gcc -static -o "$SCRATCH/static" "$SCRATCH/s.c" || skip_because "no static libc"
    status_is 126 run run -- "$SCRATCH/static" && says 'statically linked'
}

sleeper() { # starts one with 10000 live objects of 1000 bytes; its id in $pid
    : >"$SCRATCH/ready"
    env LD_PRELOAD="$LIB" "$PYTHON" -c 'import time; x = [bytes(1000 - 33) for i in range(10000)]; print(1, flush=True); time.sleep(600)' >"$SCRATCH/ready" &
    pid=$!
    until_true test -s "$SCRATCH/ready"
}
stat_of_a_live_process() {
    sleeper
    local done=0
    run stat --json $pid >"$SCRATCH/live.json" && run stat --map $pid >"$SCRATCH/map" && run top -n 1 $pid >/dev/null || done=1
    kill $pid
    "$PYTHON" - "$SCRATCH/live.json" <<'P' && ((done == 0)) && grep -q 'pinned by' "$SCRATCH/map"
import json, sys
s = json.load(open(sys.argv[1]))
assert sum(c["mallocs"] - c["frees"] for c in s["by_size"] if 960 <= c["size"] <= 1024) >= 10000, s
assert s["heap_inuse"] >= s["heap_alloc"] > 10000 * 960
P
}
# Seen from outside and from inside, the same.
stat_agrees_with_the_library() {
    : >"$SCRATCH/ready"
    env LD_PRELOAD="$LIB" "$PYTHON" -c '
import ctypes, threading, time, sys
x = [bytearray(i % 9000 + 600) for i in range(20000)]
del x[::3]
f = open(sys.argv[1], "wb")
library = ctypes.CDLL(None)
library.gomalloc_write_stats(f.fileno(), b"json")
open(sys.argv[2], "w").write("1")
time.sleep(600)' "$SCRATCH/inside.json" "$SCRATCH/ready" &
    pid=$!
    until_true test -s "$SCRATCH/ready"
    run stat --json $pid >"$SCRATCH/outside.json"
    kill $pid
    "$PYTHON" - "$SCRATCH/inside.json" "$SCRATCH/outside.json" <<'P'
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
assert a.keys() == b.keys()
for k in a:  # between the two, python opens a file and calls sleep; the scavenger may work
    if k not in ("by_size", "mappings", "pauses", "heap_released", "scavenge_ns"): assert abs(a[k] - b[k]) <= max(2000, a[k] * 0.02), (k, a[k], b[k])
    if k in ("scavenge_ns", "memory_limit"): assert b[k] >= a[k], (k, a[k], b[k])
assert a["mappings"] == b["mappings"] != [] and a["pauses"] == b["pauses"] != []
assert b["mallocs"] > 20000 and b["heap_inuse"] > b["heap_alloc"] > 50e6
P
}
stat_refuses() {
    sleep 600 &
    local pid=$!
    status_is 1 without "$GOMALLOC_COMMAND" stat $pid && says 'not started with libgomalloc' || { kill $pid; return 1; }
    kill $pid
    status_is 1 run stat 4194000 && says 'no such process' && status_is 2 run stat x && says 'not a process id'
}
installs() {
    need man
    without make -s install DESTDIR="$SCRATCH/root" PREFIX=/usr >"$SCRATCH/out" 2>&1 || { cat "$SCRATCH/out"; return 1; }
    "$SCRATCH/root/usr/bin/gomalloc" run -- grep -q "$SCRATCH/root/usr/bin/../lib/libgomalloc.so\|$SCRATCH/root/usr/lib/libgomalloc.so" /proc/self/maps &&
        [[ -z $(man --warnings -E UTF-8 -l "$SCRATCH/root/usr/share/man/man1/gomalloc.1" 2>&1 >/dev/null) ]]
}
doctor_sees() {
    run doctor -- git >"$SCRATCH/out" || { cat "$SCRATCH/out"; return 1; }
    grep -q "take this library's" "$SCRATCH/out"
}
compares() {
    run compare -n 2 --report "$SCRATCH/c.html" -- true >"$SCRATCH/out" && grep -q '^gomalloc ' "$SCRATCH/out" && grep -q 'id="runs"' "$SCRATCH/c.html"
}

# The pictures say what the numbers say: the points of the chart, computed back by the scale it carries.
report_in_a_browser() {
    need chromium
    run run --report "$SCRATCH/r.html" --interval 20 -- "$PYTHON" -c '
import time
for i in range(3):
    x = [bytes(500) for i in range(200000)]; time.sleep(0.4); del x; time.sleep(0.1)' || return
    ! grep -nE '(src|href)=|https?:' "$SCRATCH/r.html" || return
    timeout "$(seconds 60)" chromium --headless --no-sandbox --disable-gpu --user-data-dir="$SCRATCH/profile" --dump-dom "file://$SCRATCH/r.html" >"$SCRATCH/dom" 2>/dev/null
    "$PYTHON" - "$SCRATCH/dom" <<'P'
import json, re, sys
dom = open(sys.argv[1]).read()
data = json.loads(re.search(r'id="data">(.*?)</script>', dom, re.S).group(1))
figure = re.search(r'<figure id="memory">.*?</figure>', dom, re.S).group(0)
number = lambda n: float(re.search(r'data-%s="([^"]*)"' % n, figure).group(1))
left, top, width, height = map(float, re.search(r'data-box="([^"]*)"', figure).group(1).split())
def line(name):
    points = re.search(r'data-name="%s" points="([^"]*)"' % name, figure).group(1).split()
    for p in points:
        x, y = map(float, p.split(","))
        yield (x - left) / width * number("x1"), (top + height - y) / height * number("y1")
for name, key in (("RSS of the process", "rss"), ("live objects", "live"), ("heap in use", "inuse"), ("released", "released")):
    want = [s for s in data["samples"] if key == "rss" or s["heap"]]
    got = list(line(name))
    assert len(got) == len(want) > 10, (name, len(got), len(want))
    for (t, v), s in zip(got, want):
        assert abs(t - s["t"]) < number("x1") / 500 and abs(v - s[key]) < number("y1") / 500, (name, t, v, s)
assert max(s["live"] for s in data["samples"]) > 100e6
P
}

for name in passes_status passes_signals dies_as_the_program preloads sets_options exit_statistics no_such_program a_directory static_program \
    stat_of_a_live_process stat_agrees_with_the_library stat_refuses installs doctor_sees compares report_in_a_browser; do
    check $name $name
done
plan
