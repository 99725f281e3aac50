/* The simulator's hosts, by themselves: what a power loss leaves on a disk, the kernel's errno,
 * libvirt's facts, and the product's own effects and agent over them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/runtime/log.h"
#include "services/host-agent/nvram_vars.h"
#include "tests/sim/sim_domain.h"

enum { N_SEEDS = 200, CALL_MOST_STEPS = 1000000 };

#define VM   "7c9e6679-7425-40de-944b-e07fc1f90ae7"
#define ROOT "0f8fad5b-d9cb-469f-a165-70867728950e"
#define VARS "16fd2706-8baf-433b-82eb-8c7fada847da"
#define TPM  "9b2c4f3e-58b5-4d6c-9d3c-2f0f0f7a1c11"

/* ---- The rest of the simulator, as far as a host needs it */

static GString *told; /* What the watchers were told. */

void sim_check_domain_created(SimCheck *check, SimHost *host, const SimDomain *domain)
{
    (void)check;
    (void)host;
    g_string_append_printf(told, "created/%" G_GUINT64_FORMAT " ", domain->epoch);
}

void sim_check_domain_ended(SimCheck *check, SimHost *host, const SimDomain *domain)
{
    (void)check;
    (void)host;
    (void)domain;
    g_string_append(told, "ended ");
}

void sim_check_guest_booted(SimCheck *check, SimHost *host, const SimDomain *domain,
                            guint64 counter_found)
{
    (void)check;
    (void)host;
    (void)domain;
    g_string_append_printf(told, "booted/%" G_GUINT64_FORMAT " ", counter_found);
}

void sim_check_guest_wrote(SimCheck *check, SimHost *host, const SimDomain *domain, guint64 counter)
{
    (void)check;
    (void)host;
    (void)domain;
    (void)counter;
}

void sim_check_file_unlinked(SimCheck *check, SimHost *host, const char *path, guint64 inode,
                             gboolean by_agent)
{
    (void)check;
    (void)host;
    (void)inode;
    (void)by_agent;
    g_string_append_printf(told, "unlinked%s ", strrchr(path, '/'));
}

void sim_check_power_lost(SimCheck *check, SimHost *host)
{
    (void)check;
    (void)host;
    g_string_append(told, "power ");
}

void sim_check_file_harmed(SimCheck *check, SimHost *host, const char *path, guint64 inode)
{
    (void)check;
    (void)host;
    (void)inode;
    g_string_append_printf(told, "harmed%s ", strrchr(path, '/'));
}

/* Of a host's own accord: a domain has come up. */
void sim_world_touch(SimWorld *world, const char *vm_uuid)
{
    (void)world;
    (void)vm_uuid;
    g_string_append(told, "touched ");
}

void sim_model_booted(SimModel *model, const char *vm_uuid, guint64 counter_found)
{
    (void)model;
    (void)vm_uuid;
    (void)counter_found;
}

void sim_model_wrote(SimModel *model, const char *vm_uuid, guint64 counter)
{
    (void)model;
    (void)vm_uuid;
    (void)counter;
}

void sim_model_power_lost(SimModel *model, SimHost *host)
{
    (void)model;
    (void)host;
}

void sim_model_harmed(SimModel *model, const char *path)
{
    (void)model;
    (void)path;
}

const char *sim_world_name(const SimWorld *world, const char *uuid)
{
    (void)world;
    (void)uuid;
    return "host-0";
}

/* A bus without a broker: the topic is open and empty, and takes every report. */
static guint n_infos;

VbAgentBus *sim_agent_bus_new(SimWorld *world, SimHost *host, VbReportFate fate, void *data)
{
    (void)world;
    (void)host;
    (void)fate;
    (void)data;
    return NULL;
}

void sim_agent_bus_free(VbAgentBus *bus)
{
    (void)bus;
}

gboolean agent_bus_open(VbAgentBus *bus, const VbAgentMark *mark, VbAgentTopic *ret_topic,
                        GError **error)
{
    (void)bus;
    (void)mark;
    (void)error;
    *ret_topic = (VbAgentTopic){0};
    return TRUE;
}

void agent_bus_assign(VbAgentBus *bus, const VbAgentTopic *topic)
{
    (void)bus;
    (void)topic;
}

gboolean agent_bus_is_assigned(VbAgentBus *bus)
{
    (void)bus;
    return TRUE;
}

gboolean agent_bus_serve(VbAgentBus *bus, GError **error)
{
    (void)bus;
    (void)error;
    return TRUE;
}

gboolean agent_bus_next(VbAgentBus *bus, VbArena *arena, VbAgentCommand *ret_command)
{
    (void)bus;
    (void)arena;
    (void)ret_command;
    return FALSE;
}

void agent_bus_finish(VbAgentBus *bus, gint64 offset)
{
    (void)bus;
    (void)offset;
}

void agent_bus_commit(VbAgentBus *bus)
{
    (void)bus;
}

gint64 agent_bus_committed(VbAgentBus *bus)
{
    (void)bus;
    return -1;
}

void agent_bus_report(VbAgentBus *bus, VbArena *arena, const HostReport *report,
                      const char *traceparent)
{
    (void)bus;
    (void)arena;
    (void)report;
    (void)traceparent;
}

void agent_bus_info(VbAgentBus *bus, VbArena *arena, const HostInfo *info)
{
    (void)bus;
    (void)arena;
    assert_true(info->n_firmware <= 2); /* Less where a file could not be read. */
    n_infos++;
}

gboolean agent_bus_check(VbAgentBus *bus)
{
    (void)bus;
    return TRUE;
}

