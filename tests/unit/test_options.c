/*
 * test_options: every type, every source, their order, and what each refusal says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/runtime/options.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const colours[] = {"red", "green", "blue", NULL};

static const VbOption table[] = {
    {.name = "instance.id", .flags = VB_OPTION_MANDATORY, .help = "Unique name."},
    {.name = "batch.records",
     .type = VB_OPTION_INT,
     .fallback = "100",
     .min = 1,
     .max = 1000,
     .help = "Records in a batch."},
    {.name = "offset", .type = VB_OPTION_INT, .fallback = "0", .help = "Any integer."},
    {.name = "dry.run", .type = VB_OPTION_BOOL, .fallback = "false", .help = "Do nothing."},
    {.name = "nvram.retain",
     .type = VB_OPTION_DURATION,
     .fallback = "30d",
     .min = 0,
     .max = 365 * 86400000ll,
     .help = "How long."},
    {.name = "nvram.size",
     .type = VB_OPTION_SIZE,
     .fallback = "1MiB",
     .min = 4096,
     .max = 1 << 24,
     .help = "How large."},
    {.name = "colour",
     .type = VB_OPTION_ENUM,
     .words = colours,
     .fallback = "green",
     .help = "Which | one."},
    {.name = "storage", .flags = VB_OPTION_REPEATABLE, .help = "A storage."},
    {.name = "fallback.list",
     .flags = VB_OPTION_REPEATABLE,
     .fallback = "one",
     .help = "A list that begins with one."},
    {.name = "report.key", .flags = VB_OPTION_SECRET, .fallback = "hidden", .help = "Secret."},
    {.name = "report.pin",
     .type = VB_OPTION_INT,
     .flags = VB_OPTION_SECRET,
     .fallback = "12345",
     .help = "Secret number."},
    {.name = NULL},
};

static const VbProgram program = {
    .name = "test-daemon", .version = "1.2.3", .summary = "Tests options.", .options = table};

#define ARGS(...) ((const char *const[]){"test-daemon", __VA_ARGS__, NULL})
#define ENV(...)  ((const char *const[]){__VA_ARGS__, NULL})
#define NO_ENV    ((const char *const[]){NULL})
#define BASE      "--bootstrap=b:1", "--instance.id=i"

static bool load(VbOptions *options, const char *const *argv, const char *const *environment,
                 GError **error)
{
    return options_load(options, (int)g_strv_length((char **)argv), (char *const *)argv,
                        environment, error);
}

static VbOptions *load_good(const char *const *argv, const char *const *environment)
{
    g_autoptr(GError) error = NULL;
    VbOptions *options = options_new(&program);
    if (!load(options, argv, environment, &error))
        fail_msg("%s", error->message);
    return options;
}

static void expect_refusal(const char *const *argv, const char *const *environment,
                           VbOptionsError code, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VbOptions) options = options_new(&program);
    assert_false(load(options, argv, environment, &error));
    assert_string_equal(error->message, message);
    assert_true(g_error_matches(error, VB_OPTIONS_ERROR, (gint)code));
}

static char *write_file(const char *content)
{
    g_autoptr(GError) error = NULL;
    char *path = NULL;
    int fd = g_file_open_tmp("test-options-XXXXXX", &path, &error);
    assert_true(fd >= 0);
    close(fd);
    assert_true(g_file_set_contents(path, content, -1, &error));
    return path;
}

static void test_defaults(void **state)
{
    (void)state;
    g_autoptr(VbOptions) options = load_good(ARGS(BASE), NO_ENV);
    size_t n;
    assert_string_equal(options_get_string(options, "bootstrap"), "b:1");
    assert_string_equal(options_get_string(options, "topic.prefix"), "virtbus");
    assert_string_equal(options_get_string(options, "http.listen"), "");
    assert_int_equal(options_get_enum(options, "log.level"), 1);
    assert_int_equal(options_get_int(options, "batch.records"), 100);
    assert_false(options_get_bool(options, "dry.run"));
    assert_int_equal(options_get_duration_ms(options, "nvram.retain"), 30 * 86400000ll);
    assert_int_equal(options_get_size_bytes(options, "nvram.size"), 1 << 20);
    assert_int_equal(options_get_enum(options, "colour"), 1);
    assert_null(options_get_list(options, "storage")[0]);
    assert_string_equal(options_get_list(options, "fallback.list")[0], "one");
    assert_null(options_get_list(options, "fallback.list")[1]);
    options_get_kafka(options, &n);
    assert_int_equal(n, 0);
}

static void test_every_type_from_arguments(void **state)
{
    (void)state;
    g_autoptr(VbOptions) options =
        load_good(ARGS(BASE, "--batch.records", "7", "--offset", "-5", "--dry.run",
                       "--nvram.retain=500ms", "--nvram.size=64KiB", "--colour=blue",
                       "--storage=a;b", "--storage", "c", "--http.listen="),
                  NO_ENV);
    assert_int_equal(options_get_int(options, "batch.records"), 7);
    assert_int_equal(options_get_int(options, "offset"), -5);
    assert_true(options_get_bool(options, "dry.run"));
    assert_int_equal(options_get_duration_ms(options, "nvram.retain"), 500);
    assert_int_equal(options_get_size_bytes(options, "nvram.size"), 65536);
    assert_int_equal(options_get_enum(options, "colour"), 2);
    const char *const *storages = options_get_list(options, "storage");
    assert_string_equal(storages[0], "a;b");
    assert_string_equal(storages[1], "c");
    assert_null(storages[2]);
}

static void test_units(void **state)
{
    (void)state;
    const struct {
        const char *text;
        gint64 ms;
    } durations[] = {{"--nvram.retain=0", 0},          {"--nvram.retain=0s", 0},
                     {"--nvram.retain=30s", 30000},    {"--nvram.retain=5m", 300000},
                     {"--nvram.retain=12h", 43200000}, {"--nvram.retain=2d", 172800000}};
    for (size_t i = 0; i < G_N_ELEMENTS(durations); i++) {
        g_autoptr(VbOptions) options = load_good(ARGS(BASE, durations[i].text), NO_ENV);
        assert_int_equal(options_get_duration_ms(options, "nvram.retain"), durations[i].ms);
    }
    g_autoptr(VbOptions) bytes = load_good(ARGS(BASE, "--nvram.size=540672"), NO_ENV);
    assert_int_equal(options_get_size_bytes(bytes, "nvram.size"), 540672);
}

static void test_sources_in_rising_order(void **state)
{
    (void)state;
    g_autofree char *path = write_file("# comment\n[virtbus]\nbootstrap=file\ninstance.id=file\n"
                                       "topic.prefix=file\nhttp.listen=file\ncolour=red\n"
                                       "storage=f1;f\\;2\n");
    g_autofree char *config = g_strdup_printf("--config=%s", path);
    g_autoptr(VbOptions) options =
        load_good(ARGS("--topic.prefix=argument", config),
                  ENV("VIRTBUS_TOPIC_PREFIX=environment", "VIRTBUS_BOOTSTRAP=environment",
                      "VIRTBUS_CONFIG=/nonexistent", "OTHER=x", "VIRTBUSTER=x"));
    assert_string_equal(options_get_string(options, "topic.prefix"), "argument");
    assert_string_equal(options_get_string(options, "bootstrap"), "environment");
    assert_string_equal(options_get_string(options, "instance.id"), "file");
    assert_int_equal(options_get_enum(options, "colour"), 0);
    assert_string_equal(options_get_list(options, "storage")[0], "f1");
    assert_string_equal(options_get_list(options, "storage")[1], "f;2");

    g_autofree char *variable = g_strdup_printf("VIRTBUS_CONFIG=%s", path);
    g_autoptr(VbOptions) listed =
        load_good(ARGS("--colour=blue"), ENV(variable, "VIRTBUS_STORAGE=e1;e2"));
    assert_string_equal(options_get_list(listed, "storage")[0], "e1");
    assert_string_equal(options_get_list(listed, "storage")[1], "e2");
    assert_null(options_get_list(listed, "storage")[2]);
    unlink(path);
}

static void test_kafka_properties(void **state)
{
    (void)state;
    g_autofree char *path = write_file("[virtbus]\nkafka.linger.ms=1\nkafka.ssl_key=raw\n");
    g_autofree char *config = g_strdup_printf("--config=%s", path);
    g_autoptr(VbOptions) options =
        load_good(ARGS(BASE, config, "--kafka.client.id=argument"),
                  ENV("VIRTBUS_KAFKA_LINGER_MS=2", "VIRTBUS_KAFKA_CLIENT_ID=environment"));
    size_t n;
    const VbKafkaProperty *kafka = options_get_kafka(options, &n);
    assert_int_equal(n, 3);
    assert_string_equal(kafka[0].name, "linger.ms");
    assert_string_equal(kafka[0].value, "2");
    assert_string_equal(kafka[1].name, "ssl_key");
    assert_string_equal(kafka[1].value, "raw");
    assert_string_equal(kafka[2].name, "client.id");
    assert_string_equal(kafka[2].value, "argument");
    unlink(path);
}

static void test_refusals_of_values(void **state)
{
    (void)state;
    static const char *const bad_durations[] = {
        "", "5", "5x", "-5s", "5 s", "s", "1.5h", "366d", "9223372036854775807d"};
    expect_refusal(ARGS(BASE, "--batch.records=0"), NO_ENV, VB_OPTIONS_ERROR_VALUE,
                   "argument --batch.records: \"0\" is not allowed; allowed: integer from 1 to "
                   "1000");
    expect_refusal(ARGS(BASE, "--offset=1x"), NO_ENV, VB_OPTIONS_ERROR_VALUE,
                   "argument --offset: \"1x\" is not allowed; allowed: integer");
    expect_refusal(ARGS(BASE), ENV("VIRTBUS_COLOUR=pink"), VB_OPTIONS_ERROR_VALUE,
                   "environment variable VIRTBUS_COLOUR: \"pink\" is not allowed; allowed: one of "
                   "red, green, blue");
    expect_refusal(ARGS(BASE, "--dry.run=yes"), NO_ENV, VB_OPTIONS_ERROR_VALUE,
                   "argument --dry.run: \"yes\" is not allowed; allowed: true or false");
    expect_refusal(ARGS(BASE, "--nvram.size=1MB"), NO_ENV, VB_OPTIONS_ERROR_VALUE,
                   "argument --nvram.size: \"1MB\" is not allowed; allowed: size from 4KiB to "
                   "16MiB (such as 512, 64KiB, 16MiB, 1GiB)");
    /* Times 1024 it wraps around to 4096, which would be allowed. */
    expect_refusal(ARGS(BASE, "--nvram.size=18014398509481988KiB"), NO_ENV, VB_OPTIONS_ERROR_VALUE,
                   "argument --nvram.size: \"18014398509481988KiB\" is not allowed; allowed: size "
                   "from 4KiB to 16MiB (such as 512, 64KiB, 16MiB, 1GiB)");
    expect_refusal(ARGS(BASE, "--topic.prefix=\xff"), NO_ENV, VB_OPTIONS_ERROR_VALUE,
                   "argument --topic.prefix: \"\xef\xbf\xbd\" is not allowed; allowed: text in "
                   "UTF-8");
    for (size_t i = 0; i < G_N_ELEMENTS(bad_durations); i++) {
        g_autofree char *argument = g_strdup_printf("--nvram.retain=%s", bad_durations[i]);
        g_autofree char *message =
            g_strdup_printf("argument --nvram.retain: \"%s\" is not allowed; allowed: duration "
                            "from 0 to 365d (such as 500ms, 30s, 5m, 12h, 30d)",
                            bad_durations[i]);
        expect_refusal(ARGS(BASE, argument), NO_ENV, VB_OPTIONS_ERROR_VALUE, message);
    }
}

