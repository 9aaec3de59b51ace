/* A server of requests: many connections, each with buffers that grow, and a few objects a request.
 *
 *   server THREADS REQUESTS
 *
 * Each thread serves 400 connections of its own, one at random a request. A request is read into the connection's buffer,
 * which doubles from 512 bytes as needed (a few reach 128 KiB); 4 to 20 small objects are made of it and freed with the
 * answer, but for one in eight, which stays in the thread's table of 5000 until another takes its place. One request in 500
 * closes its connection: the buffer goes. */
#include <pthread.h>

#include "bench.h"

enum { CONNECTIONS = 400, TABLE = 5000, MAX_THREADS = 64, LEAST = 512, MOST_OBJECTS = 20 };

struct connection {
    unsigned char *buffer;
    size_t room;
};

struct worker {
    pthread_t thread;
    struct connection connection[CONNECTIONS];
    void *table[TABLE];
    struct rng rng;
    uint64_t requests, taken, given;
} __attribute__((aligned(128)));

/* The message at both ends of the buffer and somewhere between; what was there moves along. */
static void receive(struct connection *c, size_t n) {
    size_t room = c->room ? c->room : LEAST;
    unsigned char first = c->room ? c->buffer[0] : 0;
    while (room < n) room *= 2;
    if (room != c->room) {
        c->buffer = must(realloc(c->buffer, room));
        if (c->room && c->buffer[0] != first) wrong("first byte of a buffer", c->buffer[0], first);
        c->room = room;
    }
    memset(c->buffer, (int)n, n < 2048 ? n : 2048);
    c->buffer[n - 1] = (unsigned char)(n >> 8);
}

static void answer(struct worker *w, struct connection *c) {
    void *object[MOST_OBJECTS];
    unsigned n = 4 + (unsigned)rng_below(&w->rng, MOST_OBJECTS - 3);
    receive(c, 64 + rng_size(&w->rng, 13));
    for (unsigned i = 0; i < n; i++) object[i] = take(rng_size(&w->rng, 5), w->rng.state, &w->taken);
    for (unsigned i = 0; i < n; i++) {
        void **place = &w->table[rng_below(&w->rng, TABLE)];
        if (i % 8 == 0) {
            void *old = *place;
            *place = object[i];
            object[i] = old;
        }
        if (object[i] != NULL) give(object[i], &w->given);
    }
}

static void *serve(void *argument_worker) {
    struct worker *w = argument_worker;
    for (uint64_t i = 0; i < w->requests; i++) {
        struct connection *c = &w->connection[rng_below(&w->rng, CONNECTIONS)];
        answer(w, c);
        if (rng_below(&w->rng, 500) != 0) continue;
        free(c->buffer);
        *c = (struct connection){0};
    }
    for (int i = 0; i < CONNECTIONS; i++) free(w->connection[i].buffer);
    for (int i = 0; i < TABLE; i++)
        if (w->table[i] != NULL) give(w->table[i], &w->given);
    return NULL;
}

int main(int argc, char **argv) {
    static struct worker workers[MAX_THREADS];
    uint64_t threads = argument(argc, argv, 1, 2), requests = argument(argc, argv, 2, 200000), taken = 0, given = 0;
    if (threads < 1 || threads > MAX_THREADS) wrong("number of threads", threads, 2);
    for (uint64_t t = 0; t < threads; t++) {
        workers[t].rng.state = 5000 + t;
        workers[t].requests = requests;
        int failed = pthread_create(&workers[t].thread, NULL, serve, &workers[t]);
        if (failed != 0) wrong("pthread_create", (uint64_t)failed, 0);
    }
    for (uint64_t t = 0; t < threads; t++) {
        pthread_join(workers[t].thread, NULL);
        taken += workers[t].taken;
        given += workers[t].given;
    }
    return finish(taken, given);
}
