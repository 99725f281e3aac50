/* See fault_files.h. */
#include "tests/fault/fault_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "services/host-agent/files_posix.h"

enum { DISK_BYTES = 4096 };

typedef enum { BYTES_DURABLE, BYTES_DIRTY, BYTES_LOST } Bytes;

struct FaultFiles {
    VbFiles files; /* First: a VbFiles is a FaultFiles. */
    Fault *fault;
    char *root;
    GHashTable *bytes; /* inode -> Bytes; none: durable. */
    GHashTable *names; /* Paths that came or went, and whose folder was not synced since. */
    GHashTable *open;  /* descriptor -> path */
    FaultFilesTold removes;
    FaultFilesTold renamed;
    void *data;
};

#define REAL(call, ...) files_posix()->call(files_posix(), __VA_ARGS__)

static FaultFiles *of(VbFiles *files)
{
    return (FaultFiles *)files;
}

static FaultWay way(VbFiles *self, CallEffect effect, const char *call, const char *path)
{
    const char *root = of(self)->root;
    const char *shown = g_str_has_prefix(path, root) ? path + strlen(root) : path;
    return fault_way(of(self)->fault, CALL_FILES, effect, call, shown);
}

static const char *path_of(VbFiles *self, int fd)
{
    const char *path = g_hash_table_lookup(of(self)->open, GINT_TO_POINTER(fd));
    g_assert_nonnull(path);
    return path;
}

/* A call that only reads: done or failed. */
static gboolean reads(VbFiles *self, const char *call, const char *path)
{
    if (way(self, CALL_READS, call, path) == WAY_DO) {
        return TRUE;
    }
    errno = EIO;
    return FALSE;
}

/* ---- The books */

static gpointer inode_of(const char *path)
{
    struct stat facts;
    return lstat(path, &facts) == 0 ? GSIZE_TO_POINTER((gsize)facts.st_ino) : NULL;
}

static void bytes_are(FaultFiles *self, const char *path, Bytes bytes)
{
    gpointer inode = inode_of(path);
    if (inode != NULL && bytes == BYTES_DURABLE) {
        g_hash_table_remove(self->bytes, inode);
    } else if (inode != NULL) {
        g_hash_table_insert(self->bytes, inode, GINT_TO_POINTER(bytes));
    }
}

static void name_changed(FaultFiles *self, const char *path)
{
    g_hash_table_add(self->names, g_strdup(path));
}

static gboolean lies_in(gpointer key, gpointer value, gpointer folder)
{
    (void)value;
    g_autofree char *parent = g_path_get_dirname(key);
    return strcmp(parent, folder) == 0;
}

static void synced(FaultFiles *self, const char *path)
{
    struct stat facts;
    if (lstat(path, &facts) != 0) {
        return;
    }
    if (S_ISDIR(facts.st_mode)) {
        g_hash_table_foreach_remove(self->names, lies_in, (gpointer)path);
    } else if (GPOINTER_TO_INT(g_hash_table_lookup(self->bytes, inode_of(path))) != BYTES_LOST) {
        bytes_are(self, path, BYTES_DURABLE);
    }
}

void fault_files_wrote(FaultFiles *files, const char *path)
{
    bytes_are(files, path, BYTES_DIRTY);
}

void fault_files_made(FaultFiles *files, const char *path)
{
    name_changed(files, path);
    if (!g_file_test(path, G_FILE_TEST_IS_DIR)) {
        bytes_are(files, path, BYTES_DIRTY);
    }
}

char *fault_files_unsafe(FaultFiles *files, const char *path)
{
    gpointer inode = inode_of(path);
    if (inode != NULL && g_hash_table_contains(files->bytes, inode)) {
        return g_strdup_printf("the bytes of %s are not synced", path);
    }
    for (g_autofree char *at = g_strdup(path); strcmp(at, files->root) != 0;) {
        char *parent = g_path_get_dirname(at);
        if (g_hash_table_contains(files->names, at) && g_file_test(parent, G_FILE_TEST_IS_DIR)) {
            g_free(parent);
            return g_strdup_printf("the folder of %s is not synced", at);
        }
        g_free(at);
        at = parent;
    }
    return NULL;
}

/* ---- Calls on descriptors */

