/* Where a volume lies: storage, install path, folders. Nothing outside the storage can be named. */
#pragma once

#include "services/host-agent/host.h"

typedef struct {
    const VbStorage *storage;
    const char *install_path;
    char *path;      /* Absolute. */
    char *temporary; /* Where it is made before it gets its name; in the same folder. */
    guint depth;     /* Folders between the storage and the volume. */
} VolumePlace;

/* In the arena. STORAGE_NOT_FOUND, UNSUPPORTED_STORAGE, or INVALID_ARGUMENT for an install path
 * that leaves the storage or has no folder vol-<volume uuid>. */
gboolean place_find(VbHost *host, VbArena *arena, const Volume *volume, VolumePlace *ret_place,
                    GError **error);
gboolean place_find_storage(VbHost *host, const StorageRef *wanted, const VbStorage **ret_storage,
                            GError **error);

/* Looks at the volume, with each folder on the way a real folder: a link or a file in a folder's
 * place is an error of the code `unsafe`. */
gboolean place_look(VbHost *host, const VolumePlace *place, ErrorCode unsafe, gboolean *ret_there,
                    struct stat *ret_stat, GError **error);

/* Makes the folders that are missing, so that QEMU's and swtpm's users can walk through them. */
gboolean place_make_folders(VbHost *host, const VolumePlace *place, GError **error);

/* Makes the names of all folders on the way durable. */
gboolean place_sync_folders(VbHost *host, const VolumePlace *place, GError **error);

/* Removes the folders on the way that are empty now, and makes that durable. */
gboolean place_remove_folders(VbHost *host, const VolumePlace *place, GError **error);
