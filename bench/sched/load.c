/* Load for an echo server on this machine: load PORT CONNECTIONS BYTES. Each connection has one message on its way; what comes
 * back is checked and sent again. After a warm-up it counts for two seconds and prints messages a second. One thread. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { EVENTS = 64, BYTES_MAX = 65536 };
/* ns */
static const int64_t WARM_UP = 200000000, MEASURED = 2000000000;

static void must(int holds, const char *what) {
    if (holds) return;
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int connect_to(int port) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static char message[BYTES_MAX], answer[BYTES_MAX];

/* One that came back, and goes again. Messages are small: what is sent in one piece arrives so. */
static void turn(int fd, size_t bytes) {
    must(recv(fd, answer, bytes, MSG_WAITALL) == (ssize_t)bytes && memcmp(answer, message, bytes) == 0, "answer");
    must(send(fd, message, bytes, 0) == (ssize_t)bytes, "send");
}

static int64_t run(int set, size_t bytes, int64_t duration, double *seconds) {
    struct epoll_event events[EVENTS];
    int64_t start = now(), end = start, count = 0;
    while (end - start < duration) {
        int n = epoll_wait(set, events, EVENTS, 1000);
        must(n > 0, "waiting for an answer");
        for (int i = 0; i < n; i++) turn(events[i].data.fd, bytes);
        count += n;
        end = now();
    }
    *seconds = (double)(end - start) * 1e-9;
    return count;
}

int main(int argc, char **argv) {
    must(argc == 4, "load PORT CONNECTIONS BYTES");
    int port = atoi(argv[1]), connections = atoi(argv[2]), set = epoll_create1(0);
    size_t bytes = (size_t)atoi(argv[3]);
    double seconds;
    must(set >= 0 && bytes <= BYTES_MAX, "load");
    for (size_t i = 0; i < bytes; i++) message[i] = (char)(i * 31);
    for (int i = 0; i < connections; i++) {
        int fd = connect_to(port);
        struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
        must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) == 0 && send(fd, message, bytes, 0) == (ssize_t)bytes, "start");
    }
    run(set, bytes, WARM_UP, &seconds);
    int64_t count = run(set, bytes, MEASURED, &seconds);
    printf("%.0f\n", (double)count / seconds);
    return 0;
}
