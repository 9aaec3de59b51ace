#!/bin/sh
# Prints the linker's version script for the names of exports.txt.
#
#     mkexports.sh [MANIFEST] > exports.map
#
# One anonymous version: a program's reference to malloc@GLIBC_2.2.5 is then satisfied by ours, as it is
# by any definition without a version. A name listed twice or with an unknown class is an error.
set -eu
manifest=${1:-$(dirname "$0")/exports.txt}

awk '
    /^[ \t]*(#|$)/ { next }
    function complain(text) { print FILENAME ":" FNR ": " text > "/dev/stderr"; bad = 1 }
    NF != 2 || $2 !~ /^(libc|c[+][+]|gomalloc)$/ { complain("not NAME CLASS: " $0) }
    seen[$1]++ { complain("a second time: " $1) }
    { names = names "        " $1 ";\n" }
    END {
        if (names == "") complain("no names")
        if (bad) exit 1
        printf "{\n    global:\n%s    local:\n        *;\n};\n", names
    }
' "$manifest"
