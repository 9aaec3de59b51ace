#!/bin/bash
# The rules of the source tree that no compiler knows, read from the files as they are. TAP.
#
#     tests/lint/lint.sh [NAME...]      the named checks only
cd "$(dirname "$0")/../.." || exit 2
GM_LIB=${GM_LIB:-${GM_BUILD_DIR:-build}/libgomalloc.so} BUILD=.
. tests/tap.sh

# ---- the layers, lowest first: a file includes its own layer and those below, never one above.
# A line is LAYER followed by the nouns (NAME.c, NAME.h, NAME.def, NAME_table.h) in libgomalloc/; in
# records, pages and caches these stand in order as well, lowest first.
layers='
base      base/* os/os.h gomalloc.h
os        os/*
records   meta sizeclass conf hooks
pages     pagebits pageindex pace arena span huge grow heap giveback holes guests mend scavenge
caches    sweep lists room central transfer cache cache_all idle
front     alloc fastpath front malloc free realloc align large small8 tiny exact noscan init nested stats stats_format stats_sum gcview endpoint profile unwind
'
# base      knows no allocator and no kernel. It writes, aborts and sleeps through os/os.h, which belongs here:
#           it is a contract of plain declarations, whoever keeps it (Linux, a test's fake) is a layer up.
#           The public header has nothing but types.
# os        is the only place that makes system calls for memory, threads and time.
# records   need no heap: memory for the library's own bookkeeping, the generated table of size classes, options,
#           and the hooks by which a collector, a layer of its own above all, is told.
# pages     know addresses and runs of pages; a span is a run that knows its class.
# caches    move slots between spans and threads.
# front     is what a call enters: it decides who serves it, counts, and names crimes.
#
# The other folders stand on these, each on what the layout gives it:
declare -A may=(
    [preload]='preload/* libgomalloc/alloc.h libgomalloc/fastpath.h libgomalloc/hooks.h libgomalloc/conf.h
        libgomalloc/stats_format.h libgomalloc/gomalloc.h gc/gogc.h gc/cycle.h sched/gosched.h libgomalloc/base/* libgomalloc/os/*'
    [gc]='gc/* libgomalloc/gcview.h libgomalloc/hooks.h libgomalloc/endpoint.h libgomalloc/alloc.h libgomalloc/noscan.h libgomalloc/nested.h libgomalloc/scavenge.h libgomalloc/mend.h libgomalloc/meta.h libgomalloc/conf.h libgomalloc/gomalloc.h libgomalloc/base/* libgomalloc/os/*'
    [sched]='sched/* libgomalloc/alloc.h libgomalloc/meta.h libgomalloc/conf.h libgomalloc/gomalloc.h libgomalloc/base/* libgomalloc/os/*'
    [sched/attach_gc.c]='gc/world.h'
    [preload/command/remote.h]='libgomalloc/*.h'
    [preload/command/remote.c]='libgomalloc/*.h'
    [preload/command/heapmap.c]='libgomalloc/*.h'
    [preload/command/image.c]='libgomalloc/guests.h'
)
# Generators run on the machine that builds, and are no part of the library.
generators='libgomalloc/mk*.c'
# Tables: parts of one header each, made to be included by it alone.
tables='libgomalloc/sizeclass_table.h'
public='libgomalloc/gomalloc.h gc/gogc.h sched/gosched.h'

folders=$(ls -d libgomalloc gc sched preload 2>/dev/null | tr '\n' ' ')
sources() { find $folders -name '*.[chS]' -o -name '*.cpp' | sort; }
headers() { find $folders -name '*.h' | sort; }
everything() { find . -path ./.git -prune -o -path ./build -prune -o -type f -print | sed 's,^\./,,' | sort; }
texts() { everything | grep -vE '^tests/fuzz/corpus/' | xargs grep -Il ''; }
one_of() { # NAME PATTERN...: shell patterns, unexpanded
    local name=$1 pattern
    shift
    for pattern; do [[ $name == $pattern ]] && return 0; done
    return 1
}
# What a check found; nothing is success.
nothing() {
    local found
    found=$(cat)
    [[ -z $found ]] || { echo "$found"; return 1; }
}

# ---- arrows

declare -A layer_of_noun
declare -A layer_of_path
set -f
number=0
while read -r layer nouns; do
    [[ $layer ]] || continue
    ((number += 100, rank = number))
    for noun in $nouns; do
        [[ $layer == @(records|pages|caches) ]] && ((rank++))
        case $noun in
        */* | *.h) layer_of_path[$noun]="$rank $layer" ;;
        *) layer_of_noun[$noun]="$rank $layer" ;;
        esac
    done
