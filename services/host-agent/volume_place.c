/* Where a volume lies, and the folders on the way to it.
 *
 * It refuses a path that leaves its storage, that goes through a link, or that does not carry the
 * volume's own uuid: so two volumes never share a file, and a deletion never reaches another
 * volume.
 */
#include "services/host-agent/volume_place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/text.h"
#include "common/runtime/kill_point.h"
#include "services/host-agent/volume_files.h"

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* Volumes of several VMs share folders. One may remove an empty folder while another is about to
 * use it; both do so under this lock. A volume's own vol-<uuid> folder then keeps the rest. */
static GMutex folders_lock;

static char *storages_text(const VbHostConfig *config)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < config->storages->len; i++) {
        const VbStorage *storage = config->storages->pdata[i];
        g_string_append_printf(text, "%s%s (%s)", i > 0 ? ", " : "", storage->ref.name,
                               ENUM_LABEL(storage_type, storage->ref.type));
    }
    return g_strdup(text->len > 0 ? text->str : "none");
}

gboolean place_find_storage(VbHost *host, const StorageRef *wanted, const VbStorage **ret_storage,
                            GError **error)
{
    const GPtrArray *storages = host->config->storages;
    const char *name = wanted != NULL ? wanted->name : "";
    StorageType type = wanted != NULL ? wanted->type : STORAGE_TYPE_UNSPECIFIED;
    for (guint i = 0; i < storages->len; i++) {
        const VbStorage *storage = storages->pdata[i];
        if (strcmp(storage->ref.name, name) != 0 || storage->ref.type != type) {
            continue;
        }
        if (type != STORAGE_TYPE_LOCAL) {
            g_set_error(error, VB_ERROR, ERROR_CODE_UNSUPPORTED_STORAGE,
                        "storage %s is of type %s, and host %s serves only storages of type Local; "
                        "choose another storage",
                        name, ENUM_LABEL(storage_type, type), host->config->host_uuid);
            return FALSE;
        }
        *ret_storage = storage;
        return TRUE;
    }
    g_autofree char *known = storages_text(host->config);
    g_set_error(error, VB_ERROR, ERROR_CODE_STORAGE_NOT_FOUND,
                "host %s has no storage %s of type %s, it has: %s; configure it there, or choose "
                "another",
                host->config->host_uuid, name[0] != '\0' ? name : "(without a name)",
                ENUM_LABEL(storage_type, type), known);
    return FALSE;
}

/* A name of a file or folder that the contract can have made. None begins with a dot: those are
 * the store's temporary files. */
static gboolean name_is_plain(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && name[strspn(name, NAME_CHARACTERS)] == '\0';
}

static gboolean install_path_is_safe(const Volume *volume)
{
    g_auto(GStrv) parts = g_strsplit(volume->install_path, "/", -1);
    g_autofree char *own = g_strdup_printf("vol-%s", volume->uuid);
    guint n_parts = g_strv_length(parts);
    for (guint i = 0; i < n_parts; i++) {
        if (!name_is_plain(parts[i])) {
            return FALSE;
        }
    }
    return n_parts >= 2 && volume->uuid[0] != '\0' &&
           g_strv_contains((const char *const *)parts, own) && strcmp(parts[0], "images") != 0;
}

gboolean place_find(VbHost *host, VbArena *arena, const Volume *volume, VolumePlace *ret_place,
                    GError **error)
{
    VolumePlace place = {.install_path = volume->install_path};
    if (!place_find_storage(host, volume->storage, &place.storage, error)) {
        return FALSE;
    }
    if (!install_path_is_safe(volume)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "install path \"%s\" of volume %s must be relative, of plain names only, with "
                    "a folder vol-%s; mend the volume's record",
                    volume->install_path, volume->uuid, volume->uuid);
        return FALSE;
    }
    const char *name = strrchr(volume->install_path, '/') + 1;
    place.path = arena_printf(arena, "%s/%s", place.storage->path, volume->install_path);
    place.temporary = arena_printf(arena, "%s/%.*s.%s.new", place.storage->path,
                                   (int)(name - volume->install_path), volume->install_path, name);
    for (const char *at = volume->install_path; *at != '\0'; at++) {
        place.depth += *at == '/';
    }
    *ret_place = place;
    return TRUE;
}

/* Absolute path of the first `n` folders on the way; 0: the storage itself. Free with g_free. */
static char *folder_path(const VolumePlace *place, guint n)
{
    const char *end = place->install_path;
    for (guint i = 0; i < n; i++) {
        end = strchr(end + (i > 0), '/');
    }
    if (n == 0) {
        return g_strdup(place->storage->path);
    }
    return g_strdup_printf("%s/%.*s", place->storage->path, (int)(end - place->install_path),
                           place->install_path);
}

gboolean place_look(VbHost *host, const VolumePlace *place, ErrorCode unsafe, gboolean *ret_there,
                    struct stat *ret_stat, GError **error)
{
    for (guint i = 1; i <= place->depth; i++) {
        g_autofree char *folder = folder_path(place, i);
        if (!store_look(host->files, folder, ret_there, ret_stat, error)) {
            return FALSE;
        }
        if (!*ret_there) {
            return TRUE;
        }
        if (!S_ISDIR(ret_stat->st_mode)) {
            g_set_error(error, VB_ERROR, unsafe,
                        "%s is on the way to a volume and is not a folder; put the folder back in "
                        "its place",
                        folder);
            return FALSE;
        }
    }
    return store_look(host->files, place->path, ret_there, ret_stat, error);
}

static gboolean make_folder(VbFiles *files, const char *path, GError **error)
{
    struct stat facts;
    if (files->mkdir(files, path, 0711) != 0 && errno != EEXIST) {
        store_error(error, "make the folder", path);
        return FALSE;
    }
    if (files->lstat(files, path, &facts) != 0) {
        store_error(error, "look at", path);
        return FALSE;
    }
    /* The umask, or a crash between the two calls, may have left it closed to QEMU's user. */
    mode_t open_mode = (facts.st_mode & 07777) | 0111;
    if (S_ISDIR(facts.st_mode) && (facts.st_mode & 07777) != open_mode &&
        files->chmod(files, path, open_mode) != 0) {
        store_error(error, "open the folder to QEMU's user:", path);
        return FALSE;
    }
    return TRUE;
}

gboolean place_make_folders(VbHost *host, const VolumePlace *place, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&folders_lock);
    for (guint i = 1; i <= place->depth; i++) {
        g_autofree char *folder = folder_path(place, i);
        if (!make_folder(host->files, folder, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean place_sync_folders(VbHost *host, const VolumePlace *place, GError **error)
{
    /* All of them, also those that were there: the try that made them may have died before its
     * sync. */
    for (guint i = place->depth + 1; i-- > 0;) {
        g_autofree char *folder = folder_path(place, i);
        if (!store_sync(host->files, folder, O_DIRECTORY, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean place_remove_folders(VbHost *host, const VolumePlace *place, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&folders_lock);
    guint left = place->depth;
    KILL_POINT("volume-unlinked");
    for (; left > 0; left--) {
        g_autofree char *folder = folder_path(place, left);
        if (host->files->rmdir(host->files, folder) == 0 || errno == ENOENT) {
            continue;
        }
        if (errno == ENOTEMPTY || errno == EEXIST) {
            break;
        }
        store_error(error, "remove", folder);
        return FALSE;
    }
    g_autofree char *folder = folder_path(place, left);
    return store_sync(host->files, folder, O_DIRECTORY, error);
}
