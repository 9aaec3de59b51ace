/* See exitpoint.h. */
#include "preload/command/exitpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/command/command.h"

void exit_point_make(struct exit_point *x) {
    snprintf(x->folder, sizeof x->folder, "/tmp/gomalloc-XXXXXX");
    if (!mkdtemp(x->folder)) fail(1, "/tmp: %s", strerror(errno));
    snprintf(x->fifo, sizeof x->fifo, "%s/exit", x->folder);
    if (mkfifo(x->fifo, 0600) != 0 || (x->fd = open(x->fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0) fail(1, "%s: %s", x->fifo, strerror(errno));
}

bool exit_point_wait(struct exit_point *x, int watch, double seconds) {
    struct pollfd p[2] = { { x->fd, POLLIN, 0 }, { watch, POLLIN, 0 } };
    char c;
    poll(p, 2, (int)(seconds * 1000 + 0.999));
    return x->fd >= 0 && read(x->fd, &c, 1) == 1;
}

void exit_point_close(struct exit_point *x) {
    if (x->fd < 0) return;
    close(x->fd);
    x->fd = -1;
    unlink(x->fifo);
    rmdir(x->folder);
}
