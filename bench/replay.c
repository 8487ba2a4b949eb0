/* Sends requests and does nothing else: PORT CONNECTIONS FILE. What a registry needs for them, whoever asks.
 *
 * Each line of the file is a method and a path; a line `-` waits for all answers before it. Prints the seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LONGEST_ANSWER 65536
#define LONGEST_LINE 1024

static const char *const HEADERS =
    "Host: 127.0.0.1\r\nUser-Agent: replay\r\n"
    "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

struct connection {
    int fd;
    int is_busy, is_head;
    size_t length;
    char answer[LONGEST_ANSWER];
};

static FILE *requests;
static int is_held, under_way; /* is_held: the next line is a `-`, or there is none */

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec + moment.tv_nsec / 1e9;
}

static void ask_next(struct connection *connection) {
    char line[LONGEST_LINE], request[2 * LONGEST_LINE];
    connection->is_busy = 0;
    if (is_held) return;
    if (fgets(line, sizeof line, requests) == NULL || line[0] == '-') {
        is_held = 1;
        return;
    }
    line[strcspn(line, "\n")] = '\0';
    int length = snprintf(request, sizeof request, "%s HTTP/1.1\r\n%s\r\n\r\n", line, HEADERS);
    if (send(connection->fd, request, length, MSG_NOSIGNAL) != length) fail("send");
    connection->is_head = strncmp(line, "HEAD ", 5) == 0;
    connection->is_busy = 1;
    connection->length = 0;
    under_way++;
}

static int is_whole(struct connection *connection) {
    connection->answer[connection->length] = '\0';
    char *body = strstr(connection->answer, "\r\n\r\n");
    if (body == NULL) return 0;
    if (connection->answer[9] == '5') {
        fprintf(stderr, "the registry answers %.3s\n", connection->answer + 9);
        exit(1);
    }
    char *announced = strcasestr(connection->answer, "\r\ncontent-length:");
    size_t length = announced == NULL || connection->is_head ? 0 : strtoul(announced + 17, NULL, 10);
    return connection->length >= (size_t)(body + 4 - connection->answer) + length;
}

static void take(struct connection *connection) {
    ssize_t length = recv(
        connection->fd, connection->answer + connection->length, LONGEST_ANSWER - 1 - connection->length, 0
    );
    if (length <= 0) fail("recv");
    connection->length += length;
    if (!is_whole(connection)) return;
    under_way--;
    ask_next(connection);
}

int main(int count, char **arguments) {
    if (count != 4 || (requests = fopen(arguments[3], "r")) == NULL) return 2;
    int number = atoi(arguments[2]), yes = 1, poller = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct connection *connections = calloc(number, sizeof *connections);
    double started = now();
    for (int n = 0; n < number; n++) {
        connections[n].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(connections[n].fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
        setsockopt(connections[n].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[n]};
        epoll_ctl(poller, EPOLL_CTL_ADD, connections[n].fd, &event);
    }
    while (!feof(requests)) {
        is_held = 0;
        for (int n = 0; n < number; n++) ask_next(&connections[n]);
        while (under_way > 0) {
            struct epoll_event events[64];
            int ready = epoll_wait(poller, events, 64, -1);
            for (int n = 0; n < ready; n++) take(events[n].data.ptr);
        }
    }
    printf("%.3f\n", now() - started);
    return 0;
}
