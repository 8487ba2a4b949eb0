/* A TCP proxy that adds latency: LISTEN-PORT UPSTREAM-PORT SECONDS. Each chunk waits half of it, each way.
 *
 * In C, since what the proxy costs is taken from those whom it serves: three processes share the machine's cores.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_EVENTS 256
#define LONGEST_CHUNK 65536

struct side {
    int fd; /* -1 when it is closed */
    struct side *other;
};

/* All chunks that are under way, oldest first: each waits equally long. One of no length is the end of a stream. */
struct chunk {
    struct chunk *next;
    struct side *to;
    int64_t due;
    size_t length;
    char data[];
};

static struct chunk *oldest, *newest;
static int64_t delay;
static int poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec * 1000000000LL + moment.tv_nsec;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void watch(int fd, void *what) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static void keep(struct side *to, const char *data, size_t length) {
    struct chunk *chunk = malloc(sizeof *chunk + length);
    if (chunk == NULL) fail("malloc");
    *chunk = (struct chunk){.to = to, .due = now() + delay, .length = length};
    memcpy(chunk->data, data, length);
    if (oldest == NULL) oldest = chunk;
    else newest->next = chunk;
    newest = chunk;
}

static void send_whole(int fd, const char *data, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd wanted = {.fd = fd, .events = POLLOUT};
            poll(&wanted, 1, -1);
        } else if (sent < 0) {
            return; /* it is gone: its own end says so */
        } else {
            data += sent;
            length -= sent;
        }
    }
}

/* Wait for what happens, but not longer than until the oldest chunk is due. */
static int wait_for(struct epoll_event *events) {
    if (oldest == NULL) return epoll_wait(poller, events, MOST_EVENTS, -1);
    int64_t left = oldest->due - now();
    if (left < 0) left = 0;
    struct timespec longest = {.tv_sec = left / 1000000000LL, .tv_nsec = left % 1000000000LL};
    return epoll_pwait2(poller, events, MOST_EVENTS, &longest, NULL);
}

static void pass_on(void) {
    int64_t moment = now();
    while (oldest != NULL && oldest->due <= moment) {
        struct chunk *chunk = oldest;
        oldest = chunk->next;
        if (chunk->to->fd >= 0 && chunk->length == 0) shutdown(chunk->to->fd, SHUT_WR);
        else if (chunk->to->fd >= 0) send_whole(chunk->to->fd, chunk->data, chunk->length);
        free(chunk);
    }
}

static void take(struct side *side) {
    static char buffer[LONGEST_CHUNK];
    ssize_t length = recv(side->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        close(side->fd);
        side->fd = -1;
        length = 0;
    }
    keep(side->other, buffer, length);
}

static void join(int client, int upstream_port) {
    int yes = 1, upstream = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(upstream_port);
    if (connect(upstream, (struct sockaddr *)&address, sizeof address) < 0) {
        close(upstream);
        close(client);
        return;
    }
    struct side *sides = calloc(2, sizeof *sides); /* a benchmark ends before it matters that none is freed */
    int fds[] = {client, upstream};
    for (int n = 0; n < 2; n++) {
        setsockopt(fds[n], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        sides[n] = (struct side){.fd = fds[n], .other = &sides[1 - n]};
        watch(fds[n], &sides[n]);
    }
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    struct sockaddr_in address = loopback(atoi(arguments[1]));
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    delay = (int64_t)(atof(arguments[3]) / 2 * 1e9);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    if (listen(listener, 1024) < 0) fail("listen");
    poller = epoll_create1(0);
    watch(listener, &listener);
    for (;;) {
        struct epoll_event events[MOST_EVENTS];
        int ready = wait_for(events);
        pass_on();
        for (int n = 0; n < ready; n++) {
            if (events[n].data.ptr == &listener) join(accept(listener, NULL, NULL), atoi(arguments[2]));
            else if (((struct side *)events[n].data.ptr)->fd >= 0) take(events[n].data.ptr);
        }
    }
}
