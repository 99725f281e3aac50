/* The files vtable over a host's simulated disks: paths, descriptors, and the kernel's errno.
 *
 * A call dies, or lets others go first, before it does anything. One about folders never lets
 * others go first: the product holds a lock over several of them (volume_place.c). One that only
 * looks does neither: a death there is the same as one at the next call that changes something.
 *
 * It leaves out: permissions (the agent is root), limits, devices, hard links; an fsync that fails
 * leaves what was dirty dirty, where Linux forgets that it was. */
#include "tests/sim/sim_host_private.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

enum {
    NAME_BYTES = 256, /* With its zero. */
    LINKS_MAX = 8,    /* On the way to one file. */
    FIRST_FD = 3,
    QCOW2_BYTES = 196 * 1024, /* An empty one. */
    QEMU_IMG_MOST_US = 3 * SIM_S,
    DISK_TEXT_BYTES = 256,
    TOTAL_BYTES = 1024 * 1024 * 1024,
};

#define HOST_OF(self) ((SimHost *)(void *)((char *)(self)-G_STRUCT_OFFSET(SimHost, files)))

/* ---- Who is who. These two take the place of libc's in the program: a run does not depend on the
 * machine that it runs on. */

int getpwnam_r(const char *name, struct passwd *user, char *buffer, size_t size_bytes,
               struct passwd **ret_user)
{
    (void)buffer;
    (void)size_bytes;
    gboolean is_qemu = strcmp(name, "libvirt-qemu") == 0;
    *user = (struct passwd){.pw_uid = is_qemu ? SIM_QEMU_UID : 0};
    *ret_user = is_qemu || strcmp(name, "root") == 0 ? user : NULL;
    return 0;
}

int getgrnam_r(const char *name, struct group *group, char *buffer, size_t size_bytes,
               struct group **ret_group)
{
    (void)buffer;
    (void)size_bytes;
    gboolean is_ovs = strcmp(name, "openvswitch") == 0;
    *group = (struct group){.gr_gid = is_ovs ? SIM_OVS_GID : 0};
    *ret_group = is_ovs || strcmp(name, "root") == 0 ? group : NULL;
    return 0;
}

/* ---- Paths */

/* Where a path ends. */
typedef struct {
    SimNode *folder; /* NULL: it is the root of a disk. */
    SimNode *node;   /* NULL: there is none. */
    char name[NAME_BYTES];
} Spot;

static const SimMount *mount_of(SimHost *host, const char *path)
{
    for (guint i = 0; i < host->mounts->len; i++) {
        const SimMount *mount = &g_array_index(host->mounts, SimMount, i);
        char end = strncmp(path, mount->path, mount->path_bytes) == 0 ? path[mount->path_bytes] : 1;
        if (end == '\0' || end == '/') {
            return mount;
        }
    }
    g_assert_not_reached();
}

/* Takes the next name of a path; FALSE: there is none. */
static gboolean take_name(const char **path, char name[NAME_BYTES], gsize *ret_bytes)
{
    const char *at = *path + strspn(*path, "/");
    gsize n = strcspn(at, "/");
    *path = at + n;
    *ret_bytes = n;
    if (n == 0 || n >= NAME_BYTES) {
        return FALSE;
    }
    memcpy(name, at, n);
    name[n] = '\0';
    return TRUE;
}

/* 0, EAGAIN for a link in the way (then `folder` and `node` are where it is, and *path is behind
 * it), or why the way does not lead there. */
static int walk_names(SimNode *root, const char **path, gboolean follow, Spot *ret_spot)
{
    gsize n = 0;
    *ret_spot = (Spot){.node = root};
    while (take_name(path, ret_spot->name, &n)) {
        if (ret_spot->node == NULL) {
            return ENOENT;
        }
        if (ret_spot->node->kind != SIM_NODE_FOLDER) {
            return ENOTDIR;
        }
        ret_spot->folder = ret_spot->node;
        ret_spot->node = sim_folder_find(ret_spot->folder, ret_spot->name);
        if (ret_spot->node != NULL && ret_spot->node->kind == SIM_NODE_LINK &&
            (follow || **path != '\0')) {
            return EAGAIN;
        }
    }
    return n >= NAME_BYTES ? ENAMETOOLONG : 0;
}

/* What `path` names; a link at its end only if it is to be followed. 0, or the errno of a path that
 * leads nowhere. One whose last name only is not there leads somewhere. */
