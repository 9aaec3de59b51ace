/* Under a sanitizer there is nothing to do here, and one line to say.
 *
 * The runtimes that replace malloc are linked into the executable (-static-libasan; always, with
 * clang), which comes before any preload in the search order: their malloc, operator new, dlopen and
 * sigaction win everywhere, and blocks of ours are never seen. What still arrives here are the
 * runtime's calls of the next definition (its REAL(sigaction) is our wrapper), which the wrappers pass
 * on unchanged. A runtime that is a shared library refuses every preload in front of it before code of
 * ours runs; with the runtime preloaded in front of us, we stand aside as well.
 *
 * How it is recognised: by its init function, if that is to be seen. clang exports it; gcc leaves it
 * out of the dynamic symbols of a statically linked runtime. Then it is the name under which the
 * runtime reports, a string of its own in the read-only data of the executable. It is looked for only
 * where the executable has a malloc of its own, so other programs do not pay for the search.
 *
 * The runtime is not initialised when this runs, and it intercepts half of libc. So nothing is called
 * here that it might have: the search is by hand, and the line goes out without strlen. */
#include "preload/process.h"

#include "libgomalloc/base/print.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#define RUNTIME(init) extern void init(void) __attribute__((weak, visibility("default")))
RUNTIME(__asan_init);
RUNTIME(__hwasan_init);
RUNTIME(__tsan_init);
RUNTIME(__msan_init);
RUNTIME(__lsan_init);

static const char *exported_name(void) {
    if (__asan_init != NULL) return "AddressSanitizer";
    if (__hwasan_init != NULL) return "HWAddressSanitizer";
    if (__tsan_init != NULL) return "ThreadSanitizer";
    if (__msan_init != NULL) return "MemorySanitizer";
    if (__lsan_init != NULL) return "LeakSanitizer";
    return NULL;
}

/* ---- the executable's read-only data */

/* The name with its terminator begins at p (not strcmp: the sanitizer's own is not ready yet); `room` bytes may be read. */
static bool begins_with(const char *p, size_t room, const char *name) {
    for (size_t i = 0; i < room; i++) {
        if (p[i] != name[i]) return false;
        if (name[i] == 0) return true;
    }
    return false;
}

/* The whole string must be the name: a runtime's messages contain its own and its relatives' names. */
static const char *name_in(const char *text, size_t n) {
    static const char *const names[] = {"AddressSanitizer", "HWAddressSanitizer", "ThreadSanitizer",
                                        "MemorySanitizer", "LeakSanitizer"};
    for (size_t i = 1; i < n; i++) {
        if (text[i - 1] != 0 || text[i] < 'A' || text[i] > 'T') continue;
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
            if (begins_with(text + i, n - i, names[k])) return names[k];
    }
    return NULL;
}

/* Whether the executable itself defines malloc. Its address would not tell: in a program that takes it,
 * that is an entry of the program's linkage table, under the same name but marked undefined. Nor would
 * dlsym do: others interpose it, and this runs before they are constructed. So its table of dynamic
 * symbols is walked, whose length follows from the hash table (the last chain's last entry). */
static bool defines_malloc(uintptr_t bias, const ElfW(Dyn) *dynamic) {
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    const uint32_t *hash = NULL;
    for (const ElfW(Dyn) *d = dynamic; d->d_tag != DT_NULL; d++) {
        uintptr_t address = d->d_un.d_ptr < bias ? d->d_un.d_ptr + bias : d->d_un.d_ptr; /* the loader may have relocated it */
        if (d->d_tag == DT_SYMTAB) symbols = (const ElfW(Sym) *)address;
        if (d->d_tag == DT_STRTAB) strings = (const char *)address;
        if (d->d_tag == DT_GNU_HASH) hash = (const uint32_t *)address;
    }
    if (!symbols || !strings || !hash) return false;
    const uint32_t buckets = hash[0], first = hash[1];
    const uint32_t *bucket = hash + 4 + hash[2] * (sizeof(ElfW(Addr)) / 4), *chain = bucket + buckets;
    uint32_t last = 0;
    for (uint32_t i = 0; i < buckets; i++) last = bucket[i] > last ? bucket[i] : last;
    if (last < first) return false;
    for (;; last++) {
        if ((chain[last - first] & 1) != 0) break;
    }
    for (uint32_t i = first; i <= last; i++)
        if (symbols[i].st_shndx != SHN_UNDEF && begins_with(strings + symbols[i].st_name, sizeof "malloc", "malloc")) return true;
    return false;
}

/* The executable's segments, as the kernel says in the auxiliary vector. */
static const char *built_in_name(void) {
    const ElfW(Phdr) *segment = (const ElfW(Phdr) *)getauxval(AT_PHDR), *end = segment + getauxval(AT_PHNUM);
    uintptr_t bias = 0;
    const ElfW(Dyn) *dynamic = NULL;
    const char *name = NULL;
    if (segment == NULL) return NULL;
    for (const ElfW(Phdr) *s = segment; s < end; s++)
        if (s->p_type == PT_PHDR) bias = (uintptr_t)segment - s->p_vaddr;
    for (const ElfW(Phdr) *s = segment; s < end; s++)
        if (s->p_type == PT_DYNAMIC) dynamic = (const ElfW(Dyn) *)(bias + s->p_vaddr);
    if (dynamic == NULL || !defines_malloc(bias, dynamic)) return NULL;
    for (const ElfW(Phdr) *s = segment; s < end && name == NULL; s++)
        if (s->p_type == PT_LOAD && (s->p_flags & (PF_R | PF_W)) == PF_R)
            name = name_in((const char *)(bias + s->p_vaddr), s->p_filesz);
    return name;
}

bool gm_sanitizer_in_charge(void) {
    const char *name = exported_name();
    if (name == NULL) name = built_in_name();
    if (name == NULL) return false;
    struct gm_out line;
    gm_out_init(&line, 2);
    gm_out_str(&line, "gomalloc: ");
    gm_out_str(&line, name);
    gm_out_str(&line, " is in charge of malloc, standing aside\n");
    gm_out_flush(&line);
    return true;
}
