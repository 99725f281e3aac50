/* Which firmware build a guest gets: by QEMU's firmware descriptors, and by feature, never by file
 * name. Pure: the caller reads the files. */
#pragma once

#include "common/base/error.h"

typedef struct {
    const char *name; /* "40-edk2-x86_64-secure-enrolled.json": its order among the descriptors. */
    const char *json; /* NUL-terminated. Empty (also a link to /dev/null): hides the file of this
                         name in the folders before. */
} VbDescriptor;

/* Builds for x86_64 and q35 that are UEFI, flash, split and raw, in the order of their names: of
 * FirmwareRef, in the arena; free with g_ptr_array_unref. `descriptors` come in rising precedence
 * of their folders: of equal names the last one counts. A build with only some of secure-boot,
 * enrolled-keys and requires-smm serves neither kind of guest and is left out. Malformed ones are
 * left out too, and `problems` (of char *, in the arena; may be NULL) says which and why.
 * nvram_bytes stays 0: it is the size of the template file, which the caller fills in. */
GPtrArray *firmware_parse(VbArena *arena, const VbDescriptor *descriptors, size_t n_descriptors,
                          GPtrArray *problems);

/* The first of `refs` (FirmwareRef) with exactly the wanted firmware and Secure Boot, and, unless
 * 0, template size. NULL and FIRMWARE_NOT_FOUND, naming what was looked for and what there is. */
const FirmwareRef *firmware_choose(const GPtrArray *refs, const FirmwareClass *wanted,
                                   GError **error);
