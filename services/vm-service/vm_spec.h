/* What a configuration may say, and what it means once every default that needs no host is filled
 * in. Pure. */
#pragma once

#include "common/base/error.h"

/* The spec as the VM record keeps it, in the arena. NULL and `ret_error`, which names the field,
 * when it cannot be. */
VmSpec *vm_spec_resolve(VbArena *arena, const char *vm_uuid, const VmSpec *asked,
                        const Settings *settings, Error **ret_error);

/* S4: UEFI of either kind, and a TPM or Secure Boot, or the policy that keeps all UEFI variables.
 */
gboolean vm_spec_needs_nvram(const VmSpec *spec, const Settings *settings);

gboolean vm_spec_is_windows(const VmSpec *spec);

/* What a firmware build must be for this VM; NULL: Legacy BIOS needs none. Its nvram_bytes is 0. */
FirmwareClass *vm_spec_firmware_class(VbArena *arena, const VmSpec *spec);