static int walk(SimHost *host, const char *path, gboolean follow, Spot *ret_spot)
{
    g_autofree char *rest = NULL;
    for (guint n_links = 0; n_links <= LINKS_MAX; n_links++) {
        if (path[0] != '/') {
            return ENOENT;
        }
        const SimMount *mount = mount_of(host, path);
        const char *at = path + mount->path_bytes;
        int problem = walk_names(sim_disk_root(mount->disk), &at, follow, ret_spot);
        if (problem != EAGAIN) {
            return problem;
        }
        /* Links of the product's are absolute; others are refused. */
        char *next = g_strconcat((const char *)ret_spot->node->content->bytes, at, NULL);
        g_free(rest);
        rest = next;
        path = rest;
    }
    return ELOOP;
}

static int fail(int cause)
{
    errno = cause;
    return -1;
}

/* The same as a system call says it. FALSE and errno. */
static gboolean find(SimHost *host, const char *path, gboolean follow, Spot *ret_spot)
{
    int problem = walk(host, path, follow, ret_spot);
    if (problem == 0 && ret_spot->node == NULL) {
        problem = ENOENT;
    }
    errno = problem;
    return problem == 0;
}

/* The place of a name that is to be made. FALSE and errno. */
static gboolean find_free(SimHost *host, const char *path, Spot *ret_spot)
{
    int problem = walk(host, path, FALSE, ret_spot);
    if (problem == 0 && ret_spot->node != NULL) {
        problem = EEXIST;
    }
    errno = problem;
    return problem == 0;
}

/* ---- Calls */

typedef enum {
    CALL_LOOKS,
    CALL_FOLDER,  /* Changes something, and does not rest. */
    CALL_CHANGES, /* May rest. */
} CallKind;

/* FALSE and errno. */
static gboolean call_begin(SimHost *host, CallKind kind, gboolean needs_space)
{
    gboolean alive = kind == CALL_LOOKS    ? sim_host_is_alive(host)
                     : kind == CALL_FOLDER ? sim_host_call_at_once(host)
                                           : sim_host_call(host);
    if (!alive || sim_fault(host->sim, FAULT_FILE_EIO)) {
        errno = EIO;
        return FALSE;
    }
    if (needs_space && sim_fault(host->sim, FAULT_FILE_ENOSPC)) {
        errno = ENOSPC;
        return FALSE;
    }
    return TRUE;
}

/* The VM of the run that a path tells of, for the trace; NULL: none. */
static const char *vm_of_path(SimHost *host, const char *path)
{
    const char *name = strrchr(path, '/');
    const SimWorld *world = host->world;
    for (guint i = 0; name != NULL && i < world->plan->n_vms; i++) {
        if (strncmp(name + 1, world->vm_uuids[i], UUID_TEXT_BYTES - 1) == 0) {
            return world->vm_uuids[i];
        }
    }
    return NULL;
}

/* A journal is saved so often that only its end is told. */
#define say_path(host, path, ...)                                                                  \
    do {                                                                                           \
        if (sim_is_listened_to((host)->sim) && !g_str_has_suffix(path, ".vm.new")) {               \
            sim_host_say(host, vm_of_path(host, path), __VA_ARGS__);                               \
        }                                                                                          \
    } while (0)

static int fd_new(SimHost *host, SimNode *node, int flags)
{
    SimFd fd = {.node = sim_node_ref(node), .flags = flags};
    guint at = 0;
    while (at < host->fds->len && g_array_index(host->fds, SimFd, at).node != NULL) {
        at++;
    }
    if (at == host->fds->len) {
        g_array_append_val(host->fds, fd);
    } else {
        g_array_index(host->fds, SimFd, at) = fd;
    }
    return (int)at + FIRST_FD;
}

/* NULL and EBADF. */
static SimFd *fd_get(SimHost *host, int fd)
{
    guint at = (guint)(fd - FIRST_FD);
    SimFd *found =
        fd >= FIRST_FD && at < host->fds->len ? &g_array_index(host->fds, SimFd, at) : NULL;
    if (found == NULL || found->node == NULL) {
        errno = EBADF;
        return NULL;
    }
    return found;
}

static void fd_close(SimFd *fd)
{
    sim_node_unref(fd->node);
    fd->node = NULL;
}

void sim_files_close_all(SimHost *host)
{
    for (guint i = 0; i < host->fds->len; i++) {
        SimFd *fd = &g_array_index(host->fds, SimFd, i);
        if (fd->node != NULL) {
            fd_close(fd);
        }
    }
    g_array_set_size(host->fds, 0);
}

