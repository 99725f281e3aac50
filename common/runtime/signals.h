/*
 * signals: SIGTERM and SIGINT become a flag and a file descriptor that any loop can poll.
 *
 * The first signal asks for an orderly end. A second one ends the process at once, by its default
 * action, so that whoever waits sees the signal. SIGPIPE is ignored: a broken connection is an
 * error code. Needs no GMainLoop. Children made with GLib get SIGPIPE's default back by themselves.
 */
#pragma once

#include <stdbool.h>

/* Installs the handlers and unblocks both signals: one that came while they were blocked, even
 * before this program was executed, is heard now. Call it once, before the first thread starts. */
void signals_start(void);

bool signals_is_stop_requested(void);

/* Readable for good once a stop is requested. Poll it; never read or close it. */
int signals_stop_fd(void);
