#include "tests/lib/lab_guest.h"

#include <gio/gio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/uuid.h"
#include "services/host-agent/files_posix.h"

enum { SECTOR_BYTES = 512, DISK_BYTES = 1024 * 1024, WAIT_MS = 30000, POLL_MS = 20 };

/* 16-bit code for address 0x7c00. SeaBIOS puts ACPI's PM1a registers at 0x600: status, enable,
 * control. */
static const guint8 code_idles[] = {0xf4, 0xeb, 0xfd}; /* again: hlt; jmp again */
static const guint8 code_powers_off[] = {
    0xba, 0x04, 0x06, /* mov dx, 0x604 */
    0xb8, 0x00, 0x20, /* mov ax, 0x2000: SLP_EN */
    0xef,             /* out dx, ax */
    0xf4, 0xeb, 0xfd, /* again: hlt; jmp again */
};
static const guint8 code_reboots[] = {
    0xb0, 0xfe,       /* mov al, 0xfe */
    0xe6, 0x64,       /* out 0x64, al: the keyboard controller pulls the reset line */
    0xf4, 0xeb, 0xfd, /* again: hlt; jmp again */
};
static const guint8 code_heeds_button[] = {
    0xba, 0x02, 0x06, /* mov dx, 0x602 */
    0xb8, 0x00, 0x01, /* mov ax, 0x100: PWRBTN_EN */
    0xef,             /* out dx, ax */
    0xba, 0x00, 0x06, /* mov dx, 0x600 */
    0xf4,             /* again: hlt, until the BIOS's clock ticks */
    0xed,             /* in ax, dx */
    0xf6, 0xc4, 0x01, /* test ah, 1: PWRBTN_STS */
    0x74, 0xf9,       /* jz again */
    0xba, 0x04, 0x06, /* mov dx, 0x604 */
    0xb8, 0x00, 0x20, /* mov ax, 0x2000: SLP_EN */
    0xef,             /* out dx, ax */
    0xf4, 0xeb, 0xfd, /* again: hlt; jmp again */
};

/* QEMU's ACPI registers for PCI hot-plug, on pc and on q35: +4 requests to let go, +8 what is let
 * go, +0x10 the bus that both are about. Where they are not, writes are lost. */
static const guint8 code_ejects[] = {
    0xf4,             /* again: hlt, until the BIOS's clock ticks */
    0xbe, 0x00, 0xae, /* mov si, 0xae00 */
    0xe8, 0x08, 0x00, /* call eject */
    0xbe, 0xc0, 0x0c, /* mov si, 0x0cc0 */
    0xe8, 0x02, 0x00, /* call eject */
    0xeb, 0xf1,       /* jmp again */
    0x66, 0x31, 0xc9, /* eject: xor ecx, ecx */
    0x8d, 0x54, 0x10, /* next: lea dx, [si + 0x10] */
    0x66, 0x89, 0xc8, /* mov eax, ecx */
    0x66, 0xef,       /* out dx, eax */
    0x8d, 0x54, 0x04, /* lea dx, [si + 4] */
    0x66, 0xed,       /* in eax, dx */
    0x8d, 0x54, 0x08, /* lea dx, [si + 8] */
    0x66, 0xef,       /* out dx, eax */
    0x41,             /* inc cx */
    0x83, 0xf9, 0x20, /* cmp cx, 32 */
    0x72, 0xe8,       /* jb next */
    0xc3,             /* ret */
};
static const guint8 code_panics[] = {
    0xba, 0x05, 0x05, /* mov dx, 0x505: pvpanic */
    0xb0, 0x01,       /* mov al, 1: panicked */
    0xee,             /* out dx, al */
    0xf4, 0xeb, 0xfd, /* again: hlt; jmp again */
};

const char *lab_env(const char *name)
{
    const char *value = g_getenv(name);
    if (value == NULL || value[0] == '\0') {
        fprintf(stderr, "%s is not set: run this under tests/lib/lab, with DIR/lab.env\n", name);
        exit(1);
    }
    return value;
}