/* ---- Opening */

static int open_new(SimHost *host, const Spot *spot, const char *path, int flags, mode_t mode)
{
    SimNode *node =
        sim_node_new(spot->folder->disk, SIM_NODE_FILE, mode & ~(mode_t)022, host->index);
    node->agent = host->n_starts;
    sim_folder_link(spot->folder, spot->name, node, host->index);
    say_path(host, path, "makes %s (inode %" G_GINT64_MODIFIER "x)", path, node->inode);
    int fd = fd_new(host, node, flags);
    sim_node_unref(node);
    return fd;
}

static int open_there(SimHost *host, const Spot *spot, const char *path, int flags)
{
    gboolean writes = (flags & O_ACCMODE) != O_RDONLY;
    switch (spot->node->kind) {
    case SIM_NODE_LINK:
        return fail(ELOOP);
    case SIM_NODE_SOCKET:
        return fail(ENXIO);
    case SIM_NODE_FOLDER:
        if (writes || (flags & O_CREAT) != 0) {
            return fail(EISDIR);
        }
        break;
    case SIM_NODE_FILE:
        if ((flags & O_DIRECTORY) != 0) {
            return fail(ENOTDIR);
        }
        if ((flags & O_TRUNC) != 0) {
            sim_node_truncate(spot->node, 0, host->index);
            say_path(host, path, "empties %s", path);
        }
        break;
    }
    return fd_new(host, spot->node, flags);
}

static int sim_open(VbFiles *self, const char *path, int flags, mode_t mode)
{
    SimHost *host = HOST_OF(self);
    gboolean creates = (flags & O_CREAT) != 0;
    CallKind kind = (flags & O_DIRECTORY) != 0 ? CALL_FOLDER : creates ? CALL_CHANGES : CALL_LOOKS;
    Spot spot;
    if (!call_begin(host, kind, creates)) {
        return -1;
    }
    gboolean exclusive = creates && (flags & O_EXCL) != 0;
    int problem = walk(host, path, (flags & O_NOFOLLOW) == 0 && !exclusive, &spot);
    if (problem != 0) {
        return fail(problem);
    }
    if (spot.node == NULL && !creates) {
        return fail(ENOENT);
    }
    if (spot.node != NULL && exclusive) {
        return fail(EEXIST);
    }
    return spot.node != NULL ? open_there(host, &spot, path, flags)
                             : open_new(host, &spot, path, flags, mode);
}

static int sim_close(VbFiles *self, int fd)
{
    SimFd *open = fd_get(HOST_OF(self), fd);
    if (open == NULL) {
        return -1;
    }
    fd_close(open);
    return 0;
}

/* ---- Content */

static ssize_t sim_read(VbFiles *self, int fd, void *bytes, size_t size_bytes)
{
    SimHost *host = HOST_OF(self);
    SimFd *open = fd_get(host, fd);
    if (open == NULL || !call_begin(host, CALL_LOOKS, FALSE)) {
        return -1;
    }
    if (open->node->kind != SIM_NODE_FILE) {
        return fail(EISDIR);
    }
    if ((open->flags & O_ACCMODE) == O_WRONLY) {
        return fail(EBADF);
    }
    gsize n = sim_node_read(open->node, open->at, bytes, size_bytes);
    open->at += n;
    return (ssize_t)n;
}

static ssize_t sim_write(VbFiles *self, int fd, const void *bytes, size_t size_bytes)
{
    SimHost *host = HOST_OF(self);
    if (!call_begin(host, CALL_CHANGES, TRUE)) {
        return -1;
    }
    SimFd *open = fd_get(host, fd);
    if (open == NULL || (open->flags & O_ACCMODE) == O_RDONLY) {
        return fail(EBADF);
    }
    if (size_bytes > 1 && sim_fault(host->sim, FAULT_FILE_SHORT)) {
        size_bytes = 1 + sim_below(host->sim, (guint)size_bytes - 1);
    }
    sim_node_write(open->node, open->at, bytes, size_bytes, host->index);
    open->at += size_bytes;
    return (ssize_t)size_bytes;
}

