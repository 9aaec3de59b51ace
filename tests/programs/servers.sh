#!/bin/bash
# What a server keeps when its work is done: redis-server after its data is gone, against jemalloc. STRESS=1: full size. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

rss_of() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }
wait_for() { # COMMAND...: until it succeeds
    local i
    for i in {1..100}; do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
    return 1
}

# redis_run PRELOAD: the RSS in KiB when it is loaded, and some time after FLUSHALL.
redis_run() {
    local port=$((20000 + RANDOM % 20000)) pid loaded
    env LD_PRELOAD="$1" redis-server --port $port --bind 127.0.0.1 --save '' --appendonly no --dir "$SCRATCH" >"$SCRATCH/redis.log" 2>&1 &
    pid=$!
    wait_for redis-cli -p $port ping || { kill $pid; return 1; }
    awk -v n=$keys 'BEGIN { for (i = 0; i < n; i++) printf "set key:%d %0200d\r\nrpush list:%d %0*d\r\nhset hash:%d f%d %0*d\r\n", i, i, i % 5000, 20 + i % 200, i, i % 3000, i, 10 + i % 90, i }' |
        redis-cli -p $port --pipe >/dev/null
    loaded=$(rss_of $pid)
    redis-cli -p $port flushall >/dev/null
    sleep "$idle"
    redis-cli -p $port ping >/dev/null
    echo "$loaded $(rss_of $pid)"
    kill $pid
    wait $pid 2>/dev/null
}

redis_after_flushall() {
    need redis-server redis-cli
    local jemalloc ours theirs keys=150000 idle=8
    [[ ${STRESS-} == 1 ]] && keys=1500000 idle=15
    jemalloc=$(ls /usr/lib/*/libjemalloc.so.2 2>/dev/null | head -1)
    [[ -n $jemalloc ]] || skip_because 'no jemalloc'
    read -r -a theirs <<<"$(redis_run "$jemalloc")"
    read -r -a ours <<<"$(redis_run "$LIB")"
    echo "note: loaded and left: ${ours[*]} KiB, with jemalloc ${theirs[*]} KiB"
    ((${#ours[@]} == 2 && ${#theirs[@]} == 2 && ours[0] > 40000 && ours[1] <= theirs[1]))
}

check redis_after_flushall_has_at_most_what_jemalloc_leaves redis_after_flushall
plan
