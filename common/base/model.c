#include "common/base/model.h"

#include <string.h>

gboolean model_is_uefi(const VmSpec *spec)
{
    return spec->firmware == FIRMWARE_UEFI || spec->firmware == FIRMWARE_UEFI_WITH_CSM;
}

gboolean model_has_disk_volume(const VmSpec *spec)
{
    for (size_t i = 0; i < spec->n_disks; i++) {
        if (spec->disks[i]->bus != DISK_BUS_VHOST_USER) {
            return TRUE;
        }
    }
    return FALSE;
}

VolumeFormat model_disk_format(const DiskSpec *disk)
{
    return disk->format == VOLUME_FORMAT_RAW ? VOLUME_FORMAT_RAW : VOLUME_FORMAT_QCOW2;
}

ImageMode model_image_mode(const DiskSpec *disk)
{
    return disk->image_mode == IMAGE_MODE_OVERLAY ? IMAGE_MODE_OVERLAY : IMAGE_MODE_COPY;
}

gboolean model_is_same_class(const FirmwareClass *a, const FirmwareClass *b)
{
    return a != NULL && b != NULL && a->firmware == b->firmware &&
           !a->secure_boot == !b->secure_boot;
}

const EffectiveNic *model_nic(const Hardware *hardware, guint32 index)
{
    for (size_t i = 0; hardware != NULL && i < hardware->n_nics; i++) {
        if (hardware->nics[i]->index == index) {
            return hardware->nics[i];
        }
    }
    return NULL;
}

gboolean model_is_mac(const char *text)
{
    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !g_ascii_isxdigit(text[i])) {
            return FALSE;
        }
    }
    return text[17] == '\0' && g_ascii_xdigit_value(text[1]) % 2 == 0;
}

gboolean model_is_mtu(guint32 mtu)
{
    return mtu == 0 || (mtu >= MODEL_MTU_MIN && mtu <= MODEL_MTU_MAX);
}

#define TPM_DEVICE "tpm/0"

gboolean model_tpm_has_started(const Hardware *hardware)
{
    for (size_t i = 0; hardware != NULL && i < hardware->n_addresses; i++) {
        if (strcmp(hardware->addresses[i]->device, TPM_DEVICE) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

void model_tpm_mark(VbArena *arena, Hardware *hardware)
{
    DeviceAddress *address = ARENA_MSG(arena, device_address);
    address->device = arena_strdup(arena, TPM_DEVICE);
    ARENA_APPEND(arena, hardware->n_addresses, hardware->addresses, address);
}