/* Not of a journal, which is written anew at each try. */
static gboolean forgets(SimHost *host, SimNode *node)
{
    if (!node->dirty || node->name == NULL || g_str_has_suffix(node->name, ".vm.new") ||
        !sim_fault_tries(host->sim, FAULT_FSYNC_FORGETS) || !sim_node_forget(node)) {
        return FALSE;
    }
    sim_fault_hit(FAULT_FSYNC_FORGETS);
    host->forgotten_us = sim_now_us(host->sim);
    return TRUE;
}

static int sim_fsync(VbFiles *self, int fd)
{
    SimHost *host = HOST_OF(self);
    SimFd *open = fd_get(host, fd);
    if (open == NULL) {
        return -1;
    }
    gboolean is_folder = open->node->kind == SIM_NODE_FOLDER;
    /* The descriptor is looked up again: others may have gone first. */
    if (!call_begin(host, is_folder ? CALL_FOLDER : CALL_CHANGES, FALSE) ||
        (open = fd_get(host, fd)) == NULL) {
        return -1;
    }
    if (!is_folder && open->node->dirty && open->node->name != NULL) {
        say_path(host, open->node->name, "syncs %s (inode %" G_GINT64_MODIFIER "x)",
                 open->node->name, open->node->inode);
    }
    if (forgets(host, open->node)) {
        return fail(EIO);
    }
    sim_node_sync(open->node);
    return sim_fault(host->sim, FAULT_FSYNC_LIES) ? fail(EIO) : 0;
}

/* ---- What there is */

static void stat_fill(const SimNode *node, struct stat *ret_stat)
{
    static const mode_t kinds[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFSOCK};
    *ret_stat = (struct stat){
        .st_ino = node->inode,
        .st_mode = kinds[node->kind] | node->owner.mode,
        .st_nlink = node->n_links,
        .st_uid = node->owner.uid,
        .st_gid = node->owner.gid,
        .st_size = (off_t)sim_node_size(node) - (node->kind == SIM_NODE_LINK ? 1 : 0),
    };
}

static int sim_fstat(VbFiles *self, int fd, struct stat *ret_stat)
{
    SimHost *host = HOST_OF(self);
    SimFd *open = fd_get(host, fd);
    if (open == NULL || !call_begin(host, CALL_LOOKS, FALSE)) {
        return -1;
    }
    stat_fill(open->node, ret_stat);
    return 0;
}

static int sim_lstat(VbFiles *self, const char *path, struct stat *ret_stat)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_LOOKS, FALSE) || !find(host, path, FALSE, &spot)) {
        return -1;
    }
    stat_fill(spot.node, ret_stat);
    return 0;
}

static ssize_t sim_readlink(VbFiles *self, const char *path, char *ret_target, size_t size_bytes)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_LOOKS, FALSE) || !find(host, path, FALSE, &spot)) {
        return -1;
    }
    if (spot.node->kind != SIM_NODE_LINK) {
        return fail(EINVAL);
    }
    gsize length = (gsize)sim_node_size(spot.node) - 1;
    return (ssize_t)sim_node_read(spot.node, 0, ret_target, MIN(length, size_bytes));
}

static char **sim_list(VbFiles *self, const char *path)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_LOOKS, FALSE) || !find(host, path, TRUE, &spot)) {
        return NULL;
    }
    if (spot.node->kind != SIM_NODE_FOLDER) {
        errno = ENOTDIR;
        return NULL;
    }
    const GArray *entries = spot.node->entries;
    char **names = g_new0(char *, entries->len + 1);
    for (guint i = 0; i < entries->len; i++) {
        names[i] = g_strdup(g_array_index(entries, SimEntry, i).name);
    }
    return names;
}

static int sim_free_bytes(VbFiles *self, const char *path, guint64 *ret_total, guint64 *ret_free)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_LOOKS, FALSE) || !find(host, path, TRUE, &spot)) {
        return -1;
    }
    *ret_total = TOTAL_BYTES * G_GUINT64_CONSTANT(1024);
    *ret_free = TOTAL_BYTES * G_GUINT64_CONSTANT(512);
    return 0;
}

/* ---- Names */

static void tell_gone(SimHost *host, const char *path, const SimNode *node)
{
    if (node->kind == SIM_NODE_FILE) {
        sim_check_file_unlinked(host->world->check, host, path, node->inode, TRUE);
    }
}

