/* Which device a guest gets for a NIC. The one place of the rule that a vhost-user NIC is always
 * virtio (N1): libvirt refuses any other model there, and Windows defaults to e1000. */
#include "services/host-agent/domain_xml_private.h"

#include "common/base/uuid.h"

Platform domain_platform(const VmSpec *spec)
{
    if (spec->platform != PLATFORM_UNSPECIFIED) {
        return spec->platform;
    }
    return spec->image_platform != PLATFORM_UNSPECIFIED ? spec->image_platform : PLATFORM_OTHER;
}

gboolean domain_platform_is_virtio(Platform platform)
{
    switch (platform) {
    case PLATFORM_LINUX:
    case PLATFORM_WINDOWS_VIRTIO:
    case PLATFORM_PARAVIRTUALIZATION:
        return TRUE;
    case PLATFORM_WINDOWS:
    case PLATFORM_OTHER:
    case PLATFORM_UNSPECIFIED:
        break;
    }
    return FALSE;
}

static NicModel asked_model(const VmSpec *spec, const NicSpec *nic)
{
    if (nic->model != NIC_MODEL_UNSPECIFIED) {
        return nic->model;
    }
    return domain_platform_is_virtio(domain_platform(spec)) ? NIC_MODEL_VIRTIO : NIC_MODEL_E1000;
}

static gboolean is_virtio(NicModel model)
{
    switch (model) {
    case NIC_MODEL_VIRTIO:
    case NIC_MODEL_VIRTIO_TRANSITIONAL:
    case NIC_MODEL_VIRTIO_NON_TRANSITIONAL:
        return TRUE;
    case NIC_MODEL_UNSPECIFIED:
    case NIC_MODEL_E1000:
    case NIC_MODEL_E1000E:
    case NIC_MODEL_RTL8139:
        break;
    }
    return FALSE;
}

/* Queues need a virtio device and a back end with several: QEMU's user network has one. */
static guint queues_of(const VmSpec *spec, const NicSpec *nic, NicModel model, guint max_queues)
{
    if (!is_virtio(model) || nic->type == NIC_TYPE_USER) {
        return 1;
    }
    guint limit = MAX(1, MIN(spec->vcpus, max_queues));
    return CLAMP(nic->queues, 1, limit);
}

/* 52:54:00 is the range that QEMU's guests use; the rest follows from the VM and the index, so that
 * a start that is repeated anywhere gets the same address. */
static char *derive_mac(VbArena *arena, const char *vm_uuid, guint32 index)
{
    char *uuid = uuid_derive(arena, vm_uuid, arena_printf(arena, "nic/%u/mac", index));
    return arena_printf(arena, "52:54:00:%.2s:%.2s:%.2s", uuid, uuid + 2, uuid + 4);
}

EffectiveNic *nic_resolve(VbArena *arena, const char *vm_uuid, const VmSpec *spec,
                          const NicSpec *nic, const EffectiveNic *before, guint max_queues)
{
    EffectiveNic *result = ARENA_MSG(arena, effective_nic);
    result->index = nic->index;
    result->asked_model = asked_model(spec, nic);
    result->coerced = nic->type == NIC_TYPE_VHOST_USER && !is_virtio(result->asked_model);
    result->effective_model = result->coerced ? NIC_MODEL_VIRTIO : result->asked_model;
    result->queues = queues_of(spec, nic, result->effective_model, max_queues);
    if (nic->mac[0] != '\0') {
        result->mac = arena_strdup(arena, nic->mac);
    } else if (before != NULL && before->mac[0] != '\0') {
        result->mac = arena_strdup(arena, before->mac);
    } else {
        result->mac = derive_mac(arena, vm_uuid, nic->index);
    }
    return result;
}
