#!/bin/bash
# What the library costs a small process: the median, over 20 pairs of runs of `cat`, of the difference in
# Rss with it and without. The target is 200 KiB; 208 to 280 are measured, because how much of libc and
# of the library itself is mapped around a fault depends on where the loader happens to put them. The
# test fails at 320. Also: its share of static TLS and its dependencies stay small. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

rss() { "$@" cat /proc/self/smaps_rollup | awk '/^Rss:/ { print $2 }'; }

small_process() {
    [[ $LIB != */debug/* ]] || skip_because 'the debug build keeps more'
    local i more
    more=$(for i in {1..20}; do
        echo $(($(rss with) - $(rss without)))
    done | sort -n | awk '{ v[NR] = $1 } END { print (v[10] + v[11]) / 2 }')
    echo "note: $more KiB more Rss"
    awk -v d="$more" 'BEGIN { exit !(d > 0 && d <= 320) }' || {
        echo "more than 320 KiB: $more"
        return 1
    }
}

static_tls() {
    need readelf
    [[ $LIB != */debug/* ]] || skip_because 'the debug build keeps the locks that a thread holds there'
    local size
    size=$(readelf -lW "$LIB" | awk '$1 == "TLS" { print strtonum($6) }')
    echo "note: PT_TLS has ${size:-0} bytes"
    ((${size:-0} <= 64)) || { echo "PT_TLS: $size"; return 1; }
}

dependencies() {
    need readelf
    local others
    others=$(readelf -dW "$LIB" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc\.so|ld-linux)')
    [[ -z $others ]] || { echo "needs $others"; return 1; }
}

threads() {
    local n
    n=$(with bash -c 'a=(/proc/$$/task/*); echo ${#a[*]}')
    [[ $n == 1 ]] || { echo "$n threads in bash"; return 1; }
}

check small_process_within_320_kib small_process
check static_tls_within_64_bytes static_tls
check needs_only_the_c_library dependencies
check no_thread_of_its_own threads
plan
