/* A start, worked out from the command: volumes by type, paths, NICs. It looks at nothing on the
 * host, so that what is refused here was refused before anything was made. */
#include "services/host-agent/effect.h"

#include <string.h>

#include "common/base/model.h"
#include "common/base/text.h"

/* The one volume of this type; with `uuid` not empty, this very one. NULL and an error. */
static const Volume *find_one(const HostVm *vm, VolumeType type, const char *uuid, GError **error)
{
    const StartDomain *start = vm->command->start_domain;
    const Volume *found = NULL;
    for (size_t i = 0; i < start->n_volumes; i++) {
        const Volume *volume = start->volumes[i];
        if (volume->type != type || (uuid[0] != '\0' && strcmp(volume->uuid, uuid) != 0)) {
            continue;
        }
        if (found != NULL) {
            g_set_error(error, VB_ERROR,
                        type == VOLUME_TYPE_NV_RAM ? ERROR_CODE_NVRAM_AMBIGUOUS
                                                   : ERROR_CODE_INVALID_ARGUMENT,
                        "VM %s has the %s volumes %s and %s: AdoptVolume says which", vm->vm_uuid,
                        ENUM_LABEL(volume_type, type), found->uuid, volume->uuid);
            return NULL;
        }
        found = volume;
    }
    if (found == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_VOLUME_NOT_FOUND,
                    "VM %s needs its %s volume %s, and the start command carries none such: "
                    "ListVolumes, then AdoptVolume",
                    vm->vm_uuid, ENUM_LABEL(volume_type, type), uuid);
    }
    return found;
}