static void test_unknown_variables_are_told(void **state)
{
    (void)state;
    g_autoptr(VbOptions) options =
        load_good(ARGS(BASE), ENV("VIRTBUS_TOPIC_PREFX=x", "VIRTBUS_SERVICE_PORT=80"));
    const char *const *ignored = options_get_ignored(options);
    assert_string_equal(ignored[0], "VIRTBUS_TOPIC_PREFX");
    assert_string_equal(ignored[1], "VIRTBUS_SERVICE_PORT");
    assert_null(ignored[2]);
}

static void test_refusals_of_names(void **state)
{
    (void)state;
    expect_refusal(ARGS(BASE, "--topic.prefx=x"), NO_ENV, VB_OPTIONS_ERROR_UNKNOWN,
                   "argument --topic.prefx: test-daemon has no such option; --help lists them");
    expect_refusal(ARGS(BASE, "start"), NO_ENV, VB_OPTIONS_ERROR_UNKNOWN,
                   "argument start: options begin with --; --help lists them");
    expect_refusal(ARGS(BASE, "--kafka.=x"), NO_ENV, VB_OPTIONS_ERROR_UNKNOWN,
                   "argument --kafka.: a librdkafka property must follow, such as "
                   "kafka.linger.ms");
    expect_refusal(ARGS(BASE, "--topic.prefix"), NO_ENV, VB_OPTIONS_ERROR_MISSING,
                   "argument --topic.prefix: a value must follow, as --topic.prefix=VALUE");
    expect_refusal(ARGS(BASE, "--topic.prefix", "--dry.run"), NO_ENV, VB_OPTIONS_ERROR_MISSING,
                   "argument --topic.prefix: a value must follow, as --topic.prefix=VALUE");
    expect_refusal(ARGS("--bootstrap=b", "--instance.id="), NO_ENV, VB_OPTIONS_ERROR_MISSING,
                   "option instance.id is mandatory and not set: give --instance.id=VALUE, "
                   "VIRTBUS_INSTANCE_ID=VALUE in the environment, or instance.id=VALUE in the "
                   "file");
}

