/* TCP echo: 64 connections, a goroutine to each, 64 bytes back and forth. The other side is a process of its own (load.c), the
 * same for all servers, and takes the time. */
#include "bench/sched/cases.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CONNECTIONS = 64, MESSAGE = 64 };

static void serve(void *arg) {
    int fd = (int)(intptr_t)arg;
    char message[MESSAGE];
    for (ssize_t n; (n = go_read(fd, message, sizeof message)) > 0;)
        if (go_write(fd, message, (size_t)n) != n) break;
    go_close(fd);
}

static void accept_all(void *arg) {
    int listener = (int)(intptr_t)arg, one = 1;
    for (int i = 0; i < CONNECTIONS; i++) {
        int fd = go_accept(listener, NULL, NULL);
        must(fd >= 0, "accept");
        setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
        must_go(serve, (void *)(intptr_t)fd);
    }
}

static int listen_somewhere(int *port) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, CONNECTIONS) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "the port");
    *port = ntohs(address.sin_port);
    return fd;
}

/* The load's answer: messages a second. */
static void tcp_echo(struct bench *b) {
    char command[512];
    double rate = 0;
    int port, listener = listen_somewhere(&port);
    const char *load = getenv("BENCH_LOAD");
    if (!load) {
        bench_skip(b, "BENCH_LOAD does not name the program that makes the load");
        close(listener);
        return;
    }
    must_go(accept_all, (void *)(intptr_t)listener);
    snprintf(command, sizeof command, "'%s' %d %d %d", load, port, CONNECTIONS, MESSAGE);
    bench_begin(b);
    FILE *answer = popen(command, "r");
    must(answer != NULL && fscanf(answer, "%lf", &rate) == 1 && pclose(answer) == 0, "the load");
    bench_end(b);
    bench_counter(b, "figure", rate);
    close(listener);
}
BENCH(tcp_echo) { add_long("echo", tcp_echo, 1); }