void agent_bus_unassign(VbAgentBus *bus)
{
    (void)bus;
}

/* ---- A world of one host, whose agent is the test */

typedef struct {
    SimWorld world;
    SimPlan *plan;
    SimHost *host;
    SimHost *hosts[1];
    char vm_uuids[1][UUID_TEXT_BYTES];
    char host_uuids[1][UUID_TEXT_BYTES];
    SimTaskBody body;
    void *data;
    gboolean done;
} Ground;

static void after_step(void *data)
{
    (void)data;
}

static Ground *ground_new(guint64 seed)
{
    Ground *ground = g_new0(Ground, 1);
    told = g_string_new(NULL);
    ground->plan = sim_plan_new(seed, 0);
    ground->plan->n_vms = 1;
    ground->plan->n_hosts = 1;
    ground->plan->n_shared = 0;
    ground->plan->skew_ms = 0;
    g_strlcpy(ground->vm_uuids[0], VM, UUID_TEXT_BYTES);
    g_strlcpy(ground->host_uuids[0], ROOT, UUID_TEXT_BYTES);
    ground->world = (SimWorld){.sim = sim_new(seed),
                               .plan = ground->plan,
                               .vm_uuids = ground->vm_uuids,
                               .host_uuids = ground->host_uuids,
                               .hosts = ground->hosts};
    ground->host = sim_host_build(&ground->world, 0);
    ground->hosts[0] = ground->host;
    return ground;
}

static void process_new(Ground *ground)
{
    ground->host->process = sim_process_new(ground->world.sim, "test", NULL, NULL);
}

/* It dies, and another takes its place. */
static void process_renew(Ground *ground)
{
    sim_process_kill(ground->host->process);
    sim_run(ground->world.sim, sim_now_us(ground->world.sim), CALL_MOST_STEPS, after_step, NULL);
    sim_process_free(ground->host->process);
    sim_files_close_all(ground->host);
    process_new(ground);
    ground->host->n_starts++;
}

static void ground_free(Ground *ground)
{
    gboolean own = ground->host->agent == NULL;
    sim_unwind(ground->world.sim);
    if (own) {
        sim_process_free(ground->host->process);
    }
    sim_host_free(ground->host);
    sim_free(ground->world.sim);
    sim_plan_free(ground->plan);
    g_string_free(told, TRUE);
    g_free(ground);
}

static void pass(Ground *ground, gint64 duration_us)
{
    Sim *sim = ground->world.sim;
    sim_run(sim, sim_now_us(sim) + duration_us, CALL_MOST_STEPS, after_step, NULL);
}

static void body_run(void *data)
{
    Ground *ground = data;
    ground->body(ground->data);
    ground->done = TRUE;
}

/* Starts it as a task of the agent's process. */
static void begin(Ground *ground, SimTaskBody body, void *data)
{
    ground->body = body;
    ground->data = data;
    ground->done = FALSE;
    sim_task_start(ground->host->process, body_run, ground);
}

/* Runs it to its end, and no longer. */
static void run(Ground *ground, SimTaskBody body, void *data)
{
    begin(ground, body, data);
    for (guint i = 0; !ground->done && i < 1000; i++) {
        pass(ground, SIM_S);
    }
    assert_true(ground->done);
}

/* ---- Disks */

enum { BIG_BYTES = 4096 };

static SimNode *file_at(Ground *ground, const char *path, const char *text)
{
    assert_true(sim_files_make(ground->host, path, SIM_NODE_FILE, 0600, text, strlen(text)));
    return sim_files_find(ground->host, path);
}

static char *text_at(Ground *ground, const char *path)
{
    SimFile file;
    return sim_host_find_file(ground->host, path, &file)
               ? g_strndup((const char *)file.bytes, file.size_bytes)
               : NULL;
}

static void fill(SimNode *node, int byte)
{
    guint8 bytes[BIG_BYTES];
    memset(bytes, byte, sizeof(bytes));
    sim_node_write(node, 0, bytes, sizeof(bytes), 0);
}

static void test_writes_that_are_not_synced_may_be_torn(void **state)
{
    (void)state;
    gboolean seen_old = FALSE;
    gboolean seen_new = FALSE;
    gboolean seen_torn = FALSE;
    for (guint64 seed = 1; seed <= N_SEEDS; seed++) {
        Ground *ground = ground_new(seed);
        guint8 bytes[BIG_BYTES];
        SimNode *node = file_at(ground, "/file", "x");
        SimNode *synced = file_at(ground, "/synced", "x");
        fill(node, 'a');
        sim_disk_sync(ground->host->root);
        fill(node, 'b');
        fill(synced, 's');
        sim_node_sync(synced);
        sim_disk_power_loss(ground->host->root, SIM_ALL_WRITERS);
        assert_int_equal(sim_node_read(synced, 0, bytes, sizeof(bytes)), BIG_BYTES);
        assert_true(bytes[0] == 's' && bytes[BIG_BYTES - 1] == 's');
        /* One that was only written over stays as long as it was. */
        gsize n = sim_node_read(node, 0, bytes, sizeof(bytes));
        assert_int_equal(n, BIG_BYTES);
        guint n_new = 0;
        for (gsize i = 0; i < n; i++) {
            assert_true(bytes[i] == 'a' || bytes[i] == 'b');
            assert_true(bytes[i] == bytes[i / 512 * 512]);
            n_new += bytes[i] == 'b';
        }
        seen_old = seen_old || n_new == 0;
        seen_new = seen_new || n_new == BIG_BYTES;
        seen_torn = seen_torn || (n_new > 0 && n_new < n);
        process_new(ground);
        ground_free(ground);
    }
    assert_true(seen_old && seen_new && seen_torn);
}

