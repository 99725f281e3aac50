/* Effects on this host: which function runs which, and those that look and clear away. All of them
 * may run again at any time; none decides whether it should. */
#include "services/host-agent/audit.h"
#include "services/host-agent/effect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "common/runtime/kill_point.h"
#include "services/host-agent/volume_files.h"

/* ---- EFFECT_LOOK */

/* The NICs and the firmware of a running domain as its start would have reported them, and what was
 * replaced. */
static void complete_hardware(VbHost *host, VbArena *arena, const HostVm *vm,
                              VbEffectResult *ret_result)
{
    VbStartPlan plan;
    g_autoptr(GError) error = NULL;
    if (!start_plan_make(host, arena, vm, &plan, &error)) {
        g_warning("VM %s runs, and what it was started with cannot be told any more: %s",
                  vm->vm_uuid, error->message);
        return;
    }
    FirmwareRef *firmware = NULL;
    if (plan.class_ != NULL) {
        const FirmwareRef *pinned = NULL;
        gboolean replaced = FALSE;
        /* Without it the path that libvirt tells of stays. */
        firmware = start_plan_firmware(host, arena, &plan, &pinned, &replaced, NULL);
        if (replaced) {
            ret_result->replaced_firmware = arena_copy(arena, pinned);
        }
    }
    start_plan_complete(arena, &plan, firmware, ret_result->facts.hardware);
}

/* What a running domain keeps its state in, for a journal that was lost: libvirt names the NVRAM,
 * and the TPM's folder stands behind a link of ours. */
static char **running_state_paths(VbHost *host, VbArena *arena, const char *vm_uuid,
                                  const VbDomainFacts *facts)
{
    char **paths = arena_alloc(arena, 3 * sizeof(*paths));
    char *link = arena_printf(arena, "%s/%s", host->config->swtpm_dir, vm_uuid);
    char target[PATH_MAX];
    guint n_paths = 0;
    if (facts->nvram_path != NULL) {
        paths[n_paths++] = facts->nvram_path;
    }
    ssize_t length = host->files->readlink(host->files, link, target, sizeof(target) - 1);
    if (length > 0) {
        target[length] = '\0';
        paths[n_paths++] = arena_strdup(arena, target);
    }
    return paths;
}

static void effect_look(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result)
{
    g_autoptr(GError) error = NULL;
    VbDomainFacts *facts = &ret_result->facts;
    if (!host->hypervisor->look(host->hypervisor, arena, vm->vm_uuid, facts, &error)) {
        ret_result->error = error_from_gerror(arena, error);
        return;
    }
    if (facts->presence == DOMAIN_OURS && vm->command != NULL &&
        vm->command->command_case == HOST_COMMAND__COMMAND_START_DOMAIN) {
        ret_result->state_paths = start_state_paths(host, arena, vm->command->start_domain);
        complete_hardware(host, arena, vm, ret_result);
    } else if (facts->presence == DOMAIN_OURS && vm->n_state_paths == 0) {
        ret_result->state_paths = running_state_paths(host, arena, vm->vm_uuid, facts);
    }
}

/* ---- EFFECT_CLEAN_UP */

/* FALSE: it may still run. A foreign domain's presence means that ours is gone. */
static gboolean destroy_ours(VbHost *host, VbArena *arena, const HostVm *vm, gboolean *ret_foreign,
                             GError **error)
{
    VbDomainFacts facts;
    if (!host->hypervisor->look(host->hypervisor, arena, vm->vm_uuid, &facts, error)) {
        return FALSE;
    }
    *ret_foreign = facts.presence == DOMAIN_FOREIGN;
    if (facts.presence != DOMAIN_OURS) {
        if (!*ret_foreign) {
            audit_add(host, vm, AUDIT_DOMAIN_GONE, NULL);
        }
        return TRUE;
    }
    if (facts.epoch > vm->epoch) {
        g_set_error(error, VB_ERROR, ERROR_CODE_STALE_EPOCH,
                    "VM %s runs at epoch %" G_GUINT64_FORMAT ", newer than %" G_GUINT64_FORMAT
                    ": it is left alone",
                    vm->vm_uuid, facts.epoch, vm->epoch);
        return FALSE;
    }
    if (!host->hypervisor->destroy(host->hypervisor, vm->vm_uuid, error)) {
        return FALSE;
    }
    audit_add(host, vm, AUDIT_DOMAIN_DESTROYED, NULL);
    return TRUE;
}

