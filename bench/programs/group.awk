# gawk: words counted, grouped by length and first letter, and joined again. Associative arrays and strings.
NR > 120000 { exit }
{
    for (i = 1; i <= NF; i++) {
        count[$i]++
        if (!($i in first)) first[$i] = NR
        pairs[substr($i, 1, 2) SUBSEP length($i)] += NR
    }
    if (NR % 10 == 0) kept[NR] = toupper($0)
}
END {
    for (w in count) { words++; sum = (sum + count[w] * first[w]) % 1000000007 }
    for (p in pairs) { groups++; total = (total + pairs[p]) % 1000000007 }
    for (k in kept) text += length(kept[k])
    print NR, words, groups, sum, total, text
}
