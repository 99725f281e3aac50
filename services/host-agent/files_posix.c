/* The files vtable over the real system calls, and over qemu-img for disk images.
 *
 * It cleans nothing up: what a failed call leaves behind is the caller's to remove. No shell is
 * ever involved. It refuses images that are not whole in themselves: the agent reads them as root,
 * and an image that names another file would hand the host's files to a guest.
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

static int refuse_image(const char *image_path, const char *problem, char **ret_message)
{
    *ret_message = g_strdup_printf("image %s %s; flatten it with qemu-img convert to one qcow2 or "
                                   "raw file",
                                   image_path, problem);
    errno = ENOTSUP;
    return -1;
}

typedef struct {
    const char *format;
    gsize at_bytes;
    const char *magic;
    gsize size_bytes;
} ImageMagic;

enum { IMAGE_START_BYTES = 512 };

#define MAGIC(format, at_bytes, magic)                                                             \
    {                                                                                              \
        format, at_bytes, magic, sizeof(magic) - 1                                                 \
    }

/* The first that fits is what the image is; none: raw. */
static const ImageMagic image_magics[] = {
    MAGIC("qcow2", 0, "QFI\xfb\0\0\0\2"),
    MAGIC("qcow2", 0, "QFI\xfb\0\0\0\3"),
    MAGIC("qcow", 0, "QFI\xfb"),
    MAGIC("qed", 0, "QED\0"),
    MAGIC("vmdk", 0, "KDMV"),
    MAGIC("vmdk", 0, "COWD"),
    MAGIC("vmdk", 0, "# Disk DescriptorFile"),
    MAGIC("vhdx", 0, "vhdxfile"),
    MAGIC("vpc", 0, "conectix"),
    MAGIC("vdi", 64, "\x7f\x10\xda\xbe"),
};

/* qemu-img is never asked to find out: to do so it opens what a vmdk names, be it a FIFO or a URL
 * (probed). Only qcow2 is ever read as other than plain bytes, so a format that is missing above
 * does no harm: its file is copied as it is. */
static int find_format(const char *image_path, const char **ret_format, char **ret_message)
{
    char start[IMAGE_START_BYTES] = "";
    int fd = TEMP_FAILURE_RETRY(open(image_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ssize_t n = fd < 0 ? -1 : TEMP_FAILURE_RETRY(read(fd, start, sizeof(start)));
    int cause = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (n < 0) {
        *ret_message = g_strdup_printf("cannot read image %s: %s", image_path, g_strerror(cause));
        errno = cause;
        return -1;
    }
    *ret_format = "raw";
    for (gsize i = 0; i < G_N_ELEMENTS(image_magics); i++) {
        const ImageMagic *one = &image_magics[i];
        if (memcmp(start + one->at_bytes, one->magic, one->size_bytes) == 0) {
            *ret_format = one->format;
            break;
        }
    }
    if (strcmp(*ret_format, "raw") != 0 && strcmp(*ret_format, "qcow2") != 0) {
        g_autofree char *problem = g_strdup_printf("is of the format %s", *ret_format);
        return refuse_image(image_path, problem, ret_message);
    }
    return 0;
}

/* Whether a qcow2 keeps content in another file. */
static gboolean names_other_file(JsonObject *facts)
{
    if (json_object_has_member(facts, "backing-filename") ||
        json_object_has_member(facts, "full-backing-filename")) {
        return TRUE;
    }
    JsonNode *specific = json_object_get_member(facts, "format-specific");
    if (specific == NULL || !JSON_NODE_HOLDS_OBJECT(specific)) {
        return FALSE;
    }
    JsonNode *data = json_object_get_member(json_node_get_object(specific), "data");
    return data != NULL && JSON_NODE_HOLDS_OBJECT(data) &&
           json_object_has_member(json_node_get_object(data), "data-file");
}

/* Refuses what is not an image of one file. Else: its format (static), and how large the disk in
 * it is. */
static int probe_image(const char *image_path, const char **ret_format, guint64 *ret_size_bytes,
                       char **ret_message)
{
    if (find_format(image_path, ret_format, ret_message) != 0) {
        return -1;
    }
    const char *argv[] = {"qemu-img",  "info", "--output=json", "-f",
                          *ret_format, "--",   image_path,      NULL};
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
    if (names_other_file(facts)) {
        return refuse_image(image_path, "keeps content in another file", ret_message);
    }
    *ret_size_bytes = (guint64)json_object_get_int_member_with_default(facts, "virtual-size", 0);
    return 0;
}

static int make_from_image(const char *path, const char *format, const char *size,
                           const char *image_path, gboolean overlay, char **ret_message)
{
    const char *image_format = NULL;
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
