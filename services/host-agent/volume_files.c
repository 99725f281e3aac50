/* Reading, writing, syncing and removing, over the files vtable. It refuses to follow a link when
 * it syncs or removes, and to write over a file that exists. */
#include "services/host-agent/volume_files.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>

#include "common/runtime/kill_point.h"
#include "services/host-agent/volumes.h"

enum {
    /* The volume's folder and its tpm2/. Of what is in tpm2/ swtpm's user could make a link at any
     * moment, so no path goes through it. */
    STATE_MAX_DEPTH = 1,
    USER_BUFFER_BYTES = 16384,
    AGAIN_MAX_BYTES = 16 * 1024 * 1024, /* NVRAM and TPM state are far smaller. */
};

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

/* Opens the regular file that `facts` are of, and no other that somebody put in its place. */
static int open_same(VbFiles *files, const char *path, int flags, const struct stat *facts)
{
    struct stat found;
    int fd = files->open(files, path, flags | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    int result = files->fstat(files, fd, &found);
    if (result == 0 && found.st_dev == facts->st_dev && found.st_ino == facts->st_ino) {
        return fd;
    }
    int cause = result != 0 ? errno : ESTALE;
    files->close(files, fd);
    errno = cause;
    return -1;
}

static gboolean read_same(VbFiles *files, VbArena *arena, const char *path,
                          const struct stat *facts, void **ret_bytes, size_t *ret_size_bytes,
                          GError **error)
{
    int fd = open_same(files, path, O_RDONLY, facts);
    if (fd < 0) {
        store_error(error, "open", path);
        return FALSE;
    }
    gboolean ok = store_read(files, arena, fd, path, (size_t)facts->st_size, ret_bytes,
                             ret_size_bytes, error);
    files->close(files, fd);
    return ok;
}

/* See state_settle. What it writes is what is there, so it may be cut off anywhere. */
static gboolean write_again(VbFiles *files, const char *path, const struct stat *facts,
                            GError **error)
{
    g_autoptr(VbArena) arena = arena_new();
    void *bytes = NULL;
    size_t size_bytes = 0;
    if (!read_same(files, arena, path, facts, &bytes, &size_bytes, error)) {
        return FALSE;
    }
    int fd = open_same(files, path, O_WRONLY, facts);
    if (fd < 0) {
        store_error(error, "open", path);
        return FALSE;
    }
    gboolean ok = store_write_and_sync(files, fd, path, bytes, size_bytes, error);
    files->close(files, fd);
    return ok;
}

static gboolean sync_file(VbFiles *files, const char *path, const struct stat *facts,
                          gboolean again, GError **error)
{
    return again && facts->st_size <= AGAIN_MAX_BYTES ? write_again(files, path, facts, error)
                                                      : store_sync(files, path, O_NOFOLLOW, error);
}

static gboolean sync_below(VbFiles *files, const char *path, guint depth, gboolean again,
                           GError **error)
{
    struct stat facts;
    gboolean there = FALSE;
    if (!store_look(files, path, &there, &facts, error)) {
        return FALSE;
    }
    /* swtpm replaces its files: one that was listed may be gone by now. */
    if (!there) {
        return TRUE;
    }
    if (S_ISREG(facts.st_mode)) {
        return sync_file(files, path, &facts, again, error);
    }
    /* A link is not state. */
    if (!S_ISDIR(facts.st_mode) || depth > STATE_MAX_DEPTH) {
        return TRUE;
    }
    g_auto(GStrv) names = files->list(files, path);
    if (names == NULL) {
        store_error(error, "list", path);
        return FALSE;
    }
    for (guint i = 0; names[i] != NULL; i++) {
        g_autofree char *below = g_build_filename(path, names[i], NULL);
        if (!sync_below(files, below, depth + 1, again, error)) {
            return FALSE;
        }
    }
    return store_sync(files, path, O_NOFOLLOW, error);
}

static gboolean sync_all(VbHost *host, const char *path, gboolean again, GError **error)
{
    struct stat facts;
    if (host->files->lstat(host->files, path, &facts) != 0) {
        store_error(error, "sync", path);
        return FALSE;
    }
    return sync_below(host->files, path, 0, again, error);
}

gboolean state_sync(VbHost *host, const char *path, GError **error)
{
    return sync_all(host, path, FALSE, error);
}

gboolean state_settle(VbHost *host, const char *path, GError **error)
{
    return sync_all(host, path, TRUE, error);
}
