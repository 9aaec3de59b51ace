/* See symbols.h. A file's symbols are read once, sorted, and kept for the life of the command. */
#include "preload/command/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/command/command.h"

/* ---- mappings */

bool mappings_read(struct mappings *out, pid_t pid) {
    char name[64], line[4400];
    snprintf(name, sizeof name, "/proc/%d/maps", (int)pid);
    FILE *f = fopen(name, "re");
    size_t room = 0;
    *out = (struct mappings){ 0 };
    if (!f) return false;
    while (fgets(line, sizeof line, f)) {
        struct mapping m;
        int path = 0;
        if (sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &m.start, &m.end, m.rights, &m.offset, &path) < 4) continue;
        line[strcspn(line, "\n")] = 0;
        m.path = format_new("%s", path ? line + path : "");
        if (out->n == room) out->m = need_more(out->m, (room = room * 2 + 64) * sizeof *out->m);
        out->m[out->n++] = m;
    }
    fclose(f);
    return out->n != 0;
}

void mappings_free(struct mappings *m) {
    for (size_t i = 0; i < m->n; i++) free(m->m[i].path);
    free(m->m);
    *m = (struct mappings){ 0 };
}

const struct mapping *mapping_of(const struct mappings *m, uintptr_t p) {
    size_t low = 0, high = m->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->m[middle].end <= p) low = middle + 1;
        else high = middle;
    }
    return low < m->n && m->m[low].start <= p ? &m->m[low] : NULL;
}

uintptr_t mapping_base(const struct mappings *all, const struct mapping *m) {
    for (const struct mapping *k = m; k >= all->m; k--)
        if (k->offset == 0 && strcmp(k->path, m->path) == 0) return k->start;
    return m->start - m->offset;
}

/* ---- symbols */

struct entry { uintptr_t start, size; const char *name; };
struct table { struct entry *e; size_t n; };
struct file {
    struct file *next;
    char *path;
    uintptr_t first;         /* address in the file's own terms of its first byte in memory */
    struct table functions, data;
};
static struct file *files;

static int by_start(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : x->size < y->size ? -1 : x->size > y->size;
}

static void add(struct table *t, const struct entry *e) {
    if ((t->n & (t->n - 1)) == 0) t->e = need_more(t->e, (t->n ? t->n * 2 : 1) * sizeof *t->e);
    t->e[t->n++] = *e;
}

static void read_symbols(struct file *f, const char *image, size_t size, const Elf64_Shdr *s, const Elf64_Shdr *strings) {
    if (s->sh_offset + s->sh_size > size || strings->sh_offset + strings->sh_size > size) return;
    const Elf64_Sym *sym = (const Elf64_Sym *)(image + s->sh_offset);
    for (size_t i = 0; i < s->sh_size / sizeof *sym; i++) {
        unsigned type = ELF64_ST_TYPE(sym[i].st_info);
        if (sym[i].st_shndx == SHN_UNDEF || sym[i].st_name >= strings->sh_size || !sym[i].st_value) continue;
        struct entry e = { sym[i].st_value, sym[i].st_size, image + strings->sh_offset + sym[i].st_name };
        if (type == STT_FUNC || type == STT_GNU_IFUNC) add(&f->functions, &e);
        else if (type == STT_OBJECT) add(&f->data, &e);
    }
}

static void read_elf(struct file *f, const char *image, size_t size) {
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)image;
    if (size < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64) return;
    if (h->e_phoff + (uint64_t)h->e_phnum * sizeof(Elf64_Phdr) > size || h->e_shoff + (uint64_t)h->e_shnum * sizeof(Elf64_Shdr) > size) return;
    const Elf64_Phdr *p = (const Elf64_Phdr *)(image + h->e_phoff);
    const Elf64_Shdr *s = (const Elf64_Shdr *)(image + h->e_shoff), *best = NULL;
    for (unsigned i = 0; i < h->e_phnum; i++) {
        if (p[i].p_type != PT_LOAD) continue;
        f->first = p[i].p_vaddr & ~(uintptr_t)4095;
        break;
    }
    for (unsigned i = 0; i < h->e_shnum; i++)
        if (s[i].sh_type == SHT_SYMTAB || (s[i].sh_type == SHT_DYNSYM && !best)) best = &s[i];
    if (best && best->sh_link < h->e_shnum) read_symbols(f, image, size, best, &s[best->sh_link]);
    qsort(f->functions.e, f->functions.n, sizeof(struct entry), by_start);
    qsort(f->data.e, f->data.n, sizeof(struct entry), by_start);
}

static struct file *file_of(pid_t pid, const char *path) {
    for (struct file *f = files; f; f = f->next)
        if (strcmp(f->path, path) == 0) return f;
    struct file *f = need(sizeof *f);
    char inside[4400];
    struct stat st;
    f->path = format_new("%s", path);
    f->next = files;
    files = f;
    snprintf(inside, sizeof inside, "/proc/%d/root%s", (int)pid, path);
    int fd = open(inside, O_RDONLY | O_CLOEXEC);
    if (fd < 0) fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        void *image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0); /* kept: the names lie in it */
        if (image != MAP_FAILED) read_elf(f, image, (size_t)st.st_size);
    }
    if (fd >= 0) close(fd);
    return f;
}

bool symbol_find(pid_t pid, const char *path, uintptr_t base, uintptr_t p, bool data, struct symbol *out) {
    if (*path != '/') return false;
    const struct file *f = file_of(pid, path);
    const struct table *t = data ? &f->data : &f->functions;
    uintptr_t at = p - base + f->first;
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->e[middle].start <= at) low = middle + 1;
        else high = middle;
    }
    if (low == 0) return false;
    const struct entry *e = &t->e[low - 1];
    if (at - e->start >= e->size && (data || e->size)) return false;
    *out = (struct symbol){ e->name, at - e->start };
    return true;
}