/* Names that are not synced: there or not; a rename one or the other; a deletion may be undone. */
static void test_names_that_are_not_synced_may_be_lost(void **state)
{
    (void)state;
    guint n_made = 0;
    guint n_renamed = 0;
    guint n_deleted = 0;
    guint n_empty = 0;
    for (guint64 seed = 1; seed <= N_SEEDS; seed++) {
        Ground *ground = ground_new(seed);
        SimNode *root = sim_disk_root(ground->host->root);
        file_at(ground, "/old", "old");
        file_at(ground, "/dead", "dead");
        sim_disk_sync(ground->host->root);
        sim_node_sync(file_at(ground, "/made", "whole"));
        sim_folder_rename(root, "old", root, "new", 0);
        sim_folder_unlink(root, "dead", 0);
        file_at(ground, "/unsynced", "some text");
        sim_disk_power_loss(ground->host->root, SIM_ALL_WRITERS);
        g_autofree char *made = text_at(ground, "/made");
        g_autofree char *old = text_at(ground, "/old");
        g_autofree char *new = text_at(ground, "/new");
        g_autofree char *dead = text_at(ground, "/dead");
        g_autofree char *unsynced = text_at(ground, "/unsynced");
        assert_true(made == NULL || strcmp(made, "whole") == 0);
        assert_true((old == NULL) != (new == NULL));
        assert_string_equal(old != NULL ? old : new, "old");
        assert_true(dead == NULL || strcmp(dead, "dead") == 0);
        n_made += made != NULL;
        n_renamed += new != NULL;
        n_deleted += dead == NULL;
        n_empty += unsynced != NULL && unsynced[0] == '\0';
        process_new(ground);
        ground_free(ground);
    }
    assert_true(n_made > 0 && n_made < N_SEEDS);
    assert_true(n_renamed > 0 && n_renamed < N_SEEDS);
    assert_true(n_deleted > 0 && n_deleted < N_SEEDS);
    assert_true(n_empty > 0);
}

static void test_what_is_synced_stays(void **state)
{
    (void)state;
    for (guint64 seed = 1; seed <= N_SEEDS; seed++) {
        Ground *ground = ground_new(seed);
        SimNode *root = sim_disk_root(ground->host->root);
        SimFile file;
        sim_node_sync(file_at(ground, "/made.new", "whole"));
        sim_folder_rename(root, "made.new", root, "made", 0);
        assert_true(sim_host_find_file(ground->host, "/made", &file));
        assert_false(file.durable);
        sim_node_sync(root);
        assert_true(sim_host_find_file(ground->host, "/made", &file));
        assert_true(file.durable);
        sim_disk_power_loss(ground->host->root, SIM_ALL_WRITERS);
        g_autofree char *made = text_at(ground, "/made");
        assert_string_equal(made, "whole");
        assert_null(sim_files_find(ground->host, "/made.new"));
        assert_int_equal(sim_files_find(ground->host, "/made")->n_links, 1);
        process_new(ground);
        ground_free(ground);
    }
}

/* ---- Files */

#define assert_fails(call, cause)                                                                  \
    do {                                                                                           \
        errno = 0;                                                                                 \
        assert_true((call) < 0);                                                                   \
        assert_int_equal(errno, cause);                                                            \
    } while (0)

static void errnos(void *data)
{
    Ground *ground = data;
    VbFiles *f = &ground->host->files;
    struct stat facts;
    char text[8];
    guint64 bytes = 0;
    const int make = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    assert_fails(f->open(f, "/none", O_RDONLY, 0), ENOENT);
    assert_fails(f->open(f, "/none/file", make, 0600), ENOENT);
    assert_int_equal(f->mkdir(f, "/folder", 0711), 0);
    assert_fails(f->mkdir(f, "/folder", 0711), EEXIST);
    assert_int_equal(f->symlink(f, "/folder/file", "/link"), 0);
    assert_fails(f->symlink(f, "/x", "/link"), EEXIST);
    assert_fails(f->open(f, "/link", O_RDONLY, 0), ENOENT);
    int fd = f->open(f, "/folder/file", make, 0600);
    assert_true(fd >= 3);
    assert_fails(f->open(f, "/folder/file", make, 0600), EEXIST);
    assert_fails(f->open(f, "/link", make, 0600), EEXIST);
    assert_fails(f->open(f, "/link", O_RDONLY | O_NOFOLLOW, 0), ELOOP);
    assert_fails(f->open(f, "/folder/file", O_RDONLY | O_DIRECTORY, 0), ENOTDIR);
    assert_fails(f->open(f, "/folder/file/x", O_RDONLY, 0), ENOTDIR);
    assert_fails(f->open(f, "/folder", O_WRONLY, 0), EISDIR);
    assert_fails(f->unlink(f, "/folder"), EISDIR);
    assert_fails(f->unlink(f, "/none"), ENOENT);
    assert_fails(f->rmdir(f, "/folder"), ENOTEMPTY);
    assert_fails(f->rmdir(f, "/folder/file"), ENOTDIR);
    assert_fails(f->rmdir(f, "/none"), ENOENT);
    assert_fails(f->rename(f, "/none", "/x"), ENOENT);
    assert_fails(f->rename(f, "/folder/file", "/folder"), EISDIR);
    assert_fails(f->rename(f, "/folder", "/folder/file"), ENOTDIR);
    assert_fails(f->rename(f, "/folder/file", "/run/x"), EXDEV);
    assert_fails(f->readlink(f, "/folder", text, sizeof(text)), EINVAL);
    assert_int_equal(f->readlink(f, "/link", text, sizeof(text)), sizeof(text));
    assert_fails(f->read(f, fd, text, sizeof(text)), EBADF);
    assert_int_equal(f->write(f, fd, "text", 4), 4);
    assert_int_equal(f->close(f, fd), 0);
    assert_fails(f->close(f, fd), EBADF);
    assert_fails(f->fsync(f, fd), EBADF);
    assert_fails(f->lstat(f, "/none", &facts), ENOENT);
    assert_int_equal(f->lstat(f, "/link", &facts), 0);
    assert_true(S_ISLNK(facts.st_mode) && facts.st_size == (off_t)strlen("/folder/file"));
    assert_fails(f->free_bytes(f, "/none", &bytes, &bytes), ENOENT);
    assert_null(f->list(f, "/folder/file"));
    assert_int_equal(errno, ENOTDIR);
    /* A file that has no name any more can still be read. */
    fd = f->open(f, "/link", O_RDONLY, 0);
    assert_int_equal(f->unlink(f, "/folder/file"), 0);
    assert_int_equal(f->read(f, fd, text, sizeof(text)), 4);
    assert_memory_equal(text, "text", 4);
    assert_int_equal(f->fstat(f, fd, &facts), 0);
    assert_int_equal(facts.st_nlink, 0);
    assert_int_equal(f->close(f, fd), 0);
    assert_int_equal(f->rmdir(f, "/folder"), 0);
}

