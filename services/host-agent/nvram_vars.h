/* A UEFI variable store, as edk2 writes it to flash. Pure: bytes in, facts out; hostile bytes are
 * expected. Sources: UEFI PI 1.7 vol. 3 (firmware volume header); edk2
 * MdeModulePkg/Include/Guid/VariableFormat.h. */
#pragma once

#include "common/base/error.h"

typedef struct {
    gboolean secure_boot; /* PK is enrolled and SecureBootEnable is 1. */
    gboolean has_pk;
    gboolean has_mtc;
    guint32 mtc;       /* MonotonicCounter: the firmware adds 1 at each boot. */
    guint n_variables; /* Live ones. */
} VbNvramFacts;

/* FALSE and NVRAM_CORRUPT when the bytes are no variable store whose header, size and variables are
 * sound. */
gboolean nvram_vars_read(const void *bytes, size_t size_bytes, VbNvramFacts *ret_facts,
                         GError **error);
