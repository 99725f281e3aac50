/* What control planes ask for: mostly the next step of a VM's life, as its last known status has it;
 * sometimes anything. It never lies about a host: see sim_client.c for who may confirm one down. */
#include <string.h>

#include "common/base/limits.h"
#include "tests/sim/sim_client.h"

static const char no_host[] = "00000000-0000-4000-8000-00000000dead";

/* One of so many in a hundred. */
static gboolean percent(Sim *sim, guint n)
{
    return sim_below(sim, 100) < n;
}

static void random_uuid(Sim *sim, char ret_text[UUID_TEXT_BYTES])
{
    guint64 a = sim_random(sim);
    guint64 b = sim_random(sim);
    g_snprintf(ret_text, UUID_TEXT_BYTES, "%08x-%04x-4%03x-9%03x-%012" G_GINT64_MODIFIER "x",
               (guint)(a >> 32), (guint)(a >> 16) & 0xffff, (guint)a & 0xfff,
               (guint)(b >> 48) & 0xfff, b & G_GUINT64_CONSTANT(0xffffffffffff));
}

/* ---- Specs */

static void add_disk(Sim *sim, VbArena *arena, VmSpec *spec, guint index, VolumeType type)
{
    DiskSpec *disk = ARENA_MSG(arena, disk_spec);
    disk->index = index;
    disk->type = type;
    disk->size_bytes = 4096 * (1 + sim_below(sim, 4));
    disk->format = sim_below(sim, VOLUME_FORMAT_QCOW2 + 1);
    if (percent(sim, 30)) {
        disk->image = arena_strdup(arena, percent(sim, 95) ? "base.qcow2" : "no-such.qcow2");
        disk->size_bytes = 0;
        disk->format = VOLUME_FORMAT_QCOW2;
        disk->image_mode = sim_below(sim, IMAGE_MODE_OVERLAY + 1);
    }
    ARENA_APPEND(arena, spec->n_disks, spec->disks, disk);
}

static NicSpec *nic_make(Sim *sim, VbArena *arena, guint index)
{
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    nic->index = index;
    nic->type = NIC_TYPE_BRIDGE + sim_below(sim, 3);
    nic->model = percent(sim, 50) ? NIC_MODEL_UNSPECIFIED : NIC_MODEL_VIRTIO + sim_below(sim, 6);
    if (nic->type == NIC_TYPE_BRIDGE) {
        nic->bridge = arena_strdup(arena, "br0");
    }
    return nic;
}

static void add_nics(Sim *sim, VbArena *arena, VmSpec *spec)
{
    guint n = sim_below(sim, 4);
    for (guint i = 0; i < n; i++) {
        NicSpec *nic = nic_make(sim, arena, i);
        ARENA_APPEND(arena, spec->n_nics, spec->nics, nic);
    }
}

static StorageRef *storage_make(SimWorld *world, VbArena *arena)
{
    Sim *sim = world->sim;
    guint kind = sim_below(sim, 100);
    if (kind >= 98) {
        return NULL;
    }
    StorageRef *storage = ARENA_MSG(arena, storage_ref);
    gboolean shared = kind >= 93 && world->plan->n_shared > 0;
    storage->type = shared ? STORAGE_TYPE_SHARED_MOUNT_POINT : STORAGE_TYPE_LOCAL;
    storage->name = shared ? arena_printf(arena, "shared-%u", sim_below(sim, world->plan->n_shared))
                           : arena_strdup(arena, kind >= 96 ? "nowhere" : "local-0");
    return storage;
}

static void firmware_draw(Sim *sim, VbArena *arena, VmSpec *spec)
{
    static const Firmware kinds[] = {FIRMWARE_UEFI, FIRMWARE_UEFI, FIRMWARE_UEFI,
                                     FIRMWARE_LEGACY_BIOS};
    spec->firmware = kinds[sim_below(sim, G_N_ELEMENTS(kinds))];
    gboolean uefi = spec->firmware == FIRMWARE_UEFI;
    spec->secure_boot = sim_below(sim, TOGGLE_OFF + 1);
    if (!uefi && spec->secure_boot == TOGGLE_ON && percent(sim, 90)) {
        spec->secure_boot = TOGGLE_UNSPECIFIED;
    }
    spec->tpm = NULL;
    if (percent(sim, uefi ? 40 : 2)) {
        spec->tpm = ARENA_MSG(arena, tpm_spec);
    }
    if (percent(sim, 2)) {
        spec->firmware = FIRMWARE_UEFI_WITH_CSM; /* There is no such build. */
    }
}