char *lab_run(const char *const *argv)
{
    g_autoptr(GSubprocess) process = g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, NULL);
    char *output = NULL;
    if (process == NULL ||
        !g_subprocess_communicate_utf8(process, NULL, NULL, &output, NULL, NULL) ||
        !g_subprocess_get_successful(process)) {
        g_free(output);
        return NULL;
    }
    return output;
}

gboolean lab_up(const char *part)
{
    const char *const argv[] = {lab_env("LAB_TOOL"), "up", lab_env("VIRTBUS_LAB"), part, NULL};
    g_autofree char *output = lab_run(argv);
    return output != NULL;
}

static void copy_code(guint8 *sector, LabGuestProgram program)
{
    switch (program) {
    case GUEST_IDLES:
        memcpy(sector, code_idles, sizeof(code_idles));
        return;
    case GUEST_POWERS_OFF:
        memcpy(sector, code_powers_off, sizeof(code_powers_off));
        return;
    case GUEST_REBOOTS:
        memcpy(sector, code_reboots, sizeof(code_reboots));
        return;
    case GUEST_HEEDS_BUTTON:
        memcpy(sector, code_heeds_button, sizeof(code_heeds_button));
        return;
    case GUEST_EJECTS:
        memcpy(sector, code_ejects, sizeof(code_ejects));
        return;
    case GUEST_PANICS:
        memcpy(sector, code_panics, sizeof(code_panics));
        return;
    }
}

void lab_guest_disk(const char *path, LabGuestProgram program)
{
    g_autofree guint8 *bytes = g_malloc0(DISK_BYTES);
    copy_code(bytes, program);
    bytes[SECTOR_BYTES - 2] = 0x55;
    bytes[SECTOR_BYTES - 1] = 0xaa;
    g_autofree char *folder = g_path_get_dirname(path);
    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, (const char *)bytes, DISK_BYTES, NULL));
}

static Volume *root_volume(LabGuest *guest)
{
    Volume *volume = ARENA_MSG(guest->arena, volume);
    char *uuid = arena_alloc(guest->arena, UUID_TEXT_BYTES);
    uuid_random(uuid);
    volume->uuid = uuid;
    volume->type = VOLUME_TYPE_ROOT;
    volume->format = VOLUME_FORMAT_RAW;
    volume->status = VOLUME_STATUS_READY;
    volume->storage = guest->spec->storage;
    volume->install_path =
        arena_printf(guest->arena, "rootVolumes/acct-default/vol-%s/%s.raw", uuid, uuid);
    return volume;
}

static VmSpec *spec_new(VbArena *arena)
{
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    spec->name = arena_strdup(arena, "A small guest");
    spec->platform = PLATFORM_WINDOWS; /* NICs default to e1000. */
    spec->firmware = FIRMWARE_LEGACY_BIOS;
    spec->vcpus = 1;
    spec->memory_bytes = 32 * 1024 * 1024;
    spec->storage = ARENA_MSG(arena, storage_ref);
    spec->storage->name = arena_strdup(arena, "local");
    spec->storage->type = STORAGE_TYPE_LOCAL;
    DiskSpec *disk = ARENA_MSG(arena, disk_spec);
    disk->type = VOLUME_TYPE_ROOT;
    disk->boot_order = 1;
    ARENA_APPEND(arena, spec->n_disks, spec->disks, disk);
    return spec;
}

static void fill_command(LabGuest *guest, LabGuestProgram program)
{
    VbArena *arena = guest->arena;
    StartDomain *start = ARENA_MSG(arena, start_domain);
    start->spec = guest->spec;
    Volume *volume = root_volume(guest);
    ARENA_APPEND(arena, start->n_volumes, start->volumes, volume);
    HostCommand *command = ARENA_MSG(arena, host_command);
    command->vm_uuid = guest->vm->vm_uuid;
    command->operation_id = guest->vm->vm_uuid;
    command->epoch = 7;
    command->command_case = HOST_COMMAND__COMMAND_START_DOMAIN;
    command->start_domain = start;
    guest->vm->command = command;
    guest->vm->epoch = command->epoch;
    g_autofree char *path = g_strdup_printf("%s/storage/%s", guest->folder, volume->install_path);
    lab_guest_disk(path, program);
}

