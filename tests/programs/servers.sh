#!/bin/bash
# What a server keeps when its work is done: redis-server after its data is gone, against jemalloc once that gives nothing back any more; a
# PostgreSQL backend that waits for its next query, against glibc. STRESS=1: full size. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

rss_of() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }
ask() { redis-cli -s "$SCRATCH/$1" "${@:2}"; } # NAME COMMAND...
answers() { ask "$1" ping >/dev/null 2>&1; }

start() { # NAME PRELOAD: a server; its id in the file NAME.pid
    env LD_PRELOAD="$2" redis-server --port 0 --unixsocket "$SCRATCH/$1" --save '' --appendonly no --dir "$SCRATCH" >"$SCRATCH/$1.log" 2>&1 &
    echo $! >"$SCRATCH/$1.pid"
    until_true answers "$1"
}
# Fills it and empties it again; its RSS in KiB in between in the file NAME.loaded.
work() { # NAME
    awk -v n=$keys 'BEGIN { for (i = 0; i < n; i++) printf "set key:%d %0200d\r\nrpush list:%d %0*d\r\nhset hash:%d f%d %0*d\r\n", i, i, i % 5000, 20 + i % 200, i, i % 3000, i, 10 + i % 90, i }' |
        ask "$1" --pipe >/dev/null
    rss_of "$(<"$SCRATCH/$1.pid")" >"$SCRATCH/$1.loaded"
    ask "$1" flushall >/dev/null
}
left() { # NAME
    answers "$1"
    rss_of "$(<"$SCRATCH/$1.pid")"
}

# Until its RSS has been the same for five seconds: it is given back little by little, while the server ticks.
settled() { # NAME
    local i same=0 now before=
    for ((i = 0; i < 120; i++)); do
        now=$(left "$1")
        [[ $now == "$before" ]] && same=$((same + 1)) || same=0
        ((same == 5)) && return
        before=$now
        sleep 1
    done
    return 1
}

redis_after_flushall() {
    [[ $LIB != */debug/* ]] || skip_because 'the debug build keeps more'
    need redis-server redis-cli
    local jemalloc ours theirs i keys=150000 idle=4
    [[ ${STRESS-} == 1 ]] && keys=1500000 idle=15
    jemalloc=$(ls /usr/lib/*/libjemalloc.so.2 2>/dev/null | head -1)
    [[ -n $jemalloc ]] || skip_because 'no jemalloc'
    start theirs "$jemalloc" && start ours "$LIB" || return 1
    work theirs &
    work ours
    wait $!
    sleep "$idle"
    settled theirs || { echo "jemalloc's RSS never rests"; return 1; }
    theirs=$(left theirs)
    for i in {1..60}; do # ours goes back at a pace, by the clock, and a busy machine is slow
        ours=$(left ours)
        ((ours <= theirs)) && break
        sleep 1
    done
    kill $(<"$SCRATCH/ours.pid") $(<"$SCRATCH/theirs.pid")
    wait 2>/dev/null
    echo "note: loaded and left: $(<"$SCRATCH/ours.loaded") $ours KiB, with jemalloc $(<"$SCRATCH/theirs.loaded") $theirs KiB"
    (($(<"$SCRATCH/ours.loaded") > 40000 && ours > 0 && ours <= theirs))
}

# postgres_run PRELOAD: KiB of anonymous memory of a backend that has worked and waits.
postgres_run() {
    local dir=$SCRATCH/postgres bin pid server
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
    as() { setpriv --reuid postgres --regid postgres --clear-groups env HOME="$dir" "$@"; }
    if [[ ! -d $dir ]]; then
        mkdir "$dir" && chown postgres "$dir" && chmod 755 "$SCRATCH" && as "$bin/initdb" -D "$dir/fresh" -A trust --no-sync >/dev/null || return 1
        mkfifo "$dir/in" && cp "$LIB" "$dir/library.so" && chmod 755 "$dir/library.so" && chmod 666 "$dir/in"
    fi
    rm -rf "$dir/data" && cp -a "$dir/fresh" "$dir/data" # what a backend keeps of its catalogs depends on what was done before
    as env LD_PRELOAD="${1:+$dir/library.so}" "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off \
        -c shared_buffers=16MB -c max_parallel_workers_per_gather=0 -c autovacuum=off -c jit=off >"$dir/log" 2>&1 &
    server=$!
    until_true as psql -h "$dir" -d postgres -c 'select 1' >/dev/null 2>&1 || { kill $server; return 1; }
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
    for _ in {1..60}; do # it is done some seconds after it has fallen asleep
        sleep 1
        [[ -n $1 ]] && (($(awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status") > $2)) || break
    done
    awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status"
    exec 8>&-
    kill -INT "$(head -1 "$dir/data/postmaster.pid")"
    wait $server 2>/dev/null
}

# The tables of the allocator (page table, states, records) are memory of its own; glibc has words in its blocks instead, and what it cannot give back.
postgres_backend() {
    need setpriv psql
    [[ $(id -u) == 0 ]] && id postgres >/dev/null 2>&1 && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || skip_because 'no postgresql, or not root'
    local ours theirs most
    theirs=$(postgres_run '')
    most=$theirs
    ours=$(postgres_run "$LIB" $most)
    echo "note: $ours KiB, with glibc $theirs"
    ((theirs > 1000 && ours > 1000 && ours <= most))
}

check an_idle_postgresql_backend_keeps_little postgres_backend
check redis_after_flushall_has_about_what_jemalloc_leaves redis_after_flushall
plan
