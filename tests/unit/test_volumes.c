/* Volumes on a real file system, with real OVMF templates and the real qemu-img.
 *
 * The files vtable is real too, but counts its calls and can fail the Nth of them, alone (an error)
 * or with all that follow (a crash). Whatever fails, the final name is whole or not there, and the
 * next try succeeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/base/text.h"
#include "services/host-agent/audit.h"
#include "services/host-agent/files_posix.h"
#include "services/host-agent/volume_files.h"
#include "services/host-agent/firmware.h"
#include "services/host-agent/volumes.h"

#define VM_UUID    "11111111-1111-4111-8111-111111111111"
#define NVRAM_UUID "22222222-2222-4222-8222-222222222222"
#define ROOT_UUID  "33333333-3333-4333-8333-333333333333"
#define DATA_UUID  "44444444-4444-4444-8444-444444444444"
#define TPM_UUID   "55555555-5555-4555-8555-555555555555"

#define NVRAM_PATH "nvRam/acct-a/vol-" NVRAM_UUID "/" NVRAM_UUID ".fd"
#define ROOT_PATH  "rootVolumes/acct-a/vol-" ROOT_UUID "/" ROOT_UUID ".qcow2"
#define DATA_PATH  "dataVolumes/acct-a/vol-" DATA_UUID "/" DATA_UUID ".raw"
#define TPM_PATH   "tpmState/acct-a/vol-" TPM_UUID "/" TPM_UUID

#define PLAIN_VARS    "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define ENROLLED_VARS "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"

enum { NVRAM_BYTES = 540672, MIB = 1024 * 1024 };

/* ---- A files vtable that fails the Nth call ---- */

typedef struct {
    VbFiles files;
    guint calls;
    guint fail_at;  /* 0: never. */
    gboolean crash; /* All calls after it fail as well. */
    int cause;
    guint64 free_bytes; /* 0: as it is. */
    guint syncs;
    void (*after_sync)(const char *path); /* Happens once behind an fsync; NULL: nothing does. */
    gboolean full;                        /* No write finds room. */
    guint writes;                         /* Files that were opened to be written to. */
    const char *swap_path; /* Becomes a link to swap_target as soon as it was looked at. */
    const char *swap_target;
    char *folder;   /* The trace names paths below it only. */
    GString *trace; /* Of the calls that change names or make them durable; NULL: none is kept. */
    GHashTable *open_paths; /* File descriptor -> path */
} FaultyFiles;

static void trace(VbFiles *self, const char *call, const char *path)
{
    FaultyFiles *faulty = (FaultyFiles *)self;
    if (faulty->trace != NULL) {
        assert_true(g_str_has_prefix(path, faulty->folder));
        g_string_append_printf(faulty->trace, "%s %s\n", call, path + strlen(faulty->folder));
    }
}

static gboolean fails(VbFiles *self)
{
    FaultyFiles *faulty = (FaultyFiles *)self;
    faulty->calls++;
    gboolean now = faulty->fail_at != 0 && (faulty->calls == faulty->fail_at ||
                                            (faulty->crash && faulty->calls > faulty->fail_at));
    if (now) {
        errno = faulty->cause;
    }
    return now;
}

#define REAL(call, ...) files_posix()->call(files_posix(), __VA_ARGS__)

static int faulty_open(VbFiles *self, const char *path, int flags, mode_t mode)
{
    int fd = fails(self) ? -1 : REAL(open, path, flags, mode);
    ((FaultyFiles *)self)->writes += (flags & O_ACCMODE) != O_RDONLY;
    if (fd >= 0) {
        g_hash_table_insert(((FaultyFiles *)self)->open_paths, GINT_TO_POINTER(fd), g_strdup(path));
    }
    return fd;
}

static ssize_t faulty_read(VbFiles *self, int fd, void *bytes, size_t size_bytes)
{
    return fails(self) ? -1 : REAL(read, fd, bytes, size_bytes);
}

/* In two halves, so that a crash between them leaves half a file. */
static ssize_t faulty_write(VbFiles *self, int fd, const void *bytes, size_t size_bytes)
{
    if (((FaultyFiles *)self)->full) {
        errno = ENOSPC;
        return -1;
    }
    return fails(self) ? -1 : REAL(write, fd, bytes, (size_bytes + 1) / 2);
}

static int faulty_fstat(VbFiles *self, int fd, struct stat *ret_stat)
{
    return fails(self) ? -1 : REAL(fstat, fd, ret_stat);
}

static int faulty_fsync(VbFiles *self, int fd)
{
    FaultyFiles *faulty = (FaultyFiles *)self;
    faulty->syncs++;
    const char *path = g_hash_table_lookup(faulty->open_paths, GINT_TO_POINTER(fd));
    trace(self, "sync", path);
    int result = fails(self) ? -1 : REAL(fsync, fd);
    if (faulty->after_sync != NULL) {
        faulty->after_sync(path);
        faulty->after_sync = NULL;
    }
    return result;
}

static int faulty_close(VbFiles *self, int fd)
{
    int result = REAL(close, fd);
    return fails(self) ? -1 : result;
}

static int faulty_lstat(VbFiles *self, const char *path, struct stat *ret_stat)
{
    FaultyFiles *faulty = (FaultyFiles *)self;
    int result = fails(self) ? -1 : REAL(lstat, path, ret_stat);
    if (result == 0 && g_strcmp0(path, faulty->swap_path) == 0) {
        g_autofree char *aside = g_strdup_printf("%s.aside", path);
        assert_int_equal(rename(path, aside), 0);
        assert_int_equal(symlink(faulty->swap_target, path), 0);
        faulty->swap_path = NULL;
    }
    return result;
}

static int faulty_rename(VbFiles *self, const char *from, const char *to)
{
    trace(self, "rename", from);
    return fails(self) ? -1 : REAL(rename, from, to);
}

static int faulty_unlink(VbFiles *self, const char *path)
{
    trace(self, "unlink", path);
    return fails(self) ? -1 : REAL(unlink, path);
}

static int faulty_mkdir(VbFiles *self, const char *path, mode_t mode)
{
    trace(self, "mkdir", path);
    return fails(self) ? -1 : REAL(mkdir, path, mode);
}

static int faulty_rmdir(VbFiles *self, const char *path)
{
    trace(self, "rmdir", path);
    return fails(self) ? -1 : REAL(rmdir, path);
}

static int faulty_symlink(VbFiles *self, const char *target, const char *path)
{
    return fails(self) ? -1 : REAL(symlink, target, path);
}

static ssize_t faulty_readlink(VbFiles *self, const char *path, char *ret_target, size_t size_bytes)
{
    return fails(self) ? -1 : REAL(readlink, path, ret_target, size_bytes);
}

static int faulty_chown(VbFiles *self, const char *path, uid_t uid, gid_t gid)
{
    return fails(self) ? -1 : REAL(chown, path, uid, gid);
}

static int faulty_chmod(VbFiles *self, const char *path, mode_t mode)
{
    return fails(self) ? -1 : REAL(chmod, path, mode);
}

static char **faulty_list(VbFiles *self, const char *path)
{
    return fails(self) ? NULL : REAL(list, path);
}

static int faulty_free_bytes(VbFiles *self, const char *path, guint64 *ret_total, guint64 *ret_free)
{
    guint64 lie = ((FaultyFiles *)self)->free_bytes;
    int result = fails(self) ? -1 : REAL(free_bytes, path, ret_total, ret_free);
    if (lie != 0) {
        *ret_free = lie;
    }
    return result;
}

/* Fails after qemu-img has made its file: the worst moment. */
static int faulty_make_disk(VbFiles *self, const char *path, const char *format, guint64 size_bytes,
                            const char *image_path, gboolean overlay, char **ret_message)
{
    int result = REAL(make_disk, path, format, size_bytes, image_path, overlay, ret_message);
    if (result == 0 && fails(self)) {
        *ret_message = g_strdup("qemu-img was made to fail");
        return -1;
    }
    return result;
}

static const VbFiles faulty_vtable = {
    .open = faulty_open,
    .read = faulty_read,
    .write = faulty_write,
    .fstat = faulty_fstat,
    .fsync = faulty_fsync,
    .close = faulty_close,
    .lstat = faulty_lstat,
    .rename = faulty_rename,
    .unlink = faulty_unlink,
    .mkdir = faulty_mkdir,
    .rmdir = faulty_rmdir,
    .symlink = faulty_symlink,
    .readlink = faulty_readlink,
    .chown = faulty_chown,
    .chmod = faulty_chmod,
    .list = faulty_list,
    .free_bytes = faulty_free_bytes,
    .make_disk = faulty_make_disk,
};

/* ---- A host in a temporary folder ---- */

typedef struct {
    FaultyFiles faulty;
    VbHostConfig config;
    VbHost host;
    VbArena *arena;
    VbArena *scratch; /* What the code under test makes. */
    char *root;       /* Holds pool/ (the storage), swtpm/ and firmware/. */
    VbStorage local;
    VbStorage nfs;
    FirmwareClass plain;
    FirmwareClass enrolled;
    char *firmware_dirs[3];
} World;

static char *in_root(World *world, const char *path)
{
    return arena_printf(world->arena, "%s/%s", world->root, path);
}

static char *in_pool(World *world, const char *path)
{
    return arena_printf(world->arena, "%s/pool/%s", world->root, path);
}

