/*
 * test_health: the three pages over a real socket, and a daemon's life: start, signals, refusals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/runtime/daemon.h"
#include "common/runtime/health.h"
#include "common/runtime/metrics.h"
#include "common/runtime/signals.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static uint16_t port;

static int start(void **state)
{
    (void)state;
    return health_start("127.0.0.1:0", &port, NULL) && port != 0 ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    health_stop();
    return 0;
}

/* The whole answer, head and body. The caller frees it. */
static char *request(const char *method, const char *path)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    g_autofree char *text =
        g_strdup_printf("%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", method, path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    GString *reply = g_string_new(NULL);
    char buffer[4096];
    ssize_t n;
    while ((n = read(fd, buffer, sizeof(buffer))) > 0)
        g_string_append_len(reply, buffer, n);
    close(fd);
    return g_string_free(reply, FALSE);
}

static void expect_reply(const char *method, const char *path, const char *status, const char *body)
{
    g_autofree char *reply = request(method, path);
    g_autofree char *head = g_strdup_printf("HTTP/1.1 %s", status);
    const char *end = strstr(reply, "\r\n\r\n");
    assert_true(g_str_has_prefix(reply, head));
    assert_non_null(end);
    assert_string_equal(end + 4, body);
}

static void test_readyz(void **state)
{
    (void)state;
    expect_reply("GET", "/readyz", "200", "ok\n");
    health_set_condition("kafka", "no broker has answered yet");
    health_set_condition("restore", "2 partitions to go");
    expect_reply("GET", "/readyz", "503",
                 "kafka: no broker has answered yet\nrestore: 2 partitions to go\n");
    health_set_condition("kafka", NULL);
    health_set_condition("restore", "1 partition to go");
    expect_reply("GET", "/readyz", "503", "restore: 1 partition to go\n");
    health_set_condition("restore", NULL);
    expect_reply("GET", "/readyz", "200", "ok\n");
}

static void test_healthz(void **state)
{
    (void)state;
    expect_reply("GET", "/healthz", "200", "ok\n");
    health_watch("main", 3600000);
    expect_reply("GET", "/healthz", "200", "ok\n");

    /* A limit that has passed at the next millisecond: the page turns without any beat. */
    health_watch("main", 0);
    gint64 deadline_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    g_autofree char *reply = NULL;
    do {
        g_free(reply);
        reply = request("GET", "/healthz");
    } while (!strstr(reply, "503 ") && g_get_monotonic_time() < deadline_us);
    assert_true(g_str_has_prefix(reply, "HTTP/1.1 503"));
    assert_non_null(strstr(reply, "main: no heartbeat for "));
    assert_non_null(strstr(reply, " ms, the limit is 0 ms\n"));

    health_watch("main", 3600000);
    health_beat("main");
    expect_reply("GET", "/healthz", "200", "ok\n");
    health_watch("other", 0);
    health_unwatch("other");
    expect_reply("GET", "/healthz", "200", "ok\n");
    health_unwatch("main");
}

static void test_metrics_page(void **state)
{
    (void)state;
    static VbMetric metric = METRICS_COUNTER("t_health_total", "On the page.");
    metrics_register(&metric);
    g_autofree char *reply = request("GET", "/metrics");
    assert_true(g_str_has_prefix(reply, "HTTP/1.1 200"));
    assert_non_null(strstr(reply, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(reply, "\nt_health_total 0\n"));
}

static void test_other_requests(void **state)
{
    (void)state;
    expect_reply("HEAD", "/healthz", "200", "");
    expect_reply("POST", "/healthz", "405", "GET and HEAD only\n");
    expect_reply("GET", "/", "404", "there are /metrics, /healthz and /readyz\n");
}

static void expect_listen_refusal(const char *listen, VbHealthError code, const char *message)
{
    g_autoptr(GError) error = NULL;
    assert_false(health_start(listen, NULL, &error));
    assert_true(g_error_matches(error, VB_HEALTH_ERROR, (gint)code));
    assert_non_null(strstr(error->message, message));
}

static void test_listen(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "9464",     "127.0.0.1",       "127.0.0.1:",   ":9464",
        "::1:9464", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        expect_listen_refusal(bad[i], VB_HEALTH_ERROR_ADDRESS, "is not HOST:PORT");
    expect_listen_refusal("host.invalid:1", VB_HEALTH_ERROR_LISTEN, "host of \"host.invalid:1\"");
    /* An address of the documentation range: never this machine's. */
    expect_listen_refusal("192.0.2.1:9464", VB_HEALTH_ERROR_LISTEN, "choose another address");

    uint16_t none = 1;
    assert_true(health_start("", &none, NULL));
    assert_int_equal(none, 0);
    health_stop();
}

static void test_port_in_use_and_free_again(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    port = ntohs(address.sin_port);
    g_autofree char *text = g_strdup_printf("127.0.0.1:%u", port);
    expect_listen_refusal(text, VB_HEALTH_ERROR_LISTEN, "Address already in use");
    close(fd);

    /* The server closes a connection first and leaves it in TIME_WAIT: a restart must not mind. */
    for (int i = 0; i < 2; i++) {
        assert_true(health_start(text, NULL, NULL));
        expect_reply("GET", "/healthz", "200", "ok\n");
        health_stop();
    }
}

static const VbProgram program = {
    .name = "test-daemon", .version = "1.2.3", .summary = "Tests.", .options = NULL};

/* Runs a daemon's main() with these arguments; body runs once it is up and gives its exit status.
 * ret_output is what it wrote to both streams. Returns the wait status. */
static int run_daemon(const char *const *argv, int (*body)(void), char **ret_output)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        g_autoptr(VbOptions) options = NULL;
        int status;
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        signal(SIGTERM, SIG_DFL);
        if (daemon_start(&program, (int)g_strv_length((char **)argv), (char *const *)argv, &options,
                         &status))
            status = body();
        _exit(status);
    }
    close(ends[1]);
    GString *output = g_string_new(NULL);
    char buffer[4096];
    ssize_t n;
    while ((n = read(ends[0], buffer, sizeof(buffer))) > 0)
        g_string_append_len(output, buffer, n);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    *ret_output = g_string_free(output, FALSE);
    return status;
}

