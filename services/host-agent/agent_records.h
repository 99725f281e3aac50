/* The agent's records: commands as it reads them; reports, heartbeats and dead letters as it writes
 * them. Bytes only: bringing them to a broker is another's work, see agent_bus.h. */
#pragma once

#include "common/base/arena.h"
#include "common/bus/bus.h"
#include "virtbus/v1/virtbus.h"

/* A command that passed every check of form; its key is its vm_uuid. */
typedef struct {
    gint64 offset;
    const HostCommand *command;
    const char *traceparent; /* NULL: it had none. */
} VbAgentCommand;

/* Everything that is returned lies in the arena or is the caller's. */

/* FALSE: no command that an agent can take; why is in `ret_error`, for its dead letter. */
gboolean agent_record_read(VbArena *arena, const VbBusRecord *record, VbAgentCommand *ret_command,
                           const Error **ret_error);

/* `traceparent`: of the command; may be NULL. The partition is the key's and is not filled in. */
VbBusMessage agent_record_report(VbArena *arena, const char *host_uuid, const HostReport *report,
                                 const char *traceparent);
VbBusMessage agent_record_info(VbArena *arena, const char *host_uuid, const HostInfo *info);
VbBusMessage agent_record_dlq(VbArena *arena, const char *prefix, const char *host_uuid,
                              const VbBusRecord *record, const Error *error);
