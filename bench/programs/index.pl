# perl: an inverted index over a text, then queries against it. Hashes of arrays of strings.
use strict;
use warnings;

my (%index, @lines);
while (my $line = <>) {
    last if @lines == 50_000;
    chomp $line;
    push @lines, $line;
    my %seen;
    $seen{$_}++ for split / /, $line;
    push @{$index{$_}}, [$#lines, $seen{$_}] for keys %seen;
}
my $sum = 0;
for my $word (sort keys %index) {
    my @hits = sort { $b->[1] <=> $a->[1] || $a->[0] <=> $b->[0] } @{$index{$word}};
    my $best = $lines[$hits[0][0]];
    (my $marked = $best) =~ s/\b\Q$word\E\b/<$word>/g;
    $sum = ($sum * 31 + length($marked) * @hits) % 1_000_000_007;
}
printf "%d words, %d lines, %d\n", scalar(keys %index), scalar(@lines), $sum;