static void expect_file_refusal(const char *content, VbOptionsError code, const char *tail)
{
    g_autofree char *path = write_file(content);
    g_autofree char *config = g_strdup_printf("--config=%s", path);
    g_autofree char *message = g_strdup_printf("file %s%s", path, tail);
    expect_refusal(ARGS(BASE, config), NO_ENV, code, message);
    unlink(path);
}

static void test_refusals_of_files(void **state)
{
    (void)state;
    expect_refusal(ARGS(BASE), ENV("VIRTBUS_CONFIG=/nonexistent/v.conf"), VB_OPTIONS_ERROR_FILE,
                   "file /nonexistent/v.conf: No such file or directory");
    expect_file_refusal("[virtbus]\ncolour=pink\n", VB_OPTIONS_ERROR_VALUE,
                        ", key colour: \"pink\" is not allowed; allowed: one of red, green, blue");
    expect_file_refusal("[virtbus]\ncolor=red\n", VB_OPTIONS_ERROR_UNKNOWN,
                        ", key color: test-daemon has no such option; --help lists them");
    expect_file_refusal("[virtbux]\ncolour=red\n", VB_OPTIONS_ERROR_FILE,
                        ": group [virtbux] is unknown; allowed: [virtbus]");
    expect_file_refusal("[virtbus]\ntopic.prefix=a\\qb\n", VB_OPTIONS_ERROR_FILE,
                        ", key topic.prefix: the value is not UTF-8 text with the escapes \\s \\n "
                        "\\t \\r \\\\ only");
    expect_file_refusal("[virtbus]\nlog\xff=x\n", VB_OPTIONS_ERROR_UNKNOWN,
                        ", key log\xef\xbf\xbd: test-daemon has no such option; --help lists them");
}

