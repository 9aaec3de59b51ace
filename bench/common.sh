# shellcheck shell=bash disable=SC2034,SC2154
# What bench/run and bench/micro/run share: which cases, which allocators, one line of progress. Sourced, with $root, $work and
# $only, $allocs set.
alloc_names=()
declare -A library

die() {
    echo "${0#"$root/"}: $*" >&2
    exit 2
}
say() { [[ ! -t 2 ]] || printf '\r\033[K%s' "$*" >&2; }
note() { [[ ! -t 2 ]] || printf '\r\033[K' >&2; echo "$*" >&2; }

chosen() { # chosen NAME KIND
    local pattern IFS=,
    [[ -n $only ]] || return 0
    set -f
    for pattern in $only; do
        # shellcheck disable=SC2053
        [[ $1 == $pattern || $2 == "$pattern" ]] && { set +f; return 0; }
    done
    set +f
    return 1
}

find_library() { # find_library NAME: prints its path
    local dir=/usr/lib/x86_64-linux-gnu
    [[ -d $dir ]] || dir=/usr/lib/$(gcc -print-multiarch)
    case $1 in
        glibc) ;;
        jemalloc) echo "$dir/libjemalloc.so.2";;
        mimalloc) echo "$dir/libmimalloc.so.2.0";;
        tcmalloc) echo "$dir/libtcmalloc_minimal.so.4";;
        gomalloc) echo "$root/build/libgomalloc.so";;
        *=*) echo "${1#*=}";;
        *) return 1;;
    esac
}

# Copies, so that a build that goes on meanwhile cannot change what is measured.
read_allocs() {
    local word name path
    [[ ,$allocs, == *,glibc,* ]] || allocs=glibc,$allocs
    mkdir -p "$work/lib"
    for word in ${allocs//,/ }; do
        name=${word%%=*}
        path=$(find_library "$word") || die "no such allocator: $word"
        alloc_names+=("$name")
        library[$name]=
        [[ -n $path ]] || continue
        [[ -r $path ]] || die "$name: $path is not there (bench/setup.sh installs the peers, make builds libgomalloc.so)"
        library[$name]=$work/lib/$name-$(basename "$path")
        cp -fL "$path" "${library[$name]}" || exit 2
        LD_PRELOAD=${library[$name]} cat /proc/self/maps 2>/dev/null | grep -qF "${library[$name]}" ||
            die "$name: $path cannot be preloaded"
    done
}

# The head of a file of runs: the machine, what was compared, and $1.
describe() {
    local name
    echo "# $(uname -sr), $(nproc) CPUs,$(sed -n '/model name/{s/.*://p;q}' /proc/cpuinfo), huge pages" \
        "$(sed 's/.*\[\(.*\)\].*/\1/' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)"
    echo "# $1"
    for name in "${alloc_names[@]}"; do
        [[ -z ${library[$name]} ]] || echo "# $name $(sha256sum <"${library[$name]}" | cut -c1-16) $(basename "${library[$name]}")"
    done
    echo 'round,attempt,case,kind,allocator,result,wall_ns,cpu_ns,peak_kib,minor_faults,major_faults,foreign_cpu_ns'
}