done <<<"$layers"
set +f

# layer FILE: number and name of its layer in libgomalloc/.
layer() {
    local name=${1#libgomalloc/} folder noun
    folder=${name%/*}
    noun=${name%.*}
    [[ ${layer_of_path[$name]} ]] && echo "${layer_of_path[$name]}" && return
    [[ $name == */* ]] && echo "${layer_of_path["$folder/*"]}" && return
    echo "${layer_of_noun[${noun%_table}]}"
}

arrow() { # FILE INCLUDED
    local folder=${1%%/*} from to
    [[ -e $2 ]] || { echo "$1 includes $2, which is not there"; return; }
    if [[ $folder == libgomalloc ]]; then
        from=$(layer "$1") to=$(layer "$2")
        [[ $from ]] || { echo "$1: no layer; add it to the table"; return; }
        [[ $2 == libgomalloc/* && $to ]] || { echo "$1 includes $2: of no layer"; return; }
        ((${from% *} >= ${to% *})) || echo "$1 (${from#* }) includes $2 (${to#* })"
    else
        set -f
        one_of "$2" ${may[$folder]} ${may[$1]} || echo "$1 includes $2"
        set +f
    fi
}

includes() { grep -HnoE '^ *# *include "[^"]+"' "$@" | sed -E 's/^([^:]*):[0-9]*: *# *include "(.*)"/\1 \2/'; }

arrows_point_down() {
    local file included
    includes $(sources) | while read -r file included; do
        set -f
        one_of "$file" $generators || arrow "$file" "$included"
        set +f
    done | nothing
}

# A header that includes itself by way of others is two nouns that are one.
no_circle() {
    includes $(headers) | tsort 2>&1 >/dev/null | grep -v 'loop:$' | sed 's/^tsort: //' | nothing
}

tables_have_one_reader() {
    local table
    for table in $tables; do
        includes $(sources) | awk -v t="$table" '$2 == t' | awk 'NR > 1 { print $2 " is included by " $1 " too" }'
    done | nothing
}

# ---- private headers

compile() { printf '#include "%s"\n' "$1" | gcc -std=gnu17 -D_GNU_SOURCE -I. "${@:2}" -fsyntax-only -x c - 2>&1; }

outsiders_are_refused() {
    local header
    for header in $(headers); do
        [[ " $public $tables " == *" $header "* ]] && continue
        compile "$header" | grep -q 'private header of gomalloc' || echo "$header lets outsiders in"
    done | nothing
}

public_headers_stand_alone() {
    local header
    for header in $public; do
        [[ -e $header ]] || continue
        compile "$header" -Wall -Wextra -Werror -pedantic | sed "s,^,$header: ,"
        printf '#include "%s"\n' "$header" | g++ -std=c++17 -I. -Wall -Wextra -Werror -pedantic -fsyntax-only -x c++ - 2>&1
    done | nothing
}

private_headers_stand_alone() {
    local header
    for header in $(headers); do compile "$header" -DGM_BUILD -Wno-unused | grep error | sed "s,^,$header: ,"; done | nothing
}

# ---- locks

ranks() { sed -nE 's/^ *(GM_RANK_[A-Z0-9_]+).*/\1/p' libgomalloc/base/lockrank.h | grep -v '^GM_RANK_COUNT$'; }
# FILE ARGUMENT, for every lock that is made, but for the definitions in base/lock.*.
lock_makers() {
    grep -HoE 'GM_LOCK_INIT\([^)]*\)|gm_lock_init\([^;]*\)' $(sources | grep -v '^libgomalloc/base/lock\.[ch]$') |
        sed -E 's/^([^:]*):GM_LOCK_INIT\(([^)]*)\)/\1 \2/; s/^([^:]*):gm_lock_init\([^,]*, *([^,]*),.*/\1 \2/'
}

every_lock_has_a_rank() {
    {
        lock_makers | while read -r file rank; do
            ranks | grep -qxF -- "$rank" || echo "$file makes a lock of rank $rank"
        done
        # Every lock that is declared (not a pointer to one) is made in the same file, a header's in its source.
        grep -HcE '^ *(static )?struct gm_lock [a-z_0-9, ]+( =|;|\[)' $(sources | grep -v '^libgomalloc/base/lock\.[ch]$') |
            awk -F: '$2 > 0' | while IFS=: read -r file locks; do
            made=$(lock_makers | awk -v f="${file%.h}" '$1 == f || $1 == f ".c"' | wc -l)
            ((made >= locks)) || echo "$file declares $locks locks and makes $made"
        done
    } | nothing
}

every_rank_has_a_lock() {
    [[ $(ranks | wc -l) -gt 0 ]] || { echo "no ranks found"; return 1; }
    ranks | while read -r rank; do
        lock_makers | awk '{ print $2 }' | grep -qxF -- "$rank" || echo "no lock has rank $rank"
    done | nothing
}

# ---- the generated table

table_is_current() {
    gcc -std=gnu17 -O1 -o "$SCRATCH/mksizeclass" libgomalloc/mksizeclass.c &&
        "$SCRATCH/mksizeclass" | diff - libgomalloc/sizeclass_table.h
}

# ---- sizes and words

code() { everything | grep -E '^(libgomalloc|gc|sched|preload|tests|bench)/.*\.(c|h|cpp|S|def)$'; }

# From the line that opens a function to the brace in the first column that closes it.
functions_are_short() {
    awk 'FNR == 1 { start = 0 }
        /^[A-Za-z_].*\) *\{$/ { start = FNR; name = $0 }
        /^\}/ && start { if (FNR - start + 1 > 100) print FILENAME ":" start ": " FNR - start + 1 " lines: " name; start = 0 }
    ' $(code) | nothing
}