static void test_secrets_stay_hidden(void **state)
{
    (void)state;
    expect_refusal(ARGS(BASE, "--report.pin=hunter2"), NO_ENV, VB_OPTIONS_ERROR_VALUE,
                   "argument --report.pin: \"(secret)\" is not allowed; allowed: integer");
    g_autoptr(VbOptions) options = load_good(ARGS(BASE, "--report.key=hunter2"), NO_ENV);
    assert_string_equal(options_get_string(options, "report.key"), "hunter2");
    g_autofree char *help = options_help(options);
    g_autofree char *markdown = options_markdown(options);
    assert_null(strstr(help, "hidden"));
    assert_null(strstr(help, "12345"));
    assert_null(strstr(help, "hunter2"));
    assert_null(strstr(markdown, "hidden"));
    assert_null(strstr(markdown, "12345"));
    assert_null(strstr(markdown, "hunter2"));
}

static void test_pages(void **state)
{
    (void)state;
    const struct {
        const char *argument;
        VbOptionsAction action;
    } pages[] = {{"--help", VB_OPTIONS_HELP},
                 {"-h", VB_OPTIONS_HELP},
                 {"--version", VB_OPTIONS_VERSION},
                 {"--dump-options", VB_OPTIONS_DUMP}};
    for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
        g_autoptr(VbOptions) asked = load_good(ARGS(pages[i].argument), ENV("VIRTBUS_COLOUR=pink"));
        assert_int_equal(options_action(asked), pages[i].action);
    }

    g_autoptr(VbOptions) options = load_good(ARGS(BASE), NO_ENV);
    assert_int_equal(options_action(options), VB_OPTIONS_RUN);
    g_autofree char *version = options_version(options);
    assert_string_equal(version, "test-daemon 1.2.3\n");

    g_autofree char *help = options_help(options);
    assert_non_null(strstr(help, "  --batch.records\n      Records in a batch.\n"
                                 "      [integer from 1 to 1000; default: 100]\n"));
    assert_non_null(strstr(help, "  --instance.id\n      Unique name.\n"
                                 "      [string; mandatory]\n"));
    g_auto(GStrv) lines = g_strsplit(help, "\n", -1);
    for (char **line = lines; *line; line++)
        assert_true(strlen(*line) <= 80);

    g_autofree char *markdown = options_markdown(options);
    assert_non_null(strstr(markdown, "\n| `colour` | `VIRTBUS_COLOUR` | one of red, green, blue | "
                                     "green | Which \\| one. |\n"));
}

