#!/bin/sh
# Installs the Debian packages that the benchmarks of this folder need and that are missing. Quiet, and nothing happens the
# second time.
set -eu

packages="
    gcc g++ libc6-dev perl libbenchmark-dev golang-go libgc-dev
    libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4
    bash coreutils gawk git jq lua5.4 php-cli python3 redis-server redis-tools ruby sqlite3 xz-utils zstd"

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "bench/setup.sh: installing$missing" >&2
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "bench/setup.sh: run as root, or install:$missing" >&2; exit 1; }
    as_root=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The list of packages is fetched only if the install does not work with the one that is there. A redis that
# the package would start as a service is not wanted: policy-rc.d says no, unless the machine has its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod 755 $policy
    trap 'rm -f "$log"; $as_root rm -f $policy' EXIT
fi
install() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing </dev/null
}
install >"$log" 2>&1 || { $as_root apt-get update -q && install; } >>"$log" 2>&1 || {
    tail -20 "$log" >&2
    exit 1
}
