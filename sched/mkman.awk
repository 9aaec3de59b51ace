# Makes gosched.3 from gosched.h: awk -v version=V -f sched/mkman.awk sched/gosched.h. The header says what each function does, so it is the
# only place; this knows how it is laid out:
#
#   /* TEXT */ before the first declaration          the description
#   /* ---- TITLE (files) TEXT */                    a section and what it says of all
#   /* TEXT */                                       about what is declared next
#   ... GOSCHED_API(name);  typedef ... name;  #define GO_NAME(...)   what is declared; the names gosched_* are for macros only

function roff(s) {
    gsub(/\\/, "\\e", s)
    gsub(/-/, "\\-", s)
    if (s ~ /^[.']/) s = "\\&" s
    return s
}

# A comment's text, line by line; an empty line begins a paragraph.
function put_text(text,    line, n, i) {
    n = split(text, line, "\n")
    for (i = 1; i <= n; i++) print line[i] == "" ? ".PP" : roff(line[i])
}

function declare(what) {
    print (text != "" || !listed ? ".PP" : ".br")
    print ".B \"" roff(what) "\""
    listed = 1
    if (text == "") return
    print ".RS 4"
    put_text(text)
    print ".RE"
    text = ""
    listed = 0
}

function take_comment(c,    title) {
    if (c ~ /^---- /) {
        sub(/^---- /, "", c)
        title = c
        sub(/\n.*/, "", title)
        sub(/^[^\n]*\n*/, "", c)
        gsub(/ \([a-z_.\/, ]+\)/, "", title)
        if (match(title, /\. /)) { # a sentence behind the title
            c = substr(title, RSTART + 2) c
            title = substr(title, 1, RSTART - 1)
        }
        sub(/^\n+/, "", c)
        print ".SH " toupper(title)
        if (c != "") put_text(c)
        listed = 0
        text = ""
    } else if (!described) {
        described = 1
        sub(/^[^\n]*\n+/, "", c) # the first line is the page's name
        print ".SH DESCRIPTION"
        put_text(c)
    } else {
        text = c
    }
}

BEGIN {
    print ".\\\" Made by sched/mkman.awk. Do not edit."
    print ".TH gosched 3 \"\" \"gomalloc " version "\" \"Library Functions Manual\""
    print ".nh\n.ad l"
    print ".SH NAME\ngosched \\- goroutines, channels, select and what belongs to them, for C"
    print ".SH SYNOPSIS\n.nf\n.B #include <gosched.h>\n.PP\ncc \\fIprogram.c\\fP \\-lgomalloc\n.fi"
}

/^\/\*/ && !in_comment { in_comment = 1; comment = ""; sub(/^\/\* ?/, "") }
in_comment {
    last = /\*\//
    sub(/ *\*\/.*/, "")
    sub(/^ \* ?/, "")
    comment = comment (comment == "" ? "" : "\n") $0
    if (last) {
        in_comment = 0
        take_comment(comment)
    }
    next
}
/GOSCHED_API\(/ && !/^#/ {
    sub(/^__attribute__\(\([^)]*\)\) /, "")
    sub(/ GOSCHED_API\([a-z_]*\)/, "")
    if (/[ *]gosched_/) text = ""
    else declare($0)
    next
}
/^#define (GO_[A-Z]+|go_[a-z]+)/ && !/GOSCHED_H/ {
    sub(/^#define /, "")
    sub(/\).*/, ")")
    sub(/^GO_DEFAULT .*/, "GO_DEFAULT")
    declare($0)
    next
}
/^typedef struct [a-z]+ [a-z]+;/ || /^typedef [a-z0-9_]+ [a-z_]+;/ { declare($0); next }
/^typedef struct [a-z]+ \{/ { in_struct = $3; next }
in_struct && /^\}/ { declare("struct " in_struct); in_struct = "" }

END {
    print ".SH SEE ALSO\n.BR gomalloc (3),\n.BR gomalloc (7),\n.BR pthreads (7)"
}
