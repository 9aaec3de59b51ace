#!/bin/sh
# The load of the redis case: redis.sh PORT. Runs without the library; its status says whether the answers
# were right.
set -eu
bench="redis-benchmark -h 127.0.0.1 -p $1 -q -P 16 -c 30"
$bench -t set,get -d 100 -r 200000 -n 150000
$bench -t set -d 1000 -r 100000 -n 50000
$bench -t lpush -d 300 -n 50000
$bench -t hset,zadd,sadd -d 64 -r 50000 -n 30000
ask="redis-cli -h 127.0.0.1 -p $1"
length=$($ask llen mylist)
[ "$length" = 50000 ] || { echo "list of $length elements" >&2; exit 1; }
sum=$($ask eval "local sum = 0
    for i = 1, 5000 do redis.call('set', 'check:' .. i, string.rep(tostring(i), i % 50 + 1)) end
    for i = 1, 5000 do
        local value = redis.call('get', 'check:' .. i)
        if value ~= string.rep(tostring(i), i % 50 + 1) then return 'bad value' end
        sum = sum + #value
    end
    return sum" 0)
[ "$sum" = 481898 ] || { echo "sum of lengths: $sum" >&2; exit 1; }
answer=$($ask flushall)
[ "$answer" = OK ] || { echo "flushall: $answer" >&2; exit 1; }
