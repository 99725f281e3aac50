/* The agent's shell: it carries commands, results and events to host_step, and what that decides to
 * the journal, the effects and the bus, in this order.
 *
 * One thread, the caller of agent_run, owns every VM. Effects block, so each runs on a thread of its
 * own, at most one at a time for one VM: a VM that waits holds up no other. Heartbeats, syncs, the
 * list of domains and the opening of the topic share one more thread. Nothing is decided here. */
#pragma once

#include "services/host-agent/agent_bus.h"
#include "services/host-agent/host_core.h"

typedef struct VbAgent VbAgent;

typedef struct {
    VbHost *host;
    gint64 drain_timeout_ms; /* How long the end waits for effects that run. */
    const char *version;     /* Of the agent. */
} VbAgentConfig;

/* Borrows all. The hypervisor in `host` may be set later, before agent_run. An agent lives as long
 * as its process: threads that a hung libvirt holds may come back at any time. */
VbAgent *agent_new(const VbAgentConfig *config);
/* VbDomainEventFunction and VbReportFate; `agent` is a VbAgent. The first from any thread. */
void agent_domain_event(void *agent, const char *vm_uuid, VbDomainEventKind kind, StopReason reason,
                        guint nic_index);
void agent_report_fate(void *agent, const char *vm_uuid, gboolean delivered);

/* Loads the journal, looks at every VM in it and at every domain of virtbus that libvirt knows, takes
 * up commands after that, and works until the process is asked to stop. FALSE:
 * the journal cannot be read or written, or the bus failed for good; the process must end, and the
 * next one goes on where this one was. */
gboolean agent_run(VbAgent *agent, VbAgentBus *bus, GError **error);

/* After agent_run: FALSE when threads still work for it, and may use the bus. */
gboolean agent_is_quiet(VbAgent *agent);