static void test_errno(void **state)
{
    (void)state;
    Ground *ground = ground_new(1);
    process_new(ground);
    run(ground, errnos, ground);
    assert_string_equal(told->str, "unlinked/file ");
    sim_process_kill(ground->host->process);
    VbFiles *f = &ground->host->files;
    assert_fails(f->mkdir(f, "/folder", 0700), EIO);
    assert_null(sim_files_find(ground->host, "/folder"));
    ground_free(ground);
}

static void disks(void *data)
{
    Ground *ground = data;
    VbFiles *f = &ground->host->files;
    struct stat facts;
    char *words = NULL;
    const char *image = SIM_STORAGE_DIR "/local-0/images/base.qcow2";
    assert_int_equal(f->make_disk(f, "/a.raw", "raw", 1 << 20, NULL, FALSE, &words), 0);
    assert_int_equal(f->lstat(f, "/a.raw", &facts), 0);
    assert_int_equal(facts.st_size, 1 << 20);
    assert_int_equal(f->make_disk(f, "/b.qcow2", "qcow2", 0, image, TRUE, &words), 0);
    SimFile file;
    assert_true(sim_host_find_file(ground->host, "/b.qcow2", &file));
    assert_memory_equal(file.bytes, "QFI\xfb", 4);
    assert_non_null(strstr((const char *)file.bytes + 8, image));
    /* An overlay is no image: it keeps content in another file. */
    assert_fails(f->make_disk(f, "/c.qcow2", "qcow2", 0, "/b.qcow2", FALSE, &words), ENOTSUP);
    g_clear_pointer(&words, g_free);
    assert_fails(f->make_disk(f, "/c.qcow2", "qcow2", 0, "/none", FALSE, &words), ENOENT);
    g_clear_pointer(&words, g_free);
    assert_fails(f->make_disk(f, "/c.qcow2", "qcow2", 5, image, FALSE, &words), EINVAL);
    g_clear_pointer(&words, g_free);
    assert_null(sim_files_find(ground->host, "/c.qcow2"));
}

static void cut_off_disk(void *data)
{
    Ground *ground = data;
    VbFiles *f = &ground->host->files;
    g_autofree char *words = NULL;
    assert_true(f->make_disk(f, "/d.qcow2", "qcow2", 1 << 20, NULL, FALSE, &words) < 0);
}

static void test_disk_images(void **state)
{
    (void)state;
    Ground *ground = ground_new(1);
    process_new(ground);
    run(ground, disks, ground);
    begin(ground, cut_off_disk, ground);
    pass(ground, 0);
    process_renew(ground);
    const SimNode *rest = sim_files_find(ground->host, "/d.qcow2");
    assert_non_null(rest);
    assert_true(sim_node_size(rest) < 4);
    ground_free(ground);
}

static void test_variable_templates(void **state)
{
    (void)state;
    static const char *const paths[] = {SIM_OVMF_DIR "/VARS.fd", SIM_OVMF_DIR "/VARS.secure.fd"};
    Ground *ground = ground_new(1);
    process_new(ground);
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        VbNvramFacts facts;
        SimFile file;
        guint64 counter = 7;
        assert_true(sim_host_find_file(ground->host, paths[i], &file));
        assert_true(file.durable);
        assert_true(nvram_vars_read(file.bytes, file.size_bytes, &facts, NULL));
        assert_int_equal(facts.has_pk, i == 1);
        assert_int_equal(facts.secure_boot, i == 1);
        assert_true(sim_nvram_counter(file.bytes, file.size_bytes, &counter));
        assert_int_equal(counter, 0);
        sim_nvram_write(sim_files_find(ground->host, paths[i]), 0x1234567890, 0);
        assert_true(sim_host_find_file(ground->host, paths[i], &file));
        assert_true(sim_nvram_counter(file.bytes, file.size_bytes, &counter));
        assert_int_equal(counter, 0x1234567890);
        assert_true(nvram_vars_read(file.bytes, file.size_bytes, &facts, NULL));
    }
    ground_free(ground);
}

/* ---- Effects: a Windows machine with Secure Boot, a TPM and a vhost-user NIC */

