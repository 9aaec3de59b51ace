#!/bin/bash
# Address space and data limits from 50 MiB to 64 GiB over a few programs: whatever works under a
# limit without the library works under it with the library. TAP; see tests/tap.sh.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

PYTHON=$(PATH=/usr/bin:$PATH type -P python3)
cat >"$SCRATCH/hello.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(void) { return puts("hello") < 0; }
END

# sweep FLAG COMMAND...
sweep() {
    local flag=$1 mib a b worked=0 failed=0
    shift
    for mib in 50 64 96 128 256 512 1024 2048 4096 8192 16384 32768 65536; do
        (ulimit "$flag" $((mib * 1024)) && without timeout "$(seconds 30)" "$@") >"$SCRATCH/a" 2>/dev/null
        a=$?
        ((a == 0)) || continue
        ((worked++))
        (ulimit "$flag" $((mib * 1024)) && with timeout "$(seconds 30)" "$@") >"$SCRATCH/b" 2>"$SCRATCH/err"
        b=$?
        if ((b != 0)) || ! cmp -s "$SCRATCH/a" "$SCRATCH/b" || [[ -s $SCRATCH/err ]]; then
            echo "ulimit $flag $mib MiB: status $b with the library, 0 without"
            head -3 "$SCRATCH/err"
            ((failed++))
        fi
    done
    ((worked >= 5)) || { echo "works under only $worked limits even without the library"; return 1; }
    ((failed == 0))
}

for flag in -v -d; do
    kind=$([[ $flag == -v ]] && echo address_space || echo data)
    check "${kind}_true" sweep $flag true
    check "${kind}_bash" sweep $flag bash -c 'a=(); for ((i = 0; i < 2000; i++)); do a+=("$i$i"); done; echo "${#a[*]} ${a[1999]}"'
    check "${kind}_sort" sweep $flag sort -n -S 1M /proc/sys/kernel/pid_max
    [[ -n $PYTHON ]] && check "${kind}_python" sweep $flag "$PYTHON" -c 'print(sum(len(str(i)) for i in list(range(50000))))'
    check "${kind}_gcc" sweep $flag "${CC:-gcc}" -O1 -S -o - "$SCRATCH/hello.c"
done
plan