/* Runs a child that must abort; its words are not for the test's output. */
static void expect_abort(void (*body)(const VbOptions *options))
{
    g_autoptr(VbOptions) options = load_good(ARGS(BASE), NO_ENV);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        signal(SIGTRAP, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        body(options);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(WTERMSIG(status) == SIGTRAP || WTERMSIG(status) == SIGABRT);
}

static void ask_unknown(const VbOptions *options)
{
    options_get_string(options, "no.such");
}

static void ask_wrong_type(const VbOptions *options)
{
    options_get_int(options, "colour");
}

static void ask_list_as_string(const VbOptions *options)
{
    options_get_string(options, "storage");
}

static void make_twice_named_table(const VbOptions *options)
{
    static const VbOption twice[] = {{.name = "log.level", .help = "Taken."}, {.name = NULL}};
    static const VbProgram bad = {.name = "x", .version = "1", .summary = "", .options = twice};
    (void)options;
    options_new(&bad);
}

static void test_programming_errors_abort(void **state)
{
    (void)state;
    expect_abort(ask_unknown);
    expect_abort(ask_wrong_type);
    expect_abort(ask_list_as_string);
    expect_abort(make_twice_named_table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_type_from_arguments),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_sources_in_rising_order),
        cmocka_unit_test(test_kafka_properties),
        cmocka_unit_test(test_refusals_of_values),
        cmocka_unit_test(test_unknown_variables_are_told),
        cmocka_unit_test(test_refusals_of_names),
        cmocka_unit_test(test_refusals_of_files),
        cmocka_unit_test(test_secrets_stay_hidden),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_programming_errors_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
