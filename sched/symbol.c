/* From addresses to names: the symbol table of the file that the object was loaded from (.symtab, which has static functions;
 * in a stripped file .dynsym), looked through from end to end, as it has no order. A dump asks for the same few functions again
 * and again, so answers are kept. dladdr would know exported functions only, and takes the loader's lock. */
#include "sched/symbol.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sched/proc.h"
#include "sched/frames.h"

/* ---- files */

static const uint8_t *map_file(const char *path, size_t *size) {
    struct stat s;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    void *p = MAP_FAILED;
    if (fstat(fd, &s) == 0 && (size_t)s.st_size > sizeof(ElfW(Ehdr)))
        p = (void *)syscall(SYS_mmap, NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0L);
    syscall(SYS_close, fd);
    *size = (size_t)s.st_size;
    return p == MAP_FAILED ? NULL : p;
}

static bool inside(const struct gs_symbol_file *f, uint64_t offset, uint64_t bytes) { return offset <= f->size && bytes <= f->size - offset; }

/* Takes the symbol table of this type, if the file has it. */
static bool use_table(struct gs_symbol_file *f, uint32_t type) {
    const ElfW(Ehdr) *h = (const void *)f->text;
    const ElfW(Shdr) *sections = (const void *)(f->text + h->e_shoff);
    if (h->e_shentsize != sizeof *sections || !inside(f, h->e_shoff, (uint64_t)h->e_shnum * sizeof *sections)) return false;
    for (unsigned i = 0; i < h->e_shnum; i++) {
        const ElfW(Shdr) *t = &sections[i], *strings = &sections[t->sh_link < h->e_shnum ? t->sh_link : 0];
        if (t->sh_type != type || !inside(f, t->sh_offset, t->sh_size) || !inside(f, strings->sh_offset, strings->sh_size)) continue;
        f->symbols = f->text + t->sh_offset;
        f->count = t->sh_size / sizeof(ElfW(Sym));
        f->strings = (const char *)f->text + strings->sh_offset;
        f->strings_size = strings->sh_size;
        return f->strings_size > 0 && f->strings[f->strings_size - 1] == 0;
    }
    return false;
}

/* Sections of debug information; compressed ones are as good as none. */
static void use_lines(struct gs_symbol_file *f) {
    static const char *const name[] = { ".debug_line", ".debug_line_str", ".debug_str" };
    struct gs_section *const to[] = { &f->lines.lines, &f->lines.line_strings, &f->lines.strings };
    const ElfW(Ehdr) *h = (const void *)f->text;
    const ElfW(Shdr) *sections = (const void *)(f->text + h->e_shoff);
    if (h->e_shentsize != sizeof *sections || h->e_shstrndx >= h->e_shnum ||
        !inside(f, h->e_shoff, (uint64_t)h->e_shnum * sizeof *sections))
        return;
    const ElfW(Shdr) *names = &sections[h->e_shstrndx];
    if (!inside(f, names->sh_offset, names->sh_size) || names->sh_size == 0 || f->text[names->sh_offset + names->sh_size - 1] != 0) return;
    for (unsigned i = 0; i < h->e_shnum; i++) {
        const ElfW(Shdr) *t = &sections[i];
        if (t->sh_name >= names->sh_size || (t->sh_flags & SHF_COMPRESSED) || !inside(f, t->sh_offset, t->sh_size)) continue;
        for (unsigned k = 0; k < 3; k++)
            if (strcmp((const char *)f->text + names->sh_offset + t->sh_name, name[k]) == 0)
                *to[k] = (struct gs_section){ f->text + t->sh_offset, t->sh_size };
    }
}

static const char *program_path(struct gs_symbols *s) {
    if (!s->program[0]) {
        long n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", s->program, sizeof s->program - 1);
        s->program[n > 0 ? n : 0] = 0;
    }
    return s->program;
}

/* The place of an object in the table; the last one is used over and over when there are more. */
static struct gs_symbol_file *file_of(struct gs_symbols *s, const struct gs_object *o) {
    struct gs_symbol_file *f = s->files;
    while (f < &s->files[GS_SYMBOL_FILES - 1] && f->start != 0 && f->start != o->start) f++;
    if (f->start == o->start) return f;
    if (f->text) { /* the answers point into it */
        munmap((void *)f->text, f->size);
        for (unsigned i = 0; i < GS_SYMBOL_ANSWERS; i++) s->answers[i].address = 0;
    }
    bool program = o->path[0] == 0;
    *f = (struct gs_symbol_file){ .start = o->start, .object = program ? program_path(s) : o->path };
    f->text = map_file(program ? "/proc/self/exe" : o->path, &f->size);
    const ElfW(Ehdr) *h = (const void *)f->text;
    bool elf = h && h->e_ident[EI_MAG0] == ELFMAG0 && h->e_ident[EI_MAG1] == 'E' && h->e_ident[EI_CLASS] == ELFCLASS64;
    if (elf && !use_table(f, SHT_SYMTAB) && !use_table(f, SHT_DYNSYM)) f->count = 0;
    if (elf) use_lines(f);
    return f;
}

/* ---- symbols */

/* The function that has the address; of several names the exported one. */
static const ElfW(Sym) *find(const struct gs_symbol_file *f, uintptr_t address) {
    const ElfW(Sym) *table = f->symbols, *best = NULL;
    for (size_t i = 0; i < f->count; i++) {
        const ElfW(Sym) *y = &table[i];
        if (address - y->st_value >= y->st_size || ELF64_ST_TYPE(y->st_info) != STT_FUNC || y->st_name >= f->strings_size) continue;
        if (!best || ELF64_ST_BIND(best->st_info) == STB_LOCAL) best = y;
    }
    return best;
}

static struct gs_symbol look_up(struct gs_symbols *s, uintptr_t address) {
    struct gs_object o;
    if (!gs_object_of(address, &o)) return (struct gs_symbol){ .offset = address, .object = "?" };
    const struct gs_symbol_file *f = file_of(s, &o);
    const ElfW(Sym) *y = find(f, address - o.bias);
    struct gs_symbol found = { .offset = address - o.bias, .object = f->object, .line = gs_line_of(&f->lines, address - o.bias) };
    if (y) {
        found.function = f->strings + y->st_name;
        found.offset -= y->st_value;
    }
    return found;
}

struct gs_symbol gs_symbol_of(struct gs_symbols *s, uintptr_t address) {
    enum { PLACES = 8 }; /* of an answer, from the one its address says */
    size_t first = (address * 0x9e3779b97f4a7c15u) >> 55, slot = first;
    for (size_t i = 0; i < PLACES; i++) {
        slot = (first + i) % GS_SYMBOL_ANSWERS;
        if (s->answers[slot].address == address || s->answers[slot].address == 0) break;
    }
    if (s->answers[slot].address != address || address == 0) {
        int saved = gs_errno();
        s->answers[slot].answer = look_up(s, address);
        s->answers[slot].address = address;
        gs_set_errno(saved);
    }
    return s->answers[slot].answer;
}

void gs_symbols_drop(struct gs_symbols *s) {
    for (unsigned i = 0; i < GS_SYMBOL_FILES; i++)
        if (s->files[i].text) munmap((void *)s->files[i].text, s->files[i].size);
    *s = (struct gs_symbols){ .program = "" };
}
