# shellcheck shell=bash disable=SC2034,SC2154
# What single cases of cases.list need besides their command; sourced by bench/run, called in the case's
# directory.
#
#   prepare_NAME   before the clock starts, without the library
#   digest_NAME    prints what has to agree with the run under glibc; without it that is the standard output
#   load_NAME      prints the shell command that loads a server
#
# $B $D $P $PORT as in cases.list.

# Debian links redis with jemalloc: for glibc's figures the C library is put in front of it. No other case
# needs that.
glibc_in_front=(redis)

prepare_python_compile() {
    local lib
    lib=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
    mkdir lib
    cp "$lib"/*.py lib
}
digest_python_compile() { cat lib/__pycache__/*.pyc; }

load_redis() { echo "'$P/redis.sh' $PORT >load.out 2>&1"; }
digest_redis() { echo "checked by $P/redis.sh"; }

prepare_git_gc() { cp -r "$D/repo" repo; }
# Two threads share the search for deltas, so the pack differs from run to run; what is in it may not.
digest_git_gc() {
    git -C repo fsck --full --strict 2>&1
    git -C repo rev-list --objects --all | sort
    git -C repo count-objects -v | grep -E '^(count|in-pack|packs):'
}