static int setup(void **state)
{
    World *world = g_new0(World, 1);
    world->arena = arena_new();
    world->scratch = arena_new();
    world->root = g_dir_make_tmp("virtbus-volumes-XXXXXX", NULL);
    assert_non_null(world->root);
    assert_int_equal(g_chmod(world->root, 0755), 0);
    assert_int_equal(g_mkdir_with_parents(in_pool(world, "images"), 0755), 0);
    assert_int_equal(g_mkdir(in_root(world, "firmware"), 0755), 0);
    storage_ref__init(&world->local.ref);
    world->local.ref.name = (char *)"local1";
    world->local.ref.type = STORAGE_TYPE_LOCAL;
    world->local.path = in_root(world, "pool");
    storage_ref__init(&world->nfs.ref);
    world->nfs.ref.name = (char *)"nfs1";
    world->nfs.ref.type = STORAGE_TYPE_NFS;
    world->nfs.path = in_root(world, "pool");
    firmware_class__init(&world->plain);
    world->plain.firmware = FIRMWARE_UEFI;
    world->enrolled = world->plain;
    world->enrolled.secure_boot = TRUE;
    world->firmware_dirs[0] = (char *)"/usr/share/qemu/firmware";
    world->firmware_dirs[1] = in_root(world, "firmware");
    world->config.host_uuid = (char *)"99999999-9999-4999-8999-999999999999";
    world->config.swtpm_dir = in_root(world, "swtpm");
    world->config.firmware_dirs = world->firmware_dirs;
    world->config.qemu_user = (char *)g_get_user_name();
    world->config.storages = g_ptr_array_new();
    g_ptr_array_add(world->config.storages, &world->local);
    g_ptr_array_add(world->config.storages, &world->nfs);
    world->faulty.files = faulty_vtable;
    world->faulty.folder = world->local.path;
    world->faulty.open_paths = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    world->host.config = &world->config;
    world->host.files = &world->faulty.files;
    world->host.failed_syncs = failed_syncs_new();
    *state = world;
    return 0;
}

static void remove_tree(const char *path)
{
    if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK) && g_file_test(path, G_FILE_TEST_IS_DIR)) {
        g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
        for (const char *name = g_dir_read_name(folder); name != NULL;
             name = g_dir_read_name(folder)) {
            g_autofree char *below = g_build_filename(path, name, NULL);
            remove_tree(below);
        }
    }
    g_remove(path);
}

static int teardown(void **state)
{
    World *world = *state;
    remove_tree(world->root);
    g_ptr_array_unref(world->config.storages);
    g_hash_table_unref(world->faulty.open_paths);
    failed_syncs_free(world->host.failed_syncs);
    arena_free(world->arena);
    arena_free(world->scratch);
    g_free(world->root);
    g_free(world);
    return 0;
}

static Volume *make_volume(World *world, VolumeType type, const char *uuid, const char *path)
{
    Volume *volume = ARENA_MSG(world->arena, volume);
    volume->uuid = (char *)uuid;
    volume->type = type;
    volume->storage = &world->local.ref;
    volume->install_path = (char *)path;
    volume->capacity_bytes = MIB;
    return volume;
}

static Volume *nvram(World *world)
{
    return make_volume(world, VOLUME_TYPE_NV_RAM, NVRAM_UUID, NVRAM_PATH);
}

static Volume *root_disk(World *world)
{
    return make_volume(world, VOLUME_TYPE_ROOT, ROOT_UUID, ROOT_PATH);
}

static Volume *data_disk(World *world)
{
    Volume *volume = make_volume(world, VOLUME_TYPE_DATA, DATA_UUID, DATA_PATH);
    volume->format = VOLUME_FORMAT_RAW;
    return volume;
}

static Volume *tpm(World *world)
{
    return make_volume(world, VOLUME_TYPE_TPM_STATE, TPM_UUID, TPM_PATH);
}

static CreateVolumes *command_of(World *world, const FirmwareClass *class, Volume *first, ...)
{
    CreateVolumes *command = ARENA_MSG(world->arena, create_volumes);
    command->firmware_class = (FirmwareClass *)class;
    va_list volumes;
    va_start(volumes, first);
    for (Volume *volume = first; volume != NULL; volume = va_arg(volumes, Volume *)) {
        ARENA_APPEND(world->arena, command->n_volumes, command->volumes, volume);
    }
    va_end(volumes);
    return command;
}

static VbEffectResult run_create(World *world, CreateVolumes *command)
{
    VbEffectResult result = {0};
    HostVm *vm = ARENA_MSG(world->arena, host_vm);
    vm->command = ARENA_MSG(world->arena, host_command);
    vm->command->command_case = HOST_COMMAND__COMMAND_CREATE_VOLUMES;
    vm->command->create_volumes = command;
    volumes_create(&world->host, world->scratch, vm, &result);
    assert_int_equal(result.report->report_case, HOST_REPORT__REPORT_VOLUMES_CREATED);
    return result;
}

static VbEffectResult run_delete(World *world, CreateVolumes *same)
{
    VbEffectResult result = {0};
    HostVm *vm = ARENA_MSG(world->arena, host_vm);
    vm->command = ARENA_MSG(world->arena, host_command);
    vm->command->command_case = HOST_COMMAND__COMMAND_DELETE_VOLUMES;
    vm->command->delete_volumes = ARENA_MSG(world->arena, delete_volumes);
    vm->command->delete_volumes->n_volumes = same->n_volumes;
    vm->command->delete_volumes->volumes = same->volumes;
    volumes_delete(&world->host, world->scratch, vm, &result);
    assert_int_equal(result.report->report_case, HOST_REPORT__REPORT_VOLUMES_DELETED);
    assert_int_equal(result.report->volumes_deleted->n_results, same->n_volumes);
    return result;
}

static void assert_done(const VbEffectResult *result)
{
    if (result->error != NULL) {
        fail_msg("%s: %s", ENUM_CODE(error_code, result->error->code), result->error->message);
    }
}

static void assert_refused(const VbEffectResult *result, ErrorCode code, const char *words)
{
    assert_non_null(result->error);
    assert_string_equal(ENUM_CODE(error_code, result->error->code), ENUM_CODE(error_code, code));
    if (strstr(result->error->message, words) == NULL) {
        fail_msg("\"%s\" is not in: %s", words, result->error->message);
    }
}

/* Creates and expects success. Results are as many as the volumes. */
static VolumesCreated *create(World *world, CreateVolumes *command)
{
    VbEffectResult result = run_create(world, command);
    assert_done(&result);
    assert_int_equal(result.report->volumes_created->n_results, command->n_volumes);
    return result.report->volumes_created;
}

static void write_file(const char *path, const void *bytes, gssize size_bytes)
{
    g_autofree char *folder = g_path_get_dirname(path);
    assert_int_equal(g_mkdir_with_parents(folder, 0711), 0);
    assert_true(
        g_file_set_contents_full(path, bytes, size_bytes, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static void copy_file(const char *from, const char *to)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(from, &bytes, &size_bytes, NULL));
    write_file(to, bytes, (gssize)size_bytes);
}

static void assert_same_bytes(const char *left, const char *right)
{
    g_autofree char *left_bytes = NULL;
    g_autofree char *right_bytes = NULL;
    gsize left_size = 0;
    gsize right_size = 0;
    assert_true(g_file_get_contents(left, &left_bytes, &left_size, NULL));
    assert_true(g_file_get_contents(right, &right_bytes, &right_size, NULL));
    assert_int_equal(left_size, right_size);
    assert_memory_equal(left_bytes, right_bytes, left_size);
}

static void poke(const char *path, off_t at, const char *bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), strlen(bytes));
    assert_int_equal(close(fd), 0);
}

static gboolean is_there(const char *path)
{
    struct stat facts;
    return lstat(path, &facts) == 0;
}

static guint mode_of(const char *path)
{
    struct stat facts;
    assert_int_equal(lstat(path, &facts), 0);
    return facts.st_mode & 07777;
}

/* All that is below a folder, as text. */
static void list_into(GString *text, const char *path)
{
    g_auto(GStrv) names = REAL(list, path);
    for (guint i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *below = g_build_filename(path, names[i], NULL);
        g_string_append_printf(text, "%s\n", below);
        if (!g_file_test(below, G_FILE_TEST_IS_SYMLINK)) {
            list_into(text, below);
        }
    }
}

static char *listing(World *world)
{
    g_autoptr(GString) text = g_string_new(NULL);
    list_into(text, world->root);
    return arena_strdup(world->arena, text->str);
}

static char *image_info(World *world, const char *path)
{
    g_autofree char *output = NULL;
    const char *argv[] = {"qemu-img", "info", path, NULL};
    assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output,
                             NULL, NULL, NULL));
    return arena_strdup(world->arena, output);
}

static void assert_info(World *world, const char *path, const char *words)
{
    const char *info = image_info(world, in_pool(world, path));
    if (strstr(info, words) == NULL) {
        fail_msg("\"%s\" is not in: %s", words, info);
    }
}

/* ---- Creating ---- */

typedef VbEffectResult (*Work)(World *world, CreateVolumes *command);

static void creates_each_type(void **state)
{
    World *world = *state;
    mode_t before = umask(077);
    VolumesCreated *made =
        create(world, command_of(world, &world->plain, root_disk(world), data_disk(world),
                                 nvram(world), tpm(world), NULL));
    umask(before);
    for (size_t i = 0; i < made->n_results; i++) {
        assert_false(made->results[i]->reused);
    }
    assert_same_bytes(in_pool(world, NVRAM_PATH), PLAIN_VARS);
    const Volume *store = made->results[2]->volume;
    assert_int_equal(store->actual_size_bytes, NVRAM_BYTES);
    assert_int_equal(store->format, VOLUME_FORMAT_RAW);
    assert_string_equal(store->firmware->template_path, PLAIN_VARS);
    assert_int_equal(store->firmware->class_->nvram_bytes, NVRAM_BYTES);
    assert_int_equal(made->results[0]->volume->format, VOLUME_FORMAT_QCOW2);
    assert_int_equal(made->results[1]->volume->actual_size_bytes, MIB);
    assert_int_equal(made->results[3]->volume->format, VOLUME_FORMAT_DIRECTORY);
    assert_info(world, ROOT_PATH, "file format: qcow2");
    assert_info(world, ROOT_PATH, "virtual size: 1 MiB");
    /* Whatever the umask: files for root and who libvirt gives them to, folders to walk through. */
    assert_int_equal(mode_of(in_pool(world, NVRAM_PATH)), 0600);
    assert_int_equal(mode_of(in_pool(world, ROOT_PATH)), 0600);
    assert_int_equal(mode_of(in_pool(world, TPM_PATH)), 0711);
    assert_int_equal(mode_of(in_pool(world, "nvRam")), 0711);
    assert_int_equal(mode_of(in_pool(world, "nvRam/acct-a")), 0711);
    assert_int_equal(mode_of(in_pool(world, "nvRam/acct-a/vol-" NVRAM_UUID)), 0711);
    assert_null(strstr(listing(world), ".new"));
}

