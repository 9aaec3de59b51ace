#!/bin/bash
# What a server keeps when its work is done: redis-server after its data is gone, against jemalloc; a PostgreSQL backend that
# waits for its next query, against glibc. STRESS=1: full size. TAP.
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

# postgres_run PRELOAD: KiB of anonymous memory of a backend that has worked and waits.
postgres_run() {
    local dir=$SCRATCH/postgres bin pid server
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
    as() { setpriv --reuid postgres --regid postgres --clear-groups env HOME="$dir" "$@"; }
    if [[ ! -d $dir ]]; then
        mkdir "$dir" && chown postgres "$dir" && chmod 755 "$SCRATCH" && as "$bin/initdb" -D "$dir/data" -A trust --no-sync >/dev/null || return 1
        mkfifo "$dir/in" && cp "$LIB" "$dir/library.so" && chmod 755 "$dir/library.so" && chmod 666 "$dir/in"
    fi
    as env LD_PRELOAD="${1:+$dir/library.so}" "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off \
        -c shared_buffers=16MB -c max_parallel_workers_per_gather=0 -c autovacuum=off -c jit=off >"$dir/log" 2>&1 &
    server=$!
    wait_for as psql -h "$dir" -d postgres -c 'select 1' || { kill $server; return 1; }
    as psql -h "$dir" -d postgres -qAt <"$dir/in" >"$SCRATCH/out" 2>&1 &
    exec 8>"$dir/in"
    cat >&8 <<'S'
select pg_backend_pid();
set work_mem = '64MB';
drop table if exists t;
create unlogged table t as select i, md5(i::text) as m, repeat('x', i % 100) as r from generate_series(1, 200000) i;
select count(*) from (select m, count(*) from t group by m order by m) q;
select count(*) from t a join t b using (m);
select 'ready';
S
    for _ in {1..600}; do grep -q ready "$SCRATCH/out" && break; sleep 0.1; done
    pid=$(head -1 "$SCRATCH/out")
    for _ in {1..15}; do # it is done some seconds after it has fallen asleep
        sleep 1
        [[ -n $1 ]] && (($(awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status") > $2)) || break
    done
    awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status"
    exec 8>&-
    kill -INT "$(head -1 "$dir/data/postmaster.pid")"
    wait $server 2>/dev/null
}

# The tables of the allocator (page table, states, records) are memory of its own; glibc has words in its blocks instead.
postgres_backend() {
    need setpriv psql
    [[ $(id -u) == 0 ]] && id postgres >/dev/null 2>&1 && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || skip_because 'no postgresql, or not root'
    local ours theirs most
    theirs=$(postgres_run '')
    most=$((theirs + 512))
    ours=$(postgres_run "$LIB" $most)
    echo "note: $ours KiB, with glibc $theirs"
    ((theirs > 1000 && ours > 1000 && ours <= most))
}

check an_idle_postgresql_backend_keeps_little postgres_backend
check redis_after_flushall_has_at_most_what_jemalloc_leaves redis_after_flushall
plan
