#!/bin/bash
# Runs every program of this folder under the library: stderr must be exactly the line of its first
# comment (ADDR replaced by the address that it printed), and its end SIGABRT. Prints TAP.
# Environment: GM_LIB (default build/libgomalloc.so), BUILD (default build). Arguments: names.
cd "$(dirname "$0")/../.." || exit 2
LIB=$(realpath "${GM_LIB:-build/libgomalloc.so}")
BIN=${BUILD:-build}/tests/misuse
SCRATCH=$(mktemp -d) || exit 2
trap 'rm -rf "$SCRATCH"' EXIT
ulimit -c 0
export LC_ALL=C

number=0 failed=0
names=("$@")
((${#names[@]})) || for source in tests/misuse/*.c; do
    source=${source##*/}
    names+=("${source%.c}")
done

for name in "${names[@]}"; do
    ((number++))
    line=$(sed -n '1s,^/\* \(.*\) \*/$,\1,p' "tests/misuse/$name.c")
    # The inner shell keeps this one's word of the abort off the output.
    bash -c 'LD_PRELOAD=$1 timeout -s KILL 100 "$2" >"$3/out" 2>"$3/err"; exit $?' - \
        "$LIB" "$BIN/$name" "$SCRATCH" >/dev/null 2>&1
    status=$?
    read -r address <"$SCRATCH/out"
    want=${line/ADDR/$address}
    got=$(<"$SCRATCH/err")
    if [[ -n $line && -n $address && $got == "$want" && $status == 134 ]]; then
        echo "ok $number - $name"
    else
        ((failed++))
        echo "not ok $number - $name"
        echo "# status $status (134 is SIGABRT)"
        echo "# wanted: $want"
        echo "# stderr: ${got//$'\n'/$'\n'# }"
    fi
done
echo "1..$number"
((failed == 0 && number > 0))
