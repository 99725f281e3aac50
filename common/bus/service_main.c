/* See service_main.h. */
#include "common/bus/service_main.h"

#include <stdlib.h>

#include "common/bus/bus_kafka.h"
#include "common/bus/service_options.h"
#include "common/bus/service_restart.h"
#include "common/bus/step_loop.h"
#include "common/runtime/daemon.h"
#include "common/runtime/health.h"
#include "common/runtime/log.h"
#include "common/runtime/signals.h"

enum {
    TURN_MS = 1000,
    BEAT_LIMIT_MS = 15000, /* Slices of a second, with room for a machine under load. */
};

typedef struct {
    const VbService *service;
    const VbOptions *options;
    VbServiceOptions *own;
    char **argv;
} ServiceRun;

static gboolean on_tick(void *user)
{
    (void)user;
    health_beat("loop");
    return signals_is_stop_requested();
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

static gboolean bus_run(ServiceRun *run, GError **error)
{
    VbBusKafkaConfig bus_config = {.kafka = kafka_settings(run->options, run->own->client_id),
                                   .service = run->service,
                                   .prefix = options_get_string(run->options, "topic.prefix"),
                                   .group_id = run->own->group_id,
                                   .instance_id = run->own->instance_id,
                                   .tick = on_tick};
    VbLoopConfig loop_config = {.service = run->service,
                                .settings = &run->own->settings,
                                .group_id = bus_config.group_id,
                                .prefix = bus_config.prefix,
                                .instance_id = run->own->instance_id};
    VbBus *bus = bus_kafka_open(&bus_config, &loop_config.n_partitions, error);
    if (bus == NULL) {
        return FALSE;
    }
    restart_set_open();
    g_autoptr(VbLoop) loop = loop_new(bus, &loop_config);
    gboolean done = loop_run(loop, error);
    /* A handle with a fatal error may take its time to close; the new process does without. */
    if (done || g_error_matches(*error, BUS_ERROR, BUS_ERROR_SETUP) ||
        g_error_matches(*error, BUS_ERROR, BUS_ERROR_STOP)) {
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
    daemon_started();
    gboolean done = bus_run(run, &error);
    if (!done && restart_is_due(error)) {
        restart_run(run->argv, error);
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
    restart_start();
    if (!daemon_start(&program, argc, argv, &options, &status)) {
        return status;
    }
    g_autoptr(VbServiceOptions) own = service_options_new(options, service->name, &error);
    if (own == NULL) {
        log_event(VB_LOG_ERROR, "refused", error->message, NULL);
        daemon_stop();
        return DAEMON_STATUS_USAGE;
    }
    ServiceRun run = {.service = service, .options = options, .own = own, .argv = argv};
    status = service_run(&run);
    daemon_stop();
    return status;
}
