/* The variable store as a file: its template, and the checks before each start (I3).
 *
 * It refuses links, folders, files with two names, files of other users, sizes other than the
 * recorded one, and variables whose Secure Boot state is not the VM's: that state is enforced by
 * the variables, not by the loader.
 */
#include "services/host-agent/nvram_store.h"

#include <errno.h>
#include <fcntl.h>

#include "services/host-agent/nvram_vars.h"
#include "services/host-agent/volume_files.h"
#include "services/host-agent/volume_place.h"
#include "services/host-agent/volumes.h"

/* Code and variables together have to fit below 4 GiB in 8 MiB, or QEMU refuses them. */
enum { NVRAM_MAX_BYTES = 8 * 1024 * 1024 };

/* Whether the variables enforce the wanted Secure Boot state. NULL, or what is wrong with them. */
static const char *secure_boot_problem(const VbNvramFacts *facts, gboolean wanted)
{
    if (wanted && !facts->has_pk) {
        return "Secure Boot is to be on, but no platform key (PK) is enrolled";
    }
    if (wanted && !facts->secure_boot) {
        return "Secure Boot is to be on, but the variables switch it off";
    }
    if (!wanted && facts->has_pk) {
        return "Secure Boot is to be off, but a platform key (PK) is enrolled";
    }
    return NULL;
}

gboolean nvram_load_template(VbHost *host, VbArena *arena, const FirmwareRef *firmware,
                             void **ret_bytes, size_t *ret_size_bytes, GError **error)
{
    const char *path = firmware->template_path;
    VbFiles *files = host->files;
    int fd = files->open(files, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0) {
        store_error(error, "open the firmware's variable template", path);
        return FALSE;
    }
    gboolean ok =
        store_read(files, arena, fd, path, NVRAM_MAX_BYTES, ret_bytes, ret_size_bytes, error);
    files->close(files, fd);
    if (!ok) {
        return FALSE;
    }
    VbNvramFacts facts;
    g_autoptr(GError) cause = NULL;
    const char *problem = NULL;
    if (!nvram_vars_read(*ret_bytes, *ret_size_bytes, &facts, &cause)) {
        problem = cause->message;
    } else {
        problem = secure_boot_problem(&facts, firmware->class_->secure_boot);
    }
    if (problem != NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_FIRMWARE_NOT_FOUND,
                    "the variable template %s of %s cannot be used: %s; install the firmware anew",
                    path, firmware->descriptor, problem);
        return FALSE;
    }
    return TRUE;
}

static gboolean owner_is_trusted(VbHost *host, uid_t owner)
{
    uid_t qemu = 0;
    return owner == 0 || (store_find_user(host->config->qemu_user, &qemu) && qemu == owner);
}

/* NULL, or why the file must not be given to a guest. */
static const char *file_problem(VbHost *host, const struct stat *facts)
{
    if (!S_ISREG(facts->st_mode)) {
        return "it is no regular file";
    }
    if (facts->st_nlink != 1) {
        return "it has a second name (hard link)";
    }
    return owner_is_trusted(host, facts->st_uid)
               ? NULL
               : "it belongs neither to root nor to the user that QEMU runs as";
}

static void set_unsafe(GError **error, const char *path, const char *problem)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_NVRAM_UNSAFE_FILE,
                "the variable store %s is not safe to use: %s; put the one true file there", path,
                problem);
}

static gboolean check_size(const char *path, const struct stat *facts, const Volume *volume,
                           const FirmwareClass *wanted, GError **error)
{
    guint64 size_bytes = (guint64)facts->st_size;
    guint64 recorded_bytes =
        volume->actual_size_bytes != 0 ? volume->actual_size_bytes : wanted->nvram_bytes;
    gboolean fits_class = wanted->nvram_bytes == 0 || size_bytes == wanted->nvram_bytes;
    if ((recorded_bytes == 0 || size_bytes == recorded_bytes) && fits_class &&
        size_bytes <= NVRAM_MAX_BYTES) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_NVRAM_CORRUPT,
                "the variable store %s has %" G_GUINT64_FORMAT
                " bytes, recorded are %" G_GUINT64_FORMAT ", the firmware needs %" G_GUINT64_FORMAT
                " (0: any); restore the file, or ResetNvram",
                path, size_bytes, recorded_bytes, wanted->nvram_bytes);
    return FALSE;
}

static gboolean check_open_file(VbHost *host, VbArena *arena, int fd, const char *path,
                                const Volume *volume, const FirmwareClass *wanted, GError **error)
{
    struct stat facts;
    if (host->files->fstat(host->files, fd, &facts) != 0) {
        store_error(error, "look at", path);
        return FALSE;
    }
    const char *problem = file_problem(host, &facts);
    if (problem != NULL) {
        set_unsafe(error, path, problem);
        return FALSE;
    }
    void *bytes = NULL;
    size_t size_bytes = 0;
    VbNvramFacts variables;
    if (!check_size(path, &facts, volume, wanted, error) ||
        !store_read(host->files, arena, fd, path, (size_t)facts.st_size, &bytes, &size_bytes,
                    error)) {
        return FALSE;
    }
    if (!nvram_vars_read(bytes, size_bytes, &variables, error)) {
        g_prefix_error(error, "the variable store %s is damaged: ", path);
        return FALSE;
    }
    problem = secure_boot_problem(&variables, wanted->secure_boot);
    if (problem != NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH,
                    "the variable store %s does not fit: %s; ResetNvram makes a new one", path,
                    problem);
        return FALSE;
    }
    return TRUE;
}

static int open_store(VbHost *host, const VolumePlace *place, GError **error)
{
    struct stat facts;
    gboolean there = FALSE;
    if (!place_look(host, place, ERROR_CODE_NVRAM_UNSAFE_FILE, &there, &facts, error)) {
        return -1;
    }
    int fd = -1;
    if (there) {
        fd = host->files->open(host->files, place->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    }
    if (fd >= 0) {
        return fd;
    }
    if (!there || errno == ENOENT) {
        g_set_error(error, VB_ERROR, ERROR_CODE_NVRAM_MISSING,
                    "the variable store %s is gone; restore the file, or ResetNvram", place->path);
    } else if (errno == ELOOP || errno == ENXIO) {
        set_unsafe(error, place->path, "it is a link or a socket");
    } else {
        store_error(error, "open", place->path);
    }
    return -1;
}

gboolean nvram_verify(VbHost *host, VbArena *arena, const Volume *volume,
                      const FirmwareClass *wanted, char **ret_path, GError **error)
{
    VolumePlace place;
    if (!place_find(host, arena, volume, &place, error)) {
        return FALSE;
    }
    int fd = open_store(host, &place, error);
    if (fd < 0) {
        return FALSE;
    }
    gboolean ok = check_open_file(host, arena, fd, place.path, volume, wanted, error);
    host->files->close(host->files, fd);
    if (ok) {
        *ret_path = place.path;
    }
    return ok;
}