static int fault_open(VbFiles *self, const char *path, int flags, mode_t mode)
{
    gboolean is_new = (flags & O_CREAT) != 0 && access(path, F_OK) != 0;
    FaultWay now = way(self, is_new ? CALL_CHANGES : CALL_READS, "open", path);
    if (now == WAY_FAIL) {
        errno = EIO;
        return -1;
    }
    int fd = REAL(open, path, flags, mode);
    if (fd < 0) {
        return -1;
    }
    if (is_new) {
        name_changed(of(self), path);
    }
    if ((flags & (O_CREAT | O_TRUNC)) != 0) {
        bytes_are(of(self), path, BYTES_DIRTY);
    }
    if (now != WAY_DO) {
        close(fd);
        errno = now == WAY_HALF_AND_FAIL ? ENOSPC : EIO;
        return -1;
    }
    g_hash_table_insert(of(self)->open, GINT_TO_POINTER(fd), g_strdup(path));
    return fd;
}

static ssize_t fault_read(VbFiles *self, int fd, void *bytes, size_t size_bytes)
{
    return reads(self, "read", path_of(self, fd)) ? REAL(read, fd, bytes, size_bytes) : -1;
}

static ssize_t fault_write(VbFiles *self, int fd, const void *bytes, size_t size_bytes)
{
    const char *path = path_of(self, fd);
    FaultWay now = way(self, CALL_WRITES, "write", path);
    size_t some_bytes = now == WAY_FAIL                               ? 0
                        : now == WAY_HALF || now == WAY_HALF_AND_FAIL ? (size_bytes + 1) / 2
                                                                      : size_bytes;
    ssize_t n = some_bytes > 0 ? REAL(write, fd, bytes, some_bytes) : 0;
    bytes_are(of(self), path, BYTES_DIRTY);
    if (now == WAY_DO || now == WAY_HALF) {
        return n;
    }
    errno = now == WAY_HALF_AND_FAIL ? ENOSPC : EIO;
    return -1;
}

static int fault_fstat(VbFiles *self, int fd, struct stat *ret_stat)
{
    return reads(self, "fstat", path_of(self, fd)) ? REAL(fstat, fd, ret_stat) : -1;
}

static int fault_fsync(VbFiles *self, int fd)
{
    const char *path = path_of(self, fd);
    FaultWay now = way(self, CALL_CHANGES, "fsync", path);
    if (now == WAY_DO || now == WAY_DO_AND_FAIL) {
        synced(of(self), path);
    } else if (!of(self)->fault->crashed &&
               g_hash_table_contains(of(self)->bytes, inode_of(path))) {
        bytes_are(of(self), path, BYTES_LOST);
    }
    if (now == WAY_DO) {
        return 0;
    }
    errno = now == WAY_HALF_AND_FAIL ? ENOSPC : EIO;
    return -1;
}

/* Always closes, as Linux does. */
static int fault_close(VbFiles *self, int fd)
{
    gboolean ok = reads(self, "close", path_of(self, fd));
    g_hash_table_remove(of(self)->open, GINT_TO_POINTER(fd));
    close(fd);
    errno = EIO;
    return ok ? 0 : -1;
}

/* ---- Calls on names */

static int fault_lstat(VbFiles *self, const char *path, struct stat *ret_stat)
{
    return reads(self, "lstat", path) ? REAL(lstat, path, ret_stat) : -1;
}

/* What comes of a call that is all or nothing: `done` is its result, had it been carried out. */
static int ended(FaultWay now, int done)
{
    if (now == WAY_DO) {
        return done;
    }
    errno = now == WAY_HALF_AND_FAIL ? ENOSPC : EIO;
    return -1;
}

/* Half of what cannot be halved is nothing. */
static gboolean is_done(FaultWay now)
{
    return now == WAY_DO || now == WAY_DO_AND_FAIL;
}

static int fault_rename(VbFiles *self, const char *from, const char *to)
{
    FaultWay now = way(self, CALL_CHANGES, "rename to", to);
    int done = is_done(now) ? REAL(rename, from, to) : -1;
    if (done == 0) {
        name_changed(of(self), from);
        name_changed(of(self), to);
        of(self)->renamed(of(self)->data, to);
    }
    return ended(now, done);
}

static int fault_unlink(VbFiles *self, const char *path)
{
    FaultWay now = way(self, CALL_CHANGES, "unlink", path);
    int done = -1;
    if (is_done(now) && inode_of(path) != NULL) {
        of(self)->removes(of(self)->data, path);
        bytes_are(of(self), path, BYTES_DURABLE);
        name_changed(of(self), path);
    }
    if (is_done(now)) {
        done = REAL(unlink, path);
    }
    return ended(now, done);
}