/* Each disk of the specification has its volume, whatever its position. */
static gboolean check_disks(const HostVm *vm, GError **error)
{
    const StartDomain *start = vm->command->start_domain;
    for (size_t i = 0; i < start->spec->n_disks; i++) {
        const DiskSpec *disk = start->spec->disks[i];
        gboolean found = disk->bus == DISK_BUS_VHOST_USER; /* Its back end is no volume. */
        for (size_t k = 0; k < start->n_volumes; k++) {
            const Volume *volume = start->volumes[k];
            found = found || (volume->type == disk->type && volume->disk_index == disk->index);
        }
        if (!found) {
            g_set_error(error, VB_ERROR, ERROR_CODE_VOLUME_NOT_FOUND,
                        "VM %s: no volume belongs to disk %u (%s): ListVolumes, then AdoptVolume",
                        vm->vm_uuid, disk->index, ENUM_LABEL(volume_type, disk->type));
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean plan_state(VbArena *arena, const HostVm *vm, VbStartPlan *plan, GError **error)
{
    const StartDomain *start = plan->start;
    if (model_is_uefi(start->spec)) {
        plan->class_ = start->firmware_class != NULL ? arena_copy(arena, start->firmware_class)
                                                     : ARENA_MSG(arena, firmware_class);
        plan->class_->firmware = start->spec->firmware;
    }
    /* Without variables there is no Secure Boot: the enforcement lives in them (I3). */
    if (start->nvram_needed || (plan->class_ != NULL && plan->class_->secure_boot)) {
        const char *uuid = start->spec->nvram != NULL ? start->spec->nvram->volume_uuid : "";
        plan->nvram = find_one(vm, VOLUME_TYPE_NV_RAM, uuid, error);
        if (plan->nvram == NULL) {
            return FALSE;
        }
        const FirmwareRef *made_from = plan->nvram->firmware;
        if (plan->class_ != NULL && plan->class_->nvram_bytes == 0 && made_from != NULL &&
            made_from->class_ != NULL) {
            plan->class_->nvram_bytes = made_from->class_->nvram_bytes;
        }
    }
    if (start->spec->tpm != NULL || start->tpm_volume_uuid[0] != '\0') {
        plan->tpm = find_one(vm, VOLUME_TYPE_TPM_STATE, start->tpm_volume_uuid, error);
    }
    return plan->tpm != NULL || (start->spec->tpm == NULL && start->tpm_volume_uuid[0] == '\0');
}

static gboolean plan_paths(VbHost *host, VbArena *arena, VbStartPlan *plan, GError **error)
{
    const StartDomain *start = plan->start;
    const VmSpec *spec = start->spec;
    plan->volume_paths = arena_alloc(arena, (start->n_volumes + 1) * sizeof(char *));
    for (size_t i = 0; i < start->n_volumes; i++) {
        plan->volume_paths[i] = volume_path(host, arena, start->volumes[i], error);
        if (plan->volume_paths[i] == NULL) {
            return FALSE;
        }
    }
    plan->cdrom_paths = arena_alloc(arena, (spec->n_cdroms + 1) * sizeof(char *));
    for (size_t i = 0; i < spec->n_cdroms; i++) {
        if (spec->cdroms[i]->image[0] == '\0') {
            continue;
        }
        plan->cdrom_paths[i] =
            volume_image_path(host, arena, spec->storage, spec->cdroms[i]->image, error);
        if (plan->cdrom_paths[i] == NULL) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean plan_nics(VbHost *host, VbArena *arena, const HostVm *vm, VbStartPlan *plan,
                          GError **error)
{
    const VmSpec *spec = plan->start->spec;
    plan->nics = arena_alloc(arena, (spec->n_nics + 1) * sizeof(EffectiveNic *));
    plan->socket_paths = arena_alloc(arena, (spec->n_nics + 1) * sizeof(char *));
    for (size_t i = 0; i < spec->n_nics; i++) {
        const NicSpec *nic = spec->nics[i];
        plan->nics[i] =
            nic_resolve(arena, vm->vm_uuid, spec, nic, model_nic(plan->start->hardware, nic->index),
                        host->config->max_queues);
        if (nic->type != NIC_TYPE_VHOST_USER) {
            continue;
        }
        plan->n_vhost_user++;
        plan->socket_paths[i] = socket_path(host, arena, vm->vm_uuid, nic->index, error);
        if (plan->socket_paths[i] == NULL) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean start_plan_make(VbHost *host, VbArena *arena, const HostVm *vm, VbStartPlan *ret_plan,
                         GError **error)
{
    *ret_plan = (VbStartPlan){.start = vm->command->start_domain};
    if (ret_plan->start->spec == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "the start command for VM %s carries no specification", vm->vm_uuid);
        return FALSE;
    }
    if (ret_plan->start->spec->serial_console) {
        ret_plan->serial_log_path =
            arena_printf(arena, "%s/%s.serial.log", host->config->log_dir, vm->vm_uuid);
    }
    return check_disks(vm, error) && plan_state(arena, vm, ret_plan, error) &&
           plan_paths(host, arena, ret_plan, error) && plan_nics(host, arena, vm, ret_plan, error);
}

FirmwareRef *start_plan_firmware(VbHost *host, VbArena *arena, const VbStartPlan *plan,
                                 const FirmwareRef **ret_pinned, gboolean *ret_replaced,
                                 GError **error)
{
    const Hardware *before = plan->start->hardware;
    *ret_pinned = before != NULL && before->firmware != NULL ? before->firmware
                  : plan->nvram != NULL                      ? plan->nvram->firmware
                                                             : NULL;
    return firmware_resolve(host, arena, plan->class_, *ret_pinned, ret_replaced, error);
}

/* A TPM has no address in libvirt's XML; in the record this one says that it has started, and so
 * has state. */
gboolean start_plan_tpm_started(const VbStartPlan *plan)
{
    return model_tpm_has_started(plan->start->hardware);
}

void start_plan_complete(VbArena *arena, const VbStartPlan *plan, FirmwareRef *firmware,
                         Hardware *hardware)
{
    hardware->n_nics = plan->start->spec->n_nics;
    hardware->nics = plan->nics;
    if (firmware != NULL) {
        hardware->firmware = firmware;
    }
    if (plan->tpm != NULL) {
        model_tpm_mark(arena, hardware);
    }
}

void hardware_complete(VbArena *arena, const Hardware *known, guint32 changed_index,
                       EffectiveNic *nic, Hardware *hardware)
{
    hardware->n_nics = 0;
    for (size_t i = 0; known != NULL && i < known->n_nics; i++) {
        if (known->nics[i]->index != changed_index) {
            ARENA_APPEND(arena, hardware->n_nics, hardware->nics, known->nics[i]);
        }
    }
    if (nic != NULL) {
        ARENA_APPEND(arena, hardware->n_nics, hardware->nics, nic);
    }
    if (known != NULL && known->firmware != NULL) {
        hardware->firmware = known->firmware;
    }
    if (model_tpm_has_started(known)) {
        model_tpm_mark(arena, hardware);
    }
}

char **start_state_paths(VbHost *host, VbArena *arena, const StartDomain *start)
{
    char **paths = arena_alloc(arena, (start->n_volumes + 1) * sizeof(char *));
    size_t n_paths = 0;
    for (size_t i = 0; i < start->n_volumes; i++) {
        const Volume *volume = start->volumes[i];
        if (volume->type == VOLUME_TYPE_NV_RAM || volume->type == VOLUME_TYPE_TPM_STATE) {
            char *path = volume_path(host, arena, volume, NULL);
            if (path != NULL) {
                paths[n_paths++] = path;
            }
        }
    }
    return paths;
}
