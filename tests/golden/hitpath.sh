#!/bin/bash
# What malloc and free consist of, read from the library's machine code: the hit path, and tail jumps to the
# slow halves. No call, no lock prefix, no exchange with memory (which locks without saying so), and no
# jump to anywhere else. TAP.
cd "$(dirname "$0")/../.." || exit 2
BUILD=${GM_BUILD_DIR:-build} GM_LIB=${GM_LIB:-${GM_BUILD_DIR:-build}/libgomalloc.so}
. tests/tap.sh

# The instructions of a dynamic symbol, addresses and bytes left out. The disassembler may know the place
# by another of its names, so it is found by address and size.
disassemble() {
    local start size
    read -r start size < <(nm -DS "$LIB" | awk -v name="$1" '{ sub(/@.*/, "", $4) } $4 == name { print $1, $2; exit }')
    [[ -n $size ]] || return 1
    objdump -d --no-show-raw-insn --start-address=$((16#$start)) --stop-address=$((16#$start + 16#$size)) "$LIB" |
        awk -F'\t' 'NF > 1 { print $2 }'
}

only_hit_path() { # SYMBOL SLOW_HALF...
    need objdump nm
    local name=$1 code bad inside
    shift
    [[ $BUILD == */build ]] || skip_because "only the release build is held to it"
    code=$(disassemble "$name") || { echo "no symbol $name"; return 1; }
    grep -q '^ret' <<<"$code" || { echo "no return in $name:"; echo "$code"; return 1; }
    bad=$(grep -E '^(bnd )?call|^lock|^xchg .*\(|^(rep|syscall|mfence)' <<<"$code")
    [[ -z $bad ]] || { echo "on the hit path of $name: $bad"; return 1; }
    # Jumps name a symbol: <name+offset> inside the function, <slow_half> at the end of it.
    inside="<(__libc_)?$name\\+0x[0-9a-f]+>"
    bad=$(grep -E '^(bnd )?j' <<<"$code" | grep -vE "$inside" | grep -vE "<($(IFS='|'; echo "$*"))(\\.[a-z.0-9]+)?>")
    [[ -z $bad ]] || { echo "$name jumps away: $bad"; return 1; }
    bad=$(for half; do grep -q "<$half" <<<"$code" || echo "$half"; done)
    [[ -z $bad ]] || { echo "$name has no tail jump to $bad: is this its code?"; echo "$code"; return 1; }
    echo "note: $name has $(wc -l <<<"$code") instructions"
}

check malloc_hit_path only_hit_path malloc gm_alloc_slow gm_alloc_more
check free_hit_path only_hit_path free gm_free_odd gm_free_full
plan
