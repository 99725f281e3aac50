/* Makes one volume that was checked.
 *
 *     temporary file -> fsync -> rename -> fsync of its folder and of each one above
 *
 * So the final name is whole or not there, whatever crashes; a later try removes the temporary file
 * first. It refuses to rename over anything: content never goes back by itself (I5).
 */
#include "services/host-agent/volume_make.h"

#include <errno.h>
#include <fcntl.h>

#include "common/runtime/kill_point.h"
#include "services/host-agent/volume_files.h"

static ErrorCode code_of_disk(int cause)
{
    switch (cause) {
    case EINVAL:
        return ERROR_CODE_INVALID_ARGUMENT;
    case ENOTSUP:
        return ERROR_CODE_UNSUPPORTED;
    case ENOSPC:
        return ERROR_CODE_STORAGE_FULL;
    default:
        return ERROR_CODE_STORAGE_IO;
    }
}

static gboolean make_disk_file(VbHost *host, const VolumePlan *plan, GError **error)
{
    const Volume *volume = plan->volume;
    const char *path = plan->place.temporary;
    g_autofree char *message = NULL;
    if (host->files->make_disk(host->files, path,
                               volume->format == VOLUME_FORMAT_RAW ? "raw" : "qcow2",
                               volume->capacity_bytes, plan->image_path,
                               volume->image_mode == IMAGE_MODE_OVERLAY, &message) != 0) {
        g_set_error(error, VB_ERROR, (gint)code_of_disk(errno), "cannot make the disk %s: %s",
                    plan->place.path, message);
        return FALSE;
    }
    if (host->files->chmod(host->files, path, 0600) != 0) {
        store_error(error, "close to other users:", path);
        return FALSE;
    }
    return store_sync(host->files, path, O_NOFOLLOW, error);
}

static gboolean publish(VbHost *host, const VolumePlace *place, GError **error)
{
    struct stat facts;
    gboolean there = FALSE;
    if (!store_look(host->files, place->path, &there, &facts, error)) {
        return FALSE;
    }
    if (there) {
        errno = EEXIST;
    } else if (host->files->rename(host->files, place->temporary, place->path) == 0) {
        return TRUE;
    }
    store_error(error, "give its name to", place->path);
    return FALSE;
}

static gboolean make_file(VbHost *host, const VolumePlan *plan, GError **error)
{
    const VolumePlace *place = &plan->place;
    if (!store_unlink(host->files, place->temporary, error)) {
        return FALSE;
    }
    gboolean is_nvram = plan->template_bytes != NULL;
    gboolean written = is_nvram ? store_write(host->files, place->temporary, plan->template_bytes,
                                              plan->template_size_bytes, error)
                                : make_disk_file(host, plan, error);
    if (is_nvram) {
        KILL_POINT("nvram-synced");
    }
    if (written && publish(host, place, error)) {
        if (is_nvram) {
            KILL_POINT("nvram-renamed");
        }
        return TRUE;
    }
    /* As far as that works: the first cause is what counts, and the next try removes it again. */
    store_unlink(host->files, place->temporary, NULL);
    return FALSE;
}

/* root, 0711: libvirt makes tpm2/ in it for swtpm's user, who only has to walk through. */
static gboolean make_tpm_folder(VbHost *host, const VolumePlace *place, GError **error)
{
    if (host->files->mkdir(host->files, place->path, 0711) != 0) {
        store_error(error, "make the folder", place->path);
        return FALSE;
    }
    return TRUE;
}

/* Also for a volume that is there: the try that made it may have died before this. */
static gboolean settle(VbHost *host, const VolumePlan *plan, GError **error)
{
    const char *path = plan->place.path;
    VbFiles *files = host->files;
    gboolean is_folder = plan->volume->type == VOLUME_TYPE_TPM_STATE;
    if (is_folder && files->chmod(files, path, 0711) != 0) {
        store_error(error, "open the folder to swtpm's user:", path);
        return FALSE;
    }
    struct stat facts;
    if (files->lstat(files, path, &facts) != 0) {
        store_error(error, "look at", path);
        return FALSE;
    }
    plan->volume->actual_size_bytes = is_folder ? 0 : (guint64)facts.st_size;
    return store_sync(files, path, O_NOFOLLOW, error) &&
           place_sync_folders(host, &plan->place, error);
}

gboolean volume_make(VbHost *host, VolumePlan *plan, GError **error)
{
    if (!place_make_folders(host, &plan->place, error)) {
        return FALSE;
    }
    if (!plan->there) {
        gboolean made = plan->volume->type == VOLUME_TYPE_TPM_STATE
                            ? make_tpm_folder(host, &plan->place, error)
                            : make_file(host, plan, error);
        if (!made) {
            return FALSE;
        }
    }
    return settle(host, plan, error);
}