typedef struct {
    Ground *ground;
    VbArena *arena;
    VbEffect kind;
    HostVm *vm;
    Volume *volumes[3];
    VbEffectResult result;
} Work;

static Volume *volume_new(VbArena *arena, VolumeType type, const char *uuid, const char *folder,
                          const char *suffix)
{
    Volume *volume = ARENA_MSG(arena, volume);
    volume->uuid = (char *)uuid;
    volume->type = type;
    volume->capacity_bytes = 1024 * 1024;
    volume->storage = ARENA_MSG(arena, storage_ref);
    volume->storage->name = (char *)"local-0";
    volume->storage->type = STORAGE_TYPE_LOCAL;
    volume->install_path =
        arena_printf(arena, "%s/acct-vm-0/vol-%s/%s%s", folder, uuid, uuid, suffix);
    return volume;
}

static VmSpec *spec_new(VbArena *arena)
{
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    spec->name = (char *)"simulated";
    spec->platform = PLATFORM_WINDOWS_VIRTIO;
    spec->firmware = FIRMWARE_UEFI;
    spec->secure_boot = TOGGLE_ON;
    spec->vcpus = 2;
    spec->memory_bytes = 1 << 30;
    spec->storage = ARENA_MSG(arena, storage_ref);
    spec->storage->name = (char *)"local-0";
    spec->storage->type = STORAGE_TYPE_LOCAL;
    spec->tpm = ARENA_MSG(arena, tpm_spec);
    DiskSpec *disk = ARENA_MSG(arena, disk_spec);
    disk->type = VOLUME_TYPE_ROOT;
    ARENA_APPEND(arena, spec->n_disks, spec->disks, disk);
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    nic->type = NIC_TYPE_VHOST_USER;
    ARENA_APPEND(arena, spec->n_nics, spec->nics, nic);
    return spec;
}

static FirmwareClass *class_new(VbArena *arena)
{
    FirmwareClass *class = ARENA_MSG(arena, firmware_class);
    class->firmware = FIRMWARE_UEFI;
    class->secure_boot = TRUE;
    return class;
}

static HostCommand *command_new(Work *work, guint64 epoch, HostCommand__CommandCase kind)
{
    HostCommand *command = ARENA_MSG(work->arena, host_command);
    command->vm_uuid = (char *)VM;
    command->operation_id = (char *)ROOT;
    command->epoch = epoch;
    command->command_case = kind;
    work->vm->command = command;
    work->vm->epoch = epoch;
    return command;
}

static void work_init(Work *work, Ground *ground)
{
    *work = (Work){.ground = ground, .arena = arena_new()};
    VbArena *arena = work->arena;
    work->vm = ARENA_MSG(arena, host_vm);
    work->vm->vm_uuid = (char *)VM;
    work->volumes[0] = volume_new(arena, VOLUME_TYPE_ROOT, ROOT, "rootVolumes", ".qcow2");
    work->volumes[1] = volume_new(arena, VOLUME_TYPE_NV_RAM, VARS, "nvRam", ".fd");
    work->volumes[2] = volume_new(arena, VOLUME_TYPE_TPM_STATE, TPM, "tpmState", "");
}

static void effect_body(void *data)
{
    Work *work = data;
    VbEffectRequest request = {.kind = work->kind, .vm = work->vm};
    effect_run(&work->ground->host->vb, work->arena, &request, &work->result);
}

static void effect(Work *work, VbEffect kind)
{
    work->kind = kind;
    run(work->ground, effect_body, work);
}

static void effect_done(Work *work, VbEffect kind)
{
    effect(work, kind);
    if (work->result.error != NULL) {
        print_error("%s\n", work->result.error->message);
    }
    assert_null(work->result.error);
}

static void create_volumes(Work *work)
{
    CreateVolumes *create = ARENA_MSG(work->arena, create_volumes);
    create->firmware_class = class_new(work->arena);
    for (guint i = 0; i < 3; i++) {
        ARENA_APPEND(work->arena, create->n_volumes, create->volumes, work->volumes[i]);
    }
    command_new(work, 1, HOST_COMMAND__COMMAND_CREATE_VOLUMES)->create_volumes = create;
    effect_done(work, EFFECT_CREATE_VOLUMES);
    const VolumesCreated *created = work->result.report->volumes_created;
    assert_int_equal(created->n_results, 3);
    for (guint i = 0; i < 3; i++) {
        work->volumes[i] = created->results[i]->volume;
        work->volumes[i]->ever_ready = TRUE;
    }
    assert_int_equal(work->volumes[1]->actual_size_bytes, SIM_NVRAM_BYTES);
}

static StartDomain *start_command(Work *work, guint64 epoch, Hardware *hardware)
{
    StartDomain *start = ARENA_MSG(work->arena, start_domain);
    start->spec = spec_new(work->arena);
    start->nvram_needed = TRUE;
    start->firmware_class = class_new(work->arena);
    start->tpm_volume_uuid = (char *)TPM;
    start->hardware = hardware;
    for (guint i = 0; i < 3; i++) {
        ARENA_APPEND(work->arena, start->n_volumes, start->volumes, work->volumes[i]);
    }
    HostCommand *command = command_new(work, epoch, HOST_COMMAND__COMMAND_START_DOMAIN);
    command->start_domain = start;
    command->expires_ms = sim_host_now_ms(work->ground->host) + 60000;
    return start;
}

