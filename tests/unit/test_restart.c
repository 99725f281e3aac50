/* test_restart: what a service's process leaves to the program that it executes in its own place.
 *
 * That program is this one, with an argument that names what to look at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bus/kafka_conf.h"
#include "common/bus/service_restart.h"
#include "common/runtime/health.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "common/runtime/signals.h"

enum { BEAT_LIMIT_MS = 60000, PROBE_MS = 100, SILENCES = 3 };

static gboolean is_shown(const char *line)
{
    g_autofree char *page = metrics_print();
    g_autofree char *whole = g_strdup_printf("\n%s\n", line);
    return strstr(page, whole) != NULL;
}

static gboolean is_due(VbBusError code)
{
    g_autoptr(GError) error = g_error_new_literal(BUS_ERROR, code, "a reason");
    return restart_is_due(error);
}

/* ---- The next programs: their exit status */

/* A stop that comes before the new program can hear it waits. */
static int next_hears_a_stop(void)
{
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGINT)) {
        return 11;
    }
    kill(getpid(), SIGTERM);
    signals_start();
    return signals_is_stop_requested() ? 0 : 12;
}

static int next_counts_on(void)
{
    restart_start();
    gboolean counts_on = is_shown("virtbus_restarts_total{cause=\"fenced\"} 1") &&
                         is_shown("virtbus_restarts_total{cause=\"failed\"} 0");
    return counts_on && strcmp(g_getenv("KEPT"), "as it was") == 0 ? 0 : 13;
}

static int next_was_open(void)
{
    restart_start();
    return is_due(BUS_ERROR_SETUP) ? 0 : 14;
}

static int next_was_never_open(void)
{
    restart_start();
    return is_due(BUS_ERROR_SETUP) ? 15 : 0;
}

static int next_knows_the_outage(void)
{
    restart_start();
    return kafka_outage().is_on && is_shown("virtbus_broker_outages_total 1") &&
                   is_shown("virtbus_broker_up 0")
               ? 0
               : 16;
}

static int next_knows_no_outage(void)
{
    restart_start();
    return kafka_outage().is_on ? 17 : 0;
}

static const struct {
    const char *name;
    int (*run)(void);
} nexts[] = {
    {"hears_a_stop", next_hears_a_stop},
    {"counts_on", next_counts_on},
    {"was_open", next_was_open},
    {"was_never_open", next_was_never_open},
    {"knows_the_outage", next_knows_the_outage},
    {"knows_no_outage", next_knows_no_outage},
};

static int next_run(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(nexts); i++) {
        if (strcmp(nexts[i].name, name) == 0) {
            return nexts[i].run();
        }
    }
    return 18;
}

/* ---- The program before */

/* Runs a service's process that does `life`, fails, and executes the next program. */
static void expect_next(const char *name, void (*life)(void))
{
    const char *const argv[] = {"test_restart", name, NULL};
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        g_autoptr(GError) error = g_error_new_literal(BUS_ERROR, BUS_ERROR_FENCED, "a reason");
        log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
        g_setenv("KEPT", "as it was", TRUE);
        signals_start();
        restart_start();
        health_watch("loop", BEAT_LIMIT_MS);
        if (life != NULL) {
            life();
        }
        restart_run((char *const *)argv, error);
        _exit(19);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void broker_lose(void)
{
    g_autoptr(GError) error = NULL;
    VbKafkaSettings nowhere = {.bootstrap = "127.0.0.1:1", .client_id = "test"};
    rd_kafka_t *handle = kafka_producer_new(&nowhere, NULL, NULL, &error);
    for (int i = 0; i < SILENCES; i++) {
        kafka_broker_probe(handle, PROBE_MS);
    }
}

static void a_stop_on_the_way_is_not_lost(void **state)
{
    (void)state;
    expect_next("hears_a_stop", NULL);
}

static void counts_go_on(void **state)
{
    (void)state;
    expect_next("counts_on", NULL);
}

static void setup_is_a_reason_once_it_was_open(void **state)
{
    (void)state;
    assert_true(is_due(BUS_ERROR_FATAL));
    assert_true(is_due(BUS_ERROR_FENCED));
    assert_false(is_due(BUS_ERROR_STOP));
    expect_next("was_open", restart_set_open);
    expect_next("was_never_open", NULL);
}

static void an_outage_is_the_same_one(void **state)
{
    (void)state;
    expect_next("knows_the_outage", broker_lose);
    expect_next("knows_no_outage", NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_on_the_way_is_not_lost),
        cmocka_unit_test(counts_go_on),
        cmocka_unit_test(setup_is_a_reason_once_it_was_open),
        cmocka_unit_test(an_outage_is_the_same_one),
    };
    return argc > 1 ? next_run(argv[1]) : cmocka_run_group_tests_name("restart", tests, NULL, NULL);
}