static VmSpec *spec_make(SimWorld *world, VbArena *arena, const ClientVm *vm)
{
    Sim *sim = world->sim;
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    spec->name = arena_printf(arena, "vm %u", vm->index);
    spec->account = arena_printf(arena, "vm-%u", vm->index);
    spec->platform = sim_below(sim, PLATFORM_OTHER + 1);
    spec->vcpus = 1 + sim_below(sim, 4);
    spec->memory_bytes = (guint64)(64 + sim_below(sim, 64)) << 20;
    spec->restart_policy =
        percent(sim, 60) ? RESTART_POLICY_RESTART : sim_below(sim, RESTART_POLICY_LEAVE + 1);
    spec->serial_console = percent(sim, 20);
    add_nics(sim, arena, spec);
    if (percent(sim, 12)) {
        spec->firmware = FIRMWARE_LEGACY_BIOS; /* Without any volume: it may run anywhere. */
        return spec;
    }
    firmware_draw(sim, arena, spec);
    spec->storage = storage_make(world, arena);
    if (percent(sim, 90)) {
        add_disk(sim, arena, spec, 0, VOLUME_TYPE_ROOT);
    }
    if (percent(sim, 25)) {
        add_disk(sim, arena, spec, 1, VOLUME_TYPE_DATA);
    }
    if (percent(sim, 10)) {
        CdromSpec *cdrom = ARENA_MSG(arena, cdrom_spec);
        cdrom->image = arena_strdup(arena, "install.iso");
        ARENA_APPEND(arena, spec->n_cdroms, spec->cdroms, cdrom);
    }
    if (percent(sim, 2)) {
        spec->vcpus = 0; /* Refused. */
    }
    return spec;
}

static void spec_remember(ClientVm *vm, const VmSpec *spec)
{
    gsize size_bytes = vm_spec__get_packed_size(spec);
    guint8 *bytes = g_malloc(size_bytes);
    vm_spec__pack(spec, bytes);
    g_clear_pointer(&vm->spec, g_bytes_unref);
    vm->spec = g_bytes_new_take(bytes, size_bytes);
}

/* Most changes are small ones, so that what exists stays of use. */
static VmSpec *spec_change(SimWorld *world, VbArena *arena, const ClientVm *vm)
{
    Sim *sim = world->sim;
    if (vm->spec == NULL || percent(sim, 10)) {
        return spec_make(world, arena, vm);
    }
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(vm->spec, &size_bytes);
    VmSpec *spec = vm_spec__unpack(arena_allocator(arena, SIZE_MAX), size_bytes, bytes);
    switch (sim_below(sim, 5)) {
    case 0:
        firmware_draw(sim, arena, spec);
        break;
    case 1:
        spec->n_nics = 0;
        add_nics(sim, arena, spec);
        break;
    case 2:
        spec->restart_policy = sim_below(sim, RESTART_POLICY_RESTART + 1);
        break;
    case 3:
        spec->platform = sim_below(sim, PLATFORM_OTHER + 1);
        break;
    default:
        if (spec->n_disks == 1) {
            add_disk(sim, arena, spec, 1 + sim_below(sim, 2), VOLUME_TYPE_DATA);
        }
        break;
    }
    return spec;
}

/* ---- Commands */

static const char *host_choose(SimWorld *world, const ClientVm *vm)
{
    Sim *sim = world->sim;
    guint kind = sim_below(sim, 100);
    const char *any = world->host_uuids[sim_below(sim, world->plan->n_hosts)];
    if (kind < 4) {
        return no_host;
    }
    if (kind < 6) {
        return "no uuid at all";
    }
    return *vm->host_uuid != '\0' && kind < 75 ? vm->host_uuid : any;
}

