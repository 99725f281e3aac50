/* What this host can do, for people: capabilities and room, as they are now. */
#pragma once

#include "services/host-agent/host.h"

/* Asks libvirt, the switch and the file system; blocks as long as they do. In the arena, without
 * the agent's own version and start. Never fails: what does not answer is not usable. */
HostInfo *heartbeat_collect(VbHost *host, VbArena *arena);
