#!/bin/sh
# Prints the linker's version script for the names of exports.txt.
#
#     mkexports.sh [MANIFEST] > exports.map
#     mkexports.sh MANIFEST others > others.list
#
# The second is a dynamic list: only those names are looked up anew in each process where the library itself refers to them, because
# a program may have its own (operator new), or another library stand in front (read). The library's own names are bound
# when it is linked, which spares every process some forty lookups.
#
# One anonymous version: a program's reference to malloc@GLIBC_2.2.5 is then satisfied by ours, as it is
# by any definition without a version. A name listed twice or with an unknown class is an error.
set -eu
manifest=${1:-$(dirname "$0")/exports.txt}

awk -v others="${2:+1}" '
    /^[ \t]*(#|$)/ { next }
    function complain(text) { print FILENAME ":" FNR ": " text > "/dev/stderr"; bad = 1 }
    NF != 2 || $2 !~ /^(libc|c[+][+]|gomalloc)$/ { complain("not NAME CLASS: " $0) }
    seen[$1]++ { complain("a second time: " $1) }
    others && $2 == "gomalloc" { next }
    { names = names "        " $1 ";\n" }
    END {
        if (names == "") complain("no names")
        if (bad) exit 1
        if (others) printf "{\n%s};\n", names
        else printf "{\n    global:\n%s    local:\n        *;\n};\n", names
    }
' "$manifest"
