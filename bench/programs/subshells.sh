# shellcheck shell=bash
# bash: what shell scripts do. Subshells, arrays that grow, string operations, and a few short processes.
s=0
for ((i = 0; i < 300; i++)); do
    x=$( (echo $((i * 3))) )
    ((s += x))
done
words=()
for ((i = 0; i < 30000; i++)); do
    words+=("item $i ${words[i / 2]:0:40}")
done
for ((i = 0; i < 3000; i++)); do
    line=${words[i]//item/thing}
    words[i]=${line%%$'\n'*}${#line}
done
text="${words[*]}"
for ((i = 0; i < 30; i++)); do
    s=$((s + $(printf '%s\n' "${words[@]:i * 500:500}" | sort | head -c 200 | wc -c)))
done
echo $s ${#text} ${#words[@]}