static void stop(Work *work, StopMode mode)
{
    StopDomain *body = ARENA_MSG(work->arena, stop_domain);
    body->mode = mode;
    command_new(work, work->vm->epoch, HOST_COMMAND__COMMAND_STOP_DOMAIN)->stop_domain = body;
    effect_done(work, EFFECT_STOP);
    assert_int_equal(work->result.stop_reason, STOP_REASON_REQUESTED);
    effect_done(work, EFFECT_CLEAN_UP);
}

static const DeviceAddress *address_of(const Hardware *hardware, const char *device)
{
    for (size_t i = 0; i < hardware->n_addresses; i++) {
        if (strcmp(hardware->addresses[i]->device, device) == 0) {
            return hardware->addresses[i];
        }
    }
    return NULL;
}

static void check_hardware(const Hardware *hardware)
{
    assert_string_equal(hardware->machine, "pc-q35-7.2");
    assert_string_equal(hardware->firmware->code_path, SIM_OVMF_DIR "/CODE.secure.fd");
    assert_true(hardware->shared_memory);
    const DeviceAddress *nic = address_of(hardware, "nic/0");
    const DeviceAddress *disk = address_of(hardware, "disk/0");
    assert_non_null(nic);
    assert_non_null(disk);
    assert_string_equal(nic->type, "pci");
    assert_true(nic->bus != disk->bus && nic->bus > 0 && disk->bus > 0);
    assert_string_equal(nic->model, "virtio");
    assert_string_equal(disk->model, "virtio");
    assert_non_null(address_of(hardware, "tpm/0"));
    assert_int_equal(address_of(hardware, "controller/pci/1")->chassis, 1);
}

static void test_effects(void **state)
{
    (void)state;
    Ground *ground = ground_new(3);
    SimHost *host = ground->host;
    Work work;
    SimFile vars;
    guint64 counter = 0;
    process_new(ground);
    work_init(&work, ground);
    create_volumes(&work);
    start_command(&work, 2, NULL);
    effect_done(&work, EFFECT_START);
    Hardware *hardware = work.result.report->domain_started->hardware;
    check_hardware(hardware);
    char **paths = work.result.state_paths;
    assert_string_equal(told->str, "created/2 touched ");
    assert_true(sim_hypervisor_runs(host->hypervisor, VM));
    /* A second start of the same operation finds it. */
    effect_done(&work, EFFECT_START);
    pass(ground, 100 * SIM_S);
    assert_non_null(strstr(told->str, "created/2 touched booted/0 "));
    assert_true(sim_host_find_file(host, paths[0], &vars));
    assert_false(vars.durable);
    g_string_truncate(told, 0);
    for (work.vm->n_state_paths = 0; paths[work.vm->n_state_paths] != NULL;) {
        work.vm->n_state_paths++;
    }
    work.vm->state_paths = paths;
    stop(&work, STOP_MODE_GRACEFUL_THEN_FORCED);
    assert_string_equal(told->str, "ended ");
    assert_true(sim_host_find_file(host, paths[0], &vars));
    assert_true(vars.durable);
    assert_true(sim_nvram_counter(vars.bytes, vars.size_bytes, &counter));
    assert_true(counter > 0);
    g_string_truncate(told, 0);
    /* The next one has the same places, and finds what the last one wrote. */
    start_command(&work, 3, hardware);
    effect_done(&work, EFFECT_START);
    const Hardware *again = work.result.report->domain_started->hardware;
    check_hardware(again);
    assert_int_equal(address_of(again, "nic/0")->bus, address_of(hardware, "nic/0")->bus);
    pass(ground, 60 * SIM_S);
    g_autofree char *expected =
        g_strdup_printf("created/3 touched booted/%" G_GUINT64_FORMAT " ", counter);
    assert_true(g_str_has_prefix(told->str, expected));
    stop(&work, STOP_MODE_FORCED);
    arena_free(work.arena);
    ground_free(ground);
}

/* ---- What libvirt and QEMU refuse */

/* Everything is there, and nothing runs. */
static Ground *ground_with_volumes(guint64 seed, Work *work)
{
    Ground *ground = ground_new(seed);
    process_new(ground);
    work_init(work, ground);
    create_volumes(work);
    start_command(work, 2, NULL);
    return ground;
}

static void end(Ground *ground, Work *work)
{
    arena_free(work->arena);
    ground_free(ground);
}

static void assert_error(const Work *work, ErrorCode code, const char *words)
{
    assert_non_null(work->result.error);
    if (work->result.error->code != code || strstr(work->result.error->message, words) == NULL) {
        fail_msg("%d %s", (int)work->result.error->code, work->result.error->message);
    }
}

static void test_root_disk_is_locked_and_flash_is_not(void **state)
{
    (void)state;
    Work work;
    Ground *ground = ground_with_volumes(4, &work);
    effect_done(&work, EFFECT_START);
    work.vm->vm_uuid = (char *)TPM; /* Another VM with the same files. */
    work.vm->command->vm_uuid = (char *)TPM;
    effect(&work, EFFECT_START);
    assert_error(&work, ERROR_CODE_HYPERVISOR, "\"write\" lock");
    work.vm->command->start_domain->volumes[0]->install_path = (char *)"rootVolumes/vol-" ROOT "/x";
    SimHost *host = ground->host;
    g_assert(sim_files_make(host, SIM_STORAGE_DIR "/local-0/rootVolumes/vol-" ROOT, SIM_NODE_FOLDER,
                            0711, NULL, 0));
    g_assert(sim_files_make(host, SIM_STORAGE_DIR "/local-0/rootVolumes/vol-" ROOT "/x",
                            SIM_NODE_FILE, 0600, "x", 1));
    effect_done(&work, EFFECT_START);
    assert_int_equal(host->hypervisor->domains->len, 2);
    end(ground, &work);
}

