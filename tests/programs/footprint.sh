#!/bin/bash
# What the library costs a small process, over pairs of runs of `cat`. The Rss of the whole process: how much of
# libc is mapped around a fault depends on where the loader happens to put it, which scatters by 100 KiB, so the
# mean of 150. Exactly: resident anonymous memory and what is mapped of the library itself, and that nothing of
# what preload/layout.ld puts apart is touched. Also: the library's share of static TLS and its dependencies
# stay small. TAP.
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
    awk -v d="$more" 'BEGIN { exit !(d > 0 && d <= 150) }' || {
        echo "more than 150 KiB: $more"
        return 1
    }
}

whole() { "$@" cat /proc/self/smaps_rollup | awk '/^Rss:/ { print $2 }'; }
mean() { awk '{ n += $1 } END { print int(n / NR) }'; } # the figures lie in two heaps: a median leaps from one to the other

whole_process() {
    [[ $LIB != */debug/* ]] || skip_because 'the debug build keeps more'
    local i our=() their=()
    for i in {1..150}; do
        our+=("$(whole with)")
        their+=("$(whole without)")
    done
    our=$(printf '%s\n' "${our[@]}" | mean)
    their=$(printf '%s\n' "${their[@]}" | mean)
    echo "note: Rss $our KiB against $their: $((our - their)) more"
    ((our - their <= 200)) || { echo "more than 200 KiB: $((our - their))"; return 1; }
}

# Of the library's two executable segments the second is for what small processes do not use.
apart() {
    [[ $LIB != */debug/* ]] || skip_because 'the debug build checks at every turn'
    local parts
    parts=$("$@" | awk '/^[0-9a-f]+-/ { ours = $2 ~ /x/ && $6 ~ /libgomalloc/ } /^Rss:/ && ours { printf "%d ", $2 }')
    echo "note: KiB of text mapped: $parts"
    set -- $parts
    (($# == 2 && $1 > 0 && $2 == 0)) || { echo "text mapped: $parts"; return 1; }
}
in_a_shell() { with bash --norc -c '/bin/true; x=$(echo 1 | cat); cat /proc/$$/smaps'; } # it has handled signals and forked

static_tls() {
    need readelf
    [[ $LIB != */debug/* ]] || skip_because 'the debug build keeps the locks that a thread holds there'
    local size
    size=$(readelf -lW "$LIB" | awk '$1 == "TLS" { print $6 }')
    echo "note: PT_TLS has $((${size:-0})) bytes"
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

check small_process_within_150_kib small_process
check whole_process_within_200_kib whole_process
check rare_code_is_not_mapped apart with cat /proc/self/smaps
check nor_in_a_shell apart in_a_shell
check static_tls_within_64_bytes static_tls
check needs_only_the_c_library dependencies
check no_thread_of_its_own threads
plan
