/* GErrors whose code is a stable ErrorCode of the contract, and their way into and out of messages.
 */
#pragma once

#include "common/base/arena.h"
#include "virtbus/v1/virtbus.h"

#define VB_ERROR (vb_error_quark())
GQuark vb_error_quark(void);

/* An Error message in the arena. Its text is made fit for any reader: one line of valid UTF-8,
 * about 1 KiB at most. */
Error *error_make(VbArena *arena, ErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* The same from a GError. One of another domain than VB_ERROR becomes INTERNAL. */
Error *error_from_gerror(VbArena *arena, const GError *gerror);

/* The same from what another process says, which keeps no bounds of its own; NULL stays NULL. */
Error *error_tame(VbArena *arena, const Error *foreign);