/* Also where the umask would let everybody in. */
static void nobody_else_can_read_what_it_makes(void **state)
{
    World *world = *state;
    mode_t before = umask(0);
    create(world, command_of(world, &world->plain, root_disk(world), nvram(world), NULL));
    umask(before);
    assert_int_equal(mode_of(in_pool(world, NVRAM_PATH)), 0600);
    assert_int_equal(mode_of(in_pool(world, ROOT_PATH)), 0600);
}

static void assert_trace(World *world, Work work, CreateVolumes *command, const char *expected)
{
    g_autoptr(GString) calls = g_string_new(NULL);
    world->faulty.trace = calls;
    VbEffectResult result = work(world, command);
    world->faulty.trace = NULL;
    assert_done(&result);
    assert_string_equal(calls->str, expected);
}

/* What a power failure may take: nothing that was reported. */
static void is_durable_before_it_is_reported(void **state)
{
    World *world = *state;
    CreateVolumes *command = command_of(world, &world->plain, nvram(world), NULL);
#define ACCOUNT "/nvRam/acct-a"
#define FOLDER  ACCOUNT "/vol-" NVRAM_UUID
#define SETTLED                                                                                    \
    "sync " FOLDER "/" NVRAM_UUID ".fd\nsync " FOLDER "\nsync " ACCOUNT "\nsync /nvRam\nsync \n"
    assert_trace(world, run_create, command,
                 "mkdir /nvRam\nmkdir " ACCOUNT "\nmkdir " FOLDER "\n"
                 "unlink " FOLDER "/." NVRAM_UUID ".fd.new\n"
                 "sync " FOLDER "/." NVRAM_UUID ".fd.new\n"
                 "rename " FOLDER "/." NVRAM_UUID ".fd.new\n" SETTLED);
    /* The try that made it may have died before its syncs. */
    assert_trace(world, run_create, command,
                 "mkdir /nvRam\nmkdir " ACCOUNT "\nmkdir " FOLDER "\n" SETTLED);
    const char *removal = "unlink " FOLDER "/" NVRAM_UUID ".fd\n"
                          "unlink " FOLDER "/." NVRAM_UUID ".fd.new\n"
                          "rmdir " FOLDER "\nrmdir " ACCOUNT "\nrmdir /nvRam\nsync \n";
    assert_trace(world, run_delete, command, removal);
    assert_trace(world, run_delete, command, removal);
}

static void syncs_a_disk_before_it_has_its_name(void **state)
{
    World *world = *state;
    g_autoptr(GString) calls = g_string_new(NULL);
    world->faulty.trace = calls;
    VbEffectResult result = run_create(world, command_of(world, NULL, root_disk(world), NULL));
    world->faulty.trace = NULL;
    assert_done(&result);
    const char *synced = strstr(calls->str, "sync /rootVolumes/acct-a/vol-" ROOT_UUID "/.");
    const char *renamed = strstr(calls->str, "rename ");
    assert_true(synced != NULL && renamed != NULL && synced < renamed);
}

static void one_volume_named_twice_is_made_once(void **state)
{
    World *world = *state;
    CreateVolumes *command = command_of(world, &world->plain, nvram(world), nvram(world), NULL);
    VbEffectResult result = run_create(world, command);
    assert_refused(&result, ERROR_CODE_STORAGE_IO, "File exists");
    assert_null(result.report->volumes_created->results[0]->error);
    assert_same_bytes(in_pool(world, NVRAM_PATH), PLAIN_VARS);
}

static void secure_boot_gets_enrolled_keys(void **state)
{
    World *world = *state;
    create(world, command_of(world, &world->enrolled, nvram(world), NULL));
    assert_same_bytes(in_pool(world, NVRAM_PATH), ENROLLED_VARS);
}

static void make_image(World *world, const char *name, const char *format)
{
    g_autofree char *message = NULL;
    g_autofree char *raw = g_strnfill(2 * MIB, 'x');
    write_file(in_root(world, "raw"), raw, 2 * MIB);
    assert_int_equal(
        REAL(make_disk, in_pool(world, name), format, 0, in_root(world, "raw"), FALSE, &message),
        0);
}

static void run_qemu_img(const char *const *argv)
{
    int status = -1;
    assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                             &status, NULL));
    assert_int_equal(status, 0);
}

static void refuse_image(World *world, const char *name)
{
    Volume *disk = root_disk(world);
    disk->image = (char *)name;
    const ImageMode modes[] = {IMAGE_MODE_COPY, IMAGE_MODE_OVERLAY};
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        disk->image_mode = modes[i];
        VbEffectResult result = run_create(world, command_of(world, NULL, disk, NULL));
        assert_refused(&result, ERROR_CODE_UNSUPPORTED, in_pool(world, "images"));
        assert_refused(&result, ERROR_CODE_UNSUPPORTED, name);
        assert_refused(&result, ERROR_CODE_UNSUPPORTED, "flatten");
        assert_false(is_there(in_pool(world, ROOT_PATH)));
    }
}

/* The agent reads images as root: one that names another file would hand the host's files out. */
static void refuses_images_that_name_other_files(void **state)
{
    World *world = *state;
    const char *secret = in_root(world, "secret");
    g_autofree char *text = g_strnfill(MIB / 2, 's');
    write_file(secret, text, MIB / 2);
    const char *backed = in_pool(world, "images/backed.qcow2");
    run_qemu_img((const char *[]){"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b",
                                  secret, backed, NULL});
    refuse_image(world, "backed.qcow2");
    assert_int_equal(rename(backed, in_pool(world, "images/backed.raw")), 0);
    refuse_image(world, "backed.raw"); /* A name says nothing of what is in the file. */
    const char *option = arena_printf(world->arena, "data_file=%s", in_root(world, "outside"));
    run_qemu_img((const char *[]){"qemu-img", "create", "-q", "-f", "qcow2", "-o", option,
                                  in_pool(world, "images/outside.qcow2"), "512K", NULL});
    refuse_image(world, "outside.qcow2");
    const char *extents = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
                          "createType=\"monolithicFlat\"\nRW 1024 FLAT \"%s\" 0\n";
    const char *descriptor = arena_printf(world->arena, extents, secret);
    write_file(in_pool(world, "images/extents.raw"), descriptor, -1);
    refuse_image(world, "extents.raw");
    /* Whoever only asks what it is would wait for a writer of the FIFO for ever. */
    assert_int_equal(mkfifo(in_root(world, "fifo"), 0600), 0);
    descriptor = arena_printf(world->arena, extents, in_root(world, "fifo"));
    write_file(in_pool(world, "images/extents.raw"), descriptor, -1);
    refuse_image(world, "extents.raw");
}

static void refuses_images_of_other_formats(void **state)
{
    World *world = *state;
    const char *formats[] = {"vmdk", "vhdx", "vdi", "vpc", "qed", "qcow"};
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        run_qemu_img((const char *[]){"qemu-img", "create", "-q", "-f", formats[i],
                                      in_pool(world, "images/other"), "512K", NULL});
        refuse_image(world, "other");
    }
}

static void copies_and_overlays_images(void **state)
{
    World *world = *state;
    mode_t before = umask(022);
    make_image(world, "images/base.qcow2", "qcow2");
    make_image(world, "images/misnamed.raw", "qcow2");
    Volume *copy = root_disk(world);
    copy->image = (char *)"misnamed.raw";
    copy->capacity_bytes = 0;
    Volume *larger = data_disk(world);
    larger->image = (char *)"base.qcow2";
    larger->capacity_bytes = 5 * MIB;
    create(world, command_of(world, NULL, copy, larger, NULL));
    umask(before);
    assert_info(world, ROOT_PATH, "virtual size: 2 MiB");
    assert_null(strstr(image_info(world, in_pool(world, ROOT_PATH)), "backing"));
    assert_info(world, DATA_PATH, "file format: raw");
    assert_info(world, DATA_PATH, "virtual size: 5 MiB");
    assert_int_equal(mode_of(in_pool(world, DATA_PATH)), 0600);
    g_autofree char *bytes = NULL;
    assert_true(g_file_get_contents(in_pool(world, DATA_PATH), &bytes, NULL, NULL));
    assert_int_equal(bytes[2 * MIB - 1], 'x');

    run_delete(world, command_of(world, NULL, copy, NULL));
    copy->image_mode = IMAGE_MODE_OVERLAY;
    create(world, command_of(world, NULL, copy, NULL));
    assert_info(world, ROOT_PATH, "backing file format: qcow2");
    assert_info(world, ROOT_PATH, "virtual size: 2 MiB");
}

static void refuses_a_disk_smaller_than_its_image(void **state)
{
    World *world = *state;
    make_image(world, "images/base.raw", "raw");
    Volume *disk = root_disk(world);
    disk->image = (char *)"base.raw";
    VbEffectResult result = run_create(world, command_of(world, NULL, disk, NULL));
    assert_refused(&result, ERROR_CODE_INVALID_ARGUMENT, "its image");
    assert_false(is_there(in_pool(world, ROOT_PATH)));
}

