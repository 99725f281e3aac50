/* The agent's own options, and the host's configuration from them. */
#pragma once

#include "common/runtime/options.h"
#include "services/host-agent/host.h"

extern const VbOption agent_option_rows[];

/* Makes the folders, takes the lock on the state folder for as long as the process lives, and reads
 * or makes the host's uuid. NULL: an option or a folder is wrong. It lives as long as the process.
 */
VbHostConfig *agent_host_config(const VbOptions *options, GError **error);
