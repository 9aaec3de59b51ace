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
BASE := -g -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc -fno-plt -fno-tree-slp-vectorize \
        -DGM_BUILD -D_GNU_SOURCE -I. -MMD -MP $(OPT.$(VARIANT))
CFLAGS_ALL := -std=gnu17 $(BASE) $(CWARN) $(CFLAGS)
CXXFLAGS_ALL := -std=gnu++17 $(BASE) $(WARN) -fno-rtti $(CXXFLAGS)

CORE := $(filter-out libgomalloc/mk%,$(wildcard libgomalloc/*.c)) $(wildcard libgomalloc/base/*.c) \
        $(wildcard gc/*.c) $(wildcard sched/*.c)
OS := $(wildcard libgomalloc/os/*.c)
PRELOAD := $(wildcard preload/*.c) $(wildcard preload/*.cpp)
core_objects := $(CORE:%.c=$B/obj/%.o)
os_objects := $(OS:%.c=$B/obj/%.o)
preload_objects := $(patsubst %,$B/obj/%.o,$(basename $(PRELOAD)))
objects := $(core_objects) $(os_objects) $(preload_objects)

# The sanitizer variants are for the unit tests, which link the parts without libc's names.
products := $B/libgomalloc.a $(if $(filter release debug,$(VARIANT)),$B/libgomalloc.so)

all: $(products)

$B/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

$B/obj/%.o: %.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS_ALL) -c -o $@ $<

$B/libgomalloc.a: $(core_objects) $(os_objects)
	rm -f $@ && ar rcs $@ $^

$B/exports.map: preload/exports.txt preload/mkexports.sh
	@mkdir -p $(@D)
	sh preload/mkexports.sh preload/exports.txt > $@

# No NEEDED but libc; never unloaded (its code runs until the last thread is gone).
$B/libgomalloc.so: $(objects) $B/exports.map
	$(CC) -shared -o $@ $(objects) -Wl,--version-script=$B/exports.map -Wl,-soname,libgomalloc.so \
	    -Wl,-z,nodelete -Wl,-z,now -Wl,-z,noexecstack -Wl,--no-undefined -Wl,--as-needed \
	    -Wl,-z,defs $(filter -fsanitize%,$(OPT.$(VARIANT)))

-include $(shell find $B/obj -name '*.d' 2>/dev/null)

clean:
	rm -rf build

.PHONY: all clean
