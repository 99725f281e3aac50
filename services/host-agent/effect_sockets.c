/* The folder of a VM's vhost-user sockets: <run_dir>/<vm uuid>/<nic index>. QEMU makes a socket in
 * it, OVS connects. It removes nothing but what lies in that one folder. */
#include "services/host-agent/effect.h"

#include <errno.h>
#include <grp.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/runtime/kill_point.h"
#include "services/host-agent/volume_files.h"

/* set-group-id: QEMU's sockets (0775) get OVS's group, whose members may then connect. */
enum { FOLDER_MODE = 02770, RUN_DIR_MODE = 0755, GROUP_BUFFER_BYTES = 16384 };

char *socket_folder(VbHost *host, VbArena *arena, const char *vm_uuid)
{
    return arena_printf(arena, "%s/%s", host->config->run_dir, vm_uuid);
}

char *socket_path(VbHost *host, VbArena *arena, const char *vm_uuid, guint32 nic_index,
                  GError **error)
{
    const char *folder = socket_folder(host, arena, vm_uuid);
    char *path = arena_printf(arena, "%s/%u", folder, nic_index);
    size_t length_bytes = strlen(path);
    if (length_bytes <= SOCKET_PATH_MAX_BYTES) {
        return path;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_SOCKET_PATH_TOO_LONG,
                "the socket %s of NIC %u has %zu bytes, at most %d are possible: shorten the "
                "agent's run folder %s",
                path, nic_index, length_bytes, SOCKET_PATH_MAX_BYTES, host->config->run_dir);
    return NULL;
}

static gboolean fail_path(GError **error, const char *doing, const char *path)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_STORAGE_IO, "cannot %s %s: %s", doing, path,
                g_strerror(errno));
    return FALSE;
}

static gboolean find_owner(const VbHostConfig *config, uid_t *ret_uid, gid_t *ret_gid,
                           GError **error)
{
    if (!store_find_user(config->qemu_user, ret_uid)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR,
                    "there is no user '%s' for QEMU: mend the agent's option for it",
                    config->qemu_user);
        return FALSE;
    }
    g_autofree char *buffer = g_malloc(GROUP_BUFFER_BYTES);
    struct group group;
    struct group *group_found = NULL;
    if (getgrnam_r(config->ovs_group, &group, buffer, GROUP_BUFFER_BYTES, &group_found) != 0 ||
        group_found == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_OVS_UNAVAILABLE,
                    "there is no group '%s' for OVS: mend the agent's option for it",
                    config->ovs_group);
        return FALSE;
    }
    *ret_gid = group.gr_gid;
    return TRUE;
}

gboolean socket_remove(VbHost *host, const char *path, GError **error)
{
    return host->files->unlink(host->files, path) == 0 || errno == ENOENT ||
           fail_path(error, "remove the stale socket", path);
}

static gboolean remove_content(VbHost *host, VbArena *arena, const char *folder, GError **error)
{
    VbFiles *files = host->files;
    g_auto(GStrv) names = files->list(files, folder);
    if (names == NULL) {
        return errno == ENOENT || fail_path(error, "list", folder);
    }
    for (char **name = names; *name != NULL; name++) {
        if (!socket_remove(host, arena_printf(arena, "%s/%s", folder, *name), error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean socket_folder_make(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error)
{
    return remove_content(host, arena, socket_folder(host, arena, vm_uuid), error) &&
           socket_folder_keep(host, arena, vm_uuid, error);
}

gboolean socket_folder_keep(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error)
{
    VbFiles *files = host->files;
    const char *folder = socket_folder(host, arena, vm_uuid);
    uid_t uid = 0;
    gid_t gid = 0;
    if (!find_owner(host->config, &uid, &gid, error)) {
        return FALSE;
    }
    if (files->mkdir(files, host->config->run_dir, RUN_DIR_MODE) != 0 && errno != EEXIST) {
        return fail_path(error, "make the folder", host->config->run_dir);
    }
    if (files->mkdir(files, folder, FOLDER_MODE) != 0 && errno != EEXIST) {
        return fail_path(error, "make the folder", folder);
    }
    /* In this order: a change of owner takes the set-group-id bit away. */
    if (files->chown(files, folder, uid, gid) != 0 ||
        files->chmod(files, folder, FOLDER_MODE) != 0) {
        return fail_path(error, "give QEMU and OVS the folder", folder);
    }
    return TRUE;
}

gboolean socket_folder_remove(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error)
{
    VbFiles *files = host->files;
    const char *folder = socket_folder(host, arena, vm_uuid);
    if (!remove_content(host, arena, folder, error)) {
        return FALSE;
    }
    KILL_POINT("sockets-removed");
    return files->rmdir(files, folder) == 0 || errno == ENOENT ||
           fail_path(error, "remove the folder", folder);
}
