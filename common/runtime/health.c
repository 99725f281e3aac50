/*
 * health: see health.h. libmicrohttpd's own thread waits in epoll, so an idle server costs nothing.
 */
#include "common/runtime/health.h"
#include "common/runtime/metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX      16u
#define CONNECTION_BYTES     ((size_t)8192)
#define CONNECTION_TIMEOUT_S 5u
#define THREAD_STACK_BYTES   ((size_t)131072)
#define LISTEN_BACKLOG       16

G_DEFINE_QUARK(virtbus - health - error, health_error)

typedef struct {
    char *name;
    char *reason; /* NULL: met */
} Condition;

typedef struct {
    char *name;
    int64_t limit_ms;
    int64_t beat_ms; /* monotonic */
} Loop;

static GMutex lock;
static GPtrArray *conditions; /* Condition */
static GPtrArray *loops;      /* Loop */
static struct MHD_Daemon *server;

static int64_t monotonic_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

static void condition_free(gpointer data)
{
    Condition *condition = data;
    g_free(condition->name);
    g_free(condition->reason);
    g_free(condition);
}

static void loop_free(gpointer data)
{
    Loop *loop = data;
    g_free(loop->name);
    g_free(loop);
}

/* Both kinds begin with their name. Returns NULL when there is none. */
static gpointer find_named(const GPtrArray *array, const char *name)
{
    for (guint i = 0; array && i < array->len; i++) {
        char **named = g_ptr_array_index(array, i);
        if (strcmp(*named, name) == 0)
            return named;
    }
    return NULL;
}

void health_set_condition(const char *name, const char *reason)
{
    g_mutex_lock(&lock);
    Condition *condition = find_named(conditions, name);
    if (!condition) {
        if (!conditions)
            conditions = g_ptr_array_new_with_free_func(condition_free);
        condition = g_new0(Condition, 1);
        condition->name = g_strdup(name);
        g_ptr_array_add(conditions, condition);
    }
    g_free(condition->reason);
    condition->reason = g_strdup(reason);
    g_mutex_unlock(&lock);
}

void health_watch(const char *name, int64_t limit_ms)
{
    g_mutex_lock(&lock);
    Loop *loop = find_named(loops, name);
    if (!loop) {
        if (!loops)
            loops = g_ptr_array_new_with_free_func(loop_free);
        loop = g_new0(Loop, 1);
        loop->name = g_strdup(name);
        g_ptr_array_add(loops, loop);
    }
    loop->limit_ms = limit_ms;
    loop->beat_ms = monotonic_ms();
    g_mutex_unlock(&lock);
}

void health_beat(const char *name)
{
    g_mutex_lock(&lock);
    Loop *loop = find_named(loops, name);
    g_assert(loop != NULL);
    loop->beat_ms = monotonic_ms();
    g_mutex_unlock(&lock);
}

void health_unwatch(const char *name)
{
    g_mutex_lock(&lock);
    Loop *loop = find_named(loops, name);
    if (loop)
        g_ptr_array_remove(loops, loop);
    g_mutex_unlock(&lock);
}

/* The page of /readyz: empty when all is well. */
static char *print_unmet(void)
{
    GString *page = g_string_new(NULL);
    g_mutex_lock(&lock);
    for (guint i = 0; conditions && i < conditions->len; i++) {
        const Condition *condition = g_ptr_array_index(conditions, i);
        if (condition->reason)
            g_string_append_printf(page, "%s: %s\n", condition->name, condition->reason);
    }
    g_mutex_unlock(&lock);
    return g_string_free(page, FALSE);
}

/* The page of /healthz: empty when all is well. */
static char *print_stuck(void)
{
    GString *page = g_string_new(NULL);
    g_mutex_lock(&lock);
    int64_t now_ms = monotonic_ms();
    for (guint i = 0; loops && i < loops->len; i++) {
        const Loop *loop = g_ptr_array_index(loops, i);
        int64_t silence_ms = now_ms - loop->beat_ms;
        if (silence_ms > loop->limit_ms)
            g_string_append_printf(page,
                                   "%s: no heartbeat for %" G_GINT64_FORMAT
                                   " ms, the limit is %" G_GINT64_FORMAT " ms\n",
                                   loop->name, silence_ms, loop->limit_ms);
    }
    g_mutex_unlock(&lock);
    return g_string_free(page, FALSE);
}