static void fill_config(LabGuest *guest)
{
    VbHostConfig *config = &guest->config;
    config->host_uuid = arena_strdup(guest->arena, guest->vm->vm_uuid);
    config->run_dir = arena_printf(guest->arena, "%s/run", guest->folder);
    config->state_dir = arena_printf(guest->arena, "%s/state", guest->folder);
    config->log_dir = arena_printf(guest->arena, "%s/log", guest->folder);
    config->swtpm_dir = arena_printf(guest->arena, "%s/swtpm", guest->folder);
    config->qemu_user = arena_strdup(guest->arena, "libvirt-qemu");
    config->ovs_group = arena_strdup(guest->arena, "root");
    config->ovs_bridge = arena_strdup(guest->arena, g_getenv("OVS_BRIDGE") ?: "br-virtbus");
    config->max_queues = 4;
    config->storages = g_ptr_array_new();
    VbStorage *storage = arena_alloc(guest->arena, sizeof(*storage));
    storage->ref = *guest->spec->storage;
    storage->path = arena_printf(guest->arena, "%s/storage", guest->folder);
    g_ptr_array_add(config->storages, storage);
    g_assert_cmpint(g_mkdir_with_parents(config->log_dir, 0755), ==, 0);
}

LabGuest *lab_guest_new(LabGuestProgram program)
{
    LabGuest *guest = g_new0(LabGuest, 1);
    char *uuid;
    guest->arena = arena_new();
    uuid = arena_alloc(guest->arena, UUID_TEXT_BYTES);
    uuid_random(uuid);
    guest->folder = g_dir_make_tmp("vb-XXXXXX", NULL);
    g_assert_nonnull(guest->folder);
    /* QEMU's user walks through it. */
    g_assert_cmpint(chmod(guest->folder, 0755), ==, 0);
    guest->vm = ARENA_MSG(guest->arena, host_vm);
    guest->vm->vm_uuid = uuid;
    guest->spec = spec_new(guest->arena);
    fill_command(guest, program);
    fill_config(guest);
    return guest;
}

void lab_guest_add_vhost_user_nic(LabGuest *guest, guint index)
{
    NicSpec *nic = ARENA_MSG(guest->arena, nic_spec);
    nic->index = index;
    nic->type = NIC_TYPE_VHOST_USER;
    ARENA_APPEND(guest->arena, guest->spec->n_nics, guest->spec->nics, nic);
}

void lab_guest_free(LabGuest *guest)
{
    const char *const argv[] = {"rm", "-rf", guest->folder, NULL};
    g_free(lab_run(argv));
    g_ptr_array_unref(guest->config.storages);
    g_free(guest->folder);
    arena_free(guest->arena);
    g_free(guest);
}

gint64 lab_now_ms(void *clock)
{
    (void)clock;
    return g_get_real_time() / 1000;
}

void lab_wait_ms(void *clock, gint64 duration_ms)
{
    (void)clock;
    g_usleep((gulong)duration_ms * 1000);
}

VbHost lab_host(LabGuest *guest, VbHypervisor *hypervisor, VbSwitch *ports)
{
    return (VbHost){
        .config = &guest->config,
        .hypervisor = hypervisor,
        .ports = ports,
        .files = files_posix(),
        .now_ms = lab_now_ms,
        .wait_ms = lab_wait_ms,
    };
}

static gpointer work_run(gpointer data)
{
    LabWork *work = data;
    work->run(work->data);
    g_atomic_int_set(&work->done, TRUE);
    return NULL;
}

void lab_work_begin(LabWork *work, void (*run)(gpointer data), gpointer data)
{
    *work = (LabWork){.run = run, .data = data};
    work->thread = g_thread_new("work", work_run, work);
}

gboolean lab_work_is_done(gpointer work)
{
    return g_atomic_int_get(&((LabWork *)work)->done);
}

void lab_work_end(LabWork *work)
{
    g_clear_pointer(&work->thread, g_thread_join);
}

gboolean lab_wait_for(gboolean (*condition)(gpointer data), gpointer data)
{
    gint64 deadline_ms = lab_now_ms(NULL) + WAIT_MS;
    while (!condition(data)) {
        if (lab_now_ms(NULL) >= deadline_ms) {
            return FALSE;
        }
        lab_wait_ms(NULL, POLL_MS);
    }
    return TRUE;
}
