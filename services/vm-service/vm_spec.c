/* Checks go from the whole to the parts; the first fault found is the one that is told. */
#include "services/vm-service/vm_spec.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/model.h"
#include "common/base/text.h"
#include "common/base/uuid.h"

enum {
    NAME_MAX_BYTES = 255,
    ACCOUNT_MAX_BYTES = 64,
    FILE_NAME_MAX_BYTES = 255,
    VCPUS_MAX = 512,
    /* Disks and NICs together. pc and q35 start with them (probed), beside the controllers that they
     * and the CD-ROMs need. */
    DEVICES_MAX = 28,
    CDROMS_MAX = 4,
    QUEUES_MAX = 64,
};
static const guint64 MIB = G_GUINT64_CONSTANT(1) << 20;
static const guint64 MEMORY_MIN_BYTES = G_GUINT64_CONSTANT(16) << 20;
static const guint64 MEMORY_MAX_BYTES = G_GUINT64_CONSTANT(16) << 40;
static const guint64 DISK_MAX_BYTES = G_GUINT64_CONSTANT(1) << 50;
static const guint64 IOPS_MAX = G_GUINT64_CONSTANT(1000000000000000); /* QEMU's own limit. */
/* From the smallest template that there is to all that a PC maps for flash. */
static const guint64 NVRAM_MIN_BYTES = 128 * 1024;
static const guint64 NVRAM_MAX_BYTES = 8 * 1024 * 1024;

/* What one check needs to refuse. A check returns FALSE after it has set the error. */
typedef struct {
    VbArena *arena;
    const VmSpec *spec;
    Error *error;
} Check;

static gboolean G_GNUC_PRINTF(3, 4) refuse(Check *check, ErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    check->error = error_make(check->arena, code, "%s", text);
    return FALSE;
}

gboolean vm_spec_is_windows(const VmSpec *spec)
{
    return spec->platform == PLATFORM_WINDOWS || spec->platform == PLATFORM_WINDOWS_VIRTIO;
}

gboolean vm_spec_needs_nvram(const VmSpec *spec, const Settings *settings)
{
    if (!model_is_uefi(spec)) {
        return FALSE;
    }
    return spec->tpm != NULL || spec->secure_boot == TOGGLE_ON || settings->nvram_for_all_uefi;
}

FirmwareClass *vm_spec_firmware_class(VbArena *arena, const VmSpec *spec)
{
    if (!model_is_uefi(spec)) {
        return NULL;
    }
    FirmwareClass *class = ARENA_MSG(arena, firmware_class);
    class->firmware = spec->firmware;
    class->secure_boot = spec->secure_boot == TOGGLE_ON;
    return class;
}

/* A word that becomes part of a path or a name: no separator, no leading dot. */
static gboolean is_plain_word(const char *text, size_t max_bytes)
{
    size_t length = strlen(text);
    return length > 0 && length <= max_bytes && text[0] != '.' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
               length;
}

static gboolean check_identity(Check *check)
{
    const VmSpec *spec = check->spec;
    size_t name_bytes = strlen(spec->name);
    if (name_bytes == 0 || name_bytes > NAME_MAX_BYTES) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.name has %zu bytes, 1 to %d are allowed", name_bytes, NAME_MAX_BYTES);
    }
    if (!is_plain_word(spec->account, ACCOUNT_MAX_BYTES)) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.account is \"%.64s\": 1 to %d of A-Z a-z 0-9 _ . -, not starting with a "
            "dot, are allowed",
            spec->account, ACCOUNT_MAX_BYTES);
    }
    return TRUE;
}

/* Of x86, by the names that libvirt gives it. */
static gboolean is_machine(const char *text)
{
    return strcmp(text, "q35") == 0 || strcmp(text, "pc") == 0 ||
           ((g_str_has_prefix(text, "pc-q35-") || g_str_has_prefix(text, "pc-i440fx-")) &&
            is_plain_word(text, ACCOUNT_MAX_BYTES));
}

