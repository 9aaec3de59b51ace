/* /proc/self/maps, see maps.h. */
#include "libgomalloc/os/maps.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool gm_maps_open(struct gm_maps *m) {
    int saved = errno;
    m->fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    errno = saved;
    m->used = m->next = 0;
    m->file_end = m->image = 0;
    return m->fd >= 0;
}

void gm_maps_close(struct gm_maps *m) {
    int saved = errno;
    syscall(SYS_close, m->fd);
    errno = saved;
}

/* Moves what is left to the front and reads on. False at the end of the file. */
static bool fill(struct gm_maps *m) {
    int saved = errno;
    memmove(m->text, m->text + m->next, m->used - m->next);
    m->used -= m->next;
    m->next = 0;
    long n;
    do n = syscall(SYS_read, m->fd, m->text + m->used, sizeof m->text - 1 - m->used);
    while (n < 0 && errno == EINTR);
    errno = saved;
    if (n <= 0) return false;
    m->used += (size_t)n;
    return true;
}

/* The next line, ended by 0, or NULL. A line longer than the buffer (a very long file name) is cut. */
static char *line(struct gm_maps *m) {
    for (;;) {
        char *start = m->text + m->next, *end = memchr(start, '\n', m->used - m->next);
        if (end) {
            *end = 0;
            m->next = (size_t)(end - m->text) + 1;
            return start;
        }
        if (m->next == 0 && m->used == sizeof m->text - 1) { /* cut: forget the rest of the line */
            m->text[m->used] = 0;
            memmove(m->text + 512, "\n", 1);
            m->used = 513;
            continue;
        }
        if (!fill(m)) return NULL;
    }
}

static uintptr_t hex(char **p) {
    uintptr_t n = 0;
    for (;; (*p)++) {
        char c = **p;
        if (c >= '0' && c <= '9') n = n * 16 + (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f') n = n * 16 + (uintptr_t)(c - 'a' + 10);
        else return n;
    }
}

static enum gm_mapping_kind kind_of(const char *name) {
    if (name[0] == 0 || strncmp(name, "[anon", 5) == 0) return GM_MAPPING_ANONYMOUS;
    if (name[0] == '/') return GM_MAPPING_FILE;
    if (strncmp(name, "[stack", 6) == 0) return GM_MAPPING_STACK;
    if (strcmp(name, "[heap]") == 0) return GM_MAPPING_BRK;
    return GM_MAPPING_OTHER;
}

bool gm_maps_next(struct gm_maps *m, struct gm_mapping *out) {
    char *p;
    /* "start-end rwxp offset dev inode   name": the tail of a cut line does not look like one. */
    do {
        p = line(m);
        if (!p) return false;
        out->start = hex(&p);
    } while (*p != '-');
    p++;
    out->end = hex(&p);
    out->readable = p[1] == 'r';
    out->writable = p[2] == 'w';
    out->executable = p[3] == 'x';
    out->shared = p[4] == 's';
    p += 6;
    out->offset = hex(&p);
    for (int fields = 0; fields < 2 && *p; p++)
        if (p[0] == ' ' && p[1] != ' ') fields++;
    while (*p && *p != ' ') p++;
    while (*p == ' ') p++;
    out->kind = kind_of(p);
    out->follows_file = (out->kind == GM_MAPPING_ANONYMOUS || out->kind == GM_MAPPING_BRK) && out->start == m->file_end && m->file_end;
    if (out->kind == GM_MAPPING_FILE && out->readable && out->offset == 0) m->image = out->start;
    if (out->writable && (out->kind == GM_MAPPING_FILE || out->follows_file)) m->file_end = out->end;
    return true;
}

/* Through the file, as another thread may just be unloading it. */
static bool peek(int fd, uintptr_t at, void *to, size_t n) { return syscall(SYS_pread64, fd, to, n, at) == (long)n; }

uintptr_t gm_maps_image_end(uintptr_t image) {
    int saved = errno, fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
    ElfW(Ehdr) header;
    ElfW(Phdr) part;
    uintptr_t end = 0, base = 0;
    bool is_image = fd >= 0 && peek(fd, image, &header, sizeof header) && memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
                    header.e_phentsize == sizeof part;
    for (unsigned i = 0; is_image && i < header.e_phnum; i++) {
        if (!peek(fd, image + header.e_phoff + i * sizeof part, &part, sizeof part)) break;
        if (part.p_type != PT_LOAD) continue;
        if (part.p_offset == 0) base = image - part.p_vaddr; /* the header's own */
        if (base + part.p_vaddr + part.p_memsz > end) end = base + part.p_vaddr + part.p_memsz;
    }
    if (fd >= 0) syscall(SYS_close, fd);
    errno = saved;
    return fd < 0 ? UINTPTR_MAX : end;
}