static const char *store_choose(Sim *sim, VbArena *arena, const ClientVm *vm)
{
    char other[UUID_TEXT_BYTES];
    random_uuid(sim, other);
    guint i = sim_below(sim, vm->n_stores + 1);
    return i < vm->n_stores ? vm->stores[i] : arena_strdup(arena, other);
}

static gint64 timeout_choose(Sim *sim)
{
    guint kind = sim_below(sim, 100);
    gint64 some_ms = sim_between(sim, TIMEOUT_MIN_MS, CLIENT_TIMEOUT_MS);
    return kind < 60 ? 0 : kind < 98 ? some_ms : kind == 98 ? 5 : -1;
}

static void fill_create_or_update(SimWorld *world, VbArena *arena, ClientVm *vm, VmCommand *command)
{
    gboolean create = command->command_case == VM_COMMAND__COMMAND_CREATE_VM;
    VmSpec *spec = create ? spec_make(world, arena, vm) : spec_change(world, arena, vm);
    gboolean missing = percent(world->sim, 1);
    spec_remember(vm, spec);
    if (create) {
        command->create_vm->spec = missing ? NULL : spec;
        return;
    }
    guint kind = sim_below(world->sim, 4);
    command->update_vm->spec = missing ? NULL : spec;
    command->update_vm->expected_version = kind == 0   ? vm->version
                                           : kind == 1 ? vm->version + 1
                                                       : 0;
}

/* The member's own fields. Those without any need none. */
static void fill(SimWorld *world, VbArena *arena, ClientVm *vm, VmCommand *command)
{
    Sim *sim = world->sim;
    switch (command->command_case) {
    case VM_COMMAND__COMMAND_CREATE_VM:
    case VM_COMMAND__COMMAND_UPDATE_VM:
        fill_create_or_update(world, arena, vm, command);
        return;
    case VM_COMMAND__COMMAND_START_VM:
        command->start_vm->host_uuid = arena_strdup(arena, host_choose(world, vm));
        return;
    case VM_COMMAND__COMMAND_STOP_VM:
        command->stop_vm->mode = sim_below(sim, STOP_MODE_GRACEFUL_THEN_FORCED + 1);
        return;
    case VM_COMMAND__COMMAND_REBOOT_VM:
        command->reboot_vm->mode = sim_below(sim, STOP_MODE_GRACEFUL_THEN_FORCED + 1);
        return;
    case VM_COMMAND__COMMAND_ADOPT_VOLUME:
        command->adopt_volume->volume_uuid = arena_strdup(arena, store_choose(sim, arena, vm));
        return;
    case VM_COMMAND__COMMAND_CONFIRM_HOST_DOWN: /* The true ones are the operator's. */
        command->confirm_host_down->host_uuid = arena_strdup(arena, no_host);
        return;
    case VM_COMMAND__COMMAND_ATTACH_NIC:
        if (percent(sim, 97)) {
            command->attach_nic->nic = nic_make(sim, arena, sim_below(sim, 6));
        }
        return;
    case VM_COMMAND__COMMAND_DETACH_NIC:
        command->detach_nic->index = sim_below(sim, 6);
        return;
    case VM_COMMAND__COMMAND_MIGRATE_VM:
        command->migrate_vm->host_uuid = arena_strdup(arena, host_choose(world, vm));
        return;
    case VM_COMMAND__COMMAND_DESTROY_VM:
    case VM_COMMAND__COMMAND_RECOVER_VM:
    case VM_COMMAND__COMMAND_EXPUNGE_VM:
    case VM_COMMAND__COMMAND_GET_VM:
    case VM_COMMAND__COMMAND_LIST_VOLUMES:
    case VM_COMMAND__COMMAND_RESET_NVRAM:
    case VM_COMMAND__COMMAND_RELEASE_QUARANTINE:
    case VM_COMMAND__COMMAND__NOT_SET:
        return;
    }
}

