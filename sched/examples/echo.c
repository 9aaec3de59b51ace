/* An echo server, three clients that talk to it, and one that says nothing: its connection runs into a deadline. (Output in any order.) */
#include <arpa/inet.h>
#include <gosched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int64_t MS = 1000000;
static struct sockaddr_in address = {.sin_family = AF_INET};
static gowaitgroup clients;

static void serve(void *arg) {
    int fd = (int)(intptr_t)arg;
    char text[128];
    for (;;) {
        go_set_deadline(fd, 2000 * MS);
        ssize_t n = go_read(fd, text, sizeof text);
        if (n < 0 && errno == ETIMEDOUT) printf("server: deadline\n");
        if (n <= 0) break;
        go_write(fd, text, (size_t)n);
    }
    go_close(fd);
}

static void accept_all(void *arg) {
    int listener = (int)(intptr_t)arg;
    for (int fd; (fd = go_accept(listener, NULL, NULL)) >= 0;) go(serve, (void *)(intptr_t)fd);
}

static void client(void *words) {
    char answer[128];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (go_connect(fd, (struct sockaddr *)&address, sizeof address) != 0) perror("connect");
    if (words) go_write(fd, words, strlen(words));
    ssize_t n = go_read(fd, answer, sizeof answer);
    if (n > 0) printf("client: %.*s\n", (int)n, answer);
    else printf("client: closed by the server\n");
    go_close(fd);
    gowaitgroup_done(&clients);
}

int main(void) {
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        perror("listen");
        return 1;
    }
    go(accept_all, (void *)(intptr_t)listener);
    gowaitgroup_add(&clients, 4);
    go(client, "one");
    go(client, "two");
    go(client, "three");
    go(client, NULL);
    gowaitgroup_wait(&clients);
    return 0;
}