static gboolean check_machine(Check *check)
{
    const VmSpec *spec = check->spec;
    if (spec->vcpus == 0 || spec->vcpus > VCPUS_MAX) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT, "spec.vcpus is %u, 1 to %d are allowed",
                      spec->vcpus, VCPUS_MAX);
    }
    if (spec->memory_bytes < MEMORY_MIN_BYTES || spec->memory_bytes > MEMORY_MAX_BYTES ||
        spec->memory_bytes % MIB != 0) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.memory_bytes is %" G_GUINT64_FORMAT
                      ": 16 MiB to 16 TiB, in whole MiB, are allowed",
                      spec->memory_bytes);
    }
    if (!is_machine(spec->machine)) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.machine is \"%.64s\": q35, pc or one of their canonical names, such as "
                      "pc-q35-7.2, is allowed",
                      spec->machine);
    }
    const char *type = spec->domain_type;
    if (*type != '\0' && strcmp(type, "kvm") != 0 && strcmp(type, "qemu") != 0) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.domain_type is \"%.64s\": kvm, qemu or empty is allowed", type);
    }
    if (spec->huge_page_bytes != 0 && spec->memory_bytes % spec->huge_page_bytes != 0) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.huge_page_bytes is %" G_GUINT64_FORMAT
                      ", and spec.memory_bytes %" G_GUINT64_FORMAT " is no multiple of it",
                      spec->huge_page_bytes, spec->memory_bytes);
    }
    return TRUE;
}

static gboolean check_firmware(Check *check)
{
    const VmSpec *spec = check->spec;
    if (!model_is_uefi(spec)) {
        if (spec->secure_boot == TOGGLE_ON) {
            return refuse(check, ERROR_CODE_UNSUPPORTED,
                          "Secure Boot needs UEFI firmware; this VM has Legacy BIOS");
        }
        if (spec->tpm != NULL) {
            return refuse(check, ERROR_CODE_UNSUPPORTED,
                          "a TPM needs UEFI firmware; this VM has Legacy BIOS");
        }
        return TRUE;
    }
    if (strstr(spec->machine, "q35") == NULL) {
        return refuse(check, ERROR_CODE_UNSUPPORTED,
                      "UEFI firmware needs a q35 machine; spec.machine is %s", spec->machine);
    }
    return TRUE;
}

/* Of what a control plane may ask for; the rest of it is vm-service's own. */
static gboolean check_nvram(Check *check)
{
    const NvramSpec *nvram = check->spec->nvram;
    if (nvram != NULL && nvram->size_bytes != 0 &&
        (nvram->size_bytes < NVRAM_MIN_BYTES || nvram->size_bytes > NVRAM_MAX_BYTES)) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.nvram.size_bytes is %" G_GUINT64_FORMAT ": 0, or 128 KiB to 8 MiB, is "
                      "allowed",
                      nvram->size_bytes);
    }
    return TRUE;
}

static gboolean check_image(Check *check, const char *field, size_t i, const char *image)
{
    if (*image != '\0' && !is_plain_word(image, FILE_NAME_MAX_BYTES)) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.%s[%zu].image is \"%.64s\": a plain file name in the storage's images/ "
                      "folder is allowed (1 to %d of A-Z a-z 0-9 _ . -, not starting with a dot)",
                      field, i, image, FILE_NAME_MAX_BYTES);
    }
    return TRUE;
}

static gboolean check_vhost_user_disk(Check *check, size_t i, const DiskSpec *disk)
{
    if (strlen(disk->socket_path) > SOCKET_PATH_MAX_BYTES) {
        return refuse(check, ERROR_CODE_SOCKET_PATH_TOO_LONG,
                      "spec.disks[%zu].socket_path has %zu bytes, at most %d are allowed", i,
                      strlen(disk->socket_path), SOCKET_PATH_MAX_BYTES);
    }
    if (disk->socket_path[0] != '/') {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.disks[%zu].socket_path is \"%s\": a vhost-user disk needs an absolute path", i,
            disk->socket_path);
    }
    if (disk->iops_limit != 0) {
        return refuse(check, ERROR_CODE_UNSUPPORTED,
                      "spec.disks[%zu].iops_limit is %" G_GUINT64_FORMAT
                      ": a vhost-user disk cannot be limited by QEMU; limit it in its back end",
                      i, disk->iops_limit);
    }
    return TRUE;
}

