#!/bin/bash
# Tools and modes that run a program in an unusual way, with the library in it: debuggers, memory
# checkers, sanitizers, audit modules, other interposers, privileged programs. TAP.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

HOSTS=tests/programs/hosts
PLUGINS=$BUILD/tests/programs/plugins
PYTHON=$(PATH=/usr/bin:$PATH type -P python3)
CC=${CC:-gcc}
host() { # host NAME [FLAGS]: builds one into the scratch directory
    local name=$1
    shift
    without "$CC" -O0 -g -w -fno-builtin -pthread -o "$SCRATCH/$name" "$HOSTS/$name.c" "$@"
}

# ---- valgrind and gdb

# Under valgrind the library runs as it is, unless memcheck takes malloc over.
under_valgrind() { # under_valgrind ARGUMENT OPTIONS...
    local argument=$1
    shift
    without timeout "$(seconds 120)" valgrind -q --error-exitcode=9 "$@" --trace-children=yes \
        env LD_PRELOAD="$LIB" "$SCRATCH/overflow" "$argument" >"$SCRATCH/out" 2>"$SCRATCH/err"
}
valgrind_runs() {
    need valgrind
    host overflow || return
    local options
    for options in --tool=none '--tool=memcheck --soname-synonyms=somalloc=nouserintercepts --undef-value-errors=no' --tool=memcheck; do
        # shellcheck disable=SC2086
        under_valgrind sound $options || { echo "$options: status $?"; head -20 "$SCRATCH/err"; return 1; }
        grep -qx done "$SCRATCH/out" || return
    done
}
memcheck_finds() {
    need valgrind
    host overflow || return
    local crime
    for crime in overflow use leak; do
        under_valgrind $crime --tool=memcheck --leak-check=full '--soname-synonyms=somalloc=*gomalloc*'
        [[ $? == 9 ]] || { echo "$crime was not found"; head -20 "$SCRATCH/err"; return 1; }
    done
    grep -q 'definitely lost' "$SCRATCH/err"
}
under_gdb() {
    need gdb
    host list || return
    without timeout "$(seconds 60)" gdb -nx --batch -ex 'set debuginfod enabled off' -ex 'set startup-with-shell off' \
        -ex "set environment LD_PRELOAD $LIB" -ex 'break total' -ex run -ex bt -ex 'p list->next->next->name' \
        -ex 'p (long)malloc_usable_size(list)' -ex finish -ex c "$SCRATCH/list" >"$SCRATCH/out" 2>&1
    grep -q '"node 997' "$SCRATCH/out" && grep -q 'Value returned is .* = 499500' "$SCRATCH/out" &&
        grep -q 'exited normally' "$SCRATCH/out" && ! grep -q 'cannot be preloaded' "$SCRATCH/out" || { cat "$SCRATCH/out"; return 1; }
}
gdb_itself() {
    need gdb
    host list || return
    same gdb -nx --batch -ex 'set debuginfod enabled off' -ex 'info functions total' -ex 'p sizeof(struct node)' \
        -ex 'info line main' "$SCRATCH/list"
}

# ---- sanitizers: the library stands aside, says so once, and the planted bug is found

sanitized() { # sanitized NAME FLAGS BUG REPORT LINE
    local flags=$2 bug=$3 report=$4 line=$5
    # shellcheck disable=SC2086
    host sanitized $flags 2>"$SCRATCH/err" || skip_because "$flags cannot be linked"
    without timeout "$(seconds 60)" "$SCRATCH/sanitized" >"$SCRATCH/out" 2>&1 || skip_because "$flags does not run here"
    with timeout "$(seconds 60)" "$SCRATCH/sanitized" >"$SCRATCH/out" 2>"$SCRATCH/err" || { echo "status $?"; cat "$SCRATCH/err"; return 1; }
    grep -qx 'done 1' "$SCRATCH/out" || { echo 'no result'; return 1; }
    [[ $(<"$SCRATCH/err") == "$line" ]] || { echo "stderr: $(<"$SCRATCH/err")"; echo "wanted: $line"; return 1; }
    if with timeout "$(seconds 60)" "$SCRATCH/sanitized" "$bug" >"$SCRATCH/out" 2>"$SCRATCH/err" || ! grep -q "$report" "$SCRATCH/err"; then
        echo "the planted bug was not found"
        head -20 "$SCRATCH/err"
        return 1
    fi
}
address_sanitizer() {
    sanitized asan '-fsanitize=address -static-libasan' heap 'heap-use-after-free' 'gomalloc: AddressSanitizer is in charge of malloc, standing aside'
}
thread_sanitizer() {
    sanitized tsan '-fsanitize=thread -static-libtsan' race 'data race' 'gomalloc: ThreadSanitizer is in charge of malloc, standing aside'
}
address_sanitizer_of_clang() {
    need clang
    CC=clang sanitized asan -fsanitize=address heap 'heap-use-after-free' 'gomalloc: AddressSanitizer is in charge of malloc, standing aside'
}
undefined_behaviour_sanitizer() { # does not replace malloc: nothing to stand aside for
    host overflow -fsanitize=undefined -static-libubsan 2>/dev/null || skip_because 'no libubsan.a'
    same "$SCRATCH/overflow"
}