static int fault_mkdir(VbFiles *self, const char *path, mode_t mode)
{
    FaultWay now = way(self, CALL_CHANGES, "mkdir", path);
    int done = is_done(now) ? REAL(mkdir, path, mode) : -1;
    if (done == 0) {
        name_changed(of(self), path);
    }
    return ended(now, done);
}

static int fault_rmdir(VbFiles *self, const char *path)
{
    FaultWay now = way(self, CALL_CHANGES, "rmdir", path);
    int done = is_done(now) ? REAL(rmdir, path) : -1;
    if (done == 0) {
        name_changed(of(self), path);
    }
    return ended(now, done);
}

static int fault_symlink(VbFiles *self, const char *target, const char *path)
{
    FaultWay now = way(self, CALL_CHANGES, "symlink", path);
    return ended(now, is_done(now) ? REAL(symlink, target, path) : -1);
}

static ssize_t fault_readlink(VbFiles *self, const char *path, char *ret_target, size_t size_bytes)
{
    return reads(self, "readlink", path) ? REAL(readlink, path, ret_target, size_bytes) : -1;
}

static int fault_chown(VbFiles *self, const char *path, uid_t uid, gid_t gid)
{
    FaultWay now = way(self, CALL_CHANGES, "chown", path);
    return ended(now, is_done(now) ? REAL(chown, path, uid, gid) : -1);
}

static int fault_chmod(VbFiles *self, const char *path, mode_t mode)
{
    FaultWay now = way(self, CALL_CHANGES, "chmod", path);
    return ended(now, is_done(now) ? REAL(chmod, path, mode) : -1);
}

static char **fault_list(VbFiles *self, const char *path)
{
    return reads(self, "list", path) ? REAL(list, path) : NULL;
}

static int fault_free_bytes(VbFiles *self, const char *path, guint64 *ret_total, guint64 *ret_free)
{
    return reads(self, "statvfs", path) ? REAL(free_bytes, path, ret_total, ret_free) : -1;
}

static int fault_make_disk(VbFiles *self, const char *path, const char *format, guint64 size_bytes,
                           const char *image_path, gboolean overlay, char **ret_message)
{
    char bytes[DISK_BYTES] = "QFI\xfb";
    FaultWay now = way(self, CALL_WRITES, "qemu-img", path);
    (void)format;
    (void)size_bytes;
    (void)overlay;
    g_assert_true(image_path == NULL || access(image_path, R_OK) == 0);
    if (now != WAY_FAIL) {
        gssize length = now == WAY_HALF_AND_FAIL ? 2 : DISK_BYTES;
        g_assert_true(g_file_set_contents(path, bytes, length, NULL));
        name_changed(of(self), path);
        bytes_are(of(self), path, BYTES_DIRTY);
    }
    if (now == WAY_DO || now == WAY_HALF) {
        return 0;
    }
    *ret_message = g_strdup("qemu-img was made to fail");
    return ended(now, 0);
}

/* ---- Life */

static const VbFiles vtable = {
    .open = fault_open,
    .read = fault_read,
    .write = fault_write,
    .fstat = fault_fstat,
    .fsync = fault_fsync,
    .close = fault_close,
    .lstat = fault_lstat,
    .rename = fault_rename,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .rmdir = fault_rmdir,
    .symlink = fault_symlink,
    .readlink = fault_readlink,
    .chown = fault_chown,
    .chmod = fault_chmod,
    .list = fault_list,
    .free_bytes = fault_free_bytes,
    .make_disk = fault_make_disk,
};

FaultFiles *fault_files_new(Fault *fault, const char *root)
{
    FaultFiles *files = g_new0(FaultFiles, 1);
    files->files = vtable;
    files->fault = fault;
    files->root = g_strdup(root);
    files->bytes = g_hash_table_new(NULL, NULL);
    files->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    files->open = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    return files;
}

void fault_files_free(FaultFiles *files)
{
    g_hash_table_unref(files->bytes);
    g_hash_table_unref(files->names);
    g_hash_table_unref(files->open);
    g_free(files->root);
    g_free(files);
}

VbFiles *fault_files_vtable(FaultFiles *files)
{
    return &files->files;
}

void fault_files_set_told(FaultFiles *files, FaultFilesTold removes, FaultFilesTold renamed,
                          void *data)
{
    files->removes = removes;
    files->renamed = renamed;
    files->data = data;
}
