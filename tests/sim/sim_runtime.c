/* What a daemon tells its surroundings, one per process: /readyz, the watchdog, "started". Many
 * simulated daemons live in one process, and nobody asks. */
#include "common/runtime/daemon.h"
#include "common/runtime/health.h"

void daemon_started(void)
{
}

void health_set_condition(const char *name, const char *reason)
{
    (void)name;
    (void)reason;
}

void health_watch(const char *loop, int64_t limit_ms)
{
    (void)loop;
    (void)limit_ms;
}

void health_beat(const char *loop)
{
    (void)loop;
}

void health_unwatch(const char *loop)
{
    (void)loop;
}
