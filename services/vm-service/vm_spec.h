/* What a configuration may say, and what it means once every default that needs no host is filled
 * in. Pure. */
#pragma once

#include "common/base/error.h"

/* The spec as the VM record keeps it, in the arena. `before` is what the record has; NULL: there is
 * none. NULL and `ret_error`, which names the field, when it cannot be. */
VmSpec *vm_spec_resolve(VbArena *arena, const char *vm_uuid, const VmSpec *asked,
                        const VmSpec *before, const Settings *settings, Error **ret_error);

/* Whether two references name one storage; NULL is none. */
gboolean vm_spec_is_same_storage(const StorageRef *a, const StorageRef *b);

/* S4: UEFI of either kind, and a TPM or Secure Boot, or the policy that keeps all UEFI variables.
 */
gboolean vm_spec_needs_nvram(const VmSpec *spec, const Settings *settings);

gboolean vm_spec_is_windows(const VmSpec *spec);

/* What a firmware build must be for this VM; NULL: Legacy BIOS needs none. Its nvram_bytes is 0. */
FirmwareClass *vm_spec_firmware_class(VbArena *arena, const VmSpec *spec);