static int stop_in_order(void)
{
    struct pollfd stop_poll = {.fd = signals_stop_fd(), .events = POLLIN};
    if (signals_is_stop_requested() || poll(&stop_poll, 1, 0) != 0)
        return 11;
    raise(SIGPIPE);
    raise(SIGTERM);
    if (!signals_is_stop_requested() || poll(&stop_poll, 1, 0) != 1)
        return 12;
    daemon_stop();
    return 0;
}

static int stop_twice(void)
{
    raise(SIGINT);
    raise(SIGTERM);
    return 13;
}

static int never(void)
{
    return 14;
}

#define ARGS(...) ((const char *const[]){"test-daemon", __VA_ARGS__, NULL})

static int is_ready_only_when_it_says_so(void)
{
    g_autofree char *before = request("GET", "/readyz");
    daemon_started();
    g_autofree char *after = request("GET", "/readyz");
    gboolean waits = g_str_has_prefix(before, "HTTP/1.1 503") &&
                     g_str_has_suffix(before, "daemon: it is starting\n");
    return waits && g_str_has_prefix(after, "HTTP/1.1 200") ? 0 : 1;
}

static void test_daemon_is_not_ready_before_its_conditions_are_known(void **state)
{
    assert_int_equal(start(state), 0); /* Finds a free port. */
    assert_int_equal(stop(state), 0);
    g_autofree char *listen = g_strdup_printf("--http.listen=127.0.0.1:%u", port);
    g_autofree char *output = NULL;
    int status =
        run_daemon(ARGS("--bootstrap=b:1", listen), is_ready_only_when_it_says_so, &output);
    assert_int_equal(status, 0);
}

static void test_daemon_stops_in_order(void **state)
{
    (void)state;
    g_autofree char *output = NULL;
    int status =
        run_daemon(ARGS("--bootstrap=b:1", "--http.listen=127.0.0.1:0"), stop_in_order, &output);
    assert_int_equal(status, 0);
    assert_non_null(strstr(output, " test-daemon started: The daemon starts. version=1.2.3 "));
    assert_true(
        g_regex_match_simple(" http.listen=127.0.0.1:0 http.port=[1-9]\\d*\n", output, 0, 0));
    assert_non_null(strstr(output, " test-daemon stopped: "));
}

static void test_second_signal_ends_at_once(void **state)
{
    (void)state;
    g_autofree char *output = NULL;
    int status = run_daemon(ARGS("--bootstrap=b:1", "--log.format=json"), stop_twice, &output);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
    assert_non_null(strstr(output, "\"http.listen\":null,\"http.port\":null}\n"));
}

static void test_daemon_refusals_and_pages(void **state)
{
    (void)state;
    g_autofree char *usage = NULL;
    g_autofree char *version = NULL;
    g_autofree char *listen = NULL;
    int status = run_daemon(ARGS("--nonsense=1"), never, &usage);
    assert_int_equal(WEXITSTATUS(status), DAEMON_STATUS_USAGE);
    assert_string_equal(usage, "test-daemon: argument --nonsense: test-daemon has no such option; "
                               "--help lists them\n");
    status = run_daemon(ARGS("--version"), never, &version);
    assert_int_equal(status, 0);
    assert_string_equal(version, "test-daemon 1.2.3\n");
    status = run_daemon(ARGS("--bootstrap=b:1", "--http.listen=nowhere"), never, &listen);
    assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
    assert_non_null(strstr(listen, "error   test-daemon start-failed: http.listen: \\\"nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_readyz, start, stop),
        cmocka_unit_test_setup_teardown(test_healthz, start, stop),
        cmocka_unit_test_setup_teardown(test_metrics_page, start, stop),
        cmocka_unit_test_setup_teardown(test_other_requests, start, stop),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_port_in_use_and_free_again),
        cmocka_unit_test(test_daemon_is_not_ready_before_its_conditions_are_known),
        cmocka_unit_test(test_daemon_stops_in_order),
        cmocka_unit_test(test_second_signal_ends_at_once),
        cmocka_unit_test(test_daemon_refusals_and_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
