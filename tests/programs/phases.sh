#!/bin/bash
# A program whose phases use other sizes and leave a twentieth of their blocks behind (bench/cases/phases.c): its peak RSS
# beside the C library's allocator and the others that are installed. STRESS=1: other amounts as well. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
PYTHON=$(PATH=/usr/bin:$PATH type -P python3)
without gcc -std=gnu17 -O2 -o "$SCRATCH/phases" bench/cases/phases.c || exit 2

peak() { # PRELOAD PHASES MEGABYTES: KiB
    "$PYTHON" - "$1" "$SCRATCH/phases" "${@:2}" <<'P'
import os, sys
os.environ["LD_PRELOAD"] = sys.argv[1]
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, usage = os.wait4(pid, 0)
assert status == 0, status
print(usage.ru_maxrss)
P
}

# Below the others that have size classes, far; and near the C library, which joins free neighbours.
beside_others() { # PHASES MEGABYTES
    [[ $LIB != */debug/* ]] || skip_because 'the figures are those of the release build'
    need "$PYTHON"
    local ours glibc theirs name file others=0 failed=0 line
    ours=$(peak "$LIB" "$@") && glibc=$(peak '' "$@") || return
    line="$1 phases of $2 MiB: peak $ours KiB, glibc $glibc"
    for name in libjemalloc.so.2 libmimalloc.so.2.0 libtcmalloc_minimal.so.4; do
        file=$(ls /usr/lib/*/$name 2>/dev/null | head -1)
        [[ -n $file ]] || continue
        theirs=$(peak "$file" "$@") || return
        line+=", ${name%%.so*} $theirs"
        ((others += 1, failed += ours * 10 > theirs * 9))
    done
    echo "note: $line"
    ((others > 0)) || skip_because 'no other allocator is installed'
    ((failed == 0 && ours * 100 <= glibc * 107))
}

sets=("16 32")
[[ ${STRESS-} != 1 ]] || sets+=("8 64" "24 16" "12 48" "32 32")
# shellcheck disable=SC2086
for set in "${sets[@]}"; do check "phases_${set/ /_times_}_mib" beside_others $set; done
plan
