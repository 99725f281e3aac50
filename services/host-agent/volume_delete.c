/* Deletes volumes whose deletion is committed. What is not there counts as deleted.
 *
 * It never follows a link, never leaves the storage, and touches only what lies in folders that
 * carry the volume's own uuid.
 */
#include "services/host-agent/volumes.h"

#include "common/runtime/kill_point.h"
#include "services/host-agent/audit.h"
#include "services/host-agent/volume_files.h"
#include "services/host-agent/volume_place.h"

static gboolean delete_one(VbHost *host, VbArena *arena, const HostVm *vm, const Volume *volume,
                           GError **error)
{
    VolumePlace place;
    struct stat facts;
    gboolean there = FALSE;
    if (!place_find(host, arena, volume, &place, error) ||
        !place_look(host, &place, ERROR_CODE_STORAGE_IO, &there, &facts, error)) {
        return FALSE;
    }
    gboolean removed = volume->type == VOLUME_TYPE_TPM_STATE
                           ? tpm_remove(host, place.path, error)
                           : store_unlink(host->files, place.path, error);
    if (!removed) {
        return FALSE;
    }
    /* Told at once: when what follows fails, the next try finds nothing to tell of. */
    audit_add_deleted(host, vm, place.path, there, &facts);
    return store_unlink(host->files, place.temporary, error) &&
           place_remove_folders(host, &place, error);
}

void volumes_delete(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result)
{
    const DeleteVolumes *command = vm->command->delete_volumes;
    VolumesDeleted *body = ARENA_MSG(arena, volumes_deleted);
    for (size_t i = 0; i < command->n_volumes; i++) {
        Volume *volume = command->volumes[i];
        g_autoptr(GError) error = NULL;
        VolumeResult *result = ARENA_MSG(arena, volume_result);
        result->volume = arena_copy(arena, volume);
        /* One that cannot be deleted does not keep the others: each is tried. */
        if (!delete_one(host, arena, vm, volume, &error)) {
            volume_result_fail(arena, ret_result, result, error);
        }
        ARENA_APPEND(arena, body->n_results, body->results, result);
        KILL_POINT("volume-deleted");
    }
    ret_result->report = ARENA_MSG(arena, host_report);
    ret_result->report->report_case = HOST_REPORT__REPORT_VOLUMES_DELETED;
    ret_result->report->volumes_deleted = body;
}
