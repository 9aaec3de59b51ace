/* See culprit.h. */
#include "gc/culprit.h"

#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libgomalloc/base/print.h"
#include "libgomalloc/os/os.h"

/* The first word of what a file of the thread says, up to one of `ends`; "?" if it says nothing. */
static const char *word_of(int tid, const char *file, const char *ends, char *text, size_t size) {
    if (gm_os_read_thread_file(tid, file, text, size) == 0) return "?";
    text[strcspn(text, ends)] = 0;
    return text;
}

struct late {
    int tid;
    struct gm_out *out;
};
static void tell(void *late) {
    const struct late *l = late;
    char comm[64], place[128], state = gm_os_thread_state(l->tid);
    gm_out_printf(l->out, "thread %d (%s) does not stop, state %c, system call %s", l->tid, word_of(l->tid, "comm", "\n", comm, sizeof comm),
                  state ? state : '-', word_of(l->tid, "syscall", " \n", place, sizeof place));
}

void gc_culprit_late(struct gm_out *out, int tid) { gm_os_apart(tell, &(struct late){ tid, out }); }

int gc_culprit_sharer(int tid) {
    char text[4096];
    if (gm_os_read_thread_file(tid, "children", text, sizeof text) == 0) return 0;
    for (const char *p = text; *p != 0;) {
        int pid = atoi(p);
        if (pid > 0 && syscall(SYS_kcmp, gm_os_getpid(), pid, KCMP_VM, 0, 0) == 0) return pid;
        p += strcspn(p, " ");
        p += strspn(p, " \n");
    }
    return 0;
}
