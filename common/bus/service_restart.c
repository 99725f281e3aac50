/* See service_restart.h. */
#include "common/bus/service_restart.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "common/bus/kafka_conf.h"
#include "common/runtime/health.h"
#include "common/runtime/kill_point.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "common/runtime/signals.h"

enum {
    TURN_MS = 1000,
    BACKOFF_MAX_S = 30,
    GOOD_RUN_S = 60, /* Whoever ran that long starts counting anew. */
};

typedef enum { CAUSE_FAILED, CAUSE_FENCED, CAUSE_HALTED, N_CAUSES } Cause;

static const char *const cause_words[] = {"failed", "fenced", "halted"};
static const char *const cause_events[] = {"restart", "fenced", "halted"};

/* What one program leaves to the next, as an environment variable: numbers in this order. */
#define HERITAGE_NAME "VB_RESTARTS"

typedef struct {
    guint attempt; /* In a row. */
    guint counts[N_CAUSES];
    guint is_open;  /* The deployment was as it must be, at least once. */
    guint is_lost;  /* No broker answered at the end, and that was told. */
    guint n_losses; /* Of the broker. */
} Heritage;

static Heritage heritage;
static gint64 begin_us;

static VbMetric metric_restarts = METRICS_COUNTER(
    "virtbus_restarts_total", "Times that this process executed itself again.", "cause");
static VbMetric metric_halted = METRICS_GAUGE(
    "virtbus_halted", "1 while nothing is consumed because a person must act; /readyz says what.");

static Heritage heritage_read(const char *text)
{
    Heritage read;
    gboolean is_whole =
        text != NULL &&
        sscanf(text, "%u %u %u %u %u %u %u", &read.attempt, &read.counts[CAUSE_FAILED],
               &read.counts[CAUSE_FENCED], &read.counts[CAUSE_HALTED], &read.is_open, &read.is_lost,
               &read.n_losses) == 4 + N_CAUSES;
    return is_whole ? read : (Heritage){.attempt = 0};
}

/* The environment of the next program (g_strfreev). A copy: other threads may read their own. */
static char **heritage_write(void)
{
    VbKafkaOutage outage = kafka_outage();
    g_autofree char *text =
        g_strdup_printf("%u %u %u %u %u %u %u", heritage.attempt, heritage.counts[CAUSE_FAILED],
                        heritage.counts[CAUSE_FENCED], heritage.counts[CAUSE_HALTED],
                        heritage.is_open, (guint)outage.is_on, outage.n);
    return g_environ_setenv(g_get_environ(), HERITAGE_NAME, text, TRUE);
}

void restart_start(void)
{
    begin_us = g_get_monotonic_time();
    metrics_register(&metric_restarts);
    metrics_register(&metric_halted);
    heritage = heritage_read(g_getenv(HERITAGE_NAME));
    for (int cause = 0; cause < N_CAUSES; cause++) {
        metrics_add(&metric_restarts, heritage.counts[cause], cause_words[cause]);
    }
    kafka_outage_inherit((VbKafkaOutage){.is_on = heritage.is_lost != 0, .n = heritage.n_losses});
}

void restart_set_open(void)
{
    heritage.is_open = TRUE;
}

/* What stood in the way of a start is for whoever starts it; what comes later comes again, in a
 * process of the same pid. */
gboolean restart_is_due(const GError *error)
{
    return g_error_matches(error, BUS_ERROR, BUS_ERROR_FATAL) ||
           g_error_matches(error, BUS_ERROR, BUS_ERROR_FENCED) ||
           (heritage.is_open && g_error_matches(error, BUS_ERROR, BUS_ERROR_SETUP));
}

static Cause cause_of(const GError *error)
{
    if (g_error_matches(error, BUS_ERROR, BUS_ERROR_SETUP)) {
        return CAUSE_HALTED;
    }
    return g_error_matches(error, BUS_ERROR, BUS_ERROR_FENCED) ? CAUSE_FENCED : CAUSE_FAILED;
}

/* How long to wait, and what the next process is to know. */
static int heritage_next(Cause cause)
{
    gboolean is_good = g_get_monotonic_time() - begin_us > GOOD_RUN_S * G_USEC_PER_SEC;
    guint attempt = is_good ? 0 : heritage.attempt;
    heritage.attempt = attempt + 1;
    heritage.counts[cause]++;
    return cause == CAUSE_HALTED ? BACKOFF_MAX_S : MIN(BACKOFF_MAX_S, 1 << MIN(attempt, 5));
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

/* A stop that is asked for from here on waits, blocked, for the next program: signals_start lets it
 * in there. librdkafka's threads block every signal, and no other thread is left by now. */
static void program_execute(char *const *argv)
{
    sigset_t stops;
    sigset_t before;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stops, &before);
    if (!signals_is_stop_requested()) {
        g_auto(GStrv) environment = heritage_write();
        execve("/proc/self/exe", argv, environment);
        log_event(VB_LOG_ERROR, "exec-failed", g_strerror(errno), NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void restart_run(char *const *argv, const GError *error)
{
    Cause cause = cause_of(error);
    int seconds = heritage_next(cause);
    metrics_set(&metric_halted, cause == CAUSE_HALTED);
    health_set_condition(cause_events[cause], error->message);
    log_event(VB_LOG_ERROR, cause_events[cause], error->message, "attempt",
              log_number(heritage.attempt), "seconds", log_number(seconds), NULL);
    if (back_off(seconds)) {
        return;
    }
    health_stop(); /* Gives the port back. */
    KILL_POINT("exec-again");
    program_execute(argv);
}
