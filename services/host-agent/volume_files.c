/* Reading, writing, syncing and removing, over the files vtable. It refuses to follow a link when
 * it syncs or removes, and to write over a file that exists. */
#include "services/host-agent/volume_files.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>

#include "common/runtime/kill_point.h"

enum { USER_BUFFER_BYTES = 16384 };

void store_error(GError **error, const char *doing, const char *path)
{
    int cause = errno;
    gboolean full = cause == ENOSPC || cause == EDQUOT;
    g_set_error(error, VB_ERROR, full ? ERROR_CODE_STORAGE_FULL : ERROR_CODE_STORAGE_IO,
                "cannot %s %s: %s; %s, then ask again", doing, path, g_strerror(cause),
                full ? "free space" : "mend the storage");
}

gboolean store_read(VbFiles *files, VbArena *arena, int fd, const char *path, size_t limit_bytes,
                    void **ret_bytes, size_t *ret_size_bytes, GError **error)
{
    struct stat facts;
    if (files->fstat(files, fd, &facts) != 0) {
        store_error(error, "look at", path);
        return FALSE;
    }
    /* Memory for what is there, not for what may be. */
    limit_bytes = MIN(limit_bytes, (size_t)facts.st_size);
    char *bytes = arena_alloc(arena, limit_bytes + 1);
    size_t size_bytes = 0;
    while (size_bytes <= limit_bytes) {
        ssize_t n = files->read(files, fd, bytes + size_bytes, limit_bytes + 1 - size_bytes);
        if (n < 0) {
            store_error(error, "read", path);
            return FALSE;
        }
        if (n == 0) {
            bytes[size_bytes] = '\0';
            *ret_bytes = bytes;
            *ret_size_bytes = size_bytes;
            return TRUE;
        }
        size_bytes += (size_t)n;
    }
    errno = EFBIG;
    store_error(error, "read", path);
    return FALSE;
}

gboolean store_write_all(VbFiles *files, int fd, const void *bytes, size_t size_bytes)
{
    for (size_t done = 0; done < size_bytes;) {
        ssize_t n = files->write(files, fd, (const char *)bytes + done, size_bytes - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? EIO : errno; /* A write of nothing would come back for ever. */
            return FALSE;
        }
        done += (size_t)n;
    }
    return TRUE;
}

gboolean store_write_and_sync(VbFiles *files, int fd, const char *path, const void *bytes,
                              size_t size_bytes, GError **error)
{
    if (!store_write_all(files, fd, bytes, size_bytes)) {
        store_error(error, "write", path);
        return FALSE;
    }
    KILL_POINT("state-written");
    if (files->fsync(files, fd) != 0) {
        store_error(error, "sync", path);
        return FALSE;
    }
    return TRUE;
}

gboolean store_write(VbFiles *files, const char *path, const void *bytes, size_t size_bytes,
                     GError **error)
{
    int fd = files->open(files, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0) {
        store_error(error, "make", path);
        return FALSE;
    }
    gboolean ok = store_write_and_sync(files, fd, path, bytes, size_bytes, error);
    if (files->close(files, fd) != 0 && ok) {
        store_error(error, "close", path);
        return FALSE;
    }
    return ok;
}

gboolean store_sync(VbFiles *files, const char *path, int flags, GError **error)
{
    int fd = files->open(files, path, O_RDONLY | O_NONBLOCK | flags, 0);
    if (fd < 0) {
        store_error(error, "open", path);
        return FALSE;
    }
    gboolean ok = files->fsync(files, fd) == 0;
    if (!ok) {
        store_error(error, "sync", path);
    }
    files->close(files, fd);
    return ok;
}

gboolean store_unlink(VbFiles *files, const char *path, GError **error)
{
    if (files->unlink(files, path) != 0 && errno != ENOENT) {
        store_error(error, "remove", path);
        return FALSE;
    }
    return TRUE;
}

gboolean store_look(VbFiles *files, const char *path, gboolean *ret_there, struct stat *ret_stat,
                    GError **error)
{
    *ret_there = files->lstat(files, path, ret_stat) == 0;
    if (!*ret_there && errno != ENOENT) {
        store_error(error, "look at", path);
        return FALSE;
    }
    return TRUE;
}

gboolean store_file_size(VbFiles *files, const char *path, guint64 *ret_size_bytes)
{
    int fd = files->open(files, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0) {
        return FALSE;
    }
    struct stat facts;
    gboolean ok = files->fstat(files, fd, &facts) == 0 && S_ISREG(facts.st_mode);
    files->close(files, fd);
    if (ok) {
        *ret_size_bytes = (guint64)facts.st_size;
    }
    return ok;
}

gboolean store_find_user(const char *name, uid_t *ret_uid)
{
    g_autofree char *buffer = g_malloc(USER_BUFFER_BYTES);
    struct passwd user;
    struct passwd *found = NULL;
    if (getpwnam_r(name, &user, buffer, USER_BUFFER_BYTES, &found) != 0 || found == NULL) {
        return FALSE;
    }
    *ret_uid = user.pw_uid;
    return TRUE;
}

gboolean store_remove_folder(VbFiles *files, const char *path, GError **error)
{
    struct stat facts;
    gboolean there = FALSE;
    if (!store_look(files, path, &there, &facts, error)) {
        return FALSE;
    }
    if (!there || !S_ISDIR(facts.st_mode)) {
        return store_unlink(files, path, error);
    }
    g_auto(GStrv) names = files->list(files, path);
    if (names == NULL) {
        store_error(error, "list", path);
        return FALSE;
    }
    for (guint i = 0; names[i] != NULL; i++) {
        g_autofree char *below = g_build_filename(path, names[i], NULL);
        if (!store_unlink(files, below, error)) {
            return FALSE;
        }
    }
    if (files->rmdir(files, path) != 0) {
        store_error(error, "remove", path);
        return FALSE;
    }
    return TRUE;
}
