# gomalloc. `make` builds, `make demo` shows, `make test` tests; each sets up what it needs.
# VARIANT = release (default), debug, asan, ubsan, tsan: each builds into a folder of its own.

VARIANT ?= release
B := $(if $(filter release,$(VARIANT)),build,build/$(VARIANT))
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := $(shell sed -n 's/^\#define GOMALLOC_VERSION "\(.*\)"/\1/p' libgomalloc/gomalloc.h)
CC ?= gcc
CXX ?= g++

WARN := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wno-unused-parameter
CWARN := $(WARN) -Wmissing-prototypes -Wstrict-prototypes
OPT.release := -O2
OPT.debug := -Og -foptimize-sibling-calls -DGM_DEBUG -fno-omit-frame-pointer
OPT.asan := -O1 -fsanitize=address -fno-omit-frame-pointer -DGM_DEBUG
OPT.ubsan := -O1 -fsanitize=undefined -fno-sanitize-recover=all -DGM_DEBUG
OPT.tsan := -O1 -fsanitize=thread -DGM_DEBUG
BASE = -g -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc -fno-plt -fno-tree-slp-vectorize -ffunction-sections -fdata-sections \
        -DGM_BUILD -D_GNU_SOURCE -I. -MMD -MP $(OPT.$(VARIANT))
CFLAGS_ALL = -std=gnu17 $(BASE) $(CWARN) $(CFLAGS)
CXXFLAGS_ALL = -std=gnu++17 $(BASE) $(WARN) -fno-rtti $(CXXFLAGS)