/* I5: the guest's content stays, however often the command comes. */
static void never_makes_anew(void **state)
{
    World *world = *state;
    CreateVolumes *command = command_of(world, &world->plain, root_disk(world), data_disk(world),
                                        nvram(world), tpm(world), NULL);
    create(world, command);
    poke(in_pool(world, NVRAM_PATH), NVRAM_BYTES - 4, "kept");
    poke(in_pool(world, DATA_PATH), 0, "kept");
    write_file(in_pool(world, TPM_PATH "/tpm2/tpm2-00.permall"), "kept", 4);
    char *before = listing(world);
    VolumesCreated *again = create(world, command);
    for (size_t i = 0; i < again->n_results; i++) {
        assert_true(again->results[i]->reused);
    }
    assert_int_equal(again->results[2]->volume->actual_size_bytes, NVRAM_BYTES);
    assert_string_equal(again->results[2]->volume->firmware->template_path, PLAIN_VARS);
    assert_string_equal(listing(world), before);
    g_autofree char *bytes = NULL;
    assert_true(g_file_get_contents(in_pool(world, NVRAM_PATH), &bytes, NULL, NULL));
    assert_memory_equal(bytes + NVRAM_BYTES - 4, "kept", 4);
    g_autofree char *data = NULL;
    assert_true(g_file_get_contents(in_pool(world, DATA_PATH), &data, NULL, NULL));
    assert_memory_equal(data, "kept", 4);
}

