/* The end of a service's process that cannot go on, and the new process in its place.
 *
 *     BUS_ERROR_FATAL   log event "restart"   at once, then with a back-off up to 30 s
 *     BUS_ERROR_FENCED  log event "fenced"    the same
 *     BUS_ERROR_SETUP   log event "halted"    a person must act; every 30 s it is tried again
 *
 * The new process has the old one's pid, arguments and environment, and counts on in the metric
 * virtbus_restarts_total. While the old one waits it serves its pages: /readyz says why it is not
 * ready, and virtbus_halted is 1 if it waits for a person. It never decides whether to restart.
 */
#pragma once

#include "common/bus/bus_error.h"

/* At the start of the process: takes over what the one before it has counted. */
void restart_start(void);

/* Says `cause`, waits, and executes the program again. Returns only if a stop was asked for, or if
 * the program cannot be executed. */
void restart_run(char *const *argv, const GError *cause);
