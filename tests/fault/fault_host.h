/* A hypervisor and a switch in memory, for one VM, that mean what they say, and whose Nth call fails.
 *
 *   create    needs its NVRAM file, its TPM's folder, and a port for each vhost-user NIC; makes the
 *             sockets, the serial log and the TPM's state as QEMU and swtpm do
 *   destroy   leaves what QEMU leaves; its event comes later
 *   failing   nothing done: an error of its own; done: TIMEOUT; half done, or for ever: away */
#pragma once

#include "services/host-agent/host.h"
#include "tests/fault/fault_files.h"

typedef struct FaultHost FaultHost;

/* `config` is borrowed. */
FaultHost *fault_host_new(Fault *fault, FaultFiles *files, const VbHostConfig *config,
                          const char *vm_uuid);
void fault_host_free(FaultHost *host);
VbHypervisor *fault_host_hypervisor(FaultHost *host);
VbSwitch *fault_host_switch(FaultHost *host);

gboolean fault_host_runs(const FaultHost *host);
guint64 fault_host_epoch(const FaultHost *host); /* Of the domain that runs. */
gboolean fault_host_has_nic(FaultHost *host, guint index);
guint fault_host_ports(const FaultHost *host); /* How many. */
/* The NVRAM file of the domain that runs (g_free). */
char *fault_host_nvram(const FaultHost *host);
/* Whether the domain has ended since this was last asked. */
gboolean fault_host_take_event(FaultHost *host);
/* The machine ends and begins anew; OVS remembers its ports. */
void fault_host_reboot(FaultHost *host);

/* Told of each domain before it runs. */
typedef void (*FaultHostTold)(void *data, const char *nvram, guint64 epoch);
void fault_host_set_told(FaultHost *host, FaultHostTold starts, void *data);