# ---- the loader's other guests

commands() { # a few programs, run by their argument: same output with and without
    same true && same cat /proc/sys/kernel/pid_max && same bash -c 'for i in {1..50}; do x=$( (echo $i) ); s+=$x; done; echo $s' &&
        same ls -l /usr/bin || return
    [[ -z $PYTHON ]] || same "$PYTHON" -c 'import json, threading
t = [threading.Thread(target=lambda: json.dumps(list(range(10000)))) for i in range(8)]
[x.start() for x in t]
[x.join() for x in t]
print("joined")'
}
audit_module() {
    [[ -e $PLUGINS/audit.so ]] || { echo 'no audit.so'; return 1; }
    # same() clears only LD_PRELOAD.
    LD_AUDIT=$PLUGINS/audit.so commands
}
interposers() { # interposers FIRST SECOND
    local chain="$1 $2"
    with() { env LD_PRELOAD="$chain" "$@"; }
    commands || return
    INTERPOSER_REPORT=1 with bash -c 'while read -r l; do :; done </proc/self/status' 2>&1 | grep -q '^interposer: [1-9][0-9]' || { echo 'the interposer was not called'; return 1; }
}
interposers_before() { interposers "$PLUGINS/interposer.so" "$LIB"; }
interposers_behind() { interposers "$LIB" "$PLUGINS/interposer.so"; }
interposed_threads() {
    local program
    for program in threads fork loader startup; do
        env LD_PRELOAD="$PLUGINS/interposer.so $LIB" timeout -s KILL "$(seconds 120)" "$BUILD/tests/programs/$program" \
            $([[ $program == threads ]] && echo key_destructors) $([[ $program == fork ]] && echo generations) \
            $([[ $program == loader ]] && echo in_a_loop) >"$SCRATCH/out" 2>&1 || { echo "$program:"; tail -20 "$SCRATCH/out"; return 1; }
    done
}

# ---- set-user-ID: a copy linked with the library, since the loader drops preloads

privileged() {
    ((UID == 0)) || skip_because 'not root'
    local copy=$SCRATCH/libgomalloc.so
    cp "$LIB" "$copy" && chmod 755 "$copy"
    host secure -Wl,--no-as-needed "$copy" -Wl,-rpath,"$SCRATCH" || return
    # Not privileged, the option is read: the control.
    GOMALLOC=nonsense:1 without "$SCRATCH/secure" >"$SCRATCH/out" 2>"$SCRATCH/err" || { echo "status $?"; return 1; }
    grep -qx 'secure 0' "$SCRATCH/out" && grep -q nonsense "$SCRATCH/err" || { echo 'an unknown option was not reported'; return 1; }
    chown nobody "$SCRATCH/secure" && chmod 4755 "$SCRATCH/secure" || skip_because 'no set-user-ID file'
    local option
    for option in nonsense:1 help stats:exit; do
        GOMALLOC=$option GODEBUG=gctrace=1 without "$SCRATCH/secure" >"$SCRATCH/out" 2>"$SCRATCH/err" || { echo "status $?"; return 1; }
        grep -qx 'secure 1' "$SCRATCH/out" || skip_because 'set-user-ID has no effect here'
        [[ ! -s $SCRATCH/err ]] || { echo "$option was read:"; head -5 "$SCRATCH/err"; return 1; }
    done
}

check valgrind_runs_it valgrind_runs
check memcheck_finds_bugs memcheck_finds
check program_in_gdb under_gdb
check gdb_itself gdb_itself
check address_sanitizer address_sanitizer
check thread_sanitizer thread_sanitizer
check address_sanitizer_of_clang address_sanitizer_of_clang
check undefined_behaviour_sanitizer undefined_behaviour_sanitizer
check audit_module audit_module
check interposers_before_the_library interposers_before
check interposers_behind_the_library interposers_behind
check threads_with_interposers interposed_threads
check set_user_id_ignores_options privileged
plan