VmCommand *client_command(SimWorld *world, VbArena *arena, const ClientVm *vm,
                          VmCommand__CommandCase kind)
{
    VmCommand *command = ARENA_MSG(arena, vm_command);
    char request_id[UUID_TEXT_BYTES];
    random_uuid(world->sim, request_id);
    command->vm_uuid = arena_strdup(arena, vm->uuid);
    command->request_id = arena_strdup(arena, request_id);
    command->sender = arena_strdup(arena, "virtbus-sim");
    command->command_case = kind;
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&vm_command__descriptor, kind);
    if (field !=
        NULL) { /* All members of the oneof are pointers to a message: one stands for all. */
        command->create_vm = (CreateVm *)arena_message(arena, field->descriptor);
    }
    return command;
}

/* ---- What comes next */

typedef struct {
    VmCommand__CommandCase kind; /* NOT_SET: nothing; ANY: any at all. */
    guint weight;
} Choice;

#define CMD(name) VM_COMMAND__COMMAND_##name
#define ANY       ((VmCommand__CommandCase)1)
#define NOTHING   CMD(_NOT_SET)

static const Choice when_none[] = {{CMD(CREATE_VM), 90}, {ANY, 10}};
static const Choice at_rest[] = {
    {CMD(START_VM), 60},  {CMD(UPDATE_VM), 9},    {CMD(RESET_NVRAM), 6}, {CMD(ADOPT_VOLUME), 4},
    {CMD(DESTROY_VM), 4}, {CMD(LIST_VOLUMES), 5}, {CMD(GET_VM), 3},      {ANY, 9}};
static const Choice running[] = {{NOTHING, 15},          {CMD(STOP_VM), 32},   {CMD(REBOOT_VM), 12},
                                 {CMD(ATTACH_NIC), 9},   {CMD(DETACH_NIC), 9}, {CMD(DESTROY_VM), 6},
                                 {CMD(LIST_VOLUMES), 4}, {CMD(GET_VM), 4},     {ANY, 9}};
static const Choice under_way[] = {
    {NOTHING, 60}, {CMD(STOP_VM), 18}, {CMD(DESTROY_VM), 6}, {CMD(GET_VM), 6}, {ANY, 10}};
static const Choice destroyed[] = {
    {NOTHING, 10}, {CMD(RECOVER_VM), 55}, {CMD(EXPUNGE_VM), 27}, {ANY, 8}};
static const Choice expunged[] = {{NOTHING, 60}, {CMD(CREATE_VM), 30}, {ANY, 10}};
static const Choice unknown[] = {
    {NOTHING, 60},       {CMD(STOP_VM), 15},          {CMD(DESTROY_VM), 5},
    {CMD(START_VM), 10}, {CMD(CONFIRM_HOST_DOWN), 2}, {ANY, 8}};
static const Choice quarantined[] = {{CMD(RELEASE_QUARANTINE), 80}, {ANY, 20}};

static VmCommand__CommandCase draw(Sim *sim, const Choice *choices, guint n)
{
    guint sum = 0;
    for (guint i = 0; i < n; i++) {
        sum += choices[i].weight;
    }
    guint at = sim_below(sim, sum);
    guint i = 0;
    for (; at >= choices[i].weight; i++) {
        at -= choices[i].weight;
    }
    /* They are numbered without a gap. */
    return choices[i].kind == ANY
               ? (VmCommand__CommandCase)(CMD(CREATE_VM) +
                                          sim_below(sim, CMD(MIGRATE_VM) - CMD(CREATE_VM) + 1))
               : choices[i].kind;
}

#define DRAW(sim, choices) draw((sim), (choices), G_N_ELEMENTS(choices))

