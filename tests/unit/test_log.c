/*
 * test_log: what a line looks like, that nothing can break it, and that it leaves in one write.
 * Standard error is a packet socket here: one write(2) arrives as one packet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/runtime/log.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int saved_stderr;
static int packets;

static int redirect(void **state)
{
    (void)state;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    saved_stderr = dup(STDERR_FILENO);
    dup2(pair[1], STDERR_FILENO);
    close(pair[1]);
    packets = pair[0];
    return 0;
}

static int restore(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(packets);
    return 0;
}

/* The next write as text, or NULL when there was none. The caller frees it. */
static char *next_write(int flags)
{
    char buffer[8192];
    ssize_t n = recv(packets, buffer, sizeof(buffer), flags);
    return n < 0 ? NULL : g_strndup(buffer, (gsize)n);
}

/* The next line without its time, which is checked for its form only. */
static char *next_text(void)
{
    g_autofree char *line = next_write(MSG_DONTWAIT);
    assert_non_null(line);
    assert_true(
        g_regex_match_simple("^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z ", line, 0, 0));
    return g_strdup(strchr(line, ' ') + 1);
}

static void expect_text(const char *expected)
{
    g_autofree char *line = next_text();
    assert_string_equal(line, expected);
}

static void test_text(void **state)
{
    (void)state;
    log_start("vm-service", VB_LOG_INFO, VB_LOG_TEXT);
    log_event(VB_LOG_INFO, "vm-started", "The domain runs.", "vm", "1b4e28ba", "host", NULL, NULL);
    expect_text("info    vm-service vm-started: The domain runs. vm=1b4e28ba host=-\n");
    log_event(VB_LOG_WARNING, "x", "No pairs.", NULL);
    expect_text("warning vm-service x: No pairs.\n");
    log_event(VB_LOG_ERROR, "x", "Quoted.", "error", "a \"b\" \\ c", "empty", "", "dash", "-",
              "number", log_number(-42), NULL);
    expect_text("error   vm-service x: Quoted. error=\"a \\\"b\\\" \\\\ c\" empty=\"\" dash=\"-\" "
                "number=-42\n");
}

static void test_nothing_breaks_a_line(void **state)
{
    (void)state;
    log_start("d", VB_LOG_INFO, VB_LOG_TEXT);
    log_event(VB_LOG_INFO, "x", "two\nlines", "v", "a\r\x1b[31m\x7f\xff\xc2\x85\xe2\x80\xa8", NULL);
    expect_text("info    d x: two\\nlines "
                "v=\"a\\u000d\\u001b[31m\\u007f\xef\xbf\xbd\\u0085\\u2028\"\n");
}

static void test_json(void **state)
{
    (void)state;
    log_start("host-agent", VB_LOG_INFO, VB_LOG_JSON);
    log_event(VB_LOG_INFO, "x", "He said \"no\"\n", "vm", "tab\tslash\\", "bad", "\xff", "snow",
              "\xe2\x98\x83", "none", NULL, NULL);
    g_autofree char *line = next_write(MSG_DONTWAIT);
    assert_non_null(line);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);

    g_autoptr(JsonParser) parser = json_parser_new();
    assert_true(json_parser_load_from_data(parser, line, -1, NULL));
    JsonObject *object = json_node_get_object(json_parser_get_root(parser));
    assert_int_equal(json_object_get_size(object), 9);
    assert_string_equal(json_object_get_string_member(object, "level"), "info");
    assert_string_equal(json_object_get_string_member(object, "daemon"), "host-agent");
    assert_string_equal(json_object_get_string_member(object, "event"), "x");
    assert_string_equal(json_object_get_string_member(object, "message"), "He said \"no\"\n");
    assert_string_equal(json_object_get_string_member(object, "vm"), "tab\tslash\\");
    assert_string_equal(json_object_get_string_member(object, "bad"), "\xef\xbf\xbd");
    assert_string_equal(json_object_get_string_member(object, "snow"), "\xe2\x98\x83");
    assert_true(json_object_get_null_member(object, "none"));
    assert_true(json_object_has_member(object, "time"));
}

static void test_level(void **state)
{
    (void)state;
    int evaluated = 0;
    log_start("d", VB_LOG_WARNING, VB_LOG_TEXT);
    log_event(VB_LOG_INFO, "x", "Not written.", "n", log_number(++evaluated), NULL);
    assert_null(next_write(MSG_DONTWAIT));
    assert_int_equal(evaluated, 0);
    log_event(VB_LOG_WARNING, "x", "Written.", "n", log_number(++evaluated), NULL);
    expect_text("warning d x: Written. n=1\n");
    assert_int_equal(evaluated, 1);
}

static void test_glib_is_routed(void **state)
{
    (void)state;
    log_start("d", VB_LOG_INFO, VB_LOG_TEXT);
    g_log("GLib-Test", G_LOG_LEVEL_CRITICAL, "assertion %d", 7);
    expect_text("error   d glib: assertion 7 library=GLib-Test\n");
    g_log("GLib-Test", G_LOG_LEVEL_WARNING, "careful");
    expect_text("warning d glib: careful library=GLib-Test\n");
    g_log(NULL, G_LOG_LEVEL_MESSAGE, "hello");
    expect_text("info    d glib: hello library=-\n");
    g_log("GLib-Test", G_LOG_LEVEL_DEBUG, "not shown");
    assert_null(next_write(MSG_DONTWAIT));
}

static void test_errno_survives(void **state)
{
    (void)state;
    log_start("d", VB_LOG_INFO, VB_LOG_TEXT);
    close(STDERR_FILENO);
    errno = ENOSPC;
    log_event(VB_LOG_ERROR, "x", "Nobody listens.", NULL);
    assert_int_equal(errno, ENOSPC);
}

#define THREADS 4
#define LINES   500

static gpointer write_lines(gpointer name)
{
    for (int i = 0; i < LINES; i++)
        log_event(VB_LOG_INFO, "x", "From a thread.", "thread", name, "i", log_number(i), NULL);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    GThread *threads[THREADS];
    int next[THREADS] = {0};
    log_start("d", VB_LOG_INFO, VB_LOG_TEXT);
    for (int t = 0; t < THREADS; t++)
        threads[t] = g_thread_new(names[t], write_lines, names[t]);
    for (int n = 0; n < THREADS * LINES; n++) {
        g_autofree char *line = next_write(0);
        assert_non_null(line);
        const char *pairs = strstr(line, " thread=");
        assert_non_null(pairs);
        int t = pairs[strlen(" thread=")] - 'a';
        g_autofree char *expected =
            g_strdup_printf("info    d x: From a thread. thread=%s i=%d\n", names[t], next[t]++);
        assert_string_equal(strchr(line, ' ') + 1, expected);
    }
    for (int t = 0; t < THREADS; t++)
        g_thread_join(threads[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text, redirect, restore),
        cmocka_unit_test_setup_teardown(test_nothing_breaks_a_line, redirect, restore),
        cmocka_unit_test_setup_teardown(test_json, redirect, restore),
        cmocka_unit_test_setup_teardown(test_level, redirect, restore),
        cmocka_unit_test_setup_teardown(test_glib_is_routed, redirect, restore),
        cmocka_unit_test_setup_teardown(test_errno_survives, redirect, restore),
        cmocka_unit_test_setup_teardown(test_threads, redirect, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