static int rename_problem(const Spot *from, const Spot *to)
{
    if (from->folder == NULL || to->folder == NULL) {
        return EBUSY;
    }
    if (from->folder->disk != to->folder->disk) {
        return EXDEV;
    }
    if (to->node == NULL) {
        return 0;
    }
    gboolean is_folder = from->node->kind == SIM_NODE_FOLDER;
    if (is_folder != (to->node->kind == SIM_NODE_FOLDER)) {
        return is_folder ? ENOTDIR : EISDIR;
    }
    return is_folder && to->node->entries->len > 0 ? ENOTEMPTY : 0;
}

static int sim_rename(VbFiles *self, const char *from, const char *to)
{
    SimHost *host = HOST_OF(self);
    Spot old;
    Spot new;
    if (!call_begin(host, CALL_CHANGES, TRUE) || !find(host, from, FALSE, &old)) {
        return -1;
    }
    int problem = walk(host, to, FALSE, &new);
    problem = problem != 0 ? problem : rename_problem(&old, &new);
    if (problem != 0) {
        return fail(problem);
    }
    if (old.node == new.node) {
        return 0;
    }
    if (new.node != NULL &&new.node->n_links == 1) {
        tell_gone(host, to, new.node);
    }
    if (g_str_has_suffix(to, ".vm.bad")) {
        sim_mark(MARK_JOURNAL_SET_ASIDE);
    }
    sim_folder_rename(old.folder, old.name, new.folder, new.name, host->index);
    if (g_str_has_suffix(to, ".vm")) {
        say_path(host, to, "saves the journal");
    } else {
        say_path(host, to, "renames %s to %s", from, new.name);
    }
    return 0;
}

static int sim_unlink(VbFiles *self, const char *path)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_CHANGES, FALSE) || !find(host, path, FALSE, &spot)) {
        return -1;
    }
    if (spot.node->kind == SIM_NODE_FOLDER) {
        return fail(EISDIR);
    }
    if (g_str_has_suffix(path, ".new") && spot.node->agent != host->n_starts) {
        sim_mark(MARK_TEMPORARY_FILE_FOUND);
    }
    say_path(host, path, "deletes %s (inode %" G_GINT64_MODIFIER "x)", path, spot.node->inode);
    tell_gone(host, path, spot.node);
    sim_folder_unlink(spot.folder, spot.name, host->index);
    return 0;
}

static int sim_mkdir(VbFiles *self, const char *path, mode_t mode)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_FOLDER, TRUE) || !find_free(host, path, &spot)) {
        return -1;
    }
    SimNode *node =
        sim_node_new(spot.folder->disk, SIM_NODE_FOLDER, mode & ~(mode_t)022, host->index);
    sim_folder_link(spot.folder, spot.name, node, host->index);
    sim_node_unref(node);
    say_path(host, path, "makes the folder %s", path);
    return 0;
}

static int sim_rmdir(VbFiles *self, const char *path)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_FOLDER, FALSE) || !find(host, path, FALSE, &spot)) {
        return -1;
    }
    if (spot.node->kind != SIM_NODE_FOLDER) {
        return fail(ENOTDIR);
    }
    if (spot.folder == NULL) {
        return fail(EBUSY);
    }
    if (spot.node->entries->len > 0) {
        return fail(ENOTEMPTY);
    }
    sim_folder_unlink(spot.folder, spot.name, host->index);
    say_path(host, path, "deletes the folder %s", path);
    return 0;
}

static SimNode *link_new(SimDisk *disk, const char *target, guint writer)
{
    SimNode *node = sim_node_new(disk, SIM_NODE_LINK, 0777, writer);
    sim_node_write(node, 0, target, strlen(target) + 1, writer);
    sim_node_sync(node); /* It is on disk with its name, or not at all. */
    return node;
}

static int sim_symlink(VbFiles *self, const char *target, const char *path)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_CHANGES, TRUE) || !find_free(host, path, &spot)) {
        return -1;
    }
    SimNode *node = link_new(spot.folder->disk, target, host->index);
    sim_folder_link(spot.folder, spot.name, node, host->index);
    sim_node_unref(node);
    say_path(host, path, "links %s to %s", path, target);
    return 0;
}

static int sim_chown(VbFiles *self, const char *path, uid_t uid, gid_t gid)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_FOLDER, FALSE) || !find(host, path, FALSE, &spot)) {
        return -1;
    }
    sim_node_set_owner(spot.node, (SimOwner){spot.node->owner.mode & 01777, uid, gid}, host->index);
    return 0;
}

