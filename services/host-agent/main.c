/* virtbus-host-agent: wiring only. The decisions are in host_core.c, what they do to the host in
 * effects.c, the loop in agent.c. */
#include <stdlib.h>
#include <unistd.h>

#include "common/runtime/daemon.h"
#include "common/runtime/log.h"
#include "services/host-agent/agent.h"
#include "services/host-agent/agent_options.h"
#include "services/host-agent/audit.h"
#include "services/host-agent/files_posix.h"
#include "services/host-agent/hypervisor_libvirt.h"
#include "services/host-agent/switch_ovs.h"
#include "services/host-agent/volumes.h"

enum { FLUSH_MS = 5000 };

static const VbProgram program = {
    .name = "host-agent",
    .version = VIRTBUS_VERSION,
    .summary = "Runs the virtual machines of one host as Kafka commands say.",
    .options = agent_option_rows,
};

static gint64 now_ms(void *clock)
{
    (void)clock;
    return g_get_real_time() / 1000;
}

static void wait_ms(void *clock, gint64 duration_ms)
{
    (void)clock;
    g_usleep((gulong)duration_ms * 1000);
}

/* Everything that the agent needs, made and run. Nothing is taken down: the process ends behind it.
 */
static gboolean run(const VbOptions *options, GError **error)
{
    VbHostConfig *config = agent_host_config(options, error);
    if (config == NULL) {
        return FALSE;
    }
    VbHost host = {.config = config,
                   .files = files_posix(),
                   .failed_syncs = failed_syncs_new(),
                   .now_ms = now_ms,
                   .wait_ms = wait_ms};
    const char *audit_path = options_get_string(options, "audit.file");
    if (audit_path[0] != '\0') {
        host.audit = audit_new(audit_path, config->host_uuid, error);
        if (host.audit == NULL) {
            return FALSE;
        }
    }
    VbAgentConfig agent_config = {
        .host = &host,
        .drain_timeout_ms = options_get_duration_ms(options, "drain.timeout"),
        .version = VIRTBUS_VERSION,
    };
    g_autofree char *client_id = g_strdup_printf("host-agent/%s", config->host_uuid);
    VbKafkaSettings settings = kafka_settings(options, client_id);
    VbAgent *agent = agent_new(&agent_config);
    VbAgentBus *bus = agent_bus_new(&settings, options_get_string(options, "topic.prefix"),
                                    config->host_uuid, agent_report_fate, agent, error);
    if (bus == NULL) {
        return FALSE;
    }
    log_event(VB_LOG_INFO, "host", "This host has a name.", "host", config->host_uuid, NULL);
    host.ports = switch_ovs_new(config->ovs_db);
    host.hypervisor =
        hypervisor_libvirt_new(config->libvirt_uri, config->domain_type, agent_domain_event, agent);
    gboolean done = agent_run(agent, bus, error);
    if (agent_is_quiet(agent)) {
        agent_bus_end(bus, FLUSH_MS);
    }
    return done;
}

int main(int argc, char **argv)
{
    g_autoptr(VbOptions) options = NULL;
    g_autoptr(GError) error = NULL;
    int status = EXIT_SUCCESS;
    if (!daemon_start(&program, argc, argv, &options, &status)) {
        return status;
    }
    gboolean done = run(options, &error);
    if (!done) {
        log_event(VB_LOG_ERROR, "failed", error->message, NULL);
    }
    daemon_stop();
    /* Threads of libvirt may still call into the agent: no exit handler may pull it away. */
    _exit(done ? EXIT_SUCCESS : EXIT_FAILURE);
}