static gboolean is_not_made(const VolumesCreated *created, const Volume *volume)
{
    for (size_t i = 0; i < created->n_not_made; i++) {
        if (strcmp(created->not_made[i], volume->uuid) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The try before was cut off behind its work: whatever stops the next one, the volume is there, and
 * no other host may be asked for it. */
static void failure_tells_what_is_certainly_not_there(void **state)
{
    World *world = *state;
    Volume *made = nvram(world);
    create(world, command_of(world, &world->plain, made, NULL));
    CreateVolumes *command =
        command_of(world, &world->plain, made, root_disk(world), data_disk(world), NULL);
    command->volumes[1]->storage = NULL;
    VbEffectResult result = run_create(world, command);
    const VolumesCreated *created = result.report->volumes_created;
    assert_refused(&result, ERROR_CODE_STORAGE_NOT_FOUND, ROOT_UUID);
    assert_false(is_not_made(created, made));
    assert_true(is_not_made(created, command->volumes[1]));
    assert_true(is_not_made(created, command->volumes[2]));
}

/* A root disk of an image, the agent was killed in its copy, and it is what fills the storage. */
static Volume *half_made_disk(World *world, char **ret_temporary)
{
    make_image(world, "images/base.raw", "raw");
    Volume *disk = root_disk(world);
    disk->image = (char *)"base.raw";
    g_autofree char *folder = g_path_get_dirname(in_pool(world, ROOT_PATH));
    g_autofree char *name = g_path_get_basename(in_pool(world, ROOT_PATH));
    *ret_temporary = arena_printf(world->arena, "%s/.%s.new", folder, name);
    assert_int_equal(g_mkdir_with_parents(folder, 0711), 0);
    write_file(*ret_temporary, "sixty gigabytes", 15);
    world->faulty.free_bytes = 1024;
    return disk;
}

static void half_made_is_not_certainly_absent(void **state)
{
    World *world = *state;
    char *temporary = NULL;
    Volume *disk = half_made_disk(world, &temporary);
    VbEffectResult result = run_create(world, command_of(world, NULL, disk, NULL));
    assert_refused(&result, ERROR_CODE_STORAGE_FULL, "needed");
    assert_true(is_there(temporary));
    assert_false(is_not_made(result.report->volumes_created, disk));
}

static void half_made_is_not_in_its_own_way(void **state)
{
    World *world = *state;
    char *temporary = NULL;
    Volume *disk = half_made_disk(world, &temporary);
    g_autofree char *bytes = g_strnfill(4 * MIB, 's');
    write_file(temporary, bytes, 4 * MIB);
    disk->capacity_bytes = 4 * MIB;
    create(world, command_of(world, NULL, disk, NULL));
    assert_true(is_there(in_pool(world, ROOT_PATH)));
    assert_false(is_there(temporary));
}

static void what_existed_once_is_missed(void **state)
{
    World *world = *state;
    struct {
        Volume *volume;
        ErrorCode code;
    } cases[] = {
        {nvram(world), ERROR_CODE_NVRAM_MISSING},
        {root_disk(world), ERROR_CODE_VOLUME_NOT_FOUND},
        {data_disk(world), ERROR_CODE_VOLUME_NOT_FOUND},
        {tpm(world), ERROR_CODE_TPM_STATE_MISSING},
    };
    char *before = listing(world);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        cases[i].volume->ever_ready = TRUE;
        VbEffectResult result =
            run_create(world, command_of(world, &world->plain, cases[i].volume, NULL));
        assert_refused(&result, cases[i].code, cases[i].volume->install_path);
        assert_string_equal(listing(world), before);
    }
}

/* ---- Refusals: each before anything is made ---- */

/* A good volume goes first: it must not be made when the second is refused. */
static void refuse(World *world, const FirmwareClass *class, Volume *bad, ErrorCode code,
                   const char *words)
{
    char *before = listing(world);
    Volume *good = make_volume(world, VOLUME_TYPE_DATA, VM_UUID, "dataVolumes/vol-" VM_UUID "/d");
    VbEffectResult result = run_create(world, command_of(world, class, good, bad, NULL));
    assert_refused(&result, code, words);
    assert_refused(&result, code, bad->uuid);
    assert_int_equal(result.report->volumes_created->n_results, 1);
    assert_string_equal(result.report->volumes_created->results[0]->volume->uuid, bad->uuid);
    assert_non_null(result.report->volumes_created->results[0]->error);
    assert_true(is_not_made(result.report->volumes_created, good));
    assert_string_equal(listing(world), before);
}

static void refuses_storages(void **state)
{
    World *world = *state;
    StorageRef other = world->local.ref;
    Volume *volume = nvram(world);
    volume->storage = &other;
    other.name = (char *)"local2";
    refuse(world, &world->plain, volume, ERROR_CODE_STORAGE_NOT_FOUND,
           "it has: local1 (Local), nfs1 (Nfs)");
    other.name = (char *)"local1";
    other.type = STORAGE_TYPE_CEPH_RBD;
    refuse(world, &world->plain, volume, ERROR_CODE_STORAGE_NOT_FOUND, "CephRbd");
    volume->storage = NULL;
    refuse(world, &world->plain, volume, ERROR_CODE_STORAGE_NOT_FOUND, "without a name");
    volume->storage = &world->nfs.ref;
    refuse(world, &world->plain, volume, ERROR_CODE_UNSUPPORTED_STORAGE, "nfs1");
    volume->storage = &world->local.ref;
    world->faulty.free_bytes = MIB; /* Room for either of the two. */
    refuse(world, &world->plain, volume, ERROR_CODE_STORAGE_FULL, "1048576 bytes left");
}

/* More volumes than a VM can have, each with the longest of texts. */
static void reports_of_many_refusals_fit_a_message(void **state)
{
    World *world = *state;
    for (guint i = 0; i < 40; i++) {
        g_ptr_array_add(world->config.storages, &world->nfs); /* Each is named in the error. */
    }
    world->nfs.ref.name = (char *)"a-storage-whose-name-alone-takes-quite-some-room";
    StorageRef other = world->local.ref;
    other.name = (char *)"other";
    CreateVolumes *command = command_of(world, NULL, NULL);
    for (guint i = 0; i < 66; i++) {
        Volume *disk = root_disk(world);
        disk->storage = &other;
        ARENA_APPEND(world->arena, command->n_volumes, command->volumes, disk);
    }
    VbEffectResult created = run_create(world, command);
    VbEffectResult deleted = run_delete(world, command);
    const VolumesCreated *body = created.report->volumes_created;
    assert_int_equal(body->n_results, command->n_volumes);
    assert_true(strlen(body->results[0]->error->message) > 900); /* The first is whole. */
    for (size_t i = 0; i < body->n_results; i++) {
        assert_int_equal(body->results[i]->error->code, ERROR_CODE_STORAGE_NOT_FOUND);
        assert_non_null(strstr(body->results[i]->error->message, ROOT_UUID));
    }
    assert_true(host_report__get_packed_size(created.report) < 32 * 1024);
    assert_true(host_report__get_packed_size(deleted.report) < 32 * 1024);
}

static void refuses_paths(void **state)
{
    World *world = *state;
    const char *paths[] = {
        "",
        "vol-" NVRAM_UUID,
        "/etc/vol-" NVRAM_UUID "/x",
        "../vol-" NVRAM_UUID "/x",
        "nvRam/vol-" NVRAM_UUID "/..",
        "nvRam/vol-" NVRAM_UUID "/.x.new",
        "nvRam/vol-" NVRAM_UUID "//x",
        "nvRam/vol-" NVRAM_UUID "/",
        "nvRam/vol-" NVRAM_UUID "/a b",
        "nvRam/vol-" ROOT_UUID "/x",
        "images/vol-" NVRAM_UUID "/x",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        Volume *volume = nvram(world);
        volume->install_path = (char *)paths[i];
        refuse(world, &world->plain, volume, ERROR_CODE_INVALID_ARGUMENT, "install path");
    }
}

static void refuses_disks(void **state)
{
    World *world = *state;
    Volume *disk = root_disk(world);
    disk->image = (char *)"none.qcow2";
    refuse(world, NULL, disk, ERROR_CODE_IMAGE_NOT_FOUND, "images/none.qcow2");
    disk->image = (char *)"../secret";
    refuse(world, NULL, disk, ERROR_CODE_INVALID_ARGUMENT, "../secret");
    disk->image = (char *)"..";
    refuse(world, NULL, disk, ERROR_CODE_INVALID_ARGUMENT, "plain name");
    make_image(world, "images/base.raw", "raw");
    disk->image = (char *)"base.raw";
    disk->image_mode = IMAGE_MODE_OVERLAY;
    disk->format = VOLUME_FORMAT_RAW;
    refuse(world, NULL, disk, ERROR_CODE_INVALID_ARGUMENT, "must be qcow2");
    disk->format = VOLUME_FORMAT_DIRECTORY;
    refuse(world, NULL, disk, ERROR_CODE_INVALID_ARGUMENT, "no folder");
    disk = root_disk(world);
    disk->capacity_bytes = 0;
    refuse(world, NULL, disk, ERROR_CODE_INVALID_ARGUMENT, "needs a size");
    disk->type = VOLUME_TYPE_MEMORY;
    refuse(world, NULL, disk, ERROR_CODE_UNSUPPORTED, "Memory");
    disk = root_disk(world);
    disk->image = (char *)"base.raw";
    disk->capacity_bytes = 4 * MIB;
    world->faulty.free_bytes = 2 * MIB + MIB / 2; /* The image alone would fit. */
    refuse(world, NULL, disk, ERROR_CODE_STORAGE_FULL, "needed");
}

static void refuses_firmware(void **state)
{
    World *world = *state;
    FirmwareClass csm = world->plain;
    csm.firmware = FIRMWARE_UEFI_WITH_CSM;
    refuse(world, &csm, nvram(world), ERROR_CODE_FIRMWARE_NOT_FOUND, world->config.host_uuid);
    FirmwareClass small = world->plain;
    small.nvram_bytes = 131072;
    refuse(world, &small, nvram(world), ERROR_CODE_FIRMWARE_NOT_FOUND, "131072");
    refuse(world, NULL, nvram(world), ERROR_CODE_INVALID_ARGUMENT, "firmware class");
    Volume *volume = nvram(world);
    volume->format = VOLUME_FORMAT_QCOW2;
    refuse(world, &world->plain, volume, ERROR_CODE_INVALID_ARGUMENT, "raw");
    volume = nvram(world);
    volume->capacity_bytes = NVRAM_BYTES - 1;
    refuse(world, &world->plain, volume, ERROR_CODE_INVALID_ARGUMENT, "capacity");
}

static void refuses_a_tpm_without_swtpm(void **state)
{
    World *world = *state;
    g_autofree char *path = g_strdup(g_getenv("PATH"));
    g_setenv("PATH", world->root, TRUE);
    refuse(world, NULL, tpm(world), ERROR_CODE_TPM_UNAVAILABLE, "program swtpm;");
    write_file(in_root(world, "swtpm"), "x", 1);
    refuse(world, NULL, tpm(world), ERROR_CODE_TPM_UNAVAILABLE, "program swtpm_setup;");
    g_setenv("PATH", path, TRUE);
}

static void refuses_a_storage_whose_folder_is_gone(void **state)
{
    World *world = *state;
    world->local.path = in_root(world, "not-mounted");
    CreateVolumes *command = command_of(world, &world->plain, nvram(world), NULL);
    VbEffectResult result = run_create(world, command);
    assert_refused(&result, ERROR_CODE_STORAGE_IO, "not-mounted");
    result = run_delete(world, command);
    assert_refused(&result, ERROR_CODE_STORAGE_IO, "not-mounted");
    assert_false(is_there(world->local.path));
}

/* ---- What a crash or somebody else left ---- */

static void removes_its_own_left_overs(void **state)
{
    World *world = *state;
    write_file(in_pool(world, "nvRam/acct-a/vol-" NVRAM_UUID "/." NVRAM_UUID ".fd.new"), "half", 4);
    write_file(in_pool(world, "rootVolumes/acct-a/vol-" ROOT_UUID "/." ROOT_UUID ".qcow2.new"),
               "half", 4);
    create(world, command_of(world, &world->plain, nvram(world), root_disk(world), NULL));
    assert_same_bytes(in_pool(world, NVRAM_PATH), PLAIN_VARS);
    assert_info(world, ROOT_PATH, "file format: qcow2");
    assert_null(strstr(listing(world), ".new"));
}

static void never_replaces_a_file_that_is_not_whole(void **state)
{
    World *world = *state;
    write_file(in_pool(world, NVRAM_PATH), "half", 4);
    refuse(world, &world->plain, nvram(world), ERROR_CODE_NVRAM_CORRUPT, NVRAM_PATH);
    write_file(in_pool(world, ROOT_PATH), "half", 4);
    refuse(world, NULL, root_disk(world), ERROR_CODE_STORAGE_IO, ROOT_PATH);
    write_file(in_pool(world, DATA_PATH), "half", 4);
    refuse(world, NULL, data_disk(world), ERROR_CODE_STORAGE_IO, DATA_PATH);
    write_file(in_pool(world, TPM_PATH), "file", 4);
    refuse(world, NULL, tpm(world), ERROR_CODE_STORAGE_IO, TPM_PATH);
    g_autofree char *bytes = NULL;
    assert_true(g_file_get_contents(in_pool(world, NVRAM_PATH), &bytes, NULL, NULL));
    assert_string_equal(bytes, "half");
}

static void refuses_links_on_the_way(void **state)
{
    World *world = *state;
    assert_int_equal(g_mkdir(in_root(world, "elsewhere"), 0755), 0);
    assert_int_equal(symlink(in_root(world, "elsewhere"), in_pool(world, "nvRam")), 0);
    assert_int_equal(symlink(in_root(world, "elsewhere"), in_pool(world, "rootVolumes")), 0);
    refuse(world, &world->plain, nvram(world), ERROR_CODE_NVRAM_UNSAFE_FILE, "/pool/nvRam");
    refuse(world, NULL, root_disk(world), ERROR_CODE_STORAGE_IO, "/pool/rootVolumes");
    VbEffectResult result = run_delete(world, command_of(world, NULL, root_disk(world), NULL));
    assert_refused(&result, ERROR_CODE_STORAGE_IO, "/pool/rootVolumes");
}

static void refuses_links_as_disks(void **state)
{
    World *world = *state;
    create(world, command_of(world, NULL, root_disk(world), NULL));
    assert_int_equal(link(in_pool(world, ROOT_PATH), in_root(world, "clone")), 0);
    refuse(world, NULL, root_disk(world), ERROR_CODE_STORAGE_IO, "one name");
    assert_int_equal(unlink(in_pool(world, ROOT_PATH)), 0);
    assert_int_equal(symlink(in_root(world, "clone"), in_pool(world, ROOT_PATH)), 0);
    refuse(world, NULL, root_disk(world), ERROR_CODE_STORAGE_IO, "one name");
}

/* ---- Faults: the Nth call fails, alone or with all that follow ---- */

static void assert_whole_or_absent(World *world, const char *path)
{
    const char *file = in_pool(world, path);
    if (!is_there(file)) {
        return;
    }
    if (strcmp(path, NVRAM_PATH) == 0) {
        assert_same_bytes(file, PLAIN_VARS);
    } else if (strcmp(path, ROOT_PATH) == 0) {
        assert_info(world, path, "virtual size: 1 MiB");
    }
}

/* Fails call after call until a run meets no fault. `prepare` sets the stage for each run. */
static void sweep(World *world, CreateVolumes *command, Work prepare, Work work, gboolean crash)
{
    guint n_errors = 0;
    for (guint n = 1;; n++) {
        VbEffectResult staged = prepare(world, command);
        assert_done(&staged);
        world->faulty.calls = 0;
        world->faulty.fail_at = n;
        world->faulty.crash = crash;
        world->faulty.cause = n % 2 == 0 ? EIO : ENOSPC;
        VbEffectResult result = work(world, command);
        gboolean met = world->faulty.calls >= n;
        world->faulty.fail_at = 0;
        for (size_t i = 0; i < command->n_volumes; i++) {
            assert_whole_or_absent(world, command->volumes[i]->install_path);
        }
        if (result.error != NULL) {
            n_errors++;
            assert_true(met);
            assert_int_not_equal(result.error->code, ERROR_CODE_INTERNAL);
        }
        VbEffectResult again = work(world, command);
        assert_done(&again);
        assert_null(strstr(listing(world), ".new"));
        if (!met) {
            break;
        }
        arena_reset(world->scratch);
    }
    assert_true(n_errors > 5);
}

static VbEffectResult start_empty(World *world, CreateVolumes *command)
{
    return run_delete(world, command);
}

static void a_fault_while_creating_firmware_state(void **state)
{
    World *world = *state;
    CreateVolumes *command = command_of(world, &world->plain, nvram(world), tpm(world), NULL);
    sweep(world, command, start_empty, run_create, FALSE);
    sweep(world, command, start_empty, run_create, TRUE);
}

static void a_fault_while_creating_a_disk(void **state)
{
    World *world = *state;
    CreateVolumes *command = command_of(world, NULL, root_disk(world), NULL);
    sweep(world, command, start_empty, run_create, FALSE);
    sweep(world, command, start_empty, run_create, TRUE);
}

static void a_fault_while_deleting(void **state)
{
    World *world = *state;
    CreateVolumes *command = command_of(world, &world->plain, nvram(world), tpm(world), NULL);
    sweep(world, command, run_create, run_delete, FALSE);
    sweep(world, command, run_create, run_delete, TRUE);
    assert_false(is_there(in_pool(world, "nvRam")));
}

/* The disk is really full: a small tmpfs, seen by this process only. The free space is a lie, so
 * that the check beforehand lets it pass. */
static void a_full_disk_is_named_so(void **state)
{
    World *world = *state;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0) {
        skip();
    }
    const char *pool = in_root(world, "pool");
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("virtbus-test", pool, "tmpfs", 0, "size=256k"), 0);
    world->faulty.free_bytes = 64 * MIB;
    VbEffectResult store = run_create(world, command_of(world, &world->plain, nvram(world), NULL));
    assert_false(is_there(in_pool(world, NVRAM_PATH)));
    assert_int_equal(g_mkdir(in_pool(world, "images"), 0755), 0);
    g_autofree char *image = g_strnfill(MIB, 'x');
    write_file(in_root(world, "base.raw"), image, MIB);
    assert_int_equal(symlink(in_root(world, "base.raw"), in_pool(world, "images/base.raw")), 0);
    Volume *disk = root_disk(world);
    disk->image = (char *)"base.raw";
    VbEffectResult copy = run_create(world, command_of(world, NULL, disk, NULL));
    assert_false(is_there(in_pool(world, ROOT_PATH)));
    assert_null(strstr(listing(world), ".new"));
    assert_int_equal(umount2(pool, MNT_DETACH), 0);
    assert_refused(&store, ERROR_CODE_STORAGE_FULL, NVRAM_UUID);
    assert_refused(&copy, ERROR_CODE_STORAGE_FULL, ROOT_PATH);
}

