/*
 * daemon: the first and the last call of every main().
 *
 *   g_autoptr(VbOptions) options = NULL;
 *   int status;
 *   if (!daemon_start(&program, argc, argv, &options, &status))
 *       return status;
 *   ... wiring, with the conditions of /readyz; then daemon_started();
 *   ... work, until signals_is_stop_requested() ...
 *   daemon_stop();
 *
 * It forks nothing, changes no user and writes no pid file: the supervisor does.
 */
#pragma once

#include "common/runtime/options.h"

#define DAEMON_STATUS_USAGE 2 /* the exit status for wrong options */

/* Reads the options, then starts signals, log and health, in this order. False means: end now with
 * ret_status, which is 0 after --help, --version or --dump-options; everything was said already.
 * Call it before the first thread starts. */
bool daemon_start(const VbProgram *program, int argc, char *const *argv, VbOptions **ret_options,
                  int *ret_status);

/* All that /readyz waits for is declared by now; until this call it says that the daemon starts. */
void daemon_started(void);

/* Ends the health server and says goodbye in the log. */
void daemon_stop(void);
