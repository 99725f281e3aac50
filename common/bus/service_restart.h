/* The end of a service's process that cannot go on, and the new process in its place.
 *
 *     BUS_ERROR_FATAL   log event "restart"   at once, then with a back-off up to 30 s
 *     BUS_ERROR_FENCED  log event "fenced"    the same
 *     BUS_ERROR_SETUP   log event "halted"    a person must act; every 30 s it is tried again
 *
 * Before the deployment has once been as it must be, BUS_ERROR_SETUP is for whoever starts the
 * process: it is no reason to start again.
 *
 * The new process has the old one's pid, arguments and environment, and counts on in the metric
 * virtbus_restarts_total. An outage of the broker that outlasts the old one is still the same one;
 * a stop that is asked for in between is not lost. While the old one waits it serves its pages: /readyz says why it is not
 * ready, and virtbus_halted is 1 if it waits for a person.
 */
#pragma once

#include "common/bus/bus_error.h"

/* At the start of the process, before it has threads: takes over what the one before it knew. */
void restart_start(void);

/* The deployment is as it must be: the bus is open. It holds for the next programs too. */
void restart_set_open(void);

/* Whether to call restart_run. */
gboolean restart_is_due(const GError *error);

/* Says `cause`, waits, and executes the program again. Returns only if a stop was asked for, or if
 * the program cannot be executed. */
void restart_run(char *const *argv, const GError *cause);
