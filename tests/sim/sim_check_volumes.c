/* I1, I2 and I4: what a committed record says to exist is on its disk, once, until a committed
 * record says that it shall go.
 *
 * What the design allows, and so does this: a file that somebody else deleted or truncated is not
 * looked at any more. A TPM's state may be lost with the host's power as long as its guest runs, or
 * no agent has synced it since: swtpm replaces it whole and syncs nothing. Every other file was synced
 * before it was acknowledged, and must be there whatever happens. */
#include <string.h>

#include "common/base/text.h"
#include "tests/sim/sim_check.h"

CheckVolume *check_volume_find(SimCheck *check, const char *uuid)
{
    return g_hash_table_lookup(check->volumes, uuid);
}

/* ---- Files */

gboolean check_volume_file(SimCheck *check, const CheckVolume *volume, SimFile *ret_file)
{
    SimHost *host = sim_world_host(check->world, volume->host_uuid);
    return host != NULL && volume->path != NULL && sim_host_find_file(host, volume->path, ret_file);
}

static gboolean runs_anywhere(SimCheck *check, const CheckVm *vm)
{
    gboolean runs = FALSE;
    for (guint i = 0; i < check->world->plan->n_hosts; i++) {
        SimDomain domain;
        runs = runs || check_domain_find(check, i, vm, &domain);
    }
    return runs;
}

static void check_tpm(SimCheck *check, const CheckVm *vm, CheckVolume *volume)
{
    SimHost *host = sim_world_host(check->world, volume->host_uuid);
    if (!vm->tpm_started || host == NULL || volume->path == NULL) {
        return;
    }
    SimFile file;
    g_autofree char *path = g_strdup_printf("%s/tpm2/tpm2-00.permall", volume->path);
    gboolean there = sim_host_find_file(host, path, &file) && file.size_bytes > 0;
    volume->tpm_durable = there && file.durable && !runs_anywhere(check, vm);
    volume->tpm_at_risk = volume->tpm_at_risk && !there;
    if (sim_judge(SIM_I1, volume->tpm_at_risk) && !there) {
        sim_fail(check->sim, "I1", vm->uuid, "the TPM's state %s is gone", path);
    }
}

/* What the last guest has left is there, whether one runs or not, and in a store that is kept too. */
static void check_content(SimCheck *check, const CheckVm *vm, const SimFile *file)
{
    const CheckCounter *counter = check_counter(check, file->inode);
    guint64 found = 0;
    if (!sim_judge(SIM_I5, counter->excused)) {
        return;
    }
    if (!sim_nvram_counter(file->bytes, file->size_bytes, &found) || found != counter->last) {
        sim_fail(check->sim, "I5", vm->uuid,
                 "%s holds %" G_GUINT64_FORMAT ", its last guest has left %" G_GUINT64_FORMAT,
                 file->path, found, counter->last);
    }
}

/* What is true of every file that was acknowledged. */
static void check_file(SimCheck *check, const CheckVm *vm, CheckVolume *volume, gboolean first)
{
    SimFile file;
    sim_judge(SIM_I1, FALSE);
    if (!check_volume_file(check, volume, &file)) {
        sim_fail(check->sim, "I1", vm->uuid, "%s volume %s is %s, and its file %s is not there",
                 ENUM_LABEL(volume_type, volume->type), volume->uuid,
                 ENUM_LABEL(volume_status, volume->status), volume->path);
        return;
    }
    if (first) {
        volume->inode = file.inode;
        if (!file.durable) {
            sim_fail(check->sim, "I1", vm->uuid,
                     "%s was acknowledged, and a power loss would undo it", file.path);
        }
    }
    sim_judge(SIM_I5, FALSE);
    if (file.inode != volume->inode) {
        sim_fail(check->sim, "I5", vm->uuid,
                 "%s is another file than the one that was acknowledged", file.path);
    }
    if (volume->format == VOLUME_FORMAT_RAW && file.length_bytes != volume->size_bytes) {
        sim_fail(check->sim, "I1", vm->uuid,
                 "%s has %" G_GUINT64_FORMAT " bytes, its record says %" G_GUINT64_FORMAT,
                 file.path, file.length_bytes, volume->size_bytes);
    } else if (file.length_bytes == 0) {
        sim_fail(check->sim, "I1", vm->uuid, "%s is empty", file.path);
    } else if (volume->type == VOLUME_TYPE_NV_RAM) {
        check_content(check, vm, &file);
    }
}

static void check_one(SimCheck *check, const CheckVm *vm, CheckVolume *volume, gboolean first)
{
    if (!volume->acknowledged || volume->doomed) {
        return;
    }
    if (volume->harmed) {
        sim_judge(SIM_I1, TRUE);
        return;
    }
    if (volume->type == VOLUME_TYPE_TPM_STATE) {
        check_tpm(check, vm, volume);
    } else {
        check_file(check, vm, volume, first);
    }
}

void check_volume_files(SimCheck *check, CheckVm *vm)
{
    for (guint i = 0; i < vm->volumes->len; i++) {
        check_one(check, vm, g_ptr_array_index(vm->volumes, i), FALSE);
    }
}