/* Takes body. */
static enum MHD_Result send_page(struct MHD_Connection *connection, unsigned status,
                                 const char *type, char *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        g_free(body);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Takes faults: an empty text is good news. */
static enum MHD_Result send_verdict(struct MHD_Connection *connection, char *faults)
{
    static const char type[] = "text/plain; charset=utf-8";
    if (*faults)
        return send_page(connection, MHD_HTTP_SERVICE_UNAVAILABLE, type, faults);
    g_free(faults);
    return send_page(connection, MHD_HTTP_OK, type, g_strdup("ok\n"));
}

static enum MHD_Result answer(void *user_data G_GNUC_UNUSED, struct MHD_Connection *connection,
                              const char *path, const char *method,
                              const char *version G_GNUC_UNUSED, const char *upload G_GNUC_UNUSED,
                              size_t *upload_size G_GNUC_UNUSED, void **request_state G_GNUC_UNUSED)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return send_page(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain",
                         g_strdup("GET and HEAD only\n"));
    if (strcmp(path, "/metrics") == 0)
        return send_page(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                         metrics_print());
    if (strcmp(path, "/healthz") == 0)
        return send_verdict(connection, print_stuck());
    if (strcmp(path, "/readyz") == 0)
        return send_verdict(connection, print_unmet());
    return send_page(connection, MHD_HTTP_NOT_FOUND, "text/plain",
                     g_strdup("there are /metrics, /healthz and /readyz\n"));
}

/* Splits HOST:PORT at the last colon; brackets around an IPv6 address go. */
static bool split_address(const char *listen, char **ret_host, char **ret_port)
{
    const char *colon = strrchr(listen, ':');
    guint64 port;
    if (!colon || colon == listen ||
        !g_ascii_string_to_unsigned(colon + 1, 10, 0, 65535, &port, NULL))
        return false;
    size_t length = (size_t)(colon - listen);
    bool has_brackets = length >= 2 && listen[0] == '[' && colon[-1] == ']';
    if (!has_brackets && memchr(listen, ':', length))
        return false;
    *ret_host = has_brackets ? g_strndup(listen + 1, length - 2) : g_strndup(listen, length);
    *ret_port = g_strdup(colon + 1);
    return true;
}

static int open_socket(const struct addrinfo *address)
{
    const int on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    int cause = errno;
    close(fd);
    errno = cause;
    return -1;
}

static int open_listener(const char *text, GError **error)
{
    g_autofree char *host = NULL;
    g_autofree char *port = NULL;
    if (!split_address(text, &host, &port)) {
        g_set_error(error, VB_HEALTH_ERROR, VB_HEALTH_ERROR_ADDRESS,
                    "http.listen: \"%s\" is not HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464",
                    text);
        return -1;
    }
    const struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int code = getaddrinfo(host, port, &hints, &addresses);
    if (code != 0) {
        g_set_error(error, VB_HEALTH_ERROR, VB_HEALTH_ERROR_LISTEN,
                    "http.listen: host of \"%s\": %s", text, gai_strerror(code));
        return -1;
    }
    int fd = open_socket(addresses);
    if (fd < 0)
        g_set_error(error, VB_HEALTH_ERROR, VB_HEALTH_ERROR_LISTEN,
                    "http.listen: cannot listen on \"%s\": %s; choose another address or port",
                    text, g_strerror(errno));
    freeaddrinfo(addresses);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

bool health_start(const char *listen_text, uint16_t *ret_port, GError **error)
{
    g_assert(server == NULL);
    if (ret_port)
        *ret_port = 0;
    if (*listen_text == '\0')
        return true;
    int fd = open_listener(listen_text, error);
    if (fd < 0)
        return false;
    server = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, answer,
                              NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                              CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES,
                              MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_TIMEOUT_S,
                              MHD_OPTION_THREAD_STACK_SIZE, THREAD_STACK_BYTES, MHD_OPTION_END);
    if (!server) {
        g_set_error(error, VB_HEALTH_ERROR, VB_HEALTH_ERROR_LISTEN,
                    "http.listen: the server on \"%s\" does not start: %s", listen_text,
                    g_strerror(errno));
        close(fd);
        return false;
    }
    if (ret_port)
        *ret_port = port_of(fd);
    return true;
}

void health_stop(void)
{
    if (server)
        MHD_stop_daemon(server);
    server = NULL;
}
