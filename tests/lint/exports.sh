#!/bin/sh
# What the built library shows and needs, against what it may: the manifest preload/exports.txt in both
# directions, and the ELF properties that hosts depend on. TAP.
#
#     exports.sh [LIBRARY]       default $GM_LIB, else build/libgomalloc.so
set -u
cd "$(dirname "$0")/../.." || exit 2
lib=${1:-${GM_LIB:-build/libgomalloc.so}}
number=0
failed=0

# check NAME [LINES]: passes if there are no lines, which name what is wrong.
check() {
    number=$((number + 1))
    if [ -z "${2-}" ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        echo "$2" | sed 's/^/# /'
        failed=1
    fi
}

# without A B: the lines of A that B does not have.
without() { printf '%s\n' "$1" | grep -vxF -e "$2"; }
dynamic() { readelf -dW "$lib" | sed -n "s/.*($1)[^[]*\[\(.*\)\].*/\1/p"; }
flags() { readelf -dW "$lib" | sed -n 's/.*(FLAGS[_1]*) *\(Flags: \)*//p' | tr '\n' ' '; }
code() { objdump -d --no-show-raw-insn "$lib" --disassemble="$1" | awk '$1 ~ /^[0-9a-f]+:$/'; }

if [ ! -f "$lib" ] || ! nm -D "$lib" >/dev/null 2>&1; then
    echo "Bail out! no library at $lib"
    exit 1
fi

wanted=$(awk '!/^[ \t]*(#|$)/ { print $1 }' preload/exports.txt | sort)
shown=$(nm -D --defined-only "$lib" | awk '{ print $3 }' | sort)
undefined=$(nm -D --undefined-only "$lib")

check "every name of the manifest is exported" "$(without "$wanted" "$shown")"
check "nothing else is exported" "$(without "$shown" "$wanted")"
check "exported names have no version of ours" "$(nm -D --defined-only "$lib" | grep '@')"
check "exported names are functions" "$(nm -D --defined-only "$lib" | grep -v ' T ')"

check "NEEDED is libc.so.6 alone" "$(without "$(dynamic NEEDED)" libc.so.6)"
check "nothing of a C++ runtime or an unwinder is needed" "$(printf '%s\n' "$undefined" |
    awk '$1 != "w" && $2 ~ /^(_Z|__cxa_|_Unwind_|__gxx_|__gcc_personality)/ && $2 !~ /^__cxa_(finalize|atexit)@/')"

tls=$(readelf -lW "$lib" | awk '$1 == "TLS" { print $6 }')
if nm "$lib" 2>/dev/null | grep -q ' gm_lockrank_acquire$'; then
    number=$((number + 1))
    echo "ok $number - PT_TLS is at most 64 bytes # SKIP the debug build keeps the locks a thread holds there"
else
    check "PT_TLS is at most 64 bytes" "$([ $((${tls:-0})) -le 64 ] || echo "$tls bytes")"
fi
check "the stack is not executable" \
    "$(readelf -lW "$lib" | awk '$1 == "GNU_STACK" { seen = 1; f = $7 } END { if (!seen || f ~ /E/) print "GNU_STACK: " f }')"
check "no relocation writes to text" "$(readelf -dW "$lib" | grep TEXTREL)"
check "no segment is writable and executable" "$(readelf -lW "$lib" | awk '$1 == "LOAD" && /RWE/')"
check "bound at start, constructed first, never unloaded" \
    "$(for f in NOW NODELETE INITFIRST; do case " $(flags) " in *" $f "*) ;; *) echo "no $f" ;; esac; done)"

# A wrapper may look its function up, and a thread in one may be held: the library's own code calls none. Goroutines'
# calls are the program's, and their threads are held like others.
objects=$(dirname "$lib")/obj
if [ -d "$objects" ]; then
    blocking=$(sed -nE 's/^GM_BLOCK\(([a-z0-9_]+),.*/\1/p' preload/block.def)
    check "the library calls nothing that it wraps" \
        "$(find "$objects" -name '*.o' | grep -v -e /command/ -e /obj/sched/ | while read -r o; do nm "$o" | awk -v o="$o" '$1 == "U" { print $2, o }'; done |
            grep -E "^($(echo $blocking | tr ' ' '|')) ")"
fi

# dlopen decides by its return address whose RPATH applies; a frame of ours would make it ours.
case $(uname -m) in x86_64)
    check "dlopen jumps to the next dlopen" \
        "$(code dlopen | awk '/jmp +\*/ { jumps++ } /call +\*/ { calls++ } END { if (jumps != 1 || calls) print jumps + 0 " jumps, " calls + 0 " calls" }')"
    check "vfork jumps to the next vfork" \
        "$(code vfork | awk '/jmp +\*/ { jumps++ } /call +\*%r/ { calls++ } END { if (jumps != 1 || calls) print jumps + 0 " jumps, " calls + 0 " calls" }')"
    check "a wrapped call is a load, two tests and a jump" "$(code read | awk '/jmp +\*/ { exit } { n++ } END { if (n > 8) print n " instructions" }')"
    check "a signal handler is entered by a jump" \
        "$(code deliver | awk '/jmp +\*/ { jumps++ } /call +\*%r/ { calls++ } END { if (jumps != 1 || calls) print jumps + 0 " jumps, " calls + 0 " calls" }')"
    ;;
esac

echo "1..$number"
exit $failed
