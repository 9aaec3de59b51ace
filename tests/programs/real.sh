#!/bin/bash
# Real, unmodified programs doing real work: their output is the same with the library as without.
# TAP; what is not installed is skipped. Arguments: names of tests.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

# Programs that are scripts of a version manager are not what is meant.
export PATH=/usr/bin:/bin:$PATH
export HOME=$SCRATCH PERL_HASH_SEED=0 PYTHONHASHSEED=0 GIT_CONFIG_NOSYSTEM=1 TZ=UTC
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org

# Some text with structure, the same on every run: 3 MB.
awk 'BEGIN { for (i = 0; i < 60000; i++) printf "line %d has %d words and %s in the %s part\n", i, i * 7919 % 1009, substr("abcdefghijklmnopqrstuvwxyz", i % 20 + 1, 6), i % 3 ? "first" : "second" }' >"$SCRATCH/text"

php_starts() {
    need php
    same php -v && same php -m
}
php_works() {
    need php
    cat >"$SCRATCH/a.php" <<'END'
<?php
$a = [];
for ($i = 0; $i < 100000; $i++) { $a["k" . $i % 5000][] = str_repeat(chr(97 + $i % 26), $i % 300); }
ksort($a);
echo count($a), " ", strlen(serialize($a)), " ", md5(json_encode($a)), "\n";
preg_match_all('/a+b*/', str_repeat("aabbccab", 10000), $m);
echo count($m[0]), "\n";
usort($m[0], fn($x, $y) => strlen($x) <=> strlen($y));
function gen() { for ($i = 0; $i < 10000; $i++) yield new ArrayObject([$i]); }
$s = 0; foreach (gen() as $o) $s += $o[0];
echo $s, "\n";
END
    same php "$SCRATCH/a.php"
}
python() {
    need python3
    cat >"$SCRATCH/a.py" <<'END'
import collections, concurrent.futures, hashlib, json, re, sqlite3, subprocess, threading, zlib
text = open(__import__("sys").argv[1]).read()
words = collections.Counter(re.findall(r"[a-z]+", text))
print(sorted(words.items(), key=lambda x: (-x[1], x[0]))[:20])
print(hashlib.sha256(json.dumps([{"n": i, "s": str(i) * (i % 50)} for i in range(30000)]).encode()).hexdigest())
print(len(zlib.decompress(zlib.compress(text.encode()))))
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(lambda i: len([str(j) * 10 for j in range(i)]), range(500))))
db = sqlite3.connect(":memory:")
db.execute("create table t (a int, b text)")
db.executemany("insert into t values (?, ?)", [(i, "x" * (i % 200)) for i in range(50000)])
print(db.execute("select sum(a), sum(length(b)) from t where a % 3 = 0").fetchone())
print(subprocess.run(["echo", "child"], capture_output=True).stdout)
s = ""
for i in range(200000): s += "xyz"
print(len(s))
END
    same python3 "$SCRATCH/a.py" "$SCRATCH/text" && same env PYTHONMALLOC=malloc python3 "$SCRATCH/a.py" "$SCRATCH/text"
}
perl_() {
    need perl
    same perl -e 'my %h; open F, $ARGV[0]; while (<F>) { $h{$_}++ for split } my @k = sort { $h{$b} <=> $h{$a} || $a cmp $b } keys %h;
        print "$_ $h{$_}\n" for @k[0..30]; my $s = ""; for (1..100000) { $s .= "abc" x ($_ % 5); } print length($s), "\n";
        my @a = map { [ $_, { x => $_ x 3 } ] } 1..50000; print scalar(grep { $_->[1]{x} =~ /99/ } @a), "\n"' "$SCRATCH/text"
}
lua() {
    local l
    l=$(type -P lua5.4 lua lua5.3 | head -1)
    [[ -n $l ]] || skip_because 'no lua'
    same "$l" -e 'local t = {} for i = 1, 200000 do t[i % 1000 + 1] = (t[i % 1000 + 1] or "") .. string.char(97 + i % 26) end
        local n = 0 for k, v in pairs(t) do n = n + #v end print(n) collectgarbage() local s = {} for i = 1, 100000 do s[#s + 1] = {i, tostring(i)} end
        table.sort(s, function(a, b) return a[2] < b[2] end) print(s[1][2], s[50000][2])'
}
sqlite() {
    need sqlite3
    cat >"$SCRATCH/a.sql" <<'END'
create table t (id integer primary key, k text, v real);
with recursive c(i) as (select 1 union all select i + 1 from c where i < 100000) insert into t select i, 'key' || (i * 7919 % 5003), i / 3.0 from c;
create index ti on t (k);
select k, count(*), round(sum(v), 3) from t group by k order by 2 desc, 1 limit 20;
select count(*) from t a join t b on a.k = b.k where a.id < 1000;
update t set v = v * 2 where id % 7 = 0;
delete from t where id % 11 = 0;
select round(sum(v), 2), group_concat(k, '') like '%key77%' from t;
END
    same sqlite3 :memory: ".read $SCRATCH/a.sql"
}
git_() {
    need git
    cat >"$SCRATCH/git.sh" <<'END'
set -e
rm -rf "$1" && mkdir -p "$1" && cd "$1"
git -c init.defaultBranch=m init -q .
for i in 1 2 3 4 5 6; do
    split -l 2000 -a 3 "$2" "part$i." && sed -i "s/line ${i}/changed $i/" part*.a?[a-$(echo abcdef | cut -c$i)]
    git add -A && git commit -q -m "commit $i"
done
git -c pack.threads=2 gc -q --aggressive --prune=now
git fsck --full --strict 2>&1
git log --stat -p -M | sha256sum
git blame part1.aaa | cut -d' ' -f1 | sort | uniq -c
git archive HEAD | sha256sum
END
    same bash "$SCRATCH/git.sh" "$SCRATCH/repository" "$SCRATCH/text"
}
compiler() {
    need "$1"
    awk 'BEGIN { print "#include <stdio.h>"; for (i = 0; i < 400; i++) printf "static int f%d(int a) { int s = %d; for (int i = 0; i < a; i++) s += (i * %d) ^ (s >> %d); return s; }\n", i, i, i + 3, i % 13; print "int main(void) { int s = 0;"; for (i = 0; i < 400; i++) printf "s += f%d(s & 63);\n", i; print "printf(\"%d\\n\", s); return 0; }" }' >"$SCRATCH/big.c"
    same "$1" -O2 -S -o - "$SCRATCH/big.c"
}
gcc_() { compiler gcc; }
clang_() { compiler clang; }
cxx() {
    need g++
    printf '#include <map>\n#include <string>\n#include <regex>\n#include <iostream>\nint main() { std::map<std::string, int> m; std::regex r("a+"); for (int i = 0; i < 1000; i++) m[std::to_string(i)] = std::regex_match("aaa", r); std::cout << m.size() << std::endl; }\n' >"$SCRATCH/a.cpp"
    same g++ -O1 -S -o - "$SCRATCH/a.cpp" && without g++ -O1 -o "$SCRATCH/a.out" "$SCRATCH/a.cpp" && same "$SCRATCH/a.out"
}
make_() {
    need make gcc
    mkdir -p "$SCRATCH/project"
    local i
    for i in {1..12}; do echo "int f$i(void) { return $i; }" >"$SCRATCH/project/f$i.c"; done
    printf 'OBJ := $(patsubst %%.c,%%.o,$(wildcard f*.c))\nall: lib.a\nlib.a: $(OBJ)\n\trm -f $@; ar rcD $@ $(sort $(OBJ))\nclean:\n\trm -f *.o lib.a\n' >"$SCRATCH/project/Makefile"
    same bash -c 'cd "$1" && make -s clean && make -s -j3 2>/dev/null && nm lib.a | grep -c " T " && ar t lib.a' - "$SCRATCH/project"
}
jq_() {
    need jq
    awk 'BEGIN { print "["; for (i = 0; i < 20000; i++) printf "%s{\"id\":%d,\"name\":\"n%d\",\"tags\":[\"t%d\",\"u%d\"],\"v\":%f}\n", i ? "," : "", i, i, i % 7, i % 11, i / 3; print "]" }' >"$SCRATCH/a.json"
    same jq -c 'group_by(.tags[0]) | map({k: .[0].tags[0], n: length, s: (map(.v) | add | floor)})' "$SCRATCH/a.json" &&
        same jq -S '[.[] | select(.id % 100 == 0) | {(.name): (.v * 2)}] | add' "$SCRATCH/a.json"
}
round_trip() { # round_trip PACKER UNPACKER
    need "${1%% *}"
    # shellcheck disable=SC2086
    same bash -c "$1 <\$1 | sha256sum && $1 <\$1 | $2 | sha256sum" - "$SCRATCH/text"
}
xz_() { round_trip 'xz -3 -T2 -c' 'xz -dc'; }
gzip_() { round_trip 'gzip -nc' 'gzip -dc'; }
bzip2_() { round_trip 'bzip2 -c' 'bzip2 -dc'; }
zstd_() { round_trip 'zstd -q -T2 -9 -c' 'zstd -q -dc'; }
bash_() {
    same bash -c 's=0; for ((i = 0; i < 300; i++)); do x=$( (echo $((i * 3))) ); ((s += x)); done; a=()
        for ((i = 0; i < 20000; i++)); do a+=("item $i ${a[i / 2]:0:40}"); done; t="${a[*]}"; echo $s ${#t} ${#a[@]}; printf "%s\n" "${a[@]}" | sort | sha256sum'
}
dash_() {
    need dash
    same dash -c 'i=0; s=; while [ $i -lt 3000 ]; do s="$s$i"; i=$((i + 1)); done; echo ${#s}; echo $(ls /usr/bin | wc -l)'
}
text_tools() {
    same sort -k4,4n -k1 --parallel=2 "$SCRATCH/text" && same awk '{ n[$6] += $4 } END { for (k in n) print k, n[k] | "sort" }' "$SCRATCH/text" &&
        same sed -n 's/line \([0-9]*\)5 .*in the \(.*\) part/\2 \1/p' "$SCRATCH/text" && same grep -cE '(abc|xyz)+.*first' "$SCRATCH/text" &&
        same tar -cf - -C "$SCRATCH" text --mtime=@0 && same find /usr/share/doc -maxdepth 2 -name 'c*' && same diff "$SCRATCH/text" /etc/passwd
}
bc_() {
    need bc
    printf 'scale=600\n4*a(1)\n2^3000\n' >"$SCRATCH/a.bc"
    same bc -lq "$SCRATCH/a.bc"
}
node_() {
    need node
    same node -e 'const m = new Map(); for (let i = 0; i < 200000; i++) m.set("k" + i % 5000, (m.get("k" + i % 5000) || "") + i % 10);
        console.log(m.size, require("crypto").createHash("sha256").update(JSON.stringify([...m])).digest("hex"));
        console.log(require("zlib").gunzipSync(require("zlib").gzipSync(Buffer.alloc(1000000, "abc"))).length)'
}
prove_() {
    need prove
    printf 'print "1..3\\n"; print "ok $_\\n" for 1..3;' >"$SCRATCH/a.t"
    # The times that it prints vary.
    same bash -c 'prove "$1" 2>&1 | grep -v wallclock' - "$SCRATCH/a.t"
}

check php_starts php_starts
check php_works php_works
check python python
check perl perl_
check lua lua
check sqlite sqlite
check git git_
check gcc gcc_
check clang clang_
check cxx cxx
check make make_
check jq jq_
check xz xz_
check gzip gzip_
check bzip2 bzip2_
check zstd zstd_
check bash bash_
check dash dash_
check text_tools text_tools
check bc bc_
check node node_
check prove prove_
plan