/* What is gone has nothing to sync: that its file is missing is said when it is next needed. */
static gboolean settle_one(VbHost *host, const HostVm *vm, const char *path, gboolean may_write,
                           GError **error)
{
    struct stat facts;
    if (host->files->lstat(host->files, path, &facts) != 0 && errno == ENOENT) {
        return TRUE;
    }
    /* The journal's word for it outlives an agent. */
    gboolean has_failed = vm->unsettled == ERROR_CODE_STORAGE_IO;
    if (!(may_write ? state_settle(host, path, has_failed, error)
                    : state_sync(host, path, error))) {
        return FALSE;
    }
    audit_add(host, vm, AUDIT_STATE_SYNCED, path);
    return TRUE;
}

static gboolean is_in_journal(const HostVm *vm, const char *path)
{
    for (size_t i = 0; i < vm->n_state_paths; i++) {
        if (strcmp(vm->state_paths[i], path) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The paths of the journal, and those of a start that failed before it could hand them over. Only
 * what a domain of ours had is written to: a start that was refused names files that may be
 * somebody else's, and a foreign domain may run on ours. */
static gboolean settle_state(VbHost *host, VbArena *arena, const HostVm *vm, gboolean foreign,
                             GError **error)
{
    gboolean ok = TRUE;
    gboolean may_write = vm->domain_expected && !foreign;
    for (size_t i = 0; i < vm->n_state_paths; i++) {
        ok = settle_one(host, vm, vm->state_paths[i], may_write, ok ? error : NULL) && ok;
    }
    if (vm->command == NULL || vm->command->command_case != HOST_COMMAND__COMMAND_START_DOMAIN) {
        return ok;
    }
    char **paths = start_state_paths(host, arena, vm->command->start_domain);
    for (; *paths != NULL; paths++) {
        ok =
            (is_in_journal(vm, *paths) || settle_one(host, vm, *paths, FALSE, ok ? error : NULL)) &&
            ok;
    }
    return ok;
}

/* What is plugged is asked of OVS; the journal says whether an answer matters. */
static gboolean unplug_ports(VbHost *host, const HostVm *vm, GError **error)
{
    g_autoptr(GError) silence = NULL;
    g_autoptr(GArray) indexes = host->ports->ports_of(host->ports, vm->vm_uuid, &silence);
    if (indexes == NULL && vm->n_ports == 0) {
        return TRUE; /* A host without OVS, and a VM that never had a port. */
    }
    if (indexes == NULL) {
        g_propagate_error(error, g_steal_pointer(&silence));
        return FALSE;
    }
    gboolean ok = TRUE;
    for (guint i = 0; i < indexes->len; i++) {
        guint index = g_array_index(indexes, guint, i);
        ok = port_unplug(host, vm, index, ok ? error : NULL) && ok;
    }
    return ok;
}

/* Tries everything once the domain is gone; the first error of the worst kind is what is told. */
static gboolean clean_up(VbHost *host, VbArena *arena, const HostVm *vm, VbLeft *ret_left,
                         GError **error)
{
    gboolean foreign = FALSE;
    g_autoptr(GError) state_error = NULL;
    g_autoptr(GError) port_error = NULL;
    *ret_left = LEFT_DOMAIN;
    if (!destroy_ours(host, arena, vm, &foreign, error)) {
        return FALSE;
    }
    KILL_POINT("domain-gone");
    settle_state(host, arena, vm, foreign, &state_error);
    KILL_POINT("state-settled");
    /* A socket that stays is like a port that stays: the next clean-up has both to remove. */
    if (unplug_ports(host, vm, &port_error)) {
        socket_folder_remove(host, arena, vm->vm_uuid, &port_error);
    } else {
        socket_folder_remove(host, arena, vm->vm_uuid, NULL);
    }
    *ret_left = foreign || state_error != NULL ? LEFT_FILES
                : port_error != NULL           ? LEFT_PORTS
                                               : LEFT_NOTHING;
    if (foreign) {
        g_set_error(error, VB_ERROR, ERROR_CODE_FOREIGN_DOMAIN,
                    "a domain of uuid %s exists that virtbus did not make: remove it by hand",
                    vm->vm_uuid);
    } else if (state_error != NULL) {
        /* One code for "gone, but not synced", be it for a full disk. */
        state_error->code = ERROR_CODE_STORAGE_IO;
        g_propagate_error(error, g_steal_pointer(&state_error));
    } else if (port_error != NULL) {
        g_propagate_error(error, g_steal_pointer(&port_error));
    } else {
        return TRUE;
    }
    return FALSE;
}

/* ---- EFFECT_UNPLUG */

static gboolean unplug_loose(VbHost *host, VbArena *arena, const HostVm *vm, GError **error)
{
    for (size_t i = 0; i < vm->n_loose_ports; i++) {
        const char *path = socket_path(host, arena, vm->vm_uuid, vm->loose_ports[i], error);
        if (path == NULL || !port_unplug(host, vm, vm->loose_ports[i], error) ||
            !socket_remove(host, path, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- EFFECT_FORGET */

/* What was removed does not come back behind a power failure: the journal, which would know of it,
 * goes next. */
static gboolean sync_removed(VbHost *host, const char *folder, GError **error)
{
    struct stat facts;
    if (host->files->lstat(host->files, folder, &facts) != 0 && errno == ENOENT) {
        return TRUE;
    }
    return store_sync(host->files, folder, O_DIRECTORY, error);
}

/* virtlogd adds ".0", ".1" ... to the names of older logs. */
static gboolean remove_logs(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error)
{
    VbFiles *files = host->files;
    const char *folder = host->config->log_dir;
    const char *prefix = arena_printf(arena, "%s.serial.log", vm_uuid);
    KILL_POINT("forget-cleaned-up");
    g_auto(GStrv) names = files->list(files, folder);
    if (names == NULL && errno != ENOENT) {
        g_set_error(error, VB_ERROR, ERROR_CODE_STORAGE_IO, "cannot list %s: %s", folder,
                    g_strerror(errno));
        return FALSE;
    }
    for (char **name = names; name != NULL && *name != NULL; name++) {
        const char *path = arena_printf(arena, "%s/%s", folder, *name);
        if (g_str_has_prefix(*name, prefix) && files->unlink(files, path) != 0 && errno != ENOENT) {
            g_set_error(error, VB_ERROR, ERROR_CODE_STORAGE_IO, "cannot remove %s: %s", path,
                        g_strerror(errno));
            return FALSE;
        }
    }
    return TRUE;
}

void effect_run(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                VbEffectResult *ret_result)
{
    const HostVm *vm = request->vm;
    g_autoptr(GError) error = NULL;
    *ret_result = (VbEffectResult){0};
    switch (request->kind) {
    case EFFECT_NONE:
        return;
    case EFFECT_LOOK:
        effect_look(host, arena, vm, ret_result);
        return;
    case EFFECT_CREATE_VOLUMES:
        volumes_create(host, arena, vm, ret_result);
        return;
    case EFFECT_DELETE_VOLUMES:
        volumes_delete(host, arena, vm, ret_result);
        return;
    case EFFECT_START:
        effect_start(host, arena, vm, ret_result);
        return;
    case EFFECT_STOP:
        effect_stop(host, arena, request, ret_result);
        return;
    case EFFECT_ATTACH:
        effect_attach(host, arena, request, ret_result);
        return;
    case EFFECT_DETACH:
        effect_detach(host, arena, request, ret_result);
        return;
    case EFFECT_UNPLUG:
        unplug_loose(host, arena, vm, &error);
        break;
    case EFFECT_CLEAN_UP:
        clean_up(host, arena, vm, &ret_result->left, &error);
        break;
    case EFFECT_FORGET:
        if (clean_up(host, arena, vm, &ret_result->left, &error) &&
            remove_logs(host, arena, vm->vm_uuid, &error) &&
            tpm_unlink(host, arena, vm->vm_uuid, &error) &&
            sync_removed(host, host->config->log_dir, &error)) {
            sync_removed(host, host->config->swtpm_dir, &error);
        }
        break;
    }
    if (error != NULL) {
        ret_result->error = error_from_gerror(arena, error);
    }
}