static gboolean check_disk(Check *check, size_t i)
{
    const DiskSpec *disk = check->spec->disks[i];
    if (disk->type != VOLUME_TYPE_ROOT && disk->type != VOLUME_TYPE_DATA) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.disks[%zu].type is %s: Root or Data is allowed", i,
                      ENUM_LABEL(volume_type, disk->type));
    }
    for (size_t j = 0; j < i; j++) {
        const DiskSpec *other = check->spec->disks[j];
        if (other->index == disk->index) {
            return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                          "spec.disks[%zu].index %u stands twice: each disk needs its own", i,
                          disk->index);
        }
        if (other->type == VOLUME_TYPE_ROOT && disk->type == VOLUME_TYPE_ROOT) {
            return refuse(
                check, ERROR_CODE_INVALID_ARGUMENT,
                "spec.disks[%zu].type is Root a second time: a VM has at most one root disk", i);
        }
    }
    if (disk->bus == DISK_BUS_VHOST_USER) {
        return check_vhost_user_disk(check, i, disk);
    }
    if (*disk->socket_path != '\0') {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.disks[%zu].socket_path is \"%s\": only a disk of bus VhostUser has one",
                      i, disk->socket_path);
    }
    if ((disk->size_bytes == 0 && *disk->image == '\0') || disk->size_bytes > DISK_MAX_BYTES) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.disks[%zu].size_bytes is %" G_GUINT64_FORMAT
                      ": 1 byte to 1 PiB, or 0 with an image, is allowed",
                      i, disk->size_bytes);
    }
    if (disk->iops_limit > IOPS_MAX) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.disks[%zu].iops_limit is %" G_GUINT64_FORMAT
                      ", at most %" G_GUINT64_FORMAT " is allowed",
                      i, disk->iops_limit, IOPS_MAX);
    }
    if (disk->format == VOLUME_FORMAT_DIRECTORY) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.disks[%zu].format is Directory: Raw or Qcow2 is allowed", i);
    }
    if (disk->image_mode == IMAGE_MODE_OVERLAY &&
        (*disk->image == '\0' || disk->format == VOLUME_FORMAT_RAW)) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.disks[%zu].image_mode is Overlay: that needs an image, and format Qcow2", i);
    }
    return check_image(check, "disks", i, disk->image);
}

static gboolean check_nic_network(Check *check, size_t i, const NicSpec *nic)
{
    gboolean named = *nic->bridge != '\0';
    if (nic->type == NIC_TYPE_UNSPECIFIED) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.nics[%zu].type is missing: Bridge, VhostUser or User is allowed", i);
    }
    if (nic->type == NIC_TYPE_BRIDGE && !named) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.nics[%zu].bridge is empty: a NIC of type Bridge needs the Linux bridge's name",
            i);
    }
    if (named && !is_plain_word(nic->bridge, ACCOUNT_MAX_BYTES)) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.nics[%zu].bridge is \"%.64s\": 1 to %d of A-Z a-z 0-9 _ . -, not starting "
            "with a dot, are allowed",
            i, nic->bridge, ACCOUNT_MAX_BYTES);
    }
    if (nic->queues > QUEUES_MAX) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.nics[%zu].queues is %u, at most %d are allowed", i, nic->queues,
                      QUEUES_MAX);
    }
    if (!model_is_mtu(nic->mtu)) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.nics[%zu].mtu is %u, %d to %d are allowed", i, nic->mtu, MODEL_MTU_MIN,
                      MODEL_MTU_MAX);
    }
    return TRUE;
}

static gboolean check_nic(Check *check, size_t i)
{
    const NicSpec *nic = check->spec->nics[i];
    gboolean named = *nic->mac != '\0';
    if (named && !model_is_mac(nic->mac)) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.nics[%zu].mac is \"%.64s\": a unicast address such as 52:54:00:12:34:56, or "
            "none, is allowed",
            i, nic->mac);
    }
    for (size_t j = 0; j < i; j++) {
        const NicSpec *other = check->spec->nics[j];
        if (other->index == nic->index) {
            return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                          "spec.nics[%zu].index %u stands twice: each NIC needs its own", i,
                          nic->index);
        }
        if (named && g_ascii_strcasecmp(other->mac, nic->mac) == 0) {
            return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                          "spec.nics[%zu].mac %s stands twice: each NIC needs its own", i,
                          nic->mac);
        }
    }
    return check_nic_network(check, i, nic);
}

