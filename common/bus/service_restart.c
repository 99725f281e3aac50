/* See service_restart.h. */
#include "common/bus/service_restart.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "common/runtime/health.h"
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

/* What one process leaves to the next: attempts in a row, and restarts by cause. */
#define HERITAGE_NAME "VB_RESTARTS"

typedef struct {
    guint attempt;
    guint counts[N_CAUSES];
} Heritage;

static Heritage heritage;
static gint64 begin_us;

static VbMetric metric_restarts = METRICS_COUNTER(
    "virtbus_restarts_total", "Times that this process executed itself again.", "cause");
static VbMetric metric_halted = METRICS_GAUGE(
    "virtbus_halted", "1 while nothing is consumed because a person must act; /readyz says what.");

void restart_start(void)
{
    const char *text = g_getenv(HERITAGE_NAME);
    begin_us = g_get_monotonic_time();
    metrics_register(&metric_restarts);
    metrics_register(&metric_halted);
    if (text == NULL || sscanf(text, "%u %u %u %u", &heritage.attempt, &heritage.counts[0],
                               &heritage.counts[1], &heritage.counts[2]) != 1 + N_CAUSES) {
        heritage = (Heritage){.attempt = 0};
    }
    for (int cause = 0; cause < N_CAUSES; cause++) {
        metrics_add(&metric_restarts, heritage.counts[cause], cause_words[cause]);
    }
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
    g_autofree char *text =
        g_strdup_printf("%u %u %u %u", heritage.attempt, heritage.counts[CAUSE_FAILED],
                        heritage.counts[CAUSE_FENCED], heritage.counts[CAUSE_HALTED]);
    g_setenv(HERITAGE_NAME, text, TRUE);
    health_stop(); /* Gives the port back. */
    execv("/proc/self/exe", argv);
    log_event(VB_LOG_ERROR, "exec-failed", g_strerror(errno), NULL);
}