static VmCommand__CommandCase kind_draw(Sim *sim, VmStatus status)
{
    switch (status) {
    case VM_STATUS_UNSPECIFIED:
        return DRAW(sim, when_none);
    case VM_STATUS_CREATED:
    case VM_STATUS_STOPPED:
    case VM_STATUS_CRASHED:
        return DRAW(sim, at_rest);
    case VM_STATUS_RUNNING:
    case VM_STATUS_PAUSED:
        return DRAW(sim, running);
    case VM_STATUS_STARTING:
    case VM_STATUS_STOPPING:
    case VM_STATUS_REBOOTING:
    case VM_STATUS_DESTROYING:
    case VM_STATUS_EXPUNGING:
    case VM_STATUS_MIGRATING:
        return DRAW(sim, under_way);
    case VM_STATUS_DESTROYED:
        return DRAW(sim, destroyed);
    case VM_STATUS_EXPUNGED:
        return DRAW(sim, expunged);
    case VM_STATUS_UNKNOWN:
        return DRAW(sim, unknown);
    case VM_STATUS_QUARANTINED:
        return DRAW(sim, quarantined);
    }
    return NOTHING;
}

/* What a look at the volumes is good for: of several variable stores one is adopted. */
static VmCommand__CommandCase store_kind(Sim *sim, ClientVm *vm, VmCommand__CommandCase kind)
{
    if (kind == CMD(RESET_NVRAM)) {
        vm->list_wanted = TRUE;
    } else if (kind == CMD(START_VM) && vm->list_wanted) {
        vm->list_wanted = FALSE;
        return CMD(LIST_VOLUMES);
    } else if (kind == CMD(START_VM) && vm->n_stores > 1 && percent(sim, 30)) {
        vm->list_wanted = TRUE;
        return CMD(ADOPT_VOLUME);
    }
    return kind;
}

VmCommand *client_ask(SimWorld *world, VbArena *arena, ClientVm *vm)
{
    VmCommand__CommandCase kind = kind_draw(world->sim, vm->status);
    kind = store_kind(world->sim, vm, kind);
    if (kind == NOTHING) {
        return NULL;
    }
    VmCommand *command = client_command(world, arena, vm, kind);
    command->timeout_ms = timeout_choose(world->sim);
    fill(world, arena, vm, command);
    return command;
}

/* ---- Garbage */

static GBytes *packed(const VmCommand *command)
{
    gsize size_bytes = vm_command__get_packed_size(command);
    guint8 *bytes = g_malloc(size_bytes);
    vm_command__pack(command, bytes);
    return g_bytes_new_take(bytes, size_bytes);
}

static GBytes *noise(Sim *sim, gsize size_bytes)
{
    guint8 *bytes = g_malloc(size_bytes);
    for (gsize i = 0; i < size_bytes; i++) {
        bytes[i] = (guint8)sim_random(sim);
    }
    return g_bytes_new_take(bytes, size_bytes);
}

GBytes *client_garbage(SimWorld *world, VbArena *arena, ClientVm *vm, char ret_key[UUID_TEXT_BYTES],
                       VmCommand **ret_command)
{
    Sim *sim = world->sim;
    guint kind = sim_below(sim, 8);
    guint other = (vm->index + 1) % world->plan->n_vms;
    VmCommand *command = client_command(world, arena, vm, kind < 2 ? CMD(CREATE_VM) : CMD(GET_VM));
    g_strlcpy(ret_key, vm->uuid, UUID_TEXT_BYTES);
    *ret_command = NULL;
    switch (kind) {
    case 0: /* An enum that nobody knows: answered. */
        command->create_vm->spec = spec_make(world, arena, vm);
        command->create_vm->spec->platform = (Platform)99;
        *ret_command = command;
        break;
    case 1: /* A control character: answered. */
        command->create_vm->spec = spec_make(world, arena, vm);
        command->create_vm->spec->name = arena_strdup(arena, "a\nb");
        *ret_command = command;
        break;
    case 2: /* Nothing is asked for: answered. */
        command->command_case = NOTHING;
        *ret_command = command;
        break;
    case 3: /* Of another VM than its key: answered. */
        command->vm_uuid =
            arena_strdup(arena, other == vm->index ? no_host : world->vm_uuids[other]);
        *ret_command = command;
        break;
    case 4: /* Nobody could be answered. */
        command->request_id = arena_strdup(arena, "17");
        break;
    case 5:
        g_strlcpy(ret_key, "no key of a VM", UUID_TEXT_BYTES);
        break;
    case 6:
        return noise(sim, 70 * 1024);
    default:
        return noise(sim, 1 + sim_below(sim, 40));
    }
    return packed(command);
}
