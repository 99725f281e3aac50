/* The TPM's state: a folder of ours that stands where libvirt's swtpm folder for the VM would be.
 *
 *     <swtpm_dir>/<vm uuid>  ->  <storage>/.../vol-<uuid>/<uuid>/        root, 0711: ours
 *                                    tpm2/                               swtpm's user, 0700:
 * libvirt's tpm2-00.permall                 the state
 *
 * libvirt follows the link and makes tpm2/ itself, for whichever user it runs swtpm as. It refuses
 * to replace a real folder in the link's place: that would be another domain's state.
 */
#include "services/host-agent/volumes.h"

#include <errno.h>
#include <string.h>

#include "services/host-agent/volume_files.h"
#include "services/host-agent/volume_place.h"

static gboolean program_is_there(VbFiles *files, const char *name)
{
    const char *search = g_getenv("PATH");
    g_auto(GStrv) folders = g_strsplit(search != NULL ? search : "/usr/bin:/bin", ":", -1);
    for (guint i = 0; folders[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folders[i], name, NULL);
        guint64 size_bytes = 0;
        if (path[0] == '/' && store_file_size(files, path, &size_bytes)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean tpm_is_available(VbHost *host, GError **error)
{
    const char *programs[] = {"swtpm", "swtpm_setup"};
    for (guint i = 0; i < G_N_ELEMENTS(programs); i++) {
        if (!program_is_there(host->files, programs[i])) {
            g_set_error(error, VB_ERROR, ERROR_CODE_TPM_UNAVAILABLE,
                        "host %s has no program %s; install it there (packages swtpm and "
                        "swtpm-tools), or choose another host",
                        host->config->host_uuid, programs[i]);
            return FALSE;
        }
    }
    return TRUE;
}

static char *link_path(VbHost *host, VbArena *arena, const char *vm_uuid)
{
    return arena_printf(arena, "%s/%s", host->config->swtpm_dir, vm_uuid);
}

static void set_state_missing(GError **error, const char *path, const char *problem)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_TPM_STATE_MISSING,
                "the TPM's state %s %s; restore it from a backup", path, problem);
}

/* Whether a state with content is there. Looks like swtpm does, but follows no link. */
static gboolean look_for_state(VbHost *host, const char *folder, gboolean *ret_there,
                               GError **error)
{
    g_autofree char *tpm2 = g_build_filename(folder, "tpm2", NULL);
    g_autofree char *state = g_build_filename(tpm2, "tpm2-00.permall", NULL);
    struct stat facts;
    gboolean there = FALSE;
    if (!store_look(host->files, tpm2, &there, &facts, error)) {
        return FALSE;
    }
    if (there && !S_ISDIR(facts.st_mode)) {
        set_state_missing(error, tpm2, "is not a folder");
        return FALSE;
    }
    if (there && !store_look(host->files, state, &there, &facts, error)) {
        return FALSE;
    }
    *ret_there = there && S_ISREG(facts.st_mode) && facts.st_size > 0;
    return TRUE;
}

static gboolean remove_state(VbHost *host, const char *folder, GError **error)
{
    g_autofree char *tpm2 = g_build_filename(folder, "tpm2", NULL);
    return store_remove_folder(host->files, tpm2, error);
}

static gboolean check_state(VbHost *host, const char *folder, gboolean expected, GError **error)
{
    gboolean there = FALSE;
    if (!look_for_state(host, folder, &there, error)) {
        return FALSE;
    }
    if (there) {
        return TRUE;
    }
    if (expected) {
        set_state_missing(error, folder, "is gone or empty");
        return FALSE;
    }
    /* What a first start leaves when it is cut off in the TPM's set-up: libvirt would take a tpm2/
     * that is not empty for a finished TPM, and swtpm cannot start on an empty state. */
    return remove_state(host, folder, error);
}

gboolean tpm_remove(VbHost *host, const char *path, GError **error)
{
    return remove_state(host, path, error) && store_remove_folder(host->files, path, error);
}

/* Removes what is at `path` unless it is the link that is wanted. */
static gboolean clear_link(VbHost *host, const char *path, const char *target, gboolean *ret_linked,
                           GError **error)
{
    struct stat facts;
    gboolean there = FALSE;
    *ret_linked = FALSE;
    if (!store_look(host->files, path, &there, &facts, error)) {
        return FALSE;
    }
    if (!there) {
        return TRUE;
    }
    if (!S_ISLNK(facts.st_mode)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_FOREIGN_DOMAIN,
                    "%s holds the TPM of a domain that virtbus did not make; move it away by hand",
                    path);
        return FALSE;
    }
    char text[PATH_MAX];
    ssize_t n = host->files->readlink(host->files, path, text, sizeof(text));
    *ret_linked = n == (ssize_t)strlen(target) && memcmp(text, target, (size_t)n) == 0;
    return *ret_linked || store_unlink(host->files, path, error);
}

static gboolean make_link(VbHost *host, VbArena *arena, const char *vm_uuid, const char *target,
                          GError **error)
{
    VbFiles *files = host->files;
    const char *path = link_path(host, arena, vm_uuid);
    /* libvirt makes this folder only when it starts the first TPM of the host; same mode. */
    if (files->mkdir(files, host->config->swtpm_dir, 0711) != 0 && errno != EEXIST) {
        store_error(error, "make the folder", host->config->swtpm_dir);
        return FALSE;
    }
    gboolean linked = FALSE;
    if (!clear_link(host, path, target, &linked, error)) {
        return FALSE;
    }
    if (!linked && files->symlink(files, target, path) != 0) {
        store_error(error, "make the link", path);
        return FALSE;
    }
    return TRUE;
}

gboolean tpm_prepare(VbHost *host, VbArena *arena, const char *vm_uuid, const Volume *volume,
                     gboolean state_expected, char **ret_path, GError **error)
{
    VolumePlace place;
    struct stat facts;
    gboolean there = FALSE;
    if (!tpm_is_available(host, error) || !place_find(host, arena, volume, &place, error) ||
        !place_look(host, &place, ERROR_CODE_TPM_STATE_MISSING, &there, &facts, error)) {
        return FALSE;
    }
    if (!there || !S_ISDIR(facts.st_mode)) {
        set_state_missing(error, place.path, "is no folder, or gone");
        return FALSE;
    }
    if (!check_state(host, place.path, state_expected, error) ||
        !make_link(host, arena, vm_uuid, place.path, error)) {
        return FALSE;
    }
    *ret_path = place.path;
    return TRUE;
}

gboolean tpm_unlink(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error)
{
    const char *path = link_path(host, arena, vm_uuid);
    struct stat facts;
    gboolean there = FALSE;
    if (!store_look(host->files, path, &there, &facts, error)) {
        return FALSE;
    }
    return !there || !S_ISLNK(facts.st_mode) || store_unlink(host->files, path, error);
}
