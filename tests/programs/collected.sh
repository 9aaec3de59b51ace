#!/bin/bash
# Real, unmodified programs whose memory comes back by the collector alone: free() does nothing, and a collection starts when the heap
# has grown by a fifth. Their output is what it is without the library, whichever way is marked. TAP; what is not installed is
# skipped. STRESS=1: four times as much work, and the same with frees that free. Arguments: names of tests.
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh

export PATH=/usr/bin:/bin:$PATH
export HOME=$SCRATCH PERL_HASH_SEED=0 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 GIT_CONFIG_NOSYSTEM=1 TZ=UTC
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
N=1
modes=(free:ignore)
[[ ${STRESS:-0} == 0 ]] || { N=4; modes=(free:ignore free:honour); }

# collected COLLECTIONS COMMAND...: under both barriers, with so many collections at least where nothing is freed.
collected() {
    local least=$1 mode barrier n
    shift
    for mode in "${modes[@]}"; do
        for barrier in stop fork; do
            same env GOMALLOC="gc:on,$mode,barrier:$barrier,gctrace:1" GOGC=20 "$@" || { echo "under $mode, barrier:$barrier"; return 1; }
            n=$(grep -ac '^gc [0-9]* @' "$SCRATCH/err.with")
            [[ $mode == free:honour ]] || ((n >= least)) || { echo "$n collections under barrier:$barrier"; return 1; }
        done
    done
}

sqlite() {
    need sqlite3
    cat >"$SCRATCH/a.sql" <<END
create table t (id integer primary key, k text, v real, b blob);
with recursive c(i) as (select 1 union all select i + 1 from c where i < $((20000 * N))) insert into t select i, 'key' || (i * 7919 % 5003), i / 3.0, zeroblob(i % 90) from c;
create index ti on t (k);
select k, count(*), round(sum(v), 3) from t group by k order by 2 desc, 1 limit 20;
update t set v = v * 2, k = k || 'x' where id % 7 = 0;
delete from t where id % 11 = 0;
select round(sum(v), 2), sum(length(b)), group_concat(k, '') like '%key77%' from t;
pragma integrity_check;
END
    collected 1 sqlite3 :memory: ".read $SCRATCH/a.sql"
}
python() {
    need python3
    cat >"$SCRATCH/a.py" <<'END'
import hashlib, json, random, sys, threading, zlib
out = [None] * 4
def work(k):
    r, h, kept = random.Random(k), hashlib.sha256(), {}
    for i in range(int(sys.argv[1])):
        record = {"id": i, "tags": ["t%d" % r.randrange(1000) for _ in range(20)], "text": "x" * r.randrange(3000), "sub": {str(j): [i] * j for j in range(8)}}
        text = json.dumps(record)
        kept[r.randrange(100)] = back = json.loads(text)
        assert back == record
        h.update(zlib.decompress(zlib.compress(text.encode())))
    out[k] = h.hexdigest()[:16], sum(len(v["text"]) for v in kept.values())
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(out)
END
    collected 1 env PYTHONMALLOC=malloc python3 "$SCRATCH/a.py" $((100 * N))
}
gcc_() {
    need gcc
    awk -v n=$((60 * N)) 'BEGIN { print "#include <stdio.h>"; for (i = 0; i < n; i++) printf "static int f%d(int a) { int s = %d; for (int i = 0; i < a; i++) s += (i * %d) ^ (s >> %d); return s; }\n", i, i, i + 3, i % 13; print "int main(void) { int s = 0;"; for (i = 0; i < n; i++) printf "s += f%d(s & 63);\n", i; print "printf(\"%d\\n\", s); return 0; }" }' >"$SCRATCH/big.c"
    collected 1 gcc -O2 -S -o - "$SCRATCH/big.c"
}
git_() {
    need git
    local i
    mkdir "$SCRATCH/repository"
    (
        cd "$SCRATCH/repository" && without git -c init.defaultBranch=m init -q . || exit
        for i in 1 2 3 4 5 6; do
            awk -v c=$i 'BEGIN { for (f = 0; f < 20; f++) for (i = 0; i < 500; i++) printf "line %d has %d words\n", i, (i % 7 == c ? c : i) * 7919 % 1009 >"part" f }'
            without git add -A && without git commit -q -m "commit $i" || exit
        done
    ) || return
    collected 1 git -C "$SCRATCH/repository" log --histogram --stat -p -M && collected 0 git -C "$SCRATCH/repository" fsck --full --strict
}
perl_() {
    need perl
    collected 1 perl -e 'my (%h, @a); for my $i (1 .. 20000 * $ARGV[0]) { push @{$h{"k" . $i % 997}}, { n => $i, s => "abc" x ($i % 9) }; splice @{$h{"k" . $i % 97}}, 0, 9 if $i % 50 == 0 }
        my $s = 0; for my $k (sort keys %h) { $s = ($s * 31 + $_->{n} + length $_->{s}) % 1000003 for @{$h{$k}} } print scalar(keys %h), " $s\n"' $N
}
bash_() {
    collected 1 bash -c 's=0; for ((i = 0; i < 40 * $1; i++)); do x=$( (echo $((i * 3))) ); ((s += x)); done; a=()
        for ((i = 0; i < 8000 * $1; i++)); do a+=("item $i ${a[i / 2]:0:40}"); done; t="${a[*]}"; echo $s ${#t} ${#a[@]}; printf "%s\n" "${a[@]}" | sort | sha256sum' - $N
}
threads_of_tools() {
    awk -v n=$((15000 * N)) 'BEGIN { for (i = 0; i < n; i++) printf "line %d has %d words and %s\n", i, i * 7919 % 1009, substr("abcdefghijklmnopqrstuvwxyz", i % 20 + 1, 6) }' >"$SCRATCH/text"
    collected 0 sort -k4,4n -k1 --parallel=2 "$SCRATCH/text" && collected 0 awk '{ n[$6] += $4; s[$4] = s[$4] $2 } END { for (k in n) print k, n[k] | "sort"; for (k in s) l += length(s[k]); print l }' "$SCRATCH/text"
}
jq_() {
    need jq
    awk -v n=$((4000 * N)) 'BEGIN { print "["; for (i = 0; i < n; i++) printf "%s{\"id\":%d,\"name\":\"n%d\",\"tags\":[\"t%d\",\"u%d\"],\"v\":%f}\n", i ? "," : "", i, i, i % 7, i % 11, i / 3; print "]" }' >"$SCRATCH/a.json"
    collected 1 jq -c 'group_by(.tags[0]) | map({k: .[0].tags[0], n: length, s: (map(.v) | add | floor)})' "$SCRATCH/a.json"
}

check sqlite sqlite
check python python
check gcc gcc_
check git git_
check perl perl_
check bash bash_
check threads_of_tools threads_of_tools
check jq jq_
plan
