/* The agent's own options, and the host's configuration from them. */
#pragma once

#include "common/runtime/options.h"
#include "services/host-agent/host.h"

extern const VbOption agent_option_rows[];

/* The host's uuid: `wanted`, or when that is empty UUIDv5 of the machine's id, so that it outlives
 * the agent's own folders. Free with g_free. NULL and INVALID_ARGUMENT. */
char *agent_host_uuid(const char *wanted, const char *machine_id_path, GError **error);

/* Makes the folders, takes the lock on the state folder for as long as the process lives, and finds
 * the host's uuid. NULL: an option or a folder is wrong. It lives as long as the process.
 */
VbHostConfig *agent_host_config(const VbOptions *options, GError **error);