/* ---- Records */

static void volume_fill(SimCheck *check, CheckVolume *note, const Volume *volume)
{
    note->type = volume->type;
    note->format = volume->format;
    note->generation = volume->generation;
    note->size_bytes = volume->actual_size_bytes;
    note->next_ms = volume->next_ms;
    note->retained_ms = volume->status == VOLUME_STATUS_RETAINED ? volume->retained_ms : 0;
    if (strcmp(note->host_uuid, volume->host_uuid) == 0) {
        return;
    }
    g_strlcpy(note->host_uuid, volume->host_uuid, sizeof(note->host_uuid));
    SimHost *host = sim_world_host(check->world, volume->host_uuid);
    const char *storage = host != NULL ? sim_host_storage_path(host, volume->storage) : NULL;
    g_free(note->path);
    note->path = storage != NULL ? g_strdup_printf("%s/%s", storage, volume->install_path) : NULL;
}

/* One that was of an earlier life of its VM begins anew: so may its uuid, which is derived. */
static CheckVolume *volume_note(SimCheck *check, CheckVm *vm, const Volume *volume)
{
    CheckVolume *note = check_volume_find(check, volume->uuid);
    if (note != NULL && note->gone && note->vm == vm->index) {
        g_hash_table_remove(check->volumes, volume->uuid);
        note = NULL;
    }
    if (note == NULL) {
        note = g_new0(CheckVolume, 1);
        g_strlcpy(note->uuid, volume->uuid, sizeof(note->uuid));
        note->vm = vm->index;
        g_hash_table_insert(check->volumes, note->uuid, note);
        g_ptr_array_add(vm->volumes, note);
    }
    return note;
}

static void mark_status(const CheckVolume *note, const Volume *volume)
{
    if (volume->type != VOLUME_TYPE_NV_RAM || volume->status == note->status) {
        return;
    }
    if (volume->status == VOLUME_STATUS_READY && volume->generation > 1) {
        sim_mark(MARK_NVRAM_SECOND_GENERATION);
    } else if (volume->status == VOLUME_STATUS_DELETING && note->status == VOLUME_STATUS_RETAINED) {
        sim_mark(MARK_NVRAM_RETAINED_DELETED);
    }
}

/* I1: only an expunge, or the end of a retention, dooms what was acknowledged. */
static void check_doom(SimCheck *check, const CheckVm *vm, const CheckVolume *note,
                       const VolumeRecord *record, gint64 step_ms)
{
    gboolean retention_ended =
        note->type == VOLUME_TYPE_NV_RAM &&
        (check->world->settings.nvram_retain_ms == 0 ||
         (note->status == VOLUME_STATUS_RETAINED &&
          note->retained_ms + check->world->settings.nvram_retain_ms <= step_ms));
    if (note->acknowledged && !note->doomed && sim_judge(SIM_I1, FALSE) && !record->vm_expunged &&
        !retention_ended) {
        sim_fail(check->sim, "I1", vm->uuid,
                 "volume %s is Deleting: nobody expunged its VM, and no retention has ended",
                 note->uuid);
    }
}

static void volume_take(SimCheck *check, CheckVm *vm, const VolumeRecord *record, gint64 step_ms,
                        const Volume *volume)
{
    CheckVolume *note = volume_note(check, vm, volume);
    gboolean whole =
        volume->status == VOLUME_STATUS_READY || volume->status == VOLUME_STATUS_RETAINED;
    sim_judge(SIM_I2, FALSE);
    if (note->vm != vm->index) {
        sim_fail(check->sim, "I2", vm->uuid, "its volume %s is of another VM too", volume->uuid);
        return;
    }
    if (note->acknowledged && sim_judge(SIM_I5, FALSE) && !whole &&
        volume->status != VOLUME_STATUS_DELETING) {
        sim_fail(check->sim, "I5", vm->uuid, "volume %s was Ready and is %s again", volume->uuid,
                 ENUM_LABEL(volume_status, volume->status));
    }
    if (note->doomed && sim_judge(SIM_I1, FALSE) && volume->status != VOLUME_STATUS_DELETING) {
        sim_fail(check->sim, "I1", vm->uuid, "volume %s was Deleting and is %s again", volume->uuid,
                 ENUM_LABEL(volume_status, volume->status));
    }
    if (volume->status == VOLUME_STATUS_DELETING) {
        check_doom(check, vm, note, record, step_ms);
    }
    mark_status(note, volume);
    volume_fill(check, note, volume);
    note->status = volume->status;
    note->doomed = note->doomed || volume->status == VOLUME_STATUS_DELETING;
    if (whole && !note->acknowledged) {
        note->acknowledged = TRUE;
        note->acknowledged_in = check->n_judged;
        check_one(check, vm, note, TRUE);
        if (note->type == VOLUME_TYPE_NV_RAM && note->inode != 0) {
            check_counter(check, note->inode);
        }
    }
}