CORE := $(filter-out libgomalloc/mk%,$(wildcard libgomalloc/*.c)) $(wildcard libgomalloc/base/*.c) \
        $(wildcard gc/*.c) $(wildcard sched/*.c)
OS := $(wildcard libgomalloc/os/*.c)
PRELOAD := $(wildcard preload/*.c) $(wildcard preload/*.cpp)
SWITCH := $(wildcard sched/*.S)
core_objects := $(CORE:%.c=$B/obj/%.o) $(SWITCH:%.S=$B/obj/%.o)
os_objects := $(OS:%.c=$B/obj/%.o)
preload_objects := $(patsubst %,$B/obj/%.o,$(basename $(PRELOAD)))
# In the order of the link line, which is the order in memory: the tables of which a small process touches the
# beginning come after the small variables that everybody writes, then what few processes use (preload/layout.ld
# does the same for the text).
TABLES := libgomalloc/arena libgomalloc/nested libgomalloc/transfer libgomalloc/lists
RARE := libgomalloc/room libgomalloc/noscan libgomalloc/unwind libgomalloc/base/cfi libgomalloc/os/pagemap_linux
late_objects := $(TABLES:%=$B/obj/%.o) $(RARE:%=$B/obj/%.o) $(filter $B/obj/gc/% $B/obj/sched/%,$(core_objects))
objects := $(filter-out $(late_objects),$(core_objects) $(os_objects) $(preload_objects)) $(late_objects)

# The sanitizer variants are for the unit tests, which link the parts without libc's names.
products := $B/libgomalloc.a $(if $(filter release debug,$(VARIANT)),$B/libgomalloc.so $B/gomalloc)
command_objects := $(patsubst %.c,$B/obj/%.o,$(wildcard preload/command/*.c))

all: $(products)

# What runs rarely is compiled for size: every page of text counts in a small process.
COLD := heap grow giveback holes guests room meta mem_linux thread_linux futex_linux lock large conf stats stats_format stats_sum endpoint print panic maps_linux exact tiny nested init arena cxx dlopen foreign limit mend \
        mallinfo mask madvise next sanitizer signal pace scavenge huge idle huge_linux cgroup_linux asleep_linux apart_linux file_linux thread fork dump quit deadlock symbol cfi frames line
$(foreach f,$(COLD),$(eval $$B/obj/%/$f.o: OPT.release := -Os))

$B/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

$B/obj/%.o: %.S Makefile
	@mkdir -p $(@D)
	$(CC) -g -fPIC -MMD -MP -c -o $@ $<

$B/obj/%.o: %.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS_ALL) -c -o $@ $<

$B/libgomalloc.a: $(core_objects) $(os_objects)
	rm -f $@ && ar rcs $@ $^

$B/exports.map: preload/exports.txt preload/mkexports.sh
	@mkdir -p $(@D)
	sh preload/mkexports.sh preload/exports.txt > $@

$B/others.list: preload/exports.txt preload/mkexports.sh
	@mkdir -p $(@D)
	sh preload/mkexports.sh preload/exports.txt others > $@

# No NEEDED but libc; never unloaded (its code runs until the last thread is gone).
$B/libgomalloc.so: $(objects) $B/exports.map $B/others.list preload/layout.ld
	$(CC) -shared -o $@ $(objects) -Wl,--version-script=$B/exports.map -Wl,--dynamic-list=$B/others.list -Wl,-soname,libgomalloc.so \
	    -Wl,-z,noseparate-code -Wl,-z,nodelete -Wl,-z,now -Wl,-z,initfirst -Wl,-z,noexecstack -Wl,--no-undefined -Wl,--as-needed \
	    -Wl,-z,defs -Wl,-T,preload/layout.ld $(filter -fsanitize%,$(OPT.$(VARIANT)))

# Linked in, so that the command runs where libunwind is not installed; Debian's archive is not position-independent.
UNWIND := -Wl,-Bstatic -lunwind-ptrace -lunwind-generic -lunwind -llzma -Wl,-Bdynamic

# The command: an ordinary program. Of the library it takes what formats and adds up; it reads the rest in the processes.
$(command_objects): OPT.release := -Os
$B/gomalloc: $(command_objects) $B/libgomalloc.a
	$(CC) -no-pie -o $@ $(command_objects) $B/libgomalloc.a -lm $(UNWIND)

-include $(shell find $B/obj $B/tests -name '*.d' 2>/dev/null)

# ---- tests. A test is a program or a script; tests/exec says how each kind is run.

TESTFLAGS := -std=gnu17 -O1 -g -Wall -Wextra -Werror -Wno-unused-parameter -fno-builtin -pthread -D_GNU_SOURCE -I. -MMD -MP
UNITFLAGS := -std=gnu17 -g -Wall -Wextra -Werror -Wno-format-truncation -Wno-unused-parameter -pthread -D_GNU_SOURCE -DGM_BUILD -I. -MMD -MP \
             -ftls-model=initial-exec $(OPT.$(VARIANT))
SANITIZE := $(filter -fsanitize%,$(OPT.$(VARIANT)))
STATIC_SANITIZER.asan := -static-libasan
STATIC_SANITIZER.tsan := -static-libtsan

bin = $(patsubst %,$B/%,$(basename $(wildcard $1)))
unit_tests := $(call bin,tests/unit/*.c)
inside_tests := $(if $(filter release debug,$(VARIANT)),$(call bin,tests/inside/*.c))
host_tests := $(call bin,tests/api/*.c tests/api/*.cpp tests/programs/*.c tests/programs/*.cpp tests/stress/*.c)
gc_tests := $(if $(filter release debug,$(VARIANT)),$(call bin,tests/gc/*.c))
misuse_programs := $(call bin,tests/misuse/*.c)
fuzz_sources := tests/fuzz/fuzz.c tests/fuzz/model.c
fuzz_programs := $B/tests/fuzz/fuzz $(if $(filter release debug,$(VARIANT)),$B/tests/fuzz/fuzz_libc)
golden_programs := $(call bin,tests/golden/*.c)
plugins := $(patsubst %,$B/%.so,$(basename $(wildcard tests/programs/plugins/*.c tests/programs/plugins/*.cpp)))
scripts := $(wildcard tests/command/*.sh tests/api/*.sh tests/misuse/*.sh tests/programs/*.sh tests/golden/*.sh tests/lint/*.sh)

$B/tests/check.o: tests/check.c tests/check.h
	@mkdir -p $(@D)
	$(CC) $(UNITFLAGS) -c -o $@ $<

$B/tests/fake/os_fake.o: tests/fake/os_fake.c
	@mkdir -p $(@D)
	$(CC) $(UNITFLAGS) -c -o $@ $<

# A unit test whose first line says "fake os" is linked with the fake in front of the archive.
$B/tests/unit/%: tests/unit/%.c $B/tests/check.o $B/tests/fake/os_fake.o $B/libgomalloc.a
	@mkdir -p $(@D)
	$(CC) $(UNITFLAGS) -o $@ $< $B/tests/check.o $$(head -1 $< | grep -q 'fake os' && echo $B/tests/fake/os_fake.o) \
	    $B/libgomalloc.a $(STATIC_SANITIZER.$(VARIANT)) -lm

# These are programs with the whole library in them: libc's names, and its insides to look at. One thing they answer
# themselves: that no sanitizer is there (the search for it would find its own table of names in the program).
inside_objects = $(filter-out %/sanitizer.o,$(objects))
$B/tests/inside/%: tests/inside/%.c $B/tests/check.o $(inside_objects)
	@mkdir -p $(@D)
	$(CC) $(UNITFLAGS) -fno-builtin -o $@ $< $B/tests/check.o $(inside_objects) -ldl -lm

$B/tests/fuzz/fuzz: $(fuzz_sources) tests/fuzz/model.h $B/tests/check.o $B/libgomalloc.a
	@mkdir -p $(@D)
	$(CC) $(UNITFLAGS) -fno-builtin -o $@ $(fuzz_sources) $B/tests/check.o $B/libgomalloc.a $(STATIC_SANITIZER.$(VARIANT))

$B/tests/fuzz/fuzz_libc: $(fuzz_sources) tests/fuzz/model.h $B/tests/check.o
	@mkdir -p $(@D)
	$(CC) $(TESTFLAGS) -DFUZZ_LIBC -o $@ $(fuzz_sources) $B/tests/check.o

# Each under both ways to mark: NAME.fork is the same program, and tests/exec sees the difference.
$B/tests/gc/%: tests/gc/%.c $(wildcard tests/gc/*.h) $B/tests/check.o
	@mkdir -p $(@D)
	$(CC) $(TESTFLAGS) -o $@ $< $B/tests/check.o -ldl -lrt -lm
	ln -f $@ $@.fork

$B/tests/%: tests/%.c $B/tests/check.o
	@mkdir -p $(@D)
	$(CC) $(TESTFLAGS) -o $@ $< $B/tests/check.o -ldl -lrt -lm

$B/tests/%: tests/%.cpp $B/tests/check.o
	@mkdir -p $(@D)
	$(CXX) $(filter-out -std=gnu17,$(TESTFLAGS)) -std=gnu++17 -o $@ $< $B/tests/check.o -ldl

$B/tests/programs/plugins/%.so: tests/programs/plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(TESTFLAGS) -fPIC -shared -o $@ $<

$B/tests/programs/plugins/%.so: tests/programs/plugins/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(filter-out -std=gnu17,$(TESTFLAGS)) -std=gnu++17 -fPIC -shared -o $@ $<

test_programs := $(host_tests) $(gc_tests) $(misuse_programs) $(fuzz_programs) $(golden_programs) $(plugins)
# The manual too: several tests install, and two at a time must find nothing left to be made.
test-programs: all $(unit_tests) $(inside_tests) $(if $(filter release debug,$(VARIANT)),$(test_programs) $B/gomalloc.3 $B/gomalloc.7 $B/gosched.3 $B/gomalloc.pc)

# Two at a time, as none of them minds company; but for those that hold memory or time against a bound of the machine's, which are
# alone, and what the release build and the sources tell, which is asked once.
PROVE := prove --timer --failures --comments --exec tests/exec
alone_tests = $(filter $(addprefix %/programs/,exchange fork scavenge threads thp footprint.sh servers.sh figures.sh) %/golden/pages.sh,$(1))
release_only := $(filter tests/lint/% tests/golden/% $(addprefix tests/programs/,aarch64.sh footprint.sh servers.sh \
                gosched_doc.sh gosched_lines.sh schedtrace.sh sync_cxx.sh),$(scripts))
SUB = $(MAKE) --no-print-directory -s

setup-%:
	@sh tests/setup.sh $*

# Everything under the release build; unit tests, stress and fuzzing under the debug build and the
# sanitizers as well; the debug build once more under the host programs.
test: setup-test
	@$(SUB) VARIANT=release test-programs
	@$(SUB) VARIANT=debug test-programs
	@$(SUB) VARIANT=asan test-programs
	@$(SUB) VARIANT=ubsan test-programs
	@$(SUB) VARIANT=tsan test-programs
	@$(SUB) VARIANT=release prove
	@$(SUB) VARIANT=debug prove
	@$(SUB) VARIANT=asan prove-unit
	@$(SUB) VARIANT=ubsan prove-unit
	@$(SUB) VARIANT=tsan prove-unit

all_tests = $(unit_tests) $(inside_tests) $(fuzz_programs) $(host_tests) $(gc_tests) $(gc_tests:%=%.fork) \
            $(if $(filter release,$(VARIANT)),$(scripts),$(filter-out $(release_only),$(scripts)))
prove: test-programs
	@echo "== $(VARIANT)"
	@GM_BUILD_DIR=$B BUILD=$B $(PROVE) -j2 $(filter-out $(call alone_tests,$(all_tests)),$(all_tests))
	@echo "== $(VARIANT), one at a time"
	@GM_BUILD_DIR=$B BUILD=$B $(PROVE) $(call alone_tests,$(all_tests))

prove-unit: test-programs
	@echo "== $(VARIANT): unit tests"
	@GM_BUILD_DIR=$B BUILD=$B $(PROVE) -j2 $(unit_tests)

# ---- campaigns

stress: all
	@$(SUB) VARIANT=debug test-programs
	@GM_STRESS_SECONDS=60 GM_LIMIT=3600 GM_BUILD_DIR=build $(PROVE) $(filter %/stress/trade,$(host_tests))
	@GM_STRESS_SECONDS=60 GM_LIMIT=3600 GM_BUILD_DIR=build/debug $(PROVE) $(patsubst build/%,build/debug/%,$(filter %/stress/trade,$(host_tests)))

# Coverage-guided, with the library's own sources instrumented.
fuzz: setup-fuzz build/fuzz/fuzz
	@mkdir -p build/fuzz/corpus
	cd build/fuzz && ./fuzz -max_len=4096 -max_total_time=$${GM_FUZZ_SECONDS:-60} -print_final_stats=1 corpus $(CURDIR)/tests/fuzz/corpus

build/fuzz/fuzz: $(fuzz_sources) tests/fuzz/model.h $(CORE) $(OS)
	@mkdir -p $(@D)
	clang -std=gnu17 -O1 -g -fno-builtin -ftls-model=initial-exec -pthread -D_GNU_SOURCE -DGM_BUILD -DGM_DEBUG \
	    -DFUZZ_COVERAGE -fsanitize=fuzzer -I. -w -o $@ $(fuzz_sources) $(CORE) $(OS)

# ---- benchmarks

# Everything: workloads, single paths, one page of both. ROUNDS=3 is a first look; the figures want the default.
bench: setup-build all
	@sh bench/setup.sh
	@$(SUB) bench-allocators
	bench/run $(if $(ROUNDS),-n $(ROUNDS)) || echo 'bench/run: some cases failed, see above'
	bench/micro/run $(if $(ROUNDS),-n $(ROUNDS)) || echo 'bench/micro/run: some cases failed, see above'
	build/bench/bin/page build/bench/runs.csv build/bench/micro.csv >build/bench/bench.html
	@echo 'build/bench/bench.html, build/bench/runs.csv, build/bench/micro.csv'

# Programs measured against Go; those of C use the library as any program would, by linking it.
BENCHFLAGS := -std=gnu17 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -pthread -D_GNU_SOURCE -I. -Ilibgomalloc -Igc -Isched -MMD -MP
bench_sched := $(patsubst bench/%.c,build/bench/%.o,$(filter-out bench/sched/load.c,$(wildcard bench/sched/*.c)))
bench_micro := $(patsubst bench/%.c,build/bench/%.o,$(wildcard bench/micro/*.c))

build/bench/%.o: bench/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(BENCHFLAGS) -c -o $@ $<

build/bench/shim.o: bench/shim.cpp bench/shim.h Makefile
	@mkdir -p $(@D)
	$(CXX) $(filter-out -std=gnu17,$(BENCHFLAGS)) -std=gnu++17 -c -o $@ $<

build/bench/sched-c: $(bench_sched) build/bench/shim.o build/libgomalloc.so
	$(CXX) -o $@ $(filter %.o,$^) -Lbuild -lgomalloc -Wl,-rpath,$(CURDIR)/build -lbenchmark -pthread

# Single paths, for any allocator that is put in front: so this one is not linked with the library.
$(bench_micro): BENCHFLAGS += $(patsubst %,-fno-builtin-%,malloc free calloc realloc aligned_alloc posix_memalign)
build/bench/micro-paths: $(bench_micro) build/bench/shim.o
	$(CXX) -o $@ $^ -lbenchmark -pthread

build/bench/sched-load: bench/sched/load.c Makefile
	@mkdir -p $(@D)
	$(CC) $(BENCHFLAGS) -o $@ $<

build/bench/sched-go: $(wildcard bench/sched/go/*.go)
	@mkdir -p $(@D)
	go build -o $@ $^

# Programs that never free: as they are, with the distribution's collector, and in Go.
build/bench/gc-%-libgc: bench/gc/%.c bench/gc/garbage.h Makefile
	@mkdir -p $(@D)
	$(CC) $(BENCHFLAGS) -DWITH_LIBGC -o $@ $< -lgc

build/bench/gc-%-freed: bench/gc/%.c bench/gc/garbage.h Makefile
	@mkdir -p $(@D)
	$(CC) $(BENCHFLAGS) -DWITH_FREE -o $@ $<

# The marker alone: inside the library.
build/bench/gc-mark: bench/gc/mark.c build/libgomalloc.a
	@mkdir -p $(@D)
	$(CC) $(BENCHFLAGS) -DGM_BUILD -fno-builtin -ftls-model=initial-exec -o $@ $< build/libgomalloc.a -lm

build/bench/gc-%: bench/gc/%.c bench/gc/garbage.h Makefile
	@mkdir -p $(@D)
	$(CC) $(BENCHFLAGS) -o $@ $<

build/bench/gc-go: $(wildcard bench/gc/go/*.go)
	@mkdir -p $(@D)
	go build -o $@ $^

build/bench/bin/runner: bench/runner.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -Wall -Wextra -Werror -static -o $@ $<

build/bench/bin/summary build/bench/bin/page: build/bench/bin/%: bench/%.c bench/table.h preload/command/style.h
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -DGM_BUILD -I. -o $@ $< -lm

-include $(wildcard build/bench/*.d build/bench/sched/*.d build/bench/micro/*.d)

bench-allocators: build/bench/micro-paths build/bench/bin/summary build/bench/bin/page

bench-programs: all bench-allocators build/bench/sched-c build/bench/sched-load build/bench/sched-go build/bench/gc-trees build/bench/gc-churn \
                build/bench/gc-trees-libgc build/bench/gc-churn-libgc build/bench/gc-trees-freed build/bench/gc-churn-freed \
                build/bench/gc-mark build/bench/gc-pss build/bench/gc-go build/bench/bin/runner

bench-sched: setup-build all
	@sh bench/setup.sh
	@$(SUB) bench-programs
	bench/sched/run

bench-gc: setup-build all
	@sh bench/setup.sh
	@$(SUB) bench-programs
	bench/gc/run
	bench/gc/real

# ---- what a user runs

demo: setup-demo all
	@sh tests/demo.sh $(CURDIR)/$B/libgomalloc.so

$B/mkman: libgomalloc/mkman.c libgomalloc/conf.def libgomalloc/conf.h
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O1 -DGM_BUILD -I. -o $@ $<

$B/gomalloc.3 $B/gomalloc.7: $B/gomalloc.%: $B/mkman
	$B/mkman $* > $@

$B/gosched.3: sched/mkman.awk sched/gosched.h libgomalloc/gomalloc.h
	@mkdir -p $(@D)
	awk -v version=$(VERSION) -f sched/mkman.awk sched/gosched.h > $@

$B/gomalloc.pc: libgomalloc/gomalloc.h Makefile
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: gomalloc' \
	    'Description: The Go runtime memory manager for C programs' 'Version: $(VERSION)' \
	    'Libs: -L$${libdir} -lgomalloc' 'Cflags: -I$${includedir}' > $@

install: all $B/gomalloc.3 $B/gomalloc.7 $B/gosched.3 $B/gomalloc.pc
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/man/man3 \
	    $(DESTDIR)$(PREFIX)/share/man/man7
	install -m 755 $B/libgomalloc.so $(DESTDIR)$(PREFIX)/lib/
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $B/gomalloc $(DESTDIR)$(PREFIX)/bin/
	install -d $(DESTDIR)$(PREFIX)/share/gomalloc
	install -m 644 preload/command/gomalloc-why-gdb.py $(DESTDIR)$(PREFIX)/share/gomalloc/
	install -m 644 preload/command/gomalloc.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $B/libgomalloc.a $(DESTDIR)$(PREFIX)/lib/
	install -m 644 libgomalloc/gomalloc.h sched/gosched.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $B/gomalloc.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/
	install -d $(DESTDIR)$(PREFIX)/share/gdb/auto-load$(PREFIX)/lib # where gdb looks when it meets the library, if PREFIX is its own
	install -m 644 libgomalloc/gomalloc-gdb.py $(DESTDIR)$(PREFIX)/share/gdb/auto-load$(PREFIX)/lib/libgomalloc.so-gdb.py
	install -m 644 $B/gomalloc.3 $B/gosched.3 $(DESTDIR)$(PREFIX)/share/man/man3/
	install -m 644 $B/gomalloc.7 $(DESTDIR)$(PREFIX)/share/man/man7/
	install -d $(DESTDIR)$(PREFIX)/share/gomalloc
	install -m 644 sched/gosched-gdb.py $(DESTDIR)$(PREFIX)/share/gomalloc/

# Writes the generated table anew; tests/lint checks that it is current.
sizeclass:
	@mkdir -p $B
	$(CC) -O1 -o $B/mksizeclass libgomalloc/mksizeclass.c && $B/mksizeclass > libgomalloc/sizeclass_table.h

clean:
	rm -rf build

.PHONY: all clean test prove prove-unit test-programs stress fuzz bench bench-allocators bench-programs bench-sched bench-gc demo install sizeclass
