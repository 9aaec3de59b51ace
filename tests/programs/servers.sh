#!/bin/bash
# What a server keeps when its work is done: redis-server after its data is gone, against jemalloc. STRESS=1: full size. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

answers() { redis-cli -s "$SCRATCH/socket" ping >/dev/null 2>&1; }
rss_of() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

# redis_run PRELOAD: the RSS in KiB when it is loaded, and some time after FLUSHALL.
redis_run() {
    local pid loaded
    rm -f "$SCRATCH/socket"
    env LD_PRELOAD="$1" redis-server --port 0 --unixsocket "$SCRATCH/socket" --save '' --appendonly no --dir "$SCRATCH" >"$SCRATCH/redis.log" 2>&1 &
    pid=$!
    until_true answers || { kill $pid; return 1; }
    awk -v n=$keys 'BEGIN { for (i = 0; i < n; i++) printf "set key:%d %0200d\r\nrpush list:%d %0*d\r\nhset hash:%d f%d %0*d\r\n", i, i, i % 5000, 20 + i % 200, i, i % 3000, i, 10 + i % 90, i }' |
        redis-cli -s "$SCRATCH/socket" --pipe >/dev/null
    loaded=$(rss_of $pid)
    redis-cli -s "$SCRATCH/socket" flushall >/dev/null
    sleep "$idle"
    answers
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
