/* Open vSwitch as the agent's switch: vhost-user ports by ovs-vsctl. */
#pragma once

#include "services/host-agent/host.h"

/* `db` is ovs-vsctl's --db, e.g. "unix:/run/openvswitch/db.sock". Connects to nothing yet.
 * Thread-safe. */
VbSwitch *switch_ovs_new(const char *db);
void switch_ovs_free(VbSwitch *self);

/* The port's name in OVS: it fits an interface name (15 bytes), and is a digest of the VM's uuid
 * and the NIC's index, because no part of a uuid is unique by itself. Free with g_free. */
char *switch_ovs_port_name(const char *vm_uuid, guint nic_index);
