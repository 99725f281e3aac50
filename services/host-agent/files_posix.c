/* The files vtable over the real system calls, and over qemu-img for disk images.
 *
 * It decides nothing and cleans nothing up: what a failed call leaves behind is the caller's to
 * remove. No shell is ever involved.
 */
#include "services/host-agent/files_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int posix_open(VbFiles *self G_GNUC_UNUSED, const char *path, int flags, mode_t mode)
{
    return TEMP_FAILURE_RETRY(open(path, flags | O_CLOEXEC, mode));
}

static ssize_t posix_read(VbFiles *self G_GNUC_UNUSED, int fd, void *bytes, size_t size_bytes)
{
    return TEMP_FAILURE_RETRY(read(fd, bytes, size_bytes));
}

static ssize_t posix_write(VbFiles *self G_GNUC_UNUSED, int fd, const void *bytes,
                           size_t size_bytes)
{
    return TEMP_FAILURE_RETRY(write(fd, bytes, size_bytes));
}

static int posix_fstat(VbFiles *self G_GNUC_UNUSED, int fd, struct stat *ret_stat)
{
    return fstat(fd, ret_stat);
}

static int posix_fsync(VbFiles *self G_GNUC_UNUSED, int fd)
{
    return TEMP_FAILURE_RETRY(fsync(fd));
}

static int posix_close(VbFiles *self G_GNUC_UNUSED, int fd)
{
    return close(fd);
}

static int posix_lstat(VbFiles *self G_GNUC_UNUSED, const char *path, struct stat *ret_stat)
{
    return lstat(path, ret_stat);
}

static int posix_rename(VbFiles *self G_GNUC_UNUSED, const char *from, const char *to)
{
    return rename(from, to);
}

static int posix_unlink(VbFiles *self G_GNUC_UNUSED, const char *path)
{
    return unlink(path);
}

static int posix_mkdir(VbFiles *self G_GNUC_UNUSED, const char *path, mode_t mode)
{
    return mkdir(path, mode);
}

static int posix_rmdir(VbFiles *self G_GNUC_UNUSED, const char *path)
{
    return rmdir(path);
}

static int posix_symlink(VbFiles *self G_GNUC_UNUSED, const char *target, const char *path)
{
    return symlink(target, path);
}

static ssize_t posix_readlink(VbFiles *self G_GNUC_UNUSED, const char *path, char *ret_target,
                              size_t size_bytes)
{
    return readlink(path, ret_target, size_bytes);
}

static int posix_chown(VbFiles *self G_GNUC_UNUSED, const char *path, uid_t uid, gid_t gid)
{
    return lchown(path, uid, gid);
}

static int posix_chmod(VbFiles *self G_GNUC_UNUSED, const char *path, mode_t mode)
{
    return chmod(path, mode);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static char **posix_list(VbFiles *self G_GNUC_UNUSED, const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return NULL;
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    errno = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            g_ptr_array_add(names, g_strdup(entry->d_name));
        }
        errno = 0;
    }
    int cause = errno;
    closedir(folder);
    if (cause != 0) {
        errno = cause;
        return NULL;
    }
    g_ptr_array_sort(names, compare_names);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

static int posix_free_bytes(VbFiles *self G_GNUC_UNUSED, const char *path, guint64 *ret_total,
                            guint64 *ret_free)
{
    struct statvfs facts;
    if (statvfs(path, &facts) != 0) {
        return -1;
    }
    *ret_total = (guint64)facts.f_blocks * facts.f_frsize;
    *ret_free = (guint64)facts.f_bavail * facts.f_frsize;
    return 0;
}

/* qemu-img must not outlive the agent: the next one begins by removing the file it writes to. */
static void die_with_parent(void *data G_GNUC_UNUSED)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Runs qemu-img and waits for it; `ret_output` (g_free) is what it printed. Fails as make_disk
 * does. */
static int run_qemu_img(const char *const *argv, char **ret_output, char **ret_message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
    /* Its words are matched below, so they must not be translated. */
    g_subprocess_launcher_setenv(launcher, "LC_ALL", "C", TRUE);
    g_subprocess_launcher_set_child_setup(launcher, die_with_parent, NULL, NULL);
    g_autoptr(GSubprocess) process = g_subprocess_launcher_spawnv(launcher, argv, &error);
    g_autofree char *output = NULL;
    g_autofree char *complaint = NULL;
    if (process == NULL ||
        !g_subprocess_communicate_utf8(process, NULL, NULL, &output, &complaint, &error)) {
        *ret_message = g_strdup(error->message);
        errno = EIO;
        return -1;
    }
    if (!g_subprocess_get_successful(process)) {
        *ret_message = complaint[0] != '\0' ? g_strdup(g_strchomp(complaint))
                                            : g_strdup("qemu-img was killed or said nothing");
        errno = strstr(*ret_message, g_strerror(ENOSPC)) != NULL ? ENOSPC : EIO;
        return -1;
    }
    *ret_output = g_steal_pointer(&output);
    return 0;
}

