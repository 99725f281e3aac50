/* Which firmware build a guest gets: by QEMU's firmware descriptors, and by feature, never by file
 * name. Pure: the caller reads the files. */
#pragma once

#include "common/base/error.h"

typedef struct {
    const char *name; /* "40-edk2-x86_64-secure-enrolled.json": its order among the descriptors. */
    const char *json; /* NUL-terminated. An empty one (or one that links to /dev/null) hides lower
                         folders' file. */
} VbDescriptor;

/* Descriptors that are well-formed and describe a split, raw flash build for x86_64 and q35, in the
 * order of their names. Malformed ones are left out; `problems` (of char*, may be NULL) says which
 * and why. nvram_bytes stays 0: it is the size of the template file. */
GPtrArray *firmware_parse(VbArena *arena, const VbDescriptor *descriptors, size_t n_descriptors,
                          GPtrArray *problems);

/* The first of `refs` (FirmwareRef) with exactly the wanted firmware and Secure Boot, and, unless
 * 0, template size. NULL and FIRMWARE_NOT_FOUND, naming what was looked for and what there is. */
const FirmwareRef *firmware_choose(const GPtrArray *refs, const FirmwareClass *wanted,
                                   GError **error);
