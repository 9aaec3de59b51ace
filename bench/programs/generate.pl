#!/usr/bin/perl
# Writes the inputs of the real programs, the same bytes on every machine: generate.pl KIND >FILE
#
#   words    12 MB of English-looking lines, few words frequent and many rare
#   records  a JSON array of 40 000 records with nested values
#   c        a C file of 110 functions for gcc -O2
#   cxx      a C++ file that instantiates standard containers for many types
#   history  a git fast-import stream: 300 commits over 250 files
#
# Its own generator of numbers, because rand() is not promised to stay the same from one perl to the next.
use strict;
use warnings;

my $state = 42;

sub below { # 0 .. $_[0] - 1; 32-bit arithmetic that is exact in perl's numbers
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    return int(($state >> 8) % $_[0]);
}

my @syllables = map { my $c = $_; map { $c . $_ } qw(a e i o u an er on is) } qw(b d f g k l m n p r s t st tr);

sub word { # the n-th word of the vocabulary
    my ($n) = @_;
    my $w = '';
    do { $w .= $syllables[$n % @syllables]; $n = int($n / @syllables) } while ($n > 0);
    return $w;
}

sub any_word { my $r = below(1000); return word($r < 700 ? below(200) : $r < 950 ? below(5000) : below(60000)) }

sub sentence { return join ' ', map { any_word() } 1 .. $_[0] }

sub words {
    my $size = 0;
    while ($size < 12_000_000) {
        my $line = sentence(4 + below(12)) . "\n";
        $size += length $line;
        print $line;
    }
}

sub records {
    print "[\n";
    for my $i (1 .. 40_000) {
        my $tags = join ', ', map { '"' . any_word() . '"' } 0 .. below(6);
        printf qq({"id": %d, "name": "%s", "group": "%s", "price": %d.%02d, "tags": [%s], "note": "%s",\n),
            $i, sentence(2), word(below(40)), below(1000), below(100), $tags, sentence(3 + below(8));
        printf qq( "place": {"x": %d, "y": %d, "open": %s}, "parent": %s}%s\n),
            below(10000), below(10000), below(2) ? 'true' : 'false', below(5) ? below($i) : 'null', $i < 40_000 ? ',' : '';
    }
    print "]\n";
}

sub c {
    print "typedef struct node { struct node *next, *left; int key; double weight; char name[16]; } node;\n";
    for my $f (1 .. 110) {
        my ($a, $b, $m) = (1 + below(90), 2 + below(9), 3 + below(60));
        print "static int table$f\[$m\];\nint work$f(node *n, int k, const char *s) {\n    int sum = $a;\n";
        print "    for (int i = 0; i < k; i++) { table$f\[i % $m\] += i * $b; sum ^= table$f\[(i * $a) % $m\]; }\n";
        for my $line (1 .. 6 + below(8)) {
            my $k = below(5);
            print "    while (n && n->key < $a * sum) { sum += n->key; n = n->next ? n->next : n->left; }\n" if $k == 0;
            print "    switch (sum % $m) { case 1: sum += $line; break; case 2: k--; break; default: sum -= *s++; }\n" if $k == 1;
            print "    if (n && n->weight > $a.5 * k) n->weight /= $b + sum; else sum = (sum << 3) - $line;\n" if $k == 2;
            printf "    sum += work%d(n, k / %d, s + 1);\n", 1 + below($f), 1 + $b if $k == 3 && $f > 1;
            print "    for (const char *p = s; *p; p++) sum = sum * $m + *p - '$line' % $b;\n" =~ s/'(\d)\d*'/'$1'/r if $k == 4;
        }
        print "    return sum;\n}\n";
    }
}

sub cxx {
    print "#include <algorithm>\n#include <map>\n#include <memory>\n#include <string>\n#include <unordered_map>\n#include <vector>\n";
    for my $t (1 .. 5) {
        my $m = 3 + below(60);
        print <<"END";
struct Item$t { int key; std::string name; std::vector<int> parts; bool operator<(const Item$t &o) const { return key < o.key; } };
int use$t(int n) {
    std::map<std::string, std::shared_ptr<Item$t>> index;
    std::unordered_map<int, std::vector<Item$t>> groups;
    for (int i = 0; i < n; i++) {
        Item$t item{i * $m, std::to_string(i), {i, i + 1}};
        groups[i % $m].push_back(item);
        index[item.name] = std::make_shared<Item$t>(item);
    }
    int sum = 0;
    for (auto &g : groups) { std::sort(g.second.begin(), g.second.end()); for (auto &i : g.second) sum += i.key + i.parts.back(); }
    for (auto &e : index) sum += static_cast<int>(e.second->name.size());
    return sum;
}
END
    }
}

sub blob { my ($text) = @_; return "data " . length($text) . "\n$text\n" }

sub history {
    my @files = map { [map { sentence(6) } 0 .. 40] } 1 .. 250;
    for my $commit (1 .. 300) {
        my $message = sentence(6);
        print "commit refs/heads/main\nmark :$commit\n";
        printf "author A <a\@example.org> %d +0000\ncommitter A <a\@example.org> %d +0000\n", (1_600_000_000 + $commit * 3600) x 2;
        print blob($message);
        printf "from :%d\n", $commit - 1 if $commit > 1;
        for my $n ($commit == 1 ? 0 .. $#files : map { below(scalar @files) } 1 .. 12) {
            my $file = $files[$n];
            splice @$file, below(scalar @$file), below(3), map { sentence(6) } 0 .. below(3);
            printf "M 100644 inline d%02d/f%03d.txt\n", $n % 12, $n;
            print blob(join("\n", @$file) . "\n");
        }
        print "\n";
    }
}

my %kinds = (words => \&words, records => \&records, c => \&c, cxx => \&cxx, history => \&history);
my $write = $kinds{$ARGV[0] // ''} or die "usage: generate.pl " . join('|', sort keys %kinds) . " >FILE\n";
$write->();
close STDOUT or die "generate.pl: $!\n";
