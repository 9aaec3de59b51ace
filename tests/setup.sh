#!/bin/sh
# setup.sh [build|demo|test|fuzz]: installs the Debian packages that are missing for the step, and says so.
# Does nothing where everything is there. Needs root (or sudo) only if something has to be installed.
set -eu
build="gcc g++ make binutils libc6-dev libunwind-dev liblzma-dev"
demo="sqlite3"
tests="perl valgrind gdb python3 lua5.4 php-cli ruby sqlite3 git jq xz-utils zstd man-db procps util-linux libcap2-bin chromium python3-prometheus-client gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user google-perftools redis-server libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4 postgresql libbenchmark-dev"
fuzz="clang libclang-rt-14-dev"
case ${1-build} in
build) want=$build ;;
demo) want="$build $demo" ;;
test) want="$build $demo $tests" ;;
fuzz) want="$build $fuzz" ;;
*) echo "setup.sh: $1?" >&2; exit 2 ;;
esac
missing=
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "setup: installing$missing" >&2
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq >&2
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >&2