/* ---- Deleting ---- */

static void deletes_what_it_made_and_nothing_else(void **state)
{
    World *world = *state;
    char *before = listing(world);
    Volume *neighbour = make_volume(world, VOLUME_TYPE_DATA, VM_UUID,
                                    "dataVolumes/acct-a/vol-" VM_UUID "/" VM_UUID ".qcow2");
    CreateVolumes *command = command_of(world, &world->plain, root_disk(world), data_disk(world),
                                        nvram(world), tpm(world), NULL);
    create(world, command);
    create(world, command_of(world, NULL, neighbour, NULL));
    write_file(in_pool(world, TPM_PATH "/tpm2/tpm2-00.permall"), "state", 5);
    assert_int_equal(symlink(in_pool(world, "dataVolumes/acct-a/vol-" VM_UUID),
                             in_pool(world, TPM_PATH "/tpm2/link")),
                     0);
    for (int i = 0; i < 2; i++) {
        VbEffectResult result = run_delete(world, command);
        assert_done(&result);
    }
    assert_true(is_there(in_pool(world, neighbour->install_path)));
    VbEffectResult last = run_delete(world, command_of(world, NULL, neighbour, NULL));
    assert_done(&last);
    assert_string_equal(listing(world), before);
}

static void a_deletion_that_fails_keeps_no_other(void **state)
{
    World *world = *state;
    Volume *gone_storage = root_disk(world);
    StorageRef other = world->local.ref;
    other.name = (char *)"gone";
    gone_storage->storage = &other;
    create(world, command_of(world, &world->plain, nvram(world), NULL));
    VbEffectResult result =
        run_delete(world, command_of(world, NULL, gone_storage, nvram(world), NULL));
    assert_refused(&result, ERROR_CODE_STORAGE_NOT_FOUND, ROOT_UUID);
    assert_null(result.report->volumes_deleted->results[1]->error);
    assert_false(is_there(in_pool(world, NVRAM_PATH)));
}

static int refused_rmdir(VbFiles *self, const char *path)
{
    (void)self;
    (void)path;
    errno = EIO;
    return -1;
}

static gint64 no_time_ms(void *clock)
{
    (void)clock;
    return 0;
}

/* It happens once: the next try finds nothing that it could tell of. */
static void a_deletion_is_told_though_its_folders_stay(void **state)
{
    World *world = *state;
    char *path = in_root(world, "audit.jsonl");
    g_autofree char *text = NULL;
    GStatBuf facts;
    CreateVolumes *command = command_of(world, &world->plain, nvram(world), NULL);
    create(world, command);
    assert_int_equal(g_stat(in_pool(world, NVRAM_PATH), &facts), 0);
    world->host.now_ms = no_time_ms;
    world->host.audit = audit_new(path, "a-host", NULL);
    world->faulty.files.rmdir = refused_rmdir;
    VbEffectResult result = run_delete(world, command);
    audit_free(world->host.audit);
    world->host.audit = NULL;
    assert_refused(&result, ERROR_CODE_STORAGE_IO, "remove");
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_non_null(strstr(text, "\"effect\":\"volume-deleted\""));
    assert_non_null(strstr(
        text, arena_printf(world->arena, "\"inode\":%" G_GUINT64_FORMAT, (guint64)facts.st_ino)));
}

/* ---- The checks before a start ---- */

static void verify(World *world, const Volume *volume, const FirmwareClass *wanted, ErrorCode code)
{
    char *path = NULL;
    g_autoptr(GError) error = NULL;
    gboolean ok = nvram_verify(&world->host, world->scratch, volume, wanted, &path, &error);
    if (code == ERROR_CODE_UNSPECIFIED) {
        if (!ok) {
            fail_msg("%s", error->message);
        }
        assert_string_equal(path, in_pool(world, NVRAM_PATH));
        return;
    }
    assert_false(ok);
    assert_true(error->domain == VB_ERROR);
    assert_string_equal(ENUM_CODE(error_code, error->code), ENUM_CODE(error_code, code));
    assert_non_null(strstr(error->message, in_pool(world, "nvRam")));
}

/* As a guest's user does in the firmware's menu: the keys stay, SecureBootEnable becomes 0. */
static void switch_secure_boot_off(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(path, &bytes, &size_bytes, NULL));
    const gunichar2 *name = u"SecureBootEnable";
    const gsize name_bytes = sizeof(u"SecureBootEnable");
    const char *found = memmem(bytes, size_bytes, name, name_bytes);
    assert_non_null(found);
    assert_int_equal(found[name_bytes], 1);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "", 1, found + name_bytes - bytes), 1);
    assert_int_equal(close(fd), 0);
}

static void verifies_content(void **state)
{
    World *world = *state;
    Volume *volume = nvram(world);
    const char *path = in_pool(world, NVRAM_PATH);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_MISSING);
    copy_file(PLAIN_VARS, path);
    verify(world, volume, &world->plain, ERROR_CODE_UNSPECIFIED);
    verify(world, volume, &world->enrolled, ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH);
    volume->actual_size_bytes = NVRAM_BYTES;
    verify(world, volume, &world->plain, ERROR_CODE_UNSPECIFIED);
    volume->actual_size_bytes = NVRAM_BYTES + 1;
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_CORRUPT);
    volume->actual_size_bytes = 0;
    FirmwareClass small = world->plain;
    small.nvram_bytes = 131072;
    verify(world, volume, &small, ERROR_CODE_NVRAM_CORRUPT);
    volume->actual_size_bytes = NVRAM_BYTES;
    verify(world, volume, &small, ERROR_CODE_NVRAM_CORRUPT);
    volume->actual_size_bytes = 0;
    copy_file(ENROLLED_VARS, path);
    verify(world, volume, &world->enrolled, ERROR_CODE_UNSPECIFIED);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH);
    switch_secure_boot_off(path);
    verify(world, volume, &world->enrolled, ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH);
    poke(path, 40, "XXXX"); /* The volume header's signature. */
    verify(world, volume, &world->enrolled, ERROR_CODE_NVRAM_CORRUPT);
    g_autofree char *zeroes = g_malloc0(NVRAM_BYTES);
    write_file(path, zeroes, NVRAM_BYTES);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_CORRUPT);
    write_file(path, "", 0);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_CORRUPT);
}

static void verifies_what_kind_of_file_it_is(void **state)
{
    World *world = *state;
    Volume *volume = nvram(world);
    const char *path = in_pool(world, NVRAM_PATH);
    const char *elsewhere = in_root(world, "elsewhere.fd");
    copy_file(PLAIN_VARS, elsewhere);
    copy_file(PLAIN_VARS, path);
    assert_int_equal(link(path, in_root(world, "second-name")), 0);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_UNSAFE_FILE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_UNSAFE_FILE);
    assert_int_equal(unlink(elsewhere), 0); /* The link dangles. */
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_UNSAFE_FILE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_UNSAFE_FILE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    verify(world, volume, &world->plain, ERROR_CODE_NVRAM_UNSAFE_FILE);
}

static void verifies_who_owns_it(void **state)
{
    World *world = *state;
    if (geteuid() != 0) {
        skip();
    }
    const char *path = in_pool(world, NVRAM_PATH);
    copy_file(PLAIN_VARS, path);
    world->config.qemu_user = (char *)"daemon"; /* uid 1 */
    verify(world, nvram(world), &world->plain, ERROR_CODE_UNSPECIFIED);
    assert_int_equal(chown(path, 1, 1), 0);
    verify(world, nvram(world), &world->plain, ERROR_CODE_UNSPECIFIED);
    assert_int_equal(chown(path, 2, 2), 0);
    verify(world, nvram(world), &world->plain, ERROR_CODE_NVRAM_UNSAFE_FILE);
    world->config.qemu_user = (char *)"no-such-user";
    assert_int_equal(chown(path, 1, 1), 0);
    verify(world, nvram(world), &world->plain, ERROR_CODE_NVRAM_UNSAFE_FILE);
}

/* ---- The TPM ---- */

static ErrorCode prepare_tpm(World *world, gboolean expected)
{
    char *path = NULL;
    g_autoptr(GError) error = NULL;
    if (tpm_prepare(&world->host, world->scratch, VM_UUID, tpm(world), expected, &path, &error)) {
        assert_string_equal(path, in_pool(world, TPM_PATH));
        g_autofree char *target = g_file_read_link(in_root(world, "swtpm/" VM_UUID), NULL);
        assert_string_equal(target, path);
        return ERROR_CODE_UNSPECIFIED;
    }
    assert_true(error->domain == VB_ERROR);
    return (ErrorCode)error->code;
}

