#!/bin/bash
# Short programs by the hundred, as a configure run or a package's scripts start them. Argument: how often.
set -e
text=$(printf 'line %s of a text with some words\n' {1..40})
for ((i = 0; i < $1; i++)); do
    sed -e 's/line/row/' -e "s/text/text $i/" <<<"$text" | grep -c 'row 1'
    tr a-z A-Z <<<"$text" | cut -d' ' -f2 | sort -n | uniq | tail -1
    expr $i + 1
    basename "/some/where/$i" .c
done
