#!/bin/sh
# demo.sh LIB: runs SQLite, an unmodified program from Debian, with the library preloaded: an in-memory
# database of 300 000 rows is built, indexed, updated, half deleted and queried. The answer must be what
# SQLite gives without the library. Then shows what it cost both ways and what the heap looked like.
set -eu
lib=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/work.sql" <<'SQL'
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
INSERT INTO item SELECT i, 'item ' || (i * 7919 % 300007), i * 31 % 1000, substr('a note of some length ', 1, i % 22) || i FROM n;
CREATE INDEX by_name ON item(name);
CREATE INDEX by_price ON item(price, name);
UPDATE item SET note = note || ' updated' WHERE price % 3 = 0;
DELETE FROM item WHERE id % 2 = 0;
SELECT count(*), sum(price), min(name), max(name), sum(length(note)) FROM item;
SELECT price, count(*), group_concat(substr(name, 6, 2), '') FROM item WHERE id < 4000 GROUP BY price % 7;
SELECT a.name, b.price FROM item a JOIN item b ON a.price = b.price AND a.id = b.id + 2000 ORDER BY a.name LIMIT 5;
SQL
run() { # run LABEL [VAR=VALUE...]: prints seconds and peak RSS; answer in $dir/LABEL
    label=$1; shift
    start=$(date +%s%N)
    env "$@" sh -c 'sqlite3 :memory: < "$1" > "$2" && exec true' - "$dir/work.sql" "$dir/$label" 2> "$dir/$label.err"
    end=$(date +%s%N)
    echo "$label $(( (end - start) / 1000000 ))" > "$dir/$label.ms"
}
echo "sqlite3 :memory:, 300 000 rows built, indexed, updated, half deleted, queried"
run glibc A=b
run gomalloc LD_PRELOAD="$lib" GOMALLOC=stats:exit
cmp "$dir/glibc" "$dir/gomalloc" || { echo "demo: the answers differ" >&2; exit 1; }
test -s "$dir/gomalloc"
echo "answer (the same with and without the library):"
sed 's/^/    /' "$dir/gomalloc" | cut -c1-100
printf 'time: %s ms with glibc, %s ms with gomalloc (one run each: see bench/ for a comparison)\n' \
    "$(cut -d' ' -f2 "$dir/glibc.ms")" "$(cut -d' ' -f2 "$dir/gomalloc.ms")"
echo "the heap at sqlite3's exit:"
# The shell that started sqlite3 reports as well: the report with the most objects is sqlite3's.
awk '/^gomalloc: statistics at exit/ { n++ } { text[n] = text[n] $0 "\n" }
     $1 == "mallocs" { if ($2 > most) { most = $2; best = n } }
     END { printf "%s", text[best] }' "$dir/gomalloc.err"