static int sim_chmod(VbFiles *self, const char *path, mode_t mode)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_FOLDER, FALSE) || !find(host, path, TRUE, &spot)) {
        return -1;
    }
    SimOwner owner = spot.node->owner;
    owner.mode = mode & 07777;
    sim_node_set_owner(spot.node, owner, host->index);
    return 0;
}

/* ---- qemu-img: one file that says what it would be. Raw ones are as large as their disk. */

static int disk_fail(int cause, char **ret_message, const char *format, ...) G_GNUC_PRINTF(3, 4);

static int disk_fail(int cause, char **ret_message, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    *ret_message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return fail(cause);
}

/* How large the disk in an image is; 0: none, or it is no image of one file. */
static guint64 image_size(SimHost *host, const char *image_path, char **ret_message)
{
    char text[DISK_TEXT_BYTES] = "";
    const SimNode *node = sim_files_find(host, image_path);
    if (node == NULL || node->kind != SIM_NODE_FILE) {
        disk_fail(ENOENT, ret_message, "cannot read image %s: %s", image_path, g_strerror(ENOENT));
        return 0;
    }
    gsize n = sim_node_read(node, 0, text, sizeof(text) - 1);
    if (n < 8 || memcmp(text, "QFI\xfb", 4) != 0) {
        return MAX(sim_node_size(node), 512);
    }
    const char *size = strstr(text + 8, " size=");
    if (size == NULL || strstr(text + 8, " base=") != NULL) {
        disk_fail(ENOTSUP, ret_message, "image %s keeps content in another file", image_path);
        return 0;
    }
    return g_ascii_strtoull(size + strlen(" size="), NULL, 10);
}

/* The file as qemu-img opens it: empty. FALSE and errno. */
static gboolean disk_open(SimHost *host, const char *path, Spot *ret_spot, char **ret_message)
{
    int problem = walk(host, path, TRUE, ret_spot);
    if (problem != 0) {
        disk_fail(problem, ret_message, "qemu-img: %s: %s", path, g_strerror(problem));
        return FALSE;
    }
    if (ret_spot->node == NULL) {
        SimNode *node = sim_node_new(ret_spot->folder->disk, SIM_NODE_FILE, 0644, host->index);
        node->agent = host->n_starts;
        sim_folder_link(ret_spot->folder, ret_spot->name, node, host->index);
        ret_spot->node = node;
    } else {
        sim_node_ref(ret_spot->node);
        sim_node_truncate(ret_spot->node, 0, host->index);
    }
    return TRUE;
}

static void disk_write(SimHost *host, SimNode *node, const char *format, guint64 size_bytes,
                       const char *base, const char *image)
{
    char text[DISK_TEXT_BYTES] = "QFI\xfb\0\0\0\3";
    if (strcmp(format, "raw") == 0) {
        sim_node_truncate(node, size_bytes, host->index);
        return;
    }
    int n = g_snprintf(text + 8, sizeof(text) - 8, " size=%" G_GUINT64_FORMAT "%s%s%s%s",
                       size_bytes, base != NULL ? " base=" : "", base != NULL ? base : "",
                       image != NULL ? " of=" : "", image != NULL ? image : "");
    sim_node_truncate(node, QCOW2_BYTES, host->index);
    sim_node_write(node, 0, text, 8 + (gsize)n, host->index);
}

static int sim_make_disk(VbFiles *self, const char *path, const char *format, guint64 size_bytes,
                         const char *image_path, gboolean overlay, char **ret_message)
{
    SimHost *host = HOST_OF(self);
    Spot spot;
    if (!call_begin(host, CALL_CHANGES, FALSE)) {
        return disk_fail(EIO, ret_message, "qemu-img was killed or said nothing");
    }
    guint64 image_bytes = image_path != NULL ? image_size(host, image_path, ret_message) : 0;
    if (image_path != NULL && image_bytes == 0) {
        return -1;
    }
    size_bytes = size_bytes > 0 ? size_bytes : image_bytes;
    if (size_bytes < image_bytes) {
        return disk_fail(EINVAL, ret_message, "the disk is smaller than its image %s", image_path);
    }
    if (!disk_open(host, path, &spot, ret_message)) {
        return -1;
    }
    /* It dies with the agent, and leaves what it has. */
    int result = 0;
    say_path(host, path, "qemu-img makes %s", path);
    sim_node_write(spot.node, 0, "QFI", sim_below(host->sim, 4), host->index);
    if (!sim_sleep(host->process, sim_delay_us(host->sim, QEMU_IMG_MOST_US))) {
        result = disk_fail(EIO, ret_message, "qemu-img was killed or said nothing");
    } else if (sim_fault(host->sim, FAULT_FILE_ENOSPC)) {
        result = disk_fail(ENOSPC, ret_message, "qemu-img: %s", g_strerror(ENOSPC));
    } else {
        disk_write(host, spot.node, format, size_bytes, overlay ? image_path : NULL, image_path);
    }
    sim_node_unref(spot.node);
    return result;
}