/* What kind of image a file is, and how large the disk in it is. `ret_format`: g_free. */
static int probe_image(const char *image_path, char **ret_format, guint64 *ret_size_bytes,
                       char **ret_message)
{
    const char *argv[] = {"qemu-img", "info", "--output=json", "--", image_path, NULL};
    g_autofree char *output = NULL;
    if (run_qemu_img(argv, &output, ret_message) != 0) {
        return -1;
    }
    g_autoptr(JsonParser) parser = json_parser_new();
    if (!json_parser_load_from_data(parser, output, -1, NULL) ||
        !JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser))) {
        *ret_message = g_strdup("qemu-img info did not answer with a JSON object");
        errno = EIO;
        return -1;
    }
    JsonObject *facts = json_node_get_object(json_parser_get_root(parser));
    *ret_format = g_strdup(json_object_get_string_member_with_default(facts, "format", "raw"));
    *ret_size_bytes = (guint64)json_object_get_int_member_with_default(facts, "virtual-size", 0);
    return 0;
}

static int make_from_image(const char *path, const char *format, const char *size,
                           const char *image_path, gboolean overlay, char **ret_message)
{
    g_autofree char *image_format = NULL;
    guint64 image_bytes = 0;
    if (probe_image(image_path, &image_format, &image_bytes, ret_message) != 0) {
        return -1;
    }
    guint64 size_bytes = size != NULL ? g_ascii_strtoull(size, NULL, 10) : image_bytes;
    if (size_bytes < image_bytes) {
        *ret_message = g_strdup_printf("the disk is to have %" G_GUINT64_FORMAT
                                       " bytes, but its image %s has %" G_GUINT64_FORMAT,
                                       size_bytes, image_path, image_bytes);
        errno = EINVAL;
        return -1;
    }
    g_autofree char *output = NULL;
    if (overlay) {
        const char *argv[] = {"qemu-img", "create",     "-q", "-f", format, "-b", image_path,
                              "-F",       image_format, "--", path, size,   NULL};
        return run_qemu_img(argv, &output, ret_message);
    }
    const char *argv[] = {"qemu-img", "convert", "-q",       "-f", image_format, "-O",
                          format,     "--",      image_path, path, NULL};
    if (run_qemu_img(argv, &output, ret_message) != 0) {
        return -1;
    }
    if (size_bytes == image_bytes) {
        return 0;
    }
    g_autofree char *ignored = NULL;
    const char *resize[] = {"qemu-img", "resize", "-q", "-f", format, "--", path, size, NULL};
    return run_qemu_img(resize, &ignored, ret_message);
}

static int posix_make_disk(VbFiles *self G_GNUC_UNUSED, const char *path, const char *format,
                           guint64 size_bytes, const char *image_path, gboolean overlay,
                           char **ret_message)
{
    g_autofree char *size =
        size_bytes > 0 ? g_strdup_printf("%" G_GUINT64_FORMAT, size_bytes) : NULL;
    if (image_path != NULL) {
        return make_from_image(path, format, size, image_path, overlay, ret_message);
    }
    g_autofree char *output = NULL;
    const char *argv[] = {"qemu-img", "create", "-q", "-f", format, "--", path, size, NULL};
    return run_qemu_img(argv, &output, ret_message);
}

VbFiles *files_posix(void)
{
    static VbFiles files = {
        .open = posix_open,
        .read = posix_read,
        .write = posix_write,
        .fstat = posix_fstat,
        .fsync = posix_fsync,
        .close = posix_close,
        .lstat = posix_lstat,
        .rename = posix_rename,
        .unlink = posix_unlink,
        .mkdir = posix_mkdir,
        .rmdir = posix_rmdir,
        .symlink = posix_symlink,
        .readlink = posix_readlink,
        .chown = posix_chown,
        .chmod = posix_chmod,
        .list = posix_list,
        .free_bytes = posix_free_bytes,
        .make_disk = posix_make_disk,
    };
    return &files;
}