files_are_short() {
    local file
    for file in $(code); do
        [[ " $tables " == *" $file "* ]] || awk -v f="$file" -v max=$([[ $file == tests/* ]] && echo 600 || echo 500) 'END { if (NR > max) print f ": " NR " lines" }' "$file"
    done | nothing
}

# The words are put together here, so that this file does not hold them.
nothing_is_unfinished() { texts | xargs grep -nwE "TO""DO|FIX""ME|X""XX|HA""CK" | nothing; }
no_tab_indents() { texts | grep -vE '^Makefile$|\.go$' | xargs grep -nP '^ *\t' | nothing; }
no_space_ends_a_line() { texts | xargs grep -nE ' +$' | nothing; }
stands_alone() { texts | xargs grep -nE "(^|[^[:alnum:]_.])/(wo""rk|ho""me|ro""ot)/|(^|[^[:alnum:]_/])sha""red/|\.lib""rary" | nothing; }

top_level_is_fixed() {
    local name
    for name in *; do
        case $name in
        libgomalloc | gc | sched | preload | tests | bench | Makefile | README.md | LICENSE* | build) ;;
        *) echo "$name" ;;
        esac
    done | nothing
}

scripts_parse() {
    everything | grep -E '\.sh$' | while read -r file; do bash -n "$file" 2>&1; done | nothing
}

# What the link script places by name: of a function renamed it would say nothing, and every process would pay for it.
placed_names_exist() {
    local names name files file
    names=$(grep -oE '\.text\.[a-zA-Z_0-9.]+' preload/layout.ld | sed -E 's/^\.text\.(unlikely\.)?//' | grep -vxE 'rare|first|unlikely' | sort -u)
    files=$(grep -oE '\*/[a-z_0-9/]+\.o' preload/layout.ld | sed 's,^\*/,,; s,\.o$,,' | sort -u)
    [[ $names && $files ]] || { echo "nothing is placed"; return 1; }
    {
        for name in $names; do
            grep -qrwE --include='*.[chS]' --include='*.def' "${name%%.*}" $folders || echo "no $name in the sources"
        done
        for file in $files; do
            sources | grep -qE "(^|/)$file\.(c|S|cpp)\$" || echo "no source of $file.o"
        done
    } | nothing
}

for name in arrows_point_down no_circle tables_have_one_reader outsiders_are_refused public_headers_stand_alone \
    private_headers_stand_alone every_lock_has_a_rank every_rank_has_a_lock table_is_current functions_are_short \
    files_are_short nothing_is_unfinished no_tab_indents no_space_ends_a_line stands_alone top_level_is_fixed \
    scripts_parse placed_names_exist; do
    check $name $name
done
plan
