/* How a variable store is made. How it is checked: nvram_verify in volumes.h. */
#pragma once

#include "services/host-agent/host.h"

/* Reads the build's template, and makes sure that it is a variable store of the build's class. In
 * the arena. FIRMWARE_NOT_FOUND otherwise. */
gboolean nvram_load_template(VbHost *host, VbArena *arena, const FirmwareRef *firmware,
                             void **ret_bytes, size_t *ret_size_bytes, GError **error);
