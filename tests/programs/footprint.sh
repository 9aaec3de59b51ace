#!/bin/bash
# What the library costs a small process: the median, over 20 pairs of runs of `cat`, of the difference in
# resident anonymous memory and in what is mapped of the library itself. The Rss of the whole process
# differs by 208 to 320 KiB (the target is 200), but how much of libc is mapped around a fault depends on where
# the loader happens to put it, and that alone scatters by 100 KiB. Also: the library's share of static TLS and
# its dependencies stay small. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

rss() {
    "$@" cat /proc/self/smaps | awk '/^[0-9a-f]+-/ { ours = $6 !~ /^\// || $6 ~ /libgomalloc/ } /^Rss:/ && ours { n += $2 } END { print n }'
}

small_process() {
    [[ $LIB != */debug/* ]] || skip_because 'the debug build keeps more'
    local i more
    more=$(for i in {1..20}; do
        echo $(($(rss with) - $(rss without)))
    done | sort -n | awk '{ v[NR] = $1 } END { print (v[10] + v[11]) / 2 }')
    echo "note: $more KiB more Rss"
    awk -v d="$more" 'BEGIN { exit !(d > 0 && d <= 180) }' || {
        echo "more than 180 KiB: $more"
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

check small_process_within_180_kib small_process
check static_tls_within_64_bytes static_tls
check needs_only_the_c_library dependencies
check no_thread_of_its_own threads
plan