/* ---- By others than the agent */

SimNode *sim_files_find(SimHost *host, const char *path)
{
    Spot spot;
    return walk(host, path, TRUE, &spot) == 0 ? spot.node : NULL;
}

gboolean sim_files_make(SimHost *host, const char *path, SimNodeKind kind, guint mode,
                        const void *bytes, gsize size_bytes)
{
    Spot spot;
    if (walk(host, path, TRUE, &spot) != 0) {
        return FALSE;
    }
    if (spot.node == NULL) {
        SimNode *node = sim_node_new(spot.folder->disk, kind, mode, host->index);
        sim_folder_link(spot.folder, spot.name, node, host->index);
        spot.node = node;
        sim_node_unref(node);
    }
    if (kind == SIM_NODE_FILE && spot.node->kind == kind && size_bytes > 0) {
        sim_node_truncate(spot.node, 0, host->index);
        sim_node_write(spot.node, 0, bytes, size_bytes, host->index);
    }
    return spot.node->kind == kind;
}

void sim_files_remove(SimHost *host, const char *path)
{
    Spot spot;
    if (walk(host, path, FALSE, &spot) == 0 && spot.node != NULL && spot.folder != NULL) {
        sim_folder_unlink(spot.folder, spot.name, host->index);
    }
}

/* ---- What the watchers see */

typedef struct {
    SimHost *host;
    GString *path;
    SimEachFile each;
    void *data;
    gboolean durable; /* Every name on the way is on disk. */
} Tour;

static SimFile file_of(const SimNode *node, const char *path, gboolean durable)
{
    const SimContent *content = node->content;
    return (SimFile){.path = path,
                     .inode = node->inode,
                     .bytes = content != NULL ? content->bytes : (const guint8 *)"",
                     .size_bytes = content != NULL ? content->n_bytes : 0,
                     .length_bytes = sim_node_size(node),
                     .durable = durable && sim_node_is_durable(node)};
}

static void tour(Tour *t, const SimNode *folder)
{
    gsize length = t->path->len;
    gboolean durable = t->durable;
    for (guint i = 0; i < folder->entries->len; i++) {
        const SimEntry *entry = &g_array_index(folder->entries, SimEntry, i);
        g_string_append_c(t->path, '/');
        g_string_append(t->path, entry->name);
        t->durable = durable && sim_folder_is_durable(folder, entry->name);
        if (entry->node->kind == SIM_NODE_FOLDER) {
            tour(t, entry->node);
        } else if (entry->node->kind == SIM_NODE_FILE) {
            SimFile file = file_of(entry->node, t->path->str, t->durable);
            t->each(t->data, &file);
        }
        g_string_truncate(t->path, length);
        t->durable = durable;
    }
}

/* Whether every name on the way to it is on disk. */
static gboolean way_is_durable(SimHost *host, const char *path)
{
    const SimMount *mount = mount_of(host, path);
    const char *at = path + mount->path_bytes;
    const SimNode *folder = sim_disk_root(mount->disk);
    char name[NAME_BYTES];
    gsize n = 0;
    while (folder != NULL && take_name(&at, name, &n)) {
        if (folder->kind != SIM_NODE_FOLDER || !sim_folder_is_durable(folder, name)) {
            return FALSE;
        }
        folder = sim_folder_find(folder, name);
    }
    return folder != NULL;
}

void sim_host_each_file(SimHost *host, const char *folder, SimEachFile each, void *data)
{
    for (guint i = 0; i < host->mounts->len; i++) {
        const SimMount *mount = &g_array_index(host->mounts, SimMount, i);
        gboolean below = g_str_has_prefix(mount->path, folder);
        gboolean above = !below && mount_of(host, folder) == mount;
        const char *path = below ? mount->path : folder;
        const SimNode *node =
            below || above ? sim_files_find(host, below ? mount->path : folder) : NULL;
        node = below ? sim_disk_root(mount->disk) : node;
        if (node != NULL && node->kind == SIM_NODE_FOLDER) {
            g_autoptr(GString) text = g_string_new(path);
            Tour t = {.host = host,
                      .path = text,
                      .each = each,
                      .data = data,
                      .durable = below || way_is_durable(host, path)};
            tour(&t, node);
        }
    }
}