static void links_the_tpm(void **state)
{
    World *world = *state;
    const char *at = in_root(world, "swtpm/" VM_UUID);
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_TPM_STATE_MISSING);
    create(world, command_of(world, NULL, tpm(world), NULL));
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_UNSPECIFIED);
    assert_int_equal(mode_of(in_root(world, "swtpm")), 0711);
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_UNSPECIFIED);
    assert_int_equal(unlink(at), 0);
    char *older = in_pool(world, TPM_PATH);
    older[strlen(older) - 1] = 'x';
    assert_int_equal(symlink(older, at), 0);
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_UNSPECIFIED);
    for (int i = 0; i < 2; i++) {
        assert_true(tpm_unlink(&world->host, world->scratch, VM_UUID, NULL));
        assert_false(is_there(at));
    }
    assert_true(is_there(in_pool(world, TPM_PATH)));
    assert_int_equal(mkdir(at, 0711), 0); /* Of a domain that virtbus did not make. */
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_FOREIGN_DOMAIN);
    assert_true(tpm_unlink(&world->host, world->scratch, VM_UUID, NULL));
    assert_true(is_there(at));
}

static void expects_the_tpm_state(void **state)
{
    World *world = *state;
    const char *file = in_pool(world, TPM_PATH "/tpm2/tpm2-00.permall");
    create(world, command_of(world, NULL, tpm(world), NULL));
    assert_int_equal(prepare_tpm(world, TRUE), ERROR_CODE_TPM_STATE_MISSING);
    write_file(file, "", 0);
    assert_int_equal(prepare_tpm(world, TRUE), ERROR_CODE_TPM_STATE_MISSING);
    assert_true(is_there(file));
    /* No domain has run: libvirt is to set the TPM up anew. */
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_UNSPECIFIED);
    assert_false(is_there(in_pool(world, TPM_PATH "/tpm2")));
    write_file(file, "state", 5);
    assert_int_equal(prepare_tpm(world, TRUE), ERROR_CODE_UNSPECIFIED);
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_UNSPECIFIED);
    assert_true(is_there(file));
    assert_int_equal(rename(in_pool(world, TPM_PATH "/tpm2"), in_root(world, "tpm2")), 0);
    assert_int_equal(symlink(in_root(world, "tpm2"), in_pool(world, TPM_PATH "/tpm2")), 0);
    assert_int_equal(prepare_tpm(world, TRUE), ERROR_CODE_TPM_STATE_MISSING);
}

/* swtpm's user owns tpm2/ and may change it at any moment; the agent removes it as root. */
static void a_deletion_is_not_led_out_of_the_tpm(void **state)
{
    World *world = *state;
    CreateVolumes *command = command_of(world, NULL, tpm(world), NULL);
    create(world, command);
    const char *victim = in_root(world, "victim/file");
    write_file(victim, "kept", 4);
    write_file(in_pool(world, TPM_PATH "/tpm2/folder/file"), "bait", 4);
    world->faulty.swap_path = in_pool(world, TPM_PATH "/tpm2/folder");
    world->faulty.swap_target = in_root(world, "victim");
    VbEffectResult result = run_delete(world, command);
    assert_true(is_there(victim));
    assert_refused(&result, ERROR_CODE_STORAGE_IO, "tpm2/folder");
    assert_int_equal(prepare_tpm(world, FALSE), ERROR_CODE_STORAGE_IO);
    assert_true(is_there(victim));
}

static void syncs_state(void **state)
{
    World *world = *state;
    create(world, command_of(world, &world->plain, nvram(world), tpm(world), NULL));
    write_file(in_pool(world, TPM_PATH "/tpm2/tpm2-00.permall"), "state", 5);
    assert_int_equal(symlink("/nowhere", in_pool(world, TPM_PATH "/tpm2/link")), 0);
    /* swtpm makes no folders: one in tpm2/ is not walked into. */
    write_file(in_pool(world, TPM_PATH "/tpm2/folder/file"), "bait", 4);
    world->faulty.syncs = 0;
    assert_true(state_sync(&world->host, in_pool(world, NVRAM_PATH), NULL));
    assert_int_equal(world->faulty.syncs, 1);
    assert_true(state_sync(&world->host, in_pool(world, TPM_PATH), NULL));
    /* The file, tpm2/ and the volume's folder. */
    assert_int_equal(world->faulty.syncs, 4);
    g_autoptr(GError) error = NULL;
    assert_false(state_sync(&world->host, in_pool(world, "gone"), &error));
    assert_int_equal(error->code, ERROR_CODE_STORAGE_IO);
    assert_non_null(strstr(error->message, "gone"));
}

/* ---- The state of a domain that is gone ---- */

enum { STATE_BYTES = 5001 };

/* A state file of which a sync has failed. */
static const char *unsynced_state(World *world, const char *path)
{
    char bytes[STATE_BYTES];
    memset(bytes, 's', sizeof(bytes));
    write_file(in_pool(world, path), bytes, sizeof(bytes));
    /* lstat twice, open, fsync */
    world->faulty.calls = 0;
    world->faulty.fail_at = 4;
    world->faulty.cause = EIO;
    assert_false(state_sync(&world->host, in_pool(world, path), NULL));
    world->faulty.fail_at = 0;
    world->faulty.writes = 0;
    world->faulty.syncs = 0;
    return in_pool(world, path);
}

static void settle(World *world, const char *path, guint n_writes)
{
    g_autoptr(GError) error = NULL;
    world->faulty.writes = 0;
    assert_true(state_settle(&world->host, path, FALSE, &error));
    assert_int_equal(world->faulty.writes, n_writes);
}

static void assert_state(const char *path, gsize size_bytes)
{
    g_autofree char *bytes = NULL;
    gsize n_bytes = 0;
    assert_true(g_file_get_contents(path, &bytes, &n_bytes, NULL));
    assert_int_equal(n_bytes, size_bytes);
    for (gsize i = 0; i < n_bytes; i++) {
        assert_int_equal(bytes[i], 's');
    }
}

/* The vtable writes half of what it is given, each time. */
static void settles_again_what_could_not_be_synced(void **state)
{
    World *world = *state;
    const char *path = unsynced_state(world, NVRAM_PATH);
    const char *other = in_pool(world, NVRAM_PATH ".other");
    write_file(other, "state", 5);
    settle(world, other, 1); /* Who knows what the agent before this one has seen. */
    settle(world, other, 0);
    write_file(in_pool(world, NVRAM_PATH ".good"), "state", 5);
    assert_true(state_sync(&world->host, in_pool(world, NVRAM_PATH ".good"), NULL));
    settle(world, in_pool(world, NVRAM_PATH ".good"), 0);
    assert_true(state_sync(&world->host, path, NULL));
    assert_int_equal(world->faulty.writes, 0);
    world->faulty.syncs = 0;
    settle(world, path, 1);
    assert_int_equal(world->faulty.syncs, 2);
    assert_state(path, STATE_BYTES);
    settle(world, path, 0);
    assert_true(state_settle(&world->host, path, TRUE, NULL));
    assert_int_equal(world->faulty.writes, 1);
    assert_state(path, STATE_BYTES);
}

static void settles_what_lies_in_a_tpm(void **state)
{
    World *world = *state;
    const char *path = unsynced_state(world, TPM_PATH "/tpm2/tpm2-00.permall");
    settle(world, in_pool(world, TPM_PATH), 1);
    assert_state(path, STATE_BYTES);
}

/* Whatever fails on the way, it is not settled, and the next try begins again. */
static void is_not_settled_before_all_of_it_is(void **state)
{
    World *world = *state;
    const char *path = unsynced_state(world, DATA_PATH);
    for (int cause = EIO; cause != 0; cause = cause == EIO ? ENOSPC : 0) {
        gboolean ok = FALSE;
        for (guint at = 1; !ok; at++) {
            g_autoptr(GError) error = NULL;
            world->faulty.calls = 0;
            world->faulty.fail_at = at;
            world->faulty.cause = cause;
            world->faulty.crash = TRUE;
            ok = state_settle(&world->host, path, FALSE, &error);
            assert_true(ok || error != NULL);
            assert_state(path, STATE_BYTES);
            assert_true(!ok || world->faulty.writes > 0);
        }
        world->faulty.crash = FALSE;
        unsynced_state(world, DATA_PATH);
    }
    settle(world, path, 1);
}

/* A write that may not even be needed does not keep a VM from starting; one that is needed does. */
static void full_storage_matters_where_a_sync_has_failed(void **state)
{
    World *world = *state;
    g_autoptr(GError) error = NULL;
    const char *other = in_pool(world, NVRAM_PATH ".other");
    const char *path = unsynced_state(world, NVRAM_PATH);
    write_file(other, "state", 5);
    world->faulty.full = TRUE;
    settle(world, other, 1);
    assert_false(state_settle(&world->host, path, FALSE, &error));
    assert_int_equal(error->code, ERROR_CODE_STORAGE_FULL);
    world->faulty.full = FALSE;
    settle(world, path, 1);
}

static void is_not_written_by_another_name(void **state)
{
    World *world = *state;
    const char *path = unsynced_state(world, NVRAM_PATH);
    const char *other = in_root(world, "other");
    assert_int_equal(link(path, other), 0);
    settle(world, path, 0);
    assert_int_equal(unlink(other), 0);
    /* A folder on the way, and then the storage, is not what it was. */
    const char *folder = in_pool(world, "nvRam");
    assert_int_equal(rename(folder, in_root(world, "aside")), 0);
    assert_int_equal(symlink(in_root(world, "aside"), folder), 0);
    settle(world, path, 0);
    assert_int_equal(unlink(folder), 0);
    assert_int_equal(rename(in_root(world, "aside"), folder), 0);
    world->local.path = world->nfs.path = in_root(world, "another");
    settle(world, path, 0);
    world->local.path = world->nfs.path = in_root(world, "pool");
    settle(world, path, 1);
}

static void is_not_written_when_it_is_large(void **state)
{
    World *world = *state;
    const char *path = unsynced_state(world, NVRAM_PATH);
    assert_int_equal(truncate(path, 16 * MIB + 1), 0);
    settle(world, path, 0);
    assert_int_equal(truncate(path, 16 * MIB), 0);
    settle(world, path, 1);
}

