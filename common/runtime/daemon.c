/*
 * daemon: see daemon.h.
 */
#include "common/runtime/daemon.h"
#include "common/runtime/health.h"
#include "common/runtime/log.h"
#include "common/runtime/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Makes the page that the command line asks for; NULL when it asks for none. */
static char *page_of(const VbOptions *options)
{
    switch (options_action(options)) {
    case VB_OPTIONS_RUN:
        return NULL;
    case VB_OPTIONS_HELP:
        return options_help(options);
    case VB_OPTIONS_VERSION:
        return options_version(options);
    case VB_OPTIONS_DUMP:
        return options_markdown(options);
    }
    g_assert_not_reached();
}

bool daemon_start(const VbProgram *program, int argc, char *const *argv, VbOptions **ret_options,
                  int *ret_status)
{
    g_autoptr(VbOptions) options = options_new(program);
    g_autoptr(GError) error = NULL;
    if (!options_load(options, argc, argv, (const char *const *)environ, &error)) {
        fprintf(stderr, "%s: %s\n", program->name, error->message);
        *ret_status = DAEMON_STATUS_USAGE;
        return false;
    }
    g_autofree char *page = page_of(options);
    if (page) {
        bool is_written = fputs(page, stdout) >= 0 && fflush(stdout) == 0;
        *ret_status = is_written ? EXIT_SUCCESS : EXIT_FAILURE;
        return false;
    }

    signals_start();
    log_start(program->name, (VbLogLevel)options_get_enum(options, "log.level"),
              (VbLogFormat)options_get_enum(options, "log.format"));
    const char *listen = options_get_string(options, "http.listen");
    uint16_t port;
    health_set_condition("daemon", "it is starting");
    if (!health_start(listen, &port, &error)) {
        log_event(VB_LOG_ERROR, "start-failed", error->message, NULL);
        *ret_status = EXIT_FAILURE;
        return false;
    }
    log_event(VB_LOG_INFO, "started", "The daemon starts.", "version", program->version, "pid",
              log_number(getpid()), "http.listen", *listen ? listen : NULL, "http.port",
              *listen ? log_number(port) : NULL, NULL);
    for (const char *const *name = options_get_ignored(options); *name; name++)
        log_event(VB_LOG_WARNING, "variable-ignored",
                  "This environment variable is no option here.", "variable", *name, NULL);
    *ret_options = g_steal_pointer(&options);
    return true;
}

void daemon_started(void)
{
    health_set_condition("daemon", NULL);
}

void daemon_stop(void)
{
    health_stop();
    log_event(VB_LOG_INFO, "stopped", "The daemon ended in order.", NULL);
}