gboolean sim_host_find_file(SimHost *host, const char *path, SimFile *ret_file)
{
    Spot spot;
    if (walk(host, path, FALSE, &spot) != 0 || spot.node == NULL ||
        spot.node->kind != SIM_NODE_FILE) {
        return FALSE;
    }
    *ret_file = file_of(spot.node, path, way_is_durable(host, path));
    return TRUE;
}

/* ---- Harm */

typedef struct {
    SimHost *host;
    GPtrArray *paths; /* of char * */
} Candidates;

/* A start that has looked at its state files does not look again before libvirt has them. */
static gboolean is_under_way(const SimHost *host)
{
    return host->agent != NULL && host->agent->n_effects > 0;
}

static void candidate_add(void *data, const SimFile *file)
{
    Candidates *candidates = data;
    SimHost *host = candidates->host;
    gboolean is_journal = g_str_has_prefix(file->path, SIM_STATE_DIR "/");
    gboolean is_state =
        strstr(file->path, "/nvRam/") != NULL || g_str_has_suffix(file->path, "/tpm2-00.permall");
    SimNode *node = is_journal || is_state ? sim_files_find(host, file->path) : NULL;
    if (node != NULL &&
        (is_journal || !(is_under_way(host) || sim_hypervisor_uses(host->hypervisor, node)))) {
        g_ptr_array_add(candidates->paths, g_strdup(file->path));
    }
}

/* Its end is gone, or it has its length and another beginning. */
static void damage(SimHost *host, const char *path, SimNode *node)
{
    static const guint8 zeros[64];
    guint64 size_bytes = sim_node_size(node);
    if (sim_below(host->sim, 2) == 0) {
        say_path(host, path, "somebody truncates %s", path);
        sim_node_truncate(node, size_bytes / 2, host->index);
    } else {
        say_path(host, path, "somebody writes zeros over the beginning of %s", path);
        sim_node_write(node, 0, zeros, MIN(size_bytes, sizeof(zeros)), host->index);
    }
    sim_node_sync(node);
}

static void harm(SimHost *host, const char *path, const Spot *spot, gboolean truncate)
{
    guint64 inode = spot->node->inode;
    sim_fault_hit(truncate ? FAULT_FILE_DAMAGED : FAULT_FILE_LOST);
    sim_check_file_harmed(host->world->check, host, path, inode);
    sim_model_harmed(host->world->model, path);
    if (truncate) {
        damage(host, path, spot->node);
    } else {
        say_path(host, path, "somebody deletes %s", path);
        sim_folder_unlink(spot->folder, spot->name, host->index);
        sim_node_sync(spot->folder);
        sim_check_file_unlinked(host->world->check, host, path, inode, FALSE);
    }
}

void sim_files_harm(SimHost *host, gboolean truncate)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    Candidates candidates = {.host = host, .paths = paths};
    gboolean journals = host->process == NULL; /* No agent has them in its memory. */
    Spot spot;
    sim_host_each_file(host, journals ? SIM_STATE_DIR : SIM_STORAGE_DIR, candidate_add,
                       &candidates);
    const char *path =
        paths->len > 0 ? g_ptr_array_index(paths, sim_below(host->sim, paths->len)) : NULL;
    if (path != NULL && walk(host, path, FALSE, &spot) == 0 && spot.node != NULL) {
        harm(host, path, &spot, truncate);
    }
}

/* ---- Life */

void sim_files_open(SimHost *host)
{
    host->fds = g_array_new(FALSE, FALSE, sizeof(SimFd));
    host->files = (VbFiles){
        .open = sim_open,
        .read = sim_read,
        .write = sim_write,
        .fstat = sim_fstat,
        .fsync = sim_fsync,
        .close = sim_close,
        .lstat = sim_lstat,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .mkdir = sim_mkdir,
        .rmdir = sim_rmdir,
        .symlink = sim_symlink,
        .readlink = sim_readlink,
        .chown = sim_chown,
        .chmod = sim_chmod,
        .list = sim_list,
        .free_bytes = sim_free_bytes,
        .make_disk = sim_make_disk,
    };
}

void sim_files_close(SimHost *host)
{
    sim_files_close_all(host);
    g_array_unref(host->fds);
}