static void swap(const char *path)
{
    g_autofree char *aside = g_strdup_printf("%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    write_file(path, "bait", 4);
}

static void swap_for_link(const char *path)
{
    g_autofree char *aside = g_strdup_printf("%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(symlink(aside, path), 0);
}

static void grow(const char *path)
{
    assert_int_equal(truncate(path, STATE_BYTES + 1), 0);
}

static void shrink(const char *path)
{
    assert_int_equal(truncate(path, STATE_BYTES - 1), 0);
}

static void what_changes_under_it_is_not_written(void **state)
{
    World *world = *state;
    static void (*const changes[])(const char *path) = {swap, swap_for_link, grow};
    static const int causes[] = {ESTALE, ELOOP, EFBIG};
    for (guint i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autofree char *name = g_strdup_printf("%s.%u", NVRAM_PATH, i);
        const char *path = unsynced_state(world, name);
        g_autoptr(GError) error = NULL;
        world->faulty.after_sync = changes[i];
        assert_false(state_settle(&world->host, path, FALSE, &error));
        assert_int_equal(world->faulty.writes, 0);
        assert_non_null(strstr(error->message, g_strerror(causes[i])));
    }
    /* What is left of it is its own. */
    const char *path = unsynced_state(world, NVRAM_PATH);
    world->faulty.after_sync = shrink;
    settle(world, path, 1);
    assert_state(path, STATE_BYTES - 1);
}

/* ---- Firmware ---- */

static const FirmwareRef *resolve(World *world, const FirmwareClass *wanted,
                                  const FirmwareRef *pinned, gboolean expect_replaced)
{
    gboolean replaced = FALSE;
    g_autoptr(GError) error = NULL;
    FirmwareRef *found =
        firmware_resolve(&world->host, world->scratch, wanted, pinned, &replaced, &error);
    if (found == NULL) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(replaced, expect_replaced);
    return found;
}

static void resolves_firmware(void **state)
{
    World *world = *state;
    const FirmwareRef *found = resolve(world, &world->enrolled, NULL, FALSE);
    assert_string_equal(found->template_path, ENROLLED_VARS);
    assert_int_equal(found->class_->nvram_bytes, NVRAM_BYTES);
    FirmwareRef pinned = *found;
    pinned.template_path = in_root(world, "pinned.fd");
    copy_file(ENROLLED_VARS, pinned.template_path);
    found = resolve(world, &world->enrolled, &pinned, FALSE);
    assert_string_equal(found->template_path, pinned.template_path);
    /* Another Secure Boot state: the pin does not apply, and nothing is gone. */
    found = resolve(world, &world->plain, &pinned, FALSE);
    assert_string_equal(found->template_path, PLAIN_VARS);
    assert_int_equal(unlink(pinned.template_path), 0);
    found = resolve(world, &world->enrolled, &pinned, TRUE);
    assert_string_equal(found->template_path, ENROLLED_VARS);
    write_file(pinned.template_path, "another size", 12);
    found = resolve(world, &world->enrolled, &pinned, TRUE);
    assert_string_equal(found->template_path, ENROLLED_VARS);
}

static void keeps_to_the_pinned_size(void **state)
{
    World *world = *state;
    FirmwareRef pinned = *resolve(world, &world->plain, NULL, FALSE);
    FirmwareClass small = world->plain;
    small.nvram_bytes = 131072;
    pinned.class_ = &small;
    pinned.code_path = (char *)"/gone";
    gboolean replaced = TRUE;
    g_autoptr(GError) error = NULL;
    assert_null(
        firmware_resolve(&world->host, world->scratch, &world->plain, &pinned, &replaced, &error));
    assert_int_equal(error->code, ERROR_CODE_FIRMWARE_NOT_FOUND);
    assert_false(replaced);
}

static guint count_builds(World *world)
{
    g_autoptr(GPtrArray) builds = firmware_list(&world->host, world->scratch);
    for (guint i = 0; i < builds->len; i++) {
        const FirmwareRef *build = builds->pdata[i];
        assert_int_equal(build->class_->nvram_bytes, NVRAM_BYTES);
    }
    return builds->len;
}

static void reads_descriptors_of_all_folders(void **state)
{
    World *world = *state;
    const char *packaged = "/usr/share/qemu/firmware/60-edk2-x86_64.json";
    const char *own = in_root(world, "firmware/60-edk2-x86_64.json");
    guint n_builds = count_builds(world);
    assert_true(n_builds >= 2);
    /* An equal name in a later folder wins; an empty file, or a link to /dev/null, hides. */
    write_file(own, "", 0);
    assert_int_equal(count_builds(world), n_builds - 1);
    assert_int_equal(unlink(own), 0);
    assert_int_equal(symlink("/dev/null", own), 0);
    assert_int_equal(count_builds(world), n_builds - 1);
    assert_int_equal(unlink(own), 0);
    g_autofree char *json = NULL;
    assert_true(g_file_get_contents(packaged, &json, NULL, NULL));
    g_autoptr(GString) gone = g_string_new(json);
    g_string_replace(gone, PLAIN_VARS, "/nowhere/VARS.fd", 0);
    write_file(own, gone->str, -1);
    assert_int_equal(count_builds(world), n_builds - 1);
    gboolean replaced = FALSE;
    g_autoptr(GError) error = NULL;
    assert_null(
        firmware_resolve(&world->host, world->scratch, &world->plain, NULL, &replaced, &error));
    assert_non_null(strstr(error->message, "/nowhere/VARS.fd"));
    write_file(in_root(world, "firmware/59-own.json"), json, -1);
    assert_string_equal(resolve(world, &world->plain, NULL, FALSE)->descriptor, "59-own.json");
    world->firmware_dirs[0] = in_root(world, "no-such-folder");
    assert_int_equal(count_builds(world), 1);
}

/* A template whose keys are not what its descriptor says would start a VM without Secure Boot. */
static void refuses_a_template_of_another_class(void **state)
{
    World *world = *state;
    FirmwareRef pinned = *resolve(world, &world->enrolled, NULL, FALSE);
    pinned.template_path = in_root(world, "pinned.fd");
    copy_file(PLAIN_VARS, pinned.template_path);
    CreateVolumes *command = command_of(world, &world->enrolled, nvram(world), NULL);
    command->pinned_firmware = &pinned;
    VbEffectResult result = run_create(world, command);
    assert_refused(&result, ERROR_CODE_FIRMWARE_NOT_FOUND, "platform key");
    assert_false(is_there(in_pool(world, "nvRam")));
}

/* A write that is interrupted, takes one byte at a time, and in the end takes nothing at all. */
static int grudging_calls;

static ssize_t grudging_write(VbFiles *self, int fd, const void *bytes, size_t size_bytes)
{
    (void)self, (void)fd, (void)bytes, (void)size_bytes;
    grudging_calls++;
    if (grudging_calls == 1) {
        errno = EINTR;
        return -1;
    }
    return grudging_calls <= 4 ? 1 : 0;
}

static void writes_on_after_an_interruption_but_not_for_ever(void **state)
{
    (void)state;
    VbFiles files = {.write = grudging_write};
    grudging_calls = 0;
    assert_true(store_write_all(&files, 0, "abc", 3));
    assert_int_equal(grudging_calls, 4);
    assert_false(store_write_all(&files, 0, "abc", 3));
    assert_int_equal(errno, EIO);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(creates_each_type),
        TEST(nobody_else_can_read_what_it_makes),
        TEST(writes_on_after_an_interruption_but_not_for_ever),
        TEST(is_durable_before_it_is_reported),
        TEST(syncs_a_disk_before_it_has_its_name),
        TEST(one_volume_named_twice_is_made_once),
        TEST(secure_boot_gets_enrolled_keys),
        TEST(copies_and_overlays_images),
        TEST(refuses_images_that_name_other_files),
        TEST(refuses_images_of_other_formats),
        TEST(refuses_a_disk_smaller_than_its_image),
        TEST(never_makes_anew),
        TEST(failure_tells_what_is_certainly_not_there),
        TEST(half_made_is_not_certainly_absent),
        TEST(half_made_is_not_in_its_own_way),
        TEST(what_existed_once_is_missed),
        TEST(refuses_storages),
        TEST(reports_of_many_refusals_fit_a_message),
        TEST(refuses_paths),
        TEST(refuses_disks),
        TEST(refuses_firmware),
        TEST(refuses_a_tpm_without_swtpm),
        TEST(refuses_a_storage_whose_folder_is_gone),
        TEST(removes_its_own_left_overs),
        TEST(never_replaces_a_file_that_is_not_whole),
        TEST(refuses_links_on_the_way),
        TEST(refuses_links_as_disks),
        TEST(a_fault_while_creating_firmware_state),
        TEST(a_fault_while_creating_a_disk),
        TEST(a_fault_while_deleting),
        TEST(a_full_disk_is_named_so),
        TEST(deletes_what_it_made_and_nothing_else),
        TEST(a_deletion_that_fails_keeps_no_other),
        TEST(a_deletion_is_told_though_its_folders_stay),
        TEST(verifies_content),
        TEST(verifies_what_kind_of_file_it_is),
        TEST(verifies_who_owns_it),
        TEST(links_the_tpm),
        TEST(expects_the_tpm_state),
        TEST(a_deletion_is_not_led_out_of_the_tpm),
        TEST(syncs_state),
        TEST(settles_again_what_could_not_be_synced),
        TEST(settles_what_lies_in_a_tpm),
        TEST(is_not_settled_before_all_of_it_is),
        TEST(full_storage_matters_where_a_sync_has_failed),
        TEST(is_not_written_by_another_name),
        TEST(is_not_written_when_it_is_large),
        TEST(what_changes_under_it_is_not_written),
        TEST(resolves_firmware),
        TEST(keeps_to_the_pinned_size),
        TEST(reads_descriptors_of_all_folders),
        TEST(refuses_a_template_of_another_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