static void test_ovs_is_waited_for(void **state)
{
    (void)state;
    Work work;
    Ground *ground = ground_with_volumes(5, &work);
    SimHost *host = ground->host;
    begin(ground, effect_body, &work);
    work.kind = EFFECT_START;
    while (host->hypervisor->domains->len == 0) {
        pass(ground, SIM_MS);
    }
    while (!ground->done) {
        sim_switch_go_away(host->ports); /* Again and again. */
        pass(ground, SIM_S / 2);
    }
    assert_error(&work, ERROR_CODE_VHOST_USER_NOT_CONNECTED, "took libvirt longer");
    assert_int_equal(host->hypervisor->domains->len, 0);
    assert_string_equal(told->str, "created/2 ended ");
    end(ground, &work);
}

static void test_create_outlives_its_agent(void **state)
{
    (void)state;
    Work work;
    Ground *ground = ground_with_volumes(6, &work);
    SimHost *host = ground->host;
    begin(ground, effect_body, &work);
    work.kind = EFFECT_START;
    while (host->hypervisor->domains->len == 0) {
        pass(ground, SIM_MS);
    }
    const SimGuest *domain = g_ptr_array_index(host->hypervisor->domains, 0);
    assert_true(domain->starting_up);
    assert_string_equal(told->str, "created/2 ");
    process_renew(ground);
    assert_true(ground->done);
    assert_error(&work, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "");
    effect_done(&work, EFFECT_LOOK);
    assert_int_equal(work.result.facts.presence, DOMAIN_OURS);
    pass(ground, 10 * SIM_S);
    assert_false(domain->starting_up);
    assert_true(g_str_has_prefix(told->str, "created/2 touched "));
    end(ground, &work);
}

static void test_libvirtd_dies_in_a_create(void **state)
{
    (void)state;
    Work work;
    Ground *ground = ground_with_volumes(7, &work);
    Sim *sim = ground->world.sim;
    sim_set_faults(sim, TRUE);
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        sim_set_rate(sim, i, 0);
    }
    sim_set_rate(sim, FAULT_LIBVIRT_KILLED, 1000000);
    g_assert(sim_files_make(ground->host, SIM_SWTPM_DIR, SIM_NODE_FOLDER, 0711, NULL, 0));
    work.vm->command->start_domain->spec->tpm = NULL;
    work.vm->command->start_domain->tpm_volume_uuid = (char *)"";
    effect(&work, EFFECT_START);
    assert_error(&work, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "does not answer");
    sim_set_faults(sim, FALSE);
    pass(ground, 100 * SIM_S);
    effect_done(&work, EFFECT_LOOK);
    assert_int_equal(work.result.facts.presence, DOMAIN_OURS);
    assert_true(work.result.facts.starting_up);
    assert_int_equal(work.result.facts.epoch, 2);
    effect_done(&work, EFFECT_CLEAN_UP);
    effect_done(&work, EFFECT_LOOK);
    assert_int_equal(work.result.facts.presence, DOMAIN_NONE);
    end(ground, &work);
}

static void test_foreign_domain(void **state)
{
    (void)state;
    Work work;
    Ground *ground = ground_with_volumes(8, &work);
    sim_hypervisor_intrude(ground->host->hypervisor);
    effect(&work, EFFECT_START);
    assert_error(&work, ERROR_CODE_FOREIGN_DOMAIN, "");
    effect_done(&work, EFFECT_LOOK);
    assert_int_equal(work.result.facts.presence, DOMAIN_FOREIGN);
    sim_host_calm(ground->host);
    effect_done(&work, EFFECT_START);
    end(ground, &work);
}

/* ---- Attach and detach */

static NicSpec *nic_new(VbArena *arena, guint index, NicType type)
{
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    nic->index = index;
    nic->type = type;
    nic->bridge = (char *)(type == NIC_TYPE_BRIDGE ? "br0" : "");
    return nic;
}

/* Whether the flash is on disk once the guest is stopped in this way, and before anybody syncs. */
static gboolean flash_is_durable_after(guint64 seed, StopMode mode)
{
    Work work;
    SimFile file;
    Ground *ground = ground_with_volumes(seed, &work);
    effect_done(&work, EFFECT_START);
    char *path = work.result.state_paths[0];
    pass(ground, 50 * SIM_S);
    assert_true(sim_host_find_file(ground->host, path, &file));
    assert_false(file.durable);
    StopDomain *body = ARENA_MSG(work.arena, stop_domain);
    body->mode = mode;
    command_new(&work, 2, HOST_COMMAND__COMMAND_STOP_DOMAIN)->stop_domain = body;
    effect_done(&work, EFFECT_STOP);
    assert_true(sim_host_find_file(ground->host, path, &file));
    gboolean durable = file.durable;
    end(ground, &work);
    return durable;
}

static void test_only_an_orderly_end_syncs_the_flash(void **state)
{
    (void)state;
    guint n_durable = 0;
    for (guint64 seed = 60; seed < 80; seed++) {
        assert_true(flash_is_durable_after(seed, STOP_MODE_GRACEFUL));
        n_durable += flash_is_durable_after(seed, STOP_MODE_FORCED);
    }
    assert_true(n_durable > 0 && n_durable < 20);
}

