#!/bin/bash
# The library's figures against others': the Rss of its mappings as the kernel counts it (the address ranges are
# listed in the json output), in three real programs, in both ways of giving pages back; a parser of XML on malloc_info;
# Prometheus' own parser and the grammar on the OpenMetrics output. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

COMMAND=$BUILD/gomalloc
PYTHON=$(PATH=/usr/bin:$PATH type -P python3)

# compare_with_smaps PID: sys - heap_released, against the Rss of the mappings listed; at most 2 % apart.
compare_with_smaps() {
    "$COMMAND" stat --json "$1" >"$SCRATCH/stat.json" || return
    "$PYTHON" - "$SCRATCH/stat.json" "/proc/$1/smaps" <<'P'
import json, re, sys
s = json.load(open(sys.argv[1]))
ranges = [(int(m["start"], 16), int(m["end"], 16)) for m in s["mappings"]]
rss = lazy = 0
for line in open(sys.argv[2]):
    m = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
    if m:
        a, b = (int(x, 16) for x in m.groups())
        ours = any(a < end and b > start for start, end in ranges)
    elif ours and line.startswith("Rss:"): rss += int(line.split()[1]) << 10
    elif ours and line.startswith("LazyFree:"): lazy += int(line.split()[1]) << 10
own = s["sys"] - s["heap_released"]
off = 100 * abs(own - (rss - lazy)) / (rss - lazy)
print("note: own figure %d KiB, Rss %d KiB of which lazily freed %d: %.2f %% apart" % (own >> 10, rss >> 10, lazy >> 10, off))
sys.exit(not (rss > 20 << 20 and off <= 2))
P
}

# in_program OPTIONS COMMAND...: it says "ready" when it has its memory, and waits for its end of input.
in_program() {
    local pid options=$1 status
    shift
    mkfifo "$SCRATCH/in" "$SCRATCH/out" || return
    env LD_PRELOAD="$LIB" GOMALLOC="$options" "$@" <"$SCRATCH/in" >"$SCRATCH/out" 2>/dev/null &
    pid=$!
    exec 7>"$SCRATCH/in"
    [[ -n ${script-} ]] && printf '%s\n' "$script" >&7
    grep -q ready "$SCRATCH/out" && compare_with_smaps "$pid"
    status=$?
    exec 7>&-
    wait "$pid"
    rm "$SCRATCH/in" "$SCRATCH/out"
    return $status
}

PYTHON_LOAD='
import sys
x = [{"number": i, "text": str(i) * (i % 20), "list": list(range(i % 30))} for i in range(100000)]
y = [bytearray(b"x" * (i * 37 % 60000)) for i in range(1000)]
z = [bytearray(b"z" * 5000) for i in range(20000)]
del x[::3], z
import time
for k in range(6):
    time.sleep(0.7) # what has fallen goes back at a few allocations
    few = [bytearray(3000 + i) for i in range(400)]
print("ready", flush=True)
sys.stdin.read()'
PERL_LOAD='
my %h; $h{"key $_"} = [ map { "value $_" x ($_ % 5) } 1 .. $_ % 12 ] for 1 .. 100000;
delete @h{ map { "key $_" } grep { $_ % 7 == 0 } 1 .. 100000 };
$| = 1; print "ready\n"; <STDIN>;'
SQL_LOAD='
create table t(a integer primary key, b text, c blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 250000)
insert into t select i, printf("text %d %s", i, hex(i * i)), randomblob(i % 300) from n;
create index ti on t(b);
delete from t where a % 5 = 0;
select "ready";'

python() { need "$PYTHON"; in_program "$1" env PYTHONMALLOC=malloc "$PYTHON" -c "$PYTHON_LOAD"; }
perl_hash() { need perl; in_program "$1" perl -e "$PERL_LOAD"; }
sqlite() { need sqlite3; script=$SQL_LOAD in_program "$1" sqlite3 :memory:; }

