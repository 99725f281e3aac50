#include "tests/golden/plans.h"

#include <string.h>

enum { HOST_MAX_QUEUES = 4 };

VbTestPlan *plan_new(const char *folder, Platform platform)
{
    VbTestPlan *self = g_new0(VbTestPlan, 1);
    self->arena = arena_new();
    self->folder = arena_strdup(self->arena, folder);
    self->spec = ARENA_MSG(self->arena, vm_spec);
    self->spec->name = "golden";
    self->spec->platform = platform;
    self->spec->vcpus = 1;
    self->spec->memory_bytes = 512 * 1024 * 1024;
    self->start = ARENA_MSG(self->arena, start_domain);
    self->start->spec = self->spec;
    self->plan = (VbDomainPlan){
        .vm_uuid = PLAN_VM_UUID,
        .operation_id = "0f8fad5b-d9cb-469f-a165-70867728950e",
        .epoch = 3,
        .start = self->start,
        .domain_type = "qemu",
    };
    return self;
}

void plan_free(VbTestPlan *self)
{
    arena_free(self->arena);
    g_free(self);
}

void plan_use_uefi(VbTestPlan *self, gboolean secure_boot, gboolean nvram)
{
    FirmwareRef *firmware = ARENA_MSG(self->arena, firmware_ref);
    firmware->class_ = ARENA_MSG(self->arena, firmware_class);
    firmware->class_->firmware = FIRMWARE_UEFI;
    firmware->class_->secure_boot = secure_boot;
    firmware->code_path =
        secure_boot ? "/usr/share/OVMF/OVMF_CODE_4M.ms.fd" : "/usr/share/OVMF/OVMF_CODE_4M.fd";
    self->plan.firmware = firmware;
    self->spec->firmware = FIRMWARE_UEFI;
    self->spec->secure_boot = secure_boot ? TOGGLE_ON : TOGGLE_OFF;
    if (nvram) {
        self->start->nvram_needed = TRUE;
        self->plan.nvram_path = arena_printf(self->arena, "%s/nvram.fd", self->folder);
    }
}

void plan_add_tpm(VbTestPlan *self)
{
    self->spec->tpm = ARENA_MSG(self->arena, tpm_spec);
    self->start->tpm_volume_uuid = "16fd2706-8baf-433b-82eb-8c7fada847da";
}

DiskSpec *plan_add_disk(VbTestPlan *self, VolumeType type, VolumeFormat format)
{
    DiskSpec *disk = ARENA_MSG(self->arena, disk_spec);
    disk->index = (guint32)self->spec->n_disks;
    disk->type = type;
    ARENA_APPEND(self->arena, self->spec->n_disks, self->spec->disks, disk);
    Volume *volume = ARENA_MSG(self->arena, volume);
    volume->type = type;
    volume->format = format;
    volume->disk_index = disk->index;
    char *path = arena_printf(self->arena, "%s/disk-%u.%s", self->folder, disk->index,
                              format == VOLUME_FORMAT_RAW ? "raw" : "qcow2");
    char **paths = (char **)self->plan.volume_paths;
    size_t n_paths = self->start->n_volumes;
    ARENA_APPEND(self->arena, n_paths, paths, path);
    self->plan.volume_paths = paths;
    ARENA_APPEND(self->arena, self->start->n_volumes, self->start->volumes, volume);
    return disk;
}

CdromSpec *plan_add_cdrom(VbTestPlan *self, const char *image)
{
    CdromSpec *cdrom = ARENA_MSG(self->arena, cdrom_spec);
    cdrom->index = (guint32)self->spec->n_cdroms;
    char *path =
        image != NULL ? arena_printf(self->arena, "%s/images/%s", self->folder, image) : NULL;
    char **paths = (char **)self->plan.cdrom_paths;
    size_t n_paths = self->spec->n_cdroms;
    ARENA_APPEND(self->arena, n_paths, paths, path);
    self->plan.cdrom_paths = paths;
    ARENA_APPEND(self->arena, self->spec->n_cdroms, self->spec->cdroms, cdrom);
    return cdrom;
}

NicSpec *plan_add_nic(VbTestPlan *self, NicType type, NicModel model)
{
    NicSpec *nic = ARENA_MSG(self->arena, nic_spec);
    nic->index = (guint32)self->spec->n_nics;
    nic->type = type;
    nic->model = model;
    if (type == NIC_TYPE_BRIDGE) {
        nic->bridge = "br0";
    }
    ARENA_APPEND(self->arena, self->spec->n_nics, self->spec->nics, nic);
    return nic;
}

void plan_remove_first_nic(VbTestPlan *self)
{
    self->spec->n_nics--;
    self->spec->nics++;
}

char *plan_build(VbTestPlan *self, GError **error)
{
    size_t n_nics = self->spec->n_nics;
    EffectiveNic **nics = arena_alloc(self->arena, (n_nics + 1) * sizeof *nics);
    char **sockets = arena_alloc(self->arena, (n_nics + 1) * sizeof *sockets);
    for (size_t i = 0; i < n_nics; i++) {
        const NicSpec *nic = self->spec->nics[i];
        nics[i] = nic_resolve(self->arena, PLAN_VM_UUID, self->spec, nic, NULL, HOST_MAX_QUEUES);
        sockets[i] = nic->type == NIC_TYPE_VHOST_USER
                         ? arena_printf(self->arena, "%s/%u", self->folder, nic->index)
                         : NULL;
    }
    self->plan.nics = nics;
    self->plan.socket_paths = sockets;
    self->plan.serial_log_path = self->spec->serial_console
                                     ? arena_printf(self->arena, "%s/serial.log", self->folder)
                                     : NULL;
    return domain_xml_build(&self->plan, error);
}
