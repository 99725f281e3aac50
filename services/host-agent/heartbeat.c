/* The host's own view of itself, for virtbus.hosts: see heartbeat.h. It decides nothing, and no
 * service decides by it. */
#include "services/host-agent/heartbeat.h"

#include <errno.h>
#include <unistd.h>

#include "services/host-agent/volumes.h"

static void firmware_add(VbHost *host, VbArena *arena, HostInfo *info)
{
    g_autoptr(GPtrArray) found = firmware_list(host, arena);
    for (guint i = 0; i < found->len; i++) {
        HostFirmware *firmware = ARENA_MSG(arena, host_firmware);
        firmware->firmware = g_ptr_array_index(found, i);
        ARENA_APPEND(arena, info->n_firmware, info->firmware, firmware);
    }
}

static void storages_add(VbHost *host, VbArena *arena, HostInfo *info)
{
    for (guint i = 0; i < host->config->storages->len; i++) {
        const VbStorage *storage = g_ptr_array_index(host->config->storages, i);
        HostStorage *found = ARENA_MSG(arena, host_storage);
        found->storage = arena_copy(arena, &storage->ref);
        found->usable = host->files->free_bytes(host->files, storage->path, &found->total_bytes,
                                                &found->free_bytes) == 0;
        if (!found->usable) {
            found->problem = arena_printf(arena, "%s: %s", storage->path, g_strerror(errno));
        }
        ARENA_APPEND(arena, info->n_storages, info->storages, found);
    }
}

static void switch_add(VbHost *host, VbArena *arena, HostInfo *info)
{
    gboolean ovs = FALSE;
    gboolean dpdk = FALSE;
    g_autofree char *problem = NULL;
    host->ports->probe(host->ports, &ovs, &dpdk, &problem);
    info->ovs = ovs;
    info->ovs_dpdk = dpdk;
    info->ovs_problem = arena_strdup(arena, problem != NULL ? problem : "");
}

static void hypervisor_add(VbHost *host, VbArena *arena, HostInfo *info)
{
    g_autofree char *version = host->hypervisor->version(host->hypervisor);
    info->hypervisor_usable = version != NULL;
    if (version == NULL) {
        return;
    }
    info->hypervisor = arena_strdup(arena, version);
    info->running_vms = host->hypervisor->count_running(host->hypervisor);
    const char *const *types = host->hypervisor->domain_types(host->hypervisor);
    for (; types != NULL && *types != NULL; types++) {
        ARENA_APPEND(arena, info->n_domain_types, info->domain_types, arena_strdup(arena, *types));
    }
}

static gboolean tpm_usable(void)
{
    /* libvirt needs the first for every start and the second for a TPM's first one. */
    g_autofree char *swtpm = g_find_program_in_path("swtpm");
    g_autofree char *swtpm_setup = g_find_program_in_path("swtpm_setup");
    return swtpm != NULL && swtpm_setup != NULL;
}

HostInfo *heartbeat_collect(VbHost *host, VbArena *arena)
{
    HostInfo *info = ARENA_MSG(arena, host_info);
    char hostname[256] = "";
    gethostname(hostname, sizeof(hostname) - 1);
    info->host_uuid = arena_strdup(arena, host->config->host_uuid);
    info->hostname = arena_strdup(arena, hostname);
    info->tpm = tpm_usable();
    firmware_add(host, arena, info);
    storages_add(host, arena, info);
    switch_add(host, arena, info);
    hypervisor_add(host, arena, info);
    info->time_ms = host->now_ms(host->clock);
    return info;
}
