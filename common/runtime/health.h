/*
 * health: GET /metrics, /healthz and /readyz over HTTP, from a thread of its own.
 *
 * It answers while every other thread is blocked, and sleeps while nobody asks. One per process.
 *   /metrics  metrics_print()
 *   /healthz  200 while every watched loop has beaten within its limit, else 503 naming the loop
 *   /readyz   200 while every named condition is met, else 503 with a line for each unmet one
 * Conditions and beats work the same when no server runs.
 *
 * It refuses everything but GET and HEAD, and offers no TLS and no log-in: bind it to a trusted
 * address.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VB_HEALTH_ERROR (health_error_quark())
GQuark health_error_quark(void);
typedef enum {
    VB_HEALTH_ERROR_ADDRESS, /* the text is not HOST:PORT */
    VB_HEALTH_ERROR_LISTEN,  /* the system refuses it: in use, not ours, no such host */
} VbHealthError;

/* listen: "127.0.0.1:9464", "[::1]:9464", "0.0.0.0:9464"; port 0 picks a free one. "" is success
 * without a server. ret_port, if not NULL, is the port, or 0 without a server. */
bool health_start(const char *listen, uint16_t *ret_port, GError **error);
/* Ends the server; conditions and loops stay. Harmless without a start. */
void health_stop(void);

/* Declares a condition, or changes it. reason says why it is unmet; NULL means met. */
void health_set_condition(const char *name, const char *reason);

/* Watches a loop from now on: it must call health_beat at least every limit_ms. */
void health_watch(const char *loop, int64_t limit_ms);
/* The loop turns. Aborts for a loop that is not watched. */
void health_beat(const char *loop);
/* The loop ended in order. */
void health_unwatch(const char *loop);