[[ $LIB == */debug/* ]] || for way in dontneed free; do # the figures are those of the release build
    check "own_figures_are_those_of_the_kernel_in_python_$way" python "madvise:$way"
    check "own_figures_are_those_of_the_kernel_in_perl_$way" perl_hash "madvise:$way"
    check "own_figures_are_those_of_the_kernel_in_sqlite_$way" sqlite "madvise:$way"
done

# ---- malloc_info and malloc_stats

malloc_info_parses() {
    need "$PYTHON"
    with "$PYTHON" - <<'P'
import ctypes, os, sys, tempfile, xml.etree.ElementTree as tree
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
c.malloc.restype = ctypes.c_void_p
big = [c.malloc(100000) for i in range(10)]
name = tempfile.mktemp()
f = ctypes.c_void_p(c.fopen(name.encode(), b"w"))
assert c.malloc_info(0, f) == 0
c.fclose(f)
root = tree.parse(name).getroot()
os.unlink(name)
assert root.tag == "malloc" and root.get("version") == "1", root
heap = root.find("heap")
classes = heap.findall("sizes/class")
assert len(classes) > 10
own = root.find("gomalloc").attrib
live = sum((int(k.get("mallocs")) - int(k.get("frees"))) * int(k.get("size")) for k in classes)
assert 0 < live <= int(own["heap_alloc"]), (live, own)
assert int(heap.find("large").get("mallocs")) == int(own["large_mallocs"]) >= 10
system = {e.get("type"): int(e.get("size")) for e in root.findall("system")}
assert system["current"] == int(own["heap_sys"]) - int(own["heap_released"]) <= system["max"] == int(own["heap_sys"])
rest = {e.get("type"): int(e.get("size")) for e in root.findall("total")}
assert rest["rest"] + int(own["heap_alloc"]) == system["current"], (rest, own)
print("note: %d classes, %s bytes live" % (len(classes), own["heap_alloc"]))
P
}

malloc_stats_is_complete() {
    need "$PYTHON"
    with "$PYTHON" -c '
import ctypes
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
c.malloc(100000)
c.malloc_stats()' 2>"$SCRATCH/stats" || return
    local word
    for word in heap_alloc heap_inuse heap_idle heap_released heap_sys mspan_sys mcache_sys sys mallocs frees scavenged; do
        grep -q "^$word  *[0-9]" "$SCRATCH/stats" || { echo "no line for $word"; return 1; }
    done
    awk '$1 == "large" && $2 > 0 { large = 1 } $1 ~ /^[0-9]+$/ && NF > 6 { rows++ } END { exit !(large && rows > 10) }' "$SCRATCH/stats"
}

# ---- OpenMetrics

# The text format as its specification has it, read by nobody else's code: a family's lines stand together, HELP and TYPE once
# and before its samples; names, labels and values by the grammar; counters end in _total and are not negative; histograms add up; no sample
# twice; and the end is said once, last.
exposition() { # FILE
    "$PYTHON" - "$1" <<'P'
import re, sys
text = open(sys.argv[1], encoding="utf-8").read()
assert text.endswith("# EOF\n") and text.count("# EOF") == 1 and "\r" not in text and "\n\n" not in text
name = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
sample = re.compile(r"(%s)(?:\{(%s(?:,%s)*)\})? (-?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|Inf)|NaN)" % (name, label, label))
meta = re.compile(r"# (HELP|TYPE|UNIT) (%s) (.*)" % name)
order, said, seen, samples, buckets, counts = [], {}, set(), 0, {}, {}
for line in text.split("\n")[:-2]:
    m = meta.fullmatch(line)
    if m:
        kind, family, value = m.groups()
        if not order or order[-1] != family:
            assert family not in order, "family in pieces: " + line
            order.append(family)
            said[family] = {}
        assert kind not in said[family] and "samples" not in said[family], line
        assert kind != "TYPE" or value in ("gauge", "counter", "histogram", "info", "unknown"), line
        assert kind != "UNIT" or family.endswith("_" + value), line
        said[family][kind] = value
        continue
    m = sample.fullmatch(line)
    assert m, "neither comment nor sample: " + line
    full, labels, value = m.groups()
    family = order[-1]
    counter, histogram = (said[family].get("TYPE") == t for t in ("counter", "histogram"))
    assert full in ([family + e for e in ("_bucket", "_count", "_sum")] if histogram else [family + "_total" if counter else family]), line
    if full == family + "_bucket": buckets.setdefault(family, []).append((labels, float(value)))
    if histogram and full == family + "_count": counts[family] = float(value)
    assert (full, labels) not in seen, "twice: " + line
    names = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="', labels or "")
    assert len(set(names)) == len(names) and (not counter or float(value) >= 0), line
    seen.add((full, labels))
    said[family]["samples"] = True
    samples += 1
assert all({"HELP", "TYPE", "samples"} <= set(v) for v in said.values()), [f for f, v in said.items() if "samples" not in v or "TYPE" not in v]
for family, b in buckets.items():  # each has all that are below its bound; the last has no bound and says how many there are
    assert [v for _, v in b] == sorted(v for _, v in b) and b[-1] == ('le="+Inf"', counts[family]), family
print("note: %d families, %d samples by the grammar" % (len(order), samples))
P
}

openmetrics_parses() {
    need "$PYTHON"
    "$PYTHON" -c 'import prometheus_client' 2>/dev/null || skip_because 'no prometheus_client'
    with "$PYTHON" -c '
import ctypes, os
c = ctypes.CDLL(None)
assert c.gomalloc_write_stats(1, b"openmetrics") == 0' >"$SCRATCH/metrics" || return
    "$PYTHON" - "$SCRATCH/metrics" <<'P'
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as textfile
text = open(sys.argv[1]).read()
families = {f.name: f for f in strict(text)}
assert families["gomalloc_heap_alloc_bytes"].type == "gauge" and families["gomalloc_mallocs"].type == "counter"
assert len(families["gomalloc_class_mallocs"].samples) > 50
assert sum(s.value for s in families["gomalloc_class_mallocs"].samples) > 0
print("note: %d families; %d samples by the older form's parser, which the textfile collector uses" %
      (len(families), sum(len(f.samples) for f in textfile(text))))
P
    exposition "$SCRATCH/metrics" || return
    if have promtool; then promtool check metrics <"$SCRATCH/metrics" 2>&1 | grep -vi 'counter metrics should have\|no help text' | grep -i error && return 1; fi
    return 0
}

check malloc_info_is_complete_xml malloc_info_parses
check malloc_stats_has_everything malloc_stats_is_complete
check openmetrics_by_prometheus_own_parser openmetrics_parses
plan