static gboolean check_graphics(Check *check)
{
    const GraphicsSpec *graphics = check->spec->graphics;
    if (graphics != NULL && *graphics->listen != '\0' &&
        !g_hostname_is_ip_address(graphics->listen)) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.graphics.listen is \"%.64s\": an IP address, or nothing for 127.0.0.1, is "
            "allowed",
            graphics->listen);
    }
    return TRUE;
}

/* What is accepted here must fit every record that carries it on. */
static gboolean check_size(Check *check)
{
    size_t size_bytes = vm_spec__get_packed_size(check->spec);
    if (size_bytes > SPEC_MAX_BYTES) {
        return refuse(check, ERROR_CODE_TOO_LARGE, "the spec has %zu bytes, at most %d are allowed",
                      size_bytes, SPEC_MAX_BYTES);
    }
    return TRUE;
}

static gboolean check_boot_order(Check *check)
{
    const VmSpec *spec = check->spec;
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    size_t n = spec->n_disks + spec->n_cdroms + spec->n_nics;
    for (size_t i = 0; i < n; i++) {
        size_t j = i - spec->n_disks;
        guint order = i < spec->n_disks    ? spec->disks[i]->boot_order
                      : j < spec->n_cdroms ? spec->cdroms[j]->boot_order
                                           : spec->nics[j - spec->n_cdroms]->boot_order;
        if (order != 0 && !g_hash_table_add(seen, GUINT_TO_POINTER(order))) {
            return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                          "boot_order %u stands twice: each of the disks, CD-ROMs and NICs needs "
                          "its own, or 0",
                          order);
        }
    }
    return TRUE;
}

static gboolean check_devices(Check *check)
{
    const VmSpec *spec = check->spec;
    if (spec->n_disks > DEVICES_MAX || spec->n_cdroms > CDROMS_MAX || spec->n_nics > DEVICES_MAX ||
        spec->n_disks + spec->n_nics > DEVICES_MAX) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "%zu disks, %zu CD-ROMs and %zu NICs are more than the machine has slots for: "
            "at most %d disks and NICs together, and %d CD-ROMs",
            spec->n_disks, spec->n_cdroms, spec->n_nics, DEVICES_MAX, CDROMS_MAX);
    }
    for (size_t i = 0; i < spec->n_disks; i++) {
        if (!check_disk(check, i)) {
            return FALSE;
        }
    }
    for (size_t i = 0; i < spec->n_cdroms; i++) {
        if (!check_image(check, "cdroms", i, spec->cdroms[i]->image)) {
            return FALSE;
        }
        for (size_t j = 0; j < i; j++) {
            if (spec->cdroms[j]->index == spec->cdroms[i]->index) {
                return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                              "spec.cdroms[%zu].index %u stands twice: each CD-ROM needs its own",
                              i, spec->cdroms[i]->index);
            }
        }
    }
    for (size_t i = 0; i < spec->n_nics; i++) {
        if (!check_nic(check, i)) {
            return FALSE;
        }
    }
    return check_boot_order(check);
}

static gboolean needs_storage(const VmSpec *spec, const Settings *settings)
{
    return model_has_disk_volume(spec) || spec->n_cdroms > 0 || vm_spec_needs_nvram(spec, settings);
}

/* S6: the root disk's storage is also that of NvRam and TpmState; a VM without one needs the
 * default. */
static gboolean check_storage(Check *check, const Settings *settings)
{
    const StorageRef *storage = check->spec->storage;
    if (storage == NULL) {
        if (!needs_storage(check->spec, settings)) {
            return TRUE;
        }
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.storage is missing, this VM needs volumes, and the deployment has no "
                      "default storage (option default.storage)");
    }
    if (!is_plain_word(storage->name, ACCOUNT_MAX_BYTES) ||
        storage->type == STORAGE_TYPE_UNSPECIFIED) {
        return refuse(
            check, ERROR_CODE_INVALID_ARGUMENT,
            "spec.storage is \"%.64s\" of type %s: a name (1 to %d of A-Z a-z 0-9 _ . -, not "
            "starting with a dot) and a type are needed",
            storage->name, ENUM_LABEL(storage_type, storage->type), ACCOUNT_MAX_BYTES);
    }
    return TRUE;
}

static const char *or_default(VbArena *arena, const char *text, const char *fallback)
{
    return *text != '\0' ? text : arena_strdup(arena, fallback);
}

