/* A UEFI variable store, as edk2 writes it to flash. Pure: bytes in, facts out; hostile bytes are
 * expected. It refuses what the firmware itself would take for damage and repair by erasing.
 * Sources: UEFI PI 1.7 vol. 3 (firmware volume header); edk2
 * MdeModulePkg/Include/Guid/VariableFormat.h and SecurityPkg/Library/AuthVariableLib. */
#pragma once

#include "common/base/error.h"

typedef struct {
    gboolean has_pk;      /* A platform key is enrolled: user mode, not set-up mode. */
    gboolean secure_boot; /* has_pk, and SecureBootEnable is 1 or absent: edk2 makes an absent one 1
                             at the next boot. Debian's enrolled template holds both. */
    gboolean has_mtc;
    guint32 mtc;       /* MonotonicCounter: the firmware adds 1 at each boot. */
    guint n_variables; /* Written completely, not deleted and not being replaced. */
} VbNvramFacts;

/* FALSE and NVRAM_CORRUPT when the bytes are no variable store whose header, size and variables are
 * sound. */
gboolean nvram_vars_read(const void *bytes, size_t size_bytes, VbNvramFacts *ret_facts,
                         GError **error);
