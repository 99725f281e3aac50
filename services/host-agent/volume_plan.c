/* The check of one volume before anything is made.
 *
 * It refuses what this host cannot hold, and to make anew what existed once: content never goes
 * back by itself (I5).
 */
#include "services/host-agent/volume_make.h"

#include <fcntl.h>
#include <string.h>

#include "common/base/text.h"
#include "services/host-agent/nvram_store.h"
#include "services/host-agent/volume_files.h"
#include "services/host-agent/volumes.h"

/* What an empty disk, an overlay or a TPM's folder takes at most before a guest writes to it. */
enum { SMALL_VOLUME_BYTES = 1024 * 1024 };

static gboolean refuse(GError **error, ErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static gboolean refuse(GError **error, ErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autoptr(GError) refusal = g_error_new_valist(VB_ERROR, (gint)code, format, args);
    va_end(args);
    g_propagate_error(error, g_steal_pointer(&refusal));
    return FALSE;
}

/* Whether the volume is there. One that existed once and is gone is an error, never made anew. */
static gboolean look(VbHost *host, VolumePlan *plan, ErrorCode unsafe, ErrorCode missing,
                     struct stat *ret_facts, GError **error)
{
    if (!place_look(host, &plan->place, unsafe, &plan->there, ret_facts, error)) {
        return FALSE;
    }
    if (!plan->there && plan->volume->ever_ready) {
        return refuse(error, missing,
                      "%s was there once and is gone; restore it, it is never made anew",
                      plan->place.path);
    }
    return TRUE;
}

static gboolean plan_nvram_firmware(VbHost *host, VbArena *arena, const CreateVolumes *command,
                                    VolumePlan *plan, GError **error)
{
    Volume *volume = plan->volume;
    gboolean replaced = FALSE;
    volume->firmware = firmware_resolve(host, arena, command->firmware_class,
                                        command->pinned_firmware, &replaced, error);
    if (volume->firmware == NULL || plan->there) {
        return volume->firmware != NULL;
    }
    if (!nvram_load_template(host, arena, volume->firmware, &plan->template_bytes,
                             &plan->template_size_bytes, error)) {
        return FALSE;
    }
    if (plan->template_size_bytes > volume->capacity_bytes) {
        return refuse(error, ERROR_CODE_INVALID_ARGUMENT,
                      "the firmware's variable store has %zu bytes, over the volume's capacity of "
                      "%" G_GUINT64_FORMAT "; ask for a larger nvram size",
                      plan->template_size_bytes, volume->capacity_bytes);
    }
    plan->need_bytes = plan->template_size_bytes;
    return TRUE;
}

static gboolean plan_nvram(VbHost *host, VbArena *arena, const CreateVolumes *command,
                           VolumePlan *plan, GError **error)
{
    struct stat facts;
    char *path = NULL;
    Volume *volume = plan->volume;
    if (volume->format != VOLUME_FORMAT_UNSPECIFIED && volume->format != VOLUME_FORMAT_RAW) {
        return refuse(error, ERROR_CODE_INVALID_ARGUMENT, "NvRam is raw, %s was asked for",
                      ENUM_LABEL(volume_format, volume->format));
    }
    volume->format = VOLUME_FORMAT_RAW;
    if (command->firmware_class == NULL) {
        return refuse(error, ERROR_CODE_INVALID_ARGUMENT,
                      "the command names no firmware class for NvRam");
    }
    if (!look(host, plan, ERROR_CODE_NVRAM_UNSAFE_FILE, ERROR_CODE_NVRAM_MISSING, &facts, error)) {
        return FALSE;
    }
    if (plan->there && !nvram_verify(host, arena, volume, command->firmware_class, &path, error)) {
        return FALSE;
    }
    /* The build that its template came from is on record once it was reported. */
    gboolean recorded = plan->there && volume->firmware != NULL;
    return recorded || plan_nvram_firmware(host, arena, command, plan, error);
}

static gboolean plan_tpm(VbHost *host, VolumePlan *plan, GError **error)
{
    struct stat facts;
    plan->volume->format = VOLUME_FORMAT_DIRECTORY;
    plan->need_bytes = SMALL_VOLUME_BYTES;
    if (!tpm_is_available(host, error) ||
        !look(host, plan, ERROR_CODE_STORAGE_IO, ERROR_CODE_TPM_STATE_MISSING, &facts, error)) {
        return FALSE;
    }
    if (plan->there && !S_ISDIR(facts.st_mode)) {
        return refuse(error, ERROR_CODE_STORAGE_IO,
                      "%s is to be the TPM's folder and is none; move it away by hand",
                      plan->place.path);
    }
    return TRUE;
}

static gboolean plan_image(VbHost *host, VbArena *arena, VolumePlan *plan, GError **error)
{
    const Volume *volume = plan->volume;
    plan->image_path = volume_image_path(host, arena, volume->storage, volume->image, error);
    if (plan->image_path == NULL) {
        return FALSE;
    }
    guint64 image_bytes = 0;
    if (!store_file_size(host->files, plan->image_path, &image_bytes)) {
        return refuse(error, ERROR_CODE_IMAGE_NOT_FOUND,
                      "host %s has no image %s; put it there, or choose another",
                      host->config->host_uuid, plan->image_path);
    }
    if (volume->image_mode == IMAGE_MODE_OVERLAY) {
        plan->need_bytes = SMALL_VOLUME_BYTES;
        return volume->format == VOLUME_FORMAT_QCOW2 ||
               refuse(error, ERROR_CODE_INVALID_ARGUMENT,
                      "an overlay of image %s must be qcow2, raw was asked for", volume->image);
    }
    plan->need_bytes = image_bytes;
    return TRUE;
}

/* Whether a disk that is there can be one that was finished. */
static gboolean check_disk(VbHost *host, const VolumePlan *plan, const struct stat *facts,
                           GError **error)
{
    const char *path = plan->place.path;
    if (!S_ISREG(facts->st_mode) || facts->st_nlink != 1) {
        return refuse(error, ERROR_CODE_STORAGE_IO,
                      "%s is no regular file with one name; put the one true file there", path);
    }
    char magic[4] = "";
    VbFiles *files = host->files;
    int fd = files->open(files, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    ssize_t n = fd < 0 ? -1 : files->read(files, fd, magic, sizeof(magic));
    if (n < 0) {
        store_error(error, "read", path);
    }
    if (fd >= 0) {
        files->close(files, fd);
    }
    if (n < 0) {
        return FALSE;
    }
    const Volume *volume = plan->volume;
    gboolean is_qcow2 = n == sizeof(magic) && memcmp(magic, "QFI\xfb", sizeof(magic)) == 0;
    /* A size that was asked for later is not the file's fault. */
    guint64 least_bytes = volume->ever_ready ? 1 : MAX(volume->capacity_bytes, 1);
    gboolean whole =
        volume->format == VOLUME_FORMAT_QCOW2 ? is_qcow2 : (guint64)facts->st_size >= least_bytes;
    return whole || refuse(error, ERROR_CODE_STORAGE_IO,
                           "%s is there and is no whole %s disk; restore it, or move it away by "
                           "hand",
                           path, ENUM_LABEL(volume_format, volume->format));
}

static gboolean plan_disk(VbHost *host, VbArena *arena, VolumePlan *plan, GError **error)
{
    struct stat facts;
    Volume *volume = plan->volume;
    if (volume->format == VOLUME_FORMAT_UNSPECIFIED) {
        volume->format = VOLUME_FORMAT_QCOW2;
    }
    if (volume->format == VOLUME_FORMAT_DIRECTORY) {
        return refuse(error, ERROR_CODE_INVALID_ARGUMENT, "a disk is qcow2 or raw, no folder");
    }
    if (!look(host, plan, ERROR_CODE_STORAGE_IO, ERROR_CODE_VOLUME_NOT_FOUND, &facts, error)) {
        return FALSE;
    }
    if (plan->there) {
        return check_disk(host, plan, &facts, error);
    }
    plan->need_bytes = SMALL_VOLUME_BYTES;
    if (volume->image[0] != '\0') {
        return plan_image(host, arena, plan, error);
    }
    return volume->capacity_bytes > 0 ||
           refuse(error, ERROR_CODE_INVALID_ARGUMENT, "a disk without an image needs a size");
}

gboolean volume_plan(VbHost *host, VbArena *arena, const CreateVolumes *command,
                     const Volume *volume, VolumePlan *ret_plan, GError **error)
{
    *ret_plan = (VolumePlan){.volume = arena_copy(arena, volume)};
    if (!place_find(host, arena, ret_plan->volume, &ret_plan->place, error)) {
        return FALSE;
    }
    switch (volume->type) {
    case VOLUME_TYPE_NV_RAM:
        return plan_nvram(host, arena, command, ret_plan, error);
    case VOLUME_TYPE_TPM_STATE:
        return plan_tpm(host, ret_plan, error);
    case VOLUME_TYPE_ROOT:
    case VOLUME_TYPE_DATA:
        return plan_disk(host, arena, ret_plan, error);
    case VOLUME_TYPE_MEMORY:
    case VOLUME_TYPE_CACHE:
    case VOLUME_TYPE_UNSPECIFIED:
        break;
    }
    return refuse(error, ERROR_CODE_UNSUPPORTED, "this host makes no volumes of type %s",
                  ENUM_LABEL(volume_type, volume->type));
}