static void test_nics_come_and_go(void **state)
{
    (void)state;
    Work work;
    Ground *ground = ground_with_volumes(9, &work);
    VmSpec *spec = work.vm->command->start_domain->spec;
    effect_done(&work, EFFECT_START);
    Hardware *hardware = work.result.report->domain_started->hardware;
    pass(ground, 60 * SIM_S);
    AttachDevice *attach = ARENA_MSG(work.arena, attach_device);
    attach->nic = nic_new(work.arena, 5, NIC_TYPE_VHOST_USER);
    attach->spec = spec;
    attach->hardware = hardware;
    command_new(&work, 2, HOST_COMMAND__COMMAND_ATTACH_DEVICE)->attach_device = attach;
    effect_done(&work, EFFECT_ATTACH);
    const Hardware *after = work.result.report->device_changed->hardware;
    assert_int_equal(after->n_nics, 2);
    assert_non_null(address_of(after, "nic/5"));
    DetachDevice *detach = ARENA_MSG(work.arena, detach_device);
    detach->nic = attach->nic;
    detach->spec = spec;
    detach->hardware = (Hardware *)after;
    HostCommand *command = command_new(&work, 2, HOST_COMMAND__COMMAND_DETACH_DEVICE);
    command->detach_device = detach;
    command->expires_ms = sim_host_now_ms(ground->host) + 120000;
    effect_done(&work, EFFECT_DETACH);
    after = work.result.report->device_changed->hardware;
    assert_int_equal(after->n_nics, 1);
    assert_null(address_of(after, "nic/5"));
    end(ground, &work);
}

/* ---- The switch */

static void plug_twice(void *data)
{
    Ground *ground = data;
    VbSwitch *ports = sim_switch_interface(ground->host->ports);
    VbPort port = {.vm_uuid = VM, .nic_index = 1, .bridge = "br-int", .socket_path = "/run/x"};
    g_autoptr(GError) error = NULL;
    assert_true(ports->plug(ports, &port, NULL));
    assert_true(ports->plug(ports, &port, NULL));
    g_autoptr(GArray) indexes = ports->ports_of(ports, VM, NULL);
    assert_int_equal(indexes->len, 1);
    port.nic_index = 2;
    assert_false(ports->plug(ports, &port, &error));
    assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_OVS_PORT_REFUSED));
    assert_true(sim_switch_serves(ground->host->ports, "/run/x"));
    assert_true(ports->unplug(ports, VM, 1, NULL));
    assert_true(ports->unplug(ports, VM, 1, NULL));
    assert_false(sim_switch_serves(ground->host->ports, "/run/x"));
}

static void test_ports(void **state)
{
    (void)state;
    Ground *ground = ground_new(10);
    process_new(ground);
    run(ground, plug_twice, ground);
    ground_free(ground);
}

/* ---- The agent */

typedef struct {
    GChecksum *digest;
    guint n_sentences;
} Listener;

static void listen_to(void *data, const char *vm_uuid, const char *who, const char *sentence)
{
    Listener *listener = data;
    (void)vm_uuid;
    g_checksum_update(listener->digest, (const guchar *)who, -1);
    g_checksum_update(listener->digest, (const guchar *)sentence, -1);
    listener->n_sentences++;
}

/* A day's worth of trouble; the trace's digest. */
static char *agent_trace(guint64 seed)
{
    static const SimFault faults[] = {FAULT_CRASH,    FAULT_FREEZE,       FAULT_POWER_LOSS,
                                      FAULT_FILE_EIO, FAULT_LIBVIRT_DOWN, FAULT_OVS_DOWN};
    Ground *ground = ground_new(seed);
    Sim *sim = ground->world.sim;
    Listener listener = {.digest = g_checksum_new(G_CHECKSUM_SHA256)};
    sim_listen(sim, listen_to, &listener);
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        sim_set_rate(sim, i, 0);
    }
    for (guint i = 0; i < G_N_ELEMENTS(faults); i++) {
        sim_set_rate(sim, faults[i], 20000);
    }
    sim_set_faults(sim, TRUE);
    sim_host_start_agent(ground->host);
    n_infos = 0;
    for (guint i = 0; i < 1000; i++) {
        pass(ground, 10 * SIM_S);
        sim_host_chance(ground->host);
    }
    assert_true(ground->host->n_starts > 10);
    assert_true(listener.n_sentences > 100);
    sim_set_faults(sim, FALSE);
    sim_host_calm(ground->host);
    pass(ground, 200 * SIM_S);
    n_infos = 0;
    pass(ground, 100 * SIM_S);
    assert_true(n_infos >= 9);
    char *digest = g_strdup(g_checksum_get_string(listener.digest));
    g_checksum_free(listener.digest);
    ground_free(ground);
    return digest;
}

static void test_agent_lives_through_trouble_and_runs_are_equal(void **state)
{
    (void)state;
    for (guint64 seed = 1; seed <= 10; seed++) {
        g_autofree char *first = agent_trace(seed);
        g_autofree char *second = agent_trace(seed);
        assert_string_equal(first, second);
    }
}

int main(void)
{
    log_start("test", VB_LOG_ERROR, VB_LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_that_are_not_synced_may_be_torn),
        cmocka_unit_test(test_names_that_are_not_synced_may_be_lost),
        cmocka_unit_test(test_what_is_synced_stays),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_disk_images),
        cmocka_unit_test(test_variable_templates),
        cmocka_unit_test(test_effects),
        cmocka_unit_test(test_root_disk_is_locked_and_flash_is_not),
        cmocka_unit_test(test_ovs_is_waited_for),
        cmocka_unit_test(test_create_outlives_its_agent),
        cmocka_unit_test(test_libvirtd_dies_in_a_create),
        cmocka_unit_test(test_foreign_domain),
        cmocka_unit_test(test_only_an_orderly_end_syncs_the_flash),
        cmocka_unit_test(test_nics_come_and_go),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_agent_lives_through_trouble_and_runs_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
