# What the shell runners share: TAP, the library under test, a scratch directory that goes away.
# Sourced from the project's root. Environment: GM_LIB (default build/libgomalloc.so), BUILD (build).
#
# `make test` may itself run with the library preloaded; so `with` and `without` choose for their
# command, whatever this shell runs on.
LIB=$(realpath "${GM_LIB:-build/libgomalloc.so}")
BUILD=$(realpath "${BUILD:-build}")
SCRATCH=$(mktemp -d) || exit 2
trap 'rm -rf "$SCRATCH"' EXIT
chmod 755 "$SCRATCH"
ulimit -S -c 0
export LC_ALL=C
unset GOMALLOC
LIMIT=${GM_TIME_SCALE:-1}

tap_number=0 tap_failed=0
wanted=("$@")

with() { env LD_PRELOAD="$LIB" "$@"; }
without() { env -u LD_PRELOAD "$@"; }
# A limit in seconds: a busy machine is given four times as long, and GM_TIME_SCALE times that.
seconds() { awk -v s="$1" -v k="$LIMIT" 'BEGIN { print s * 4 * k }'; }
# Until the command succeeds, at most a minute.
until_true() {
    local i
    for ((i = 0; i < 600; i++)); do "$@" && return; sleep 0.1; done
    return 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# check NAME COMMAND...: one test; the command's output becomes comments if it fails. A command that
# exits with 77 after a line "skip: REASON" is not counted as failed.
check() {
    local name=$1 status reason
    shift
    ((${#wanted[@]})) && [[ " ${wanted[*]} " != *" $name "* ]] && return
    ((tap_number++))
    ("$@") >"$SCRATCH/.tap" 2>&1
    status=$?
    if ((status == 77)) && reason=$(grep -a -m1 '^skip: ' "$SCRATCH/.tap"); then
        echo "ok $tap_number - $name # SKIP ${reason#skip: }"
    elif ((status == 0)); then
        grep -a '^note: ' "$SCRATCH/.tap" | sed 's/^note: /# /'
        echo "ok $tap_number - $name"
    else
        ((tap_failed++))
        echo "not ok $tap_number - $name"
        tail -n 30 "$SCRATCH/.tap" | cut -c1-400 | sed 's/^/# /'
        echo "# exit status $status"
    fi
}
skip_because() {
    echo "skip: $*"
    exit 77
}
need() {
    local c
    for c; do have "$c" || skip_because "no $c"; done
}
plan() {
    echo "1..$tap_number"
    ((tap_failed == 0 && tap_number > 0))
    exit
}

# same COMMAND...: gives the same status and the same standard output with the library as without,
# and nothing of the library's on stderr.
same() {
    local limit a b
    limit=$(seconds 60)
    without timeout "$limit" "$@" >"$SCRATCH/out.without" 2>"$SCRATCH/err.without" </dev/null
    a=$?
    with timeout "$limit" "$@" >"$SCRATCH/out.with" 2>"$SCRATCH/err.with" </dev/null
    b=$?
    if ((a != b)); then
        echo "$1: status $b with the library, $a without"
        tail -5 "$SCRATCH/err.with"
        return 1
    fi
    if ! cmp -s "$SCRATCH/out.without" "$SCRATCH/out.with"; then
        echo "$1: its output differs"
        diff <(head -c 100000 "$SCRATCH/out.without") <(head -c 100000 "$SCRATCH/out.with") | head -10
        return 1
    fi
    if grep -a 'gomalloc' "$SCRATCH/err.with"; then
        echo "$1: the library wrote on stderr"
        return 1
    fi
    if grep -aq 'cannot be preloaded' "$SCRATCH/err.with"; then
        echo "$1: the library was not preloaded"
        return 1
    fi
}