static void resolve_defaults(VbArena *arena, VmSpec *spec, const Settings *settings)
{
    spec->account = (char *)or_default(arena, spec->account, "default");
    spec->machine = (char *)or_default(arena, spec->machine, "q35");
    if (spec->platform == PLATFORM_UNSPECIFIED) {
        spec->platform =
            spec->image_platform != PLATFORM_UNSPECIFIED ? spec->image_platform : PLATFORM_OTHER;
    }
    if (spec->firmware == FIRMWARE_UNSPECIFIED) {
        spec->firmware = FIRMWARE_LEGACY_BIOS;
    }
    if (spec->secure_boot == TOGGLE_UNSPECIFIED) {
        gboolean on = model_is_uefi(spec) && settings->secure_boot_default == TOGGLE_ON;
        spec->secure_boot = on ? TOGGLE_ON : TOGGLE_OFF;
    }
    if (spec->storage == NULL || *spec->storage->name == '\0') {
        spec->storage = arena_copy(arena, settings->default_storage);
    }
}

gboolean vm_spec_is_same_storage(const StorageRef *a, const StorageRef *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return a->type == b->type && strcmp(a->name, b->name) == 0;
}

/* The volume is volume-service's to name, and lies beside the root disk: a wish for another one must
 * not be passed over in silence (S6, S14). */
static gboolean check_nvram_place(Check *check, const char *volume_uuid)
{
    const NvramSpec *nvram = check->spec->nvram;
    if (nvram == NULL) {
        return TRUE;
    }
    if (*nvram->volume_uuid != '\0' && strcmp(nvram->volume_uuid, volume_uuid) != 0) {
        return refuse(check, ERROR_CODE_INVALID_ARGUMENT,
                      "spec.nvram.volume_uuid is \"%.64s\": virtbus names the volume; leave it "
                      "empty, and choose among several with AdoptVolume",
                      nvram->volume_uuid);
    }
    if (nvram->storage != NULL && *nvram->storage->name != '\0' &&
        !vm_spec_is_same_storage(nvram->storage, check->spec->storage)) {
        return refuse(check, ERROR_CODE_UNSUPPORTED,
                      "spec.nvram.storage is %.64s: firmware state lies on spec.storage; leave it "
                      "empty",
                      nvram->storage->name);
    }
    return TRUE;
}

/* S3. The volume's uuid is filled in when volume-service has named it. */
static void resolve_nvram(VbArena *arena, const char *vm_uuid, VmSpec *spec,
                          const char *volume_uuid, const Settings *settings)
{
    if (!vm_spec_needs_nvram(spec, settings)) {
        spec->nvram = NULL;
        return;
    }
    if (spec->nvram == NULL) {
        spec->nvram = ARENA_MSG(arena, nvram_spec);
    }
    NvramSpec *nvram = spec->nvram;
    nvram->storage = spec->storage;
    nvram->name = arena_printf(arena, "nvram-of-VM-%s", vm_uuid);
    nvram->volume_uuid = (char *)volume_uuid;
    if (nvram->size_bytes == 0) {
        nvram->size_bytes = NVRAM_DEFAULT_BYTES;
    }
}

VmSpec *vm_spec_resolve(VbArena *arena, const char *vm_uuid, const VmSpec *asked,
                        const VmSpec *before, const Settings *settings, Error **ret_error)
{
    const char *volume_uuid =
        before != NULL && before->nvram != NULL ? before->nvram->volume_uuid : "";
    if (asked == NULL) {
        *ret_error = error_make(arena, ERROR_CODE_INVALID_ARGUMENT, "the spec is missing");
        return NULL;
    }
    VmSpec *spec = arena_copy(arena, asked);
    resolve_defaults(arena, spec, settings);
    Check check = {.arena = arena, .spec = spec};
    if (!check_identity(&check) || !check_machine(&check) || !check_firmware(&check) ||
        !check_nvram(&check) || !check_devices(&check) || !check_graphics(&check) ||
        !check_size(&check) || !check_storage(&check, settings) ||
        !check_nvram_place(&check, volume_uuid)) {
        *ret_error = check.error;
        return NULL;
    }
    resolve_nvram(arena, vm_uuid, spec, volume_uuid, settings);
    return spec;
}
