/* Ports of vhost-user NICs on this host's switch, for a start and for a NIC that comes later. */
#include "services/host-agent/audit.h"
#include "services/host-agent/effect.h"

gboolean port_check(VbHost *host, const char *vm_uuid, GError **error)
{
    gboolean ovs = FALSE;
    gboolean dpdk = FALSE;
    g_autofree char *problem = NULL;
    host->ports->probe(host->ports, &ovs, &dpdk, &problem);
    if (!ovs || !dpdk) {
        g_set_error(error, VB_ERROR, ERROR_CODE_OVS_UNAVAILABLE,
                    "VM %s has a vhost-user NIC and host %s cannot serve it: %s", vm_uuid,
                    host->config->host_uuid, problem);
        return FALSE;
    }
    return TRUE;
}

gboolean port_plug(VbHost *host, const HostVm *vm, const NicSpec *nic,
                   const EffectiveNic *effective, const char *path, GError **error)
{
    VbPort port = {
        .vm_uuid = vm->vm_uuid,
        .nic_index = nic->index,
        .bridge = nic->bridge[0] != '\0' ? nic->bridge : host->config->ovs_bridge,
        .socket_path = path,
        .queues = effective->queues,
        .mtu = nic->mtu,
    };
    if (!host->ports->plug(host->ports, &port, error)) {
        return FALSE;
    }
    audit_add_nic(host, vm, AUDIT_PORT_PLUGGED, nic->index);
    return TRUE;
}

gboolean port_unplug(VbHost *host, const HostVm *vm, guint nic_index, GError **error)
{
    if (!host->ports->unplug(host->ports, vm->vm_uuid, nic_index, error)) {
        return FALSE;
    }
    audit_add_nic(host, vm, AUDIT_PORT_UNPLUGGED, nic_index);
    return TRUE;
}
