/* See service_main.h. */
#include "common/bus/service_main.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/bus/bus_kafka.h"
#include "common/bus/service_options.h"
#include "common/bus/step_loop.h"
#include "common/runtime/daemon.h"
#include "common/runtime/health.h"
#include "common/runtime/log.h"
#include "common/runtime/signals.h"

enum {
    TURN_MS = 1000,
    BEAT_LIMIT_MS = 15000, /* Slices of a second, with room for a machine under load. */
    BACKOFF_MAX_S = 30,
    GOOD_RUN_S = 60, /* Whoever ran that long starts counting anew. */
};

#define ATTEMPT_NAME "VB_RESTART_ATTEMPT"

typedef struct {
    const VbService *service;
    const VbOptions *options;
    VbServiceOptions *own;
    char **argv;
    gint64 begin_us;
} ServiceRun;

static gboolean on_tick(void *user)
{
    (void)user;
    health_beat("loop");
    return signals_is_stop_requested();
}

/* ---- The end of a process that cannot go on */

static int attempt_of(const ServiceRun *run)
{
    const char *text = g_getenv(ATTEMPT_NAME);
    gboolean is_good = g_get_monotonic_time() - run->begin_us > GOOD_RUN_S * G_USEC_PER_SEC;
    return text != NULL && !is_good ? CLAMP(atoi(text), 0, 30) : 0;
}

/* Sleeps with the health pages still there. TRUE: asked to end meanwhile. */
static gboolean back_off(int seconds)
{
    gint64 end_us = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
    while (!signals_is_stop_requested() && g_get_monotonic_time() < end_us) {
        struct pollfd stop = {.fd = signals_stop_fd(), .events = POLLIN};
        health_beat("loop");
        poll(&stop, 1, TURN_MS);
    }
    return signals_is_stop_requested();
}

/* A new process of the same pid: init_transactions fences what this one left, restore reads what
 * was really committed. Returns only if that is not to be. */
static void run_again(const ServiceRun *run, const GError *cause)
{
    int attempt = attempt_of(run);
    int seconds = MIN(BACKOFF_MAX_S, 1 << MIN(attempt, 5));
    log_event(VB_LOG_ERROR, "restart", cause->message, "attempt", log_number(attempt + 1),
              "seconds", log_number(seconds), NULL);
    if (back_off(seconds)) {
        return;
    }
    g_autofree char *next = g_strdup_printf("%d", attempt + 1);
    g_setenv(ATTEMPT_NAME, next, TRUE);
    health_stop(); /* Gives the port back. */
    execv("/proc/self/exe", run->argv);
    log_event(VB_LOG_ERROR, "exec-failed", g_strerror(errno), NULL);
}

/* ---- The loop */

static void restored_tell(const VbLoop *loop, guint *told)
{
    guint n = loop_partitions(loop);
    if (n != *told) {
        health_set_condition("restored", n > 0 ? NULL : "no partition is assigned and restored");
        *told = n;
    }
}

static gboolean loop_run(VbLoop *loop, GError **error)
{
    guint told = 0;
    while (!signals_is_stop_requested()) {
        health_beat("loop");
        if (!loop_turn(loop, TURN_MS, error)) {
            return FALSE;
        }
        restored_tell(loop, &told);
    }
    return TRUE;
}

static gboolean bus_run(const ServiceRun *run, GError **error)
{
    VbBusKafkaConfig bus_config = {.kafka = kafka_settings(run->options, run->own->client_id),
                                   .service = run->service,
                                   .prefix = options_get_string(run->options, "topic.prefix"),
                                   .group_id = run->own->group_id,
                                   .instance_id = run->own->instance_id,
                                   .tick = on_tick};
    VbLoopConfig loop_config = {.service = run->service,
                                .settings = &run->own->settings,
                                .prefix = bus_config.prefix,
                                .instance_id = run->own->instance_id};
    VbBus *bus = bus_kafka_open(&bus_config, &loop_config.n_partitions, error);
    if (bus == NULL) {
        return FALSE;
    }
    g_autoptr(VbLoop) loop = loop_new(bus, &loop_config);
    gboolean done = loop_run(loop, error);
    /* A handle with a fatal error may take its time to close; the new process does without. */
    if (done || !g_error_matches(*error, BUS_ERROR, BUS_ERROR_FATAL)) {
        bus_kafka_close(bus);
    }
    return done;
}

/* ---- The process */

static int service_run(ServiceRun *run)
{
    GError *error = NULL;
    health_set_condition("restored", "no partition is assigned and restored");
    health_watch("loop", BEAT_LIMIT_MS);
    gboolean done = bus_run(run, &error);
    if (!done && g_error_matches(error, BUS_ERROR, BUS_ERROR_FATAL)) {
        run_again(run, error);
        done = signals_is_stop_requested();
    } else if (!done && g_error_matches(error, BUS_ERROR, BUS_ERROR_STOP)) {
        done = TRUE;
    } else if (!done) {
        log_event(VB_LOG_ERROR, "refused", error->message, NULL);
    }
    g_clear_error(&error);
    health_unwatch("loop");
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

int service_main(int argc, char **argv, const VbService *service)
{
    const VbProgram program = {.name = service->name,
                               .version = VIRTBUS_VERSION,
                               .summary = "Runs one step for each record of its topics, exactly "
                                          "once, and keeps the states of its VMs in Kafka.",
                               .options = service_options};
    g_autoptr(VbOptions) options = NULL;
    g_autoptr(GError) error = NULL;
    int status;
    gint64 begin_us = g_get_monotonic_time();
    if (!daemon_start(&program, argc, argv, &options, &status)) {
        return status;
    }
    g_autoptr(VbServiceOptions) own = service_options_new(options, service->name, &error);
    if (own == NULL) {
        log_event(VB_LOG_ERROR, "refused", error->message, NULL);
        daemon_stop();
        return DAEMON_STATUS_USAGE;
    }
    ServiceRun run = {
        .service = service, .options = options, .own = own, .argv = argv, .begin_us = begin_us};
    status = service_run(&run);
    daemon_stop();
    return status;
}
