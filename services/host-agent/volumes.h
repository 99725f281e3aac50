/* Volumes on this host: made, checked, synced, deleted. Uses the files vtable only. */
#pragma once

#include "services/host-agent/host_core.h"

/* EFFECT_CREATE_VOLUMES and EFFECT_DELETE_VOLUMES of vm->command. They set `error` (the first one)
 * and `report` with its body, and leave the rest of the result alone.
 *
 * Creating: all volumes are checked before the first is made. What fails the check, or the first
 * that cannot be made, has a result with its error; a volume without a result was not touched.
 * Deleting: each volume is tried and has a result. */
void volumes_create(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result);
void volumes_delete(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result);

/* Gives `one`, whose volume is set, its error. The first of a report is `whole`'s error too and
 * keeps its text; later ones are cut, so that a report of many fits a message. */
void volume_result_fail(VbArena *arena, VbEffectResult *whole, VolumeResult *one,
                        const GError *cause);

/* Absolute path of a volume or image on this host, in the arena. NULL and STORAGE_NOT_FOUND or
 * INVALID_ARGUMENT (an install path or image name that leaves its folder). */
char *volume_path(VbHost *host, VbArena *arena, const Volume *volume, GError **error);
char *volume_image_path(VbHost *host, VbArena *arena, const StorageRef *storage, const char *image,
                        GError **error);

/* I3: the checks of DESIGN 5 on the NVRAM file, immediately before a start. `ret_path` is in the
 * arena. */
gboolean nvram_verify(VbHost *host, VbArena *arena, const Volume *volume,
                      const FirmwareClass *wanted, char **ret_path, GError **error);

/* Whether swtpm is installed; TPM_UNAVAILABLE says what is not. */
gboolean tpm_is_available(VbHost *host, GError **error);

/* Makes libvirt's swtpm folder for this VM a link to the volume, and checks that a state which was
 * there once still is (TPM_STATE_MISSING). `state_expected`: a domain with this TPM has run. When
 * none has, the rest of a set-up that was cut off is removed, so that libvirt begins anew.
 * `ret_path` is the volume's folder, in the arena. */
gboolean tpm_prepare(VbHost *host, VbArena *arena, const char *vm_uuid, const Volume *volume,
                     gboolean state_expected, char **ret_path, GError **error);
/* Removes the link. Never the state. */
gboolean tpm_unlink(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error);
/* Removes the volume's folder with the state in it. */
gboolean tpm_remove(VbHost *host, const char *path, GError **error);

/* Which state files could be synced while this agent lives, and which could not. Any thread may use
 * it. */
VbFailedSyncs *failed_syncs_new(void);
void failed_syncs_free(VbFailedSyncs *failed);

/* fsync of a file, or of each regular file below a folder and the folders themselves. Writes to
 * none. What came of it is remembered in host->failed_syncs. */
gboolean state_sync(VbHost *host, const char *path, GError **error);
/* The same for the state of a domain of ours that is gone. After a sync that failed, be it minutes
 * ago, Linux takes the bytes for written, and the next sync says that all is well. So a file of
 * which a sync has failed, or which this agent has not synced yet (the one before it may have died
 * of a sync that failed), gets its own bytes once more and is synced again. `has_failed`: all do, an
 * earlier try left some. Not done to a file above 16 MiB, with several names, or behind a link:
 * there the sync alone counts, as where a sync is not known to have failed and the storage is full.
 * What is written is what the page cache holds. Linux keeps it there when it could not be written;
 * where it was evicted since, the loss cannot be seen from here. Nor is known what failed while the
 * domain ran before an agent died, once a later sync was good. */
gboolean state_settle(VbHost *host, const char *path, gboolean has_failed, GError **error);

/* The build to use on this host: the pinned one while it is of the wanted class and its files are
 * there, else one of the same class; `ret_replaced` when that is because a pinned file is gone.
 * With nvram_bytes filled in. In the arena. NULL and FIRMWARE_NOT_FOUND. */
FirmwareRef *firmware_resolve(VbHost *host, VbArena *arena, const FirmwareClass *wanted,
                              const FirmwareRef *pinned, gboolean *ret_replaced, GError **error);
/* All builds found, for the heartbeat: of FirmwareRef, in the arena; free with g_ptr_array_unref.
 */
GPtrArray *firmware_list(VbHost *host, VbArena *arena);
