/* Ports of vhost-user NICs on this host's switch, for a start and for a NIC that comes later. */
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

gboolean port_plug(VbHost *host, const char *vm_uuid, const NicSpec *nic,
                   const EffectiveNic *effective, const char *path, GError **error)
{
    VbPort port = {
        .vm_uuid = vm_uuid,
        .nic_index = nic->index,
        .bridge = nic->bridge[0] != '\0' ? nic->bridge : host->config->ovs_bridge,
        .socket_path = path,
        .queues = effective->queues,
        .mtu = nic->mtu,
    };
    return host->ports->plug(host->ports, &port, error);
}