static gboolean is_in(const VolumeRecord *record, const char *uuid)
{
    for (size_t i = 0; record != NULL && i < record->n_volumes; i++) {
        if (strcmp(record->volumes[i]->uuid, uuid) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static void volume_leaves(SimCheck *check, CheckVm *vm, CheckVolume *note)
{
    if (note->acknowledged && sim_judge(SIM_I1, FALSE) && !note->doomed) {
        sim_fail(check->sim, "I1", vm->uuid,
                 "volume %s was Ready and has left the record, never Deleting", note->uuid);
    }
    if (note->doomed) {
        sim_mark(MARK_VOLUME_DELETED);
    }
    note->gone = TRUE;
    note->doomed = TRUE;
    g_ptr_array_remove(vm->volumes, note);
}

void check_volume_deleted(SimCheck *check, CheckVm *vm, const char *uuid)
{
    CheckVolume *note = check_volume_find(check, uuid);
    if (note != NULL && !note->gone && note->vm == vm->index) {
        volume_leaves(check, vm, note);
    }
}

void check_volumes_take(SimCheck *check, CheckVm *vm, const VolumeRecord *record, gint64 step_ms)
{
    for (guint i = vm->volumes->len; i > 0; i--) {
        CheckVolume *note = g_ptr_array_index(vm->volumes, i - 1);
        if (!is_in(record, note->uuid)) {
            volume_leaves(check, vm, note);
        }
    }
    for (size_t i = 0; record != NULL && i < record->n_volumes; i++) {
        volume_take(check, vm, record, step_ms, record->volumes[i]);
    }
}

/* ---- What happens to files */

static void note_harm(SimCheck *check, guint host, const char *path)
{
    for (guint i = 0; i < check->world->plan->n_vms; i++) {
        CheckVm *vm = &check->vms[i];
        if (strstr(path, vm->uuid) != NULL) {
            vm->forgetful |= G_GUINT64_CONSTANT(1) << host;
            vm->orphans |= G_GUINT64_CONSTANT(1) << host;
            check_starts_unsound(vm);
        }
    }
}

void sim_check_file_harmed(SimCheck *check, SimHost *host, const char *path, guint64 inode)
{
    char uuid[UUID_TEXT_BYTES];
    int index = check_host_index(check, sim_host_uuid(host));
    CheckVolume *volume = check_path_volume(path, uuid) ? check_volume_find(check, uuid) : NULL;
    if (volume != NULL) {
        volume->harmed = TRUE;
        check_starts_unsound(&check->vms[volume->vm]);
    } else if (index >= 0) {
        note_harm(check, (guint)index, path);
    }
    CheckCounter *counter = g_hash_table_lookup(check->counters, &inode);
    if (counter != NULL) {
        counter->excused = TRUE;
    }
}

/* I4: not even a deletion that is committed is done under the domain that uses the file. */
static void check_unused(SimCheck *check, SimHost *host, const CheckVm *vm, const char *path,
                         guint64 inode)
{
    int index = check_host_index(check, sim_host_uuid(host));
    SimDomain domain;
    sim_judge(SIM_I4, FALSE);
    if (index >= 0 && check_domain_find(check, (guint)index, vm, &domain) && domain.ours &&
        (domain.nvram_inode == inode || domain.root_inode == inode)) {
        sim_fail(check->sim, "I4", vm->uuid, "the agent deletes %s under its domain", path);
    }
}

/* An empty state, or one under swtpm's temporary name, is what a TPM's first set-up left half-made,
 * and is cleared away before the next try. A power loss may leave one too: where the journal is lost
 * besides, nobody knows any more that the first start was done. */
static gboolean is_half_made(SimCheck *check, SimHost *host, const CheckVolume *volume,
                             const char *path)
{
    const CheckVm *vm = &check->vms[volume->vm];
    SimFile file;
    return volume->type == VOLUME_TYPE_TPM_STATE &&
           (!vm->tpm_started ||
            check_is_forgetful(vm, check_host_index(check, sim_host_uuid(host)))) &&
           !(g_str_has_suffix(path, "/tpm2-00.permall") && sim_host_find_file(host, path, &file) &&
             file.size_bytes > 0);
}

void sim_check_file_unlinked(SimCheck *check, SimHost *host, const char *path, guint64 inode,
                             gboolean by_agent)
{
    char uuid[UUID_TEXT_BYTES];
    CheckVolume *volume = check_path_volume(path, uuid) ? check_volume_find(check, uuid) : NULL;
    g_autofree char *name = g_path_get_basename(path);
    if (volume == NULL || *name == '.') {
        return; /* None that a record knows, or one that never got its name. */
    }
    CheckVm *vm = &check->vms[volume->vm];
    sim_world_touch(check->world, vm->uuid);
    if (!by_agent) {
        sim_check_file_harmed(check, host, path, inode);
        return;
    }
    check_unused(check, host, vm, path, inode);
    if (volume->acknowledged && !volume->doomed && !is_half_made(check, host, volume, path)) {
        sim_fail(check->sim, "I4", vm->uuid,
                 "the agent deletes %s of volume %s, which is %s: its deletion is not committed",
                 path, volume->uuid, ENUM_LABEL(volume_status, volume->status));
    }
}
