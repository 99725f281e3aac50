/* Each call of the bus fails, in a life of three VMs with both real services: the Nth once, then it and
 * all like it for a while, N = 1, 2 ... until a run meets no fault.
 *
 * The crash model. A call answers ABORT or REFUSED and has done nothing; or FATAL, and then the process
 * begins anew and knows only what the topics hold: the transaction that was open is gone; or a commit
 * is carried out and the process ends without having heard of it. Two processes at once, and records
 * that come twice, are not tried here.
 *
 * The topics between the services, and a host that answers what it is asked, are played by the test, one
 * round after the other; so each fault meets the same inputs as a run without any. At the end all that
 * was written, to whomever, and every state must be the same, byte for byte, and each input must be in
 * exactly one transaction. A refusal may split a batch: so journals are compared step by step, and of
 * the states the last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base/message.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/bus/step_loop.h"
#include "common/runtime/log.h"
#include "services/vm-service/vm_core.h"
#include "services/volume-service/volume_core.h"
#include "tests/fault/fault_bus.h"

#define HOST    "aaaaaaaa-0000-4000-8000-000000000001"
#define NO_HOST "bbbbbbbb-0000-4000-8000-000000000002"

enum {
    PARTITIONS = 2,
    BATCH = 4, /* Records at most: a life has many transactions. */
    N_VMS = 3,
    BEGIN_MS = 1000000,
    TIMEOUT_MS = 60000,
    LONG_MS = 600000, /* Longer than any deadline. */
    NVRAM_BYTES = 540672,
    ROUNDS_MAX = 50,
    TURNS_MAX = 400,
    RESTARTS_MAX = 20,
    LEAST_CALLS = 50,
    MOST_CALLS = 20000,
    SHOWN_MAX = 5,
    OK_LEAST = 15, /* Requests of the life that are done. */
};

typedef struct {
    const VbService *service;
    VbMemoryBus *memory;
    FaultBus *bus;
    VbLoop *loop;
    VbLoopConfig config;
    guint n_restarts;
} Side;

enum { VM_SIDE, VOLUME_SIDE, N_SIDES };

typedef struct {
    BusFault fault;
    VbArena *arena;
    Settings settings;
    Side sides[N_SIDES];
    GHashTable *carried; /* "side/topic/partition" -> number of records that were carried over. */
    gint64 now_ms;
    const char *silent_vm; /* For which the host says nothing; NULL: none. */
    int next_request;
    char *broken;
} World;

static void break_with(World *world, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void break_with(World *world, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (world->broken == NULL) {
        world->broken = g_strdup_vprintf(format, args);
    }
    va_end(args);
}

/* ---- The services */

static void side_begin(Side *side)
{
    side->loop = loop_new(fault_bus(side->bus), &side->config);
    for (int i = 0; i < PARTITIONS; i++) {
        memory_bus_gain(side->memory, i);
    }
}

/* The process ends, and a new one begins. */
static void side_restart(World *world, Side *side, const GError *cause)
{
    loop_free(side->loop);
    memory_bus_drop(side->memory);
    side_begin(side);
    if (++side->n_restarts > RESTARTS_MAX) {
        break_with(world, "%s ends again and again: %s", side->service->name, cause->message);
    }
}

static void side_settle(World *world, Side *side)
{
    const VbMemoryCounts *counts = memory_bus_counts(side->memory);
    guint turns = 0;
    for (guint idle = 0; idle < 2 && world->broken == NULL; idle++) {
        guint before = counts->commits + counts->aborts;
        g_autoptr(GError) error = NULL;
        gboolean done = loop_turn(side->loop, 0, &error);
        if (!done) {
            side_restart(world, side, error);
        }
        if (!done || counts->commits + counts->aborts != before) {
            idle = (guint)-1;
        }
        if (++turns > TURNS_MAX) {
            break_with(world, "%s never comes to rest", side->service->name);
        }
    }
}

/* ---- Between them */

/* The records of a topic that have not been carried over yet. */
static guint *carried(World *world, int side, VbTopic topic, int partition)
{
    g_autofree char *key = g_strdup_printf("%d/%d/%d", side, topic, partition);
    guint *n = g_hash_table_lookup(world->carried, key);
    if (n == NULL) {
        n = g_new0(guint, 1);
        g_hash_table_insert(world->carried, g_steal_pointer(&key), n);
    }
    return n;
}

static void append(World *world, int side, VbTopic topic, const char *vm, const void *value,
                   size_t value_bytes)
{
    VbBusMessage message = {.topic = topic,
                            .partition = topic_partition(vm, strlen(vm), PARTITIONS),
                            .key = vm,
                            .key_bytes = strlen(vm),
                            .value = value,
                            .value_bytes = value_bytes};
    memory_bus_append(world->sides[side].memory, &message);
}

static void append_message(World *world, int side, VbTopic topic, const char *vm,
                           const void *message)
{
    g_autoptr(GBytes) packed = message_pack(message);
    append(world, side, topic, vm, g_bytes_get_data(packed, NULL), g_bytes_get_size(packed));
}

static guint carry(World *world, int from, int to, VbTopic topic)
{
    guint n_carried = 0;
    for (int partition = 0; partition < PARTITIONS; partition++) {
        const GPtrArray *log = memory_bus_log(world->sides[from].memory, topic, NULL, partition);
        guint *n = carried(world, from, topic, partition);
        for (; *n < log->len; (*n)++, n_carried++) {
            const VbBusRecord *record = g_ptr_array_index(log, *n);
            VbBusMessage message = {.topic = topic,
                                    .partition = partition,
                                    .key = record->key,
                                    .key_bytes = record->key_bytes,
                                    .value = record->value,
                                    .value_bytes = record->value_bytes,
                                    .headers = record->headers,
                                    .n_headers = record->n_headers};
            memory_bus_append(world->sides[to].memory, &message);
        }
    }
    return n_carried;
}

/* ---- The host */

static FirmwareRef *firmware_made(VbArena *arena, const FirmwareClass *wanted)
{
    if (wanted == NULL) {
        return NULL;
    }
    FirmwareRef *ref = ARENA_MSG(arena, firmware_ref);
    ref->class_ = arena_copy(arena, wanted);
    ref->class_->nvram_bytes = NVRAM_BYTES;
    ref->code_path = (char *)"/firmware/code.fd";
    ref->template_path = (char *)"/firmware/vars.fd";
    return ref;
}

static VolumeResult **results_of(World *world, Volume **volumes, size_t n,
                                 const FirmwareClass *wanted)
{
    VolumeResult **results = NULL;
    size_t n_results = 0;
    for (size_t i = 0; i < n; i++) {
        VolumeResult *result = ARENA_MSG(world->arena, volume_result);
        result->volume = arena_copy(world->arena, volumes[i]);
        if (result->volume->type == VOLUME_TYPE_NV_RAM) {
            result->volume->actual_size_bytes = NVRAM_BYTES;
            result->volume->firmware = firmware_made(world->arena, wanted);
        }
        ARENA_APPEND(world->arena, n_results, results, result);
    }
    return results;
}

static Hardware *hardware_made(World *world, const StartDomain *start)
{
    Hardware *hardware = ARENA_MSG(world->arena, hardware);
    hardware->machine = (char *)"pc-q35-7.2";
    hardware->firmware = firmware_made(world->arena, start->firmware_class);
    for (size_t i = 0; i < start->spec->n_nics; i++) {
        EffectiveNic *nic = ARENA_MSG(world->arena, effective_nic);
        nic->index = start->spec->nics[i]->index;
        nic->asked_model = NIC_MODEL_E1000;
        nic->effective_model = NIC_MODEL_VIRTIO;
        nic->coerced = TRUE;
        ARENA_APPEND(world->arena, hardware->n_nics, hardware->nics, nic);
    }
    return hardware;
}

static HostReport *answer_new(World *world, const HostCommand *command)
{
    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = command->vm_uuid;
    report->host_uuid = (char *)HOST;
    report->operation_id = command->operation_id;
    report->epoch = command->epoch;
    report->time_ms = world->now_ms;
    return report;
}

static void answer_volumes(World *world, const HostCommand *command, HostReport *report)
{
    if (command->command_case == HOST_COMMAND__COMMAND_CREATE_VOLUMES) {
        const CreateVolumes *create = command->create_volumes;
        report->report_case = HOST_REPORT__REPORT_VOLUMES_CREATED;
        report->volumes_created = ARENA_MSG(world->arena, volumes_created);
        report->volumes_created->n_results = create->n_volumes;
        report->volumes_created->results =
            results_of(world, create->volumes, create->n_volumes, create->firmware_class);
    } else {
        const DeleteVolumes *deletion = command->delete_volumes;
        report->report_case = HOST_REPORT__REPORT_VOLUMES_DELETED;
        report->volumes_deleted = ARENA_MSG(world->arena, volumes_deleted);
        report->volumes_deleted->n_results = deletion->n_volumes;
        report->volumes_deleted->results =
            results_of(world, deletion->volumes, deletion->n_volumes, NULL);
    }
    append_message(world, VOLUME_SIDE, TOPIC_VOLUME_REPORTS, command->vm_uuid, report);
}

static void answer_vm(World *world, const HostCommand *command, HostReport *report)
{
    if (command->command_case == HOST_COMMAND__COMMAND_START_DOMAIN) {
        report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
        report->domain_started = ARENA_MSG(world->arena, domain_started);
        report->domain_started->hardware = hardware_made(world, command->start_domain);
    } else if (command->command_case == HOST_COMMAND__COMMAND_STOP_DOMAIN) {
        report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
        report->domain_stopped = ARENA_MSG(world->arena, domain_stopped);
        report->domain_stopped->reason = STOP_REASON_REQUESTED;
    } else if (command->command_case == HOST_COMMAND__COMMAND_FORGET_VM) {
        report->report_case = HOST_REPORT__REPORT_VM_FORGOTTEN;
        report->vm_forgotten = ARENA_MSG(world->arena, vm_forgotten);
    } else {
        const AttachDevice *attach = command->attach_device;
        g_assert_cmpint(command->command_case, ==, HOST_COMMAND__COMMAND_ATTACH_DEVICE);
        report->report_case = HOST_REPORT__REPORT_DEVICE_CHANGED;
        report->device_changed = ARENA_MSG(world->arena, device_changed);
        report->device_changed->attached = attach->nic;
        report->device_changed->hardware = attach->hardware;
    }
    append_message(world, VM_SIDE, TOPIC_VM_REPORTS, command->vm_uuid, report);
}

static guint host_answers(World *world, int side)
{
    const GPtrArray *log = memory_bus_log(world->sides[side].memory, TOPIC_HOST_COMMANDS, HOST, 0);
    guint *n = carried(world, side, TOPIC_HOST_COMMANDS, 0);
    guint n_answered = 0;
    for (; *n < log->len; (*n)++, n_answered++) {
        const VbBusRecord *record = g_ptr_array_index(log, *n);
        HostCommand *command = host_command__unpack(arena_allocator(world->arena, SIZE_MAX),
                                                    record->value_bytes, record->value);
        gboolean volumes = command->command_case == HOST_COMMAND__COMMAND_CREATE_VOLUMES ||
                           command->command_case == HOST_COMMAND__COMMAND_DELETE_VOLUMES;
        if (g_strcmp0(command->vm_uuid, world->silent_vm) == 0) {
            continue;
        }
        HostReport *report = answer_new(world, command);
        if (volumes) {
            answer_volumes(world, command, report);
        } else {
            answer_vm(world, command, report);
        }
    }
    return n_answered;
}

/* Each round begins with the same inputs, whatever has failed in the one before. */
static void settle(World *world)
{
    guint n = 1;
    for (guint round = 0; n > 0 && world->broken == NULL; round++) {
        side_settle(world, &world->sides[VM_SIDE]);
        side_settle(world, &world->sides[VOLUME_SIDE]);
        n = carry(world, VM_SIDE, VOLUME_SIDE, TOPIC_VOLUME_COMMANDS) +
            carry(world, VOLUME_SIDE, VM_SIDE, TOPIC_VOLUME_EVENTS) + host_answers(world, VM_SIDE) +
            host_answers(world, VOLUME_SIDE);
        if (round > ROUNDS_MAX) {
            break_with(world, "the services never come to rest");
        }
    }
}

static void pass(World *world, gint64 duration_ms)
{
    world->now_ms += duration_ms;
    for (int i = 0; i < N_SIDES; i++) {
        memory_bus_set_now(world->sides[i].memory, world->now_ms);
    }
    settle(world);
}

/* ---- The life */

static const char *vm_of(int n)
{
    static const char *const vms[N_VMS] = {"00000000-0000-4000-8000-000000000001",
                                           "00000000-0000-4000-8000-000000000002",
                                           "00000000-0000-4000-8000-000000000003"};
    return vms[n];
}

static VmCommand *command_new(World *world, int vm, VmCommand__CommandCase which)
{
    VmCommand *command = ARENA_MSG(world->arena, vm_command);
    command->vm_uuid = (char *)vm_of(vm);
    command->request_id =
        arena_printf(world->arena, "11111111-0000-4000-8000-%012d", ++world->next_request);
    command->command_case = which;
    /* Every command of the oneof is a message; an empty one of the right kind will do. */
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&vm_command__descriptor, which);
    command->create_vm = (void *)arena_message(world->arena, field->descriptor);
    return command;
}

static void command_send(World *world, const VmCommand *command)
{
    append_message(world, VM_SIDE, TOPIC_VM_COMMANDS, command->vm_uuid, command);
}

static void ask(World *world, int vm, VmCommand__CommandCase which)
{
    command_send(world, command_new(world, vm, which));
}

/* A UEFI guest with Secure Boot, a TPM and a vhost-user NIC. */
static void ask_create(World *world, int vm)
{
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    VmSpec *spec = command->create_vm->spec = ARENA_MSG(world->arena, vm_spec);
    spec->name = (char *)"win";
    spec->platform = PLATFORM_WINDOWS;
    spec->firmware = FIRMWARE_UEFI;
    spec->secure_boot = TOGGLE_ON;
    spec->tpm = ARENA_MSG(world->arena, tpm_spec);
    spec->vcpus = 2;
    spec->memory_bytes = G_GUINT64_CONSTANT(4) << 30;
    spec->storage = ARENA_MSG(world->arena, storage_ref);
    spec->storage->name = (char *)"fast";
    spec->storage->type = STORAGE_TYPE_LOCAL;
    DiskSpec *disk = ARENA_MSG(world->arena, disk_spec);
    disk->type = VOLUME_TYPE_ROOT;
    disk->size_bytes = G_GUINT64_CONSTANT(40) << 30;
    ARENA_APPEND(world->arena, spec->n_disks, spec->disks, disk);
    NicSpec *nic = ARENA_MSG(world->arena, nic_spec);
    nic->type = NIC_TYPE_VHOST_USER;
    ARENA_APPEND(world->arena, spec->n_nics, spec->nics, nic);
    command_send(world, command);
}

static void ask_start(World *world, int vm, const char *host_uuid)
{
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_START_VM);
    command->start_vm->host_uuid = (char *)host_uuid;
    command_send(world, command);
}

static void ask_stop(World *world, int vm)
{
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_STOP_VM);
    command->stop_vm->mode = STOP_MODE_FORCED;
    command_send(world, command);
}

static void ask_attach(World *world, int vm)
{
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_ATTACH_NIC);
    command->attach_nic->nic = ARENA_MSG(world->arena, nic_spec);
    command->attach_nic->nic->index = 1;
    command->attach_nic->nic->type = NIC_TYPE_VHOST_USER;
    command_send(world, command);
}

static void ask_all(World *world, VmCommand__CommandCase which)
{
    for (int vm = 0; vm < N_VMS; vm++) {
        ask(world, vm, which);
    }
    settle(world);
}

/* The third VM's host is none; the second's falls silent in a stop, is given up, and says in the end
 * that its domain is gone. */
static void live(World *world)
{
    for (int vm = 0; vm < N_VMS; vm++) {
        ask_create(world, vm);
    }
    settle(world);
    ask_start(world, 0, HOST);
    ask_start(world, 1, HOST);
    ask_start(world, 2, NO_HOST);
    append(world, VM_SIDE, TOPIC_VM_COMMANDS, vm_of(2), "rubbish", strlen("rubbish"));
    settle(world);
    ask_attach(world, 0);
    ask_start(world, 2, HOST);
    settle(world);
    world->silent_vm = vm_of(1);
    ask_stop(world, 0);
    ask_stop(world, 1);
    ask(world, 2, VM_COMMAND__COMMAND_GET_VM);
    settle(world);
    pass(world, LONG_MS);
    world->silent_vm = NULL;
    HostReport *gone = ARENA_MSG(world->arena, host_report);
    *gone = *answer_new(
        world, &(HostCommand){.vm_uuid = (char *)vm_of(1), .operation_id = (char *)"", .epoch = 1});
    gone->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
    gone->domain_stopped = ARENA_MSG(world->arena, domain_stopped);
    gone->domain_stopped->reason = STOP_REASON_OUTSIDE;
    append_message(world, VM_SIDE, TOPIC_VM_REPORTS, vm_of(1), gone);
    settle(world);
    ask_start(world, 0, HOST);
    ask(world, 1, VM_COMMAND__COMMAND_RESET_NVRAM);
    settle(world);
    ask_all(world, VM_COMMAND__COMMAND_DESTROY_VM);
    ask_all(world, VM_COMMAND__COMMAND_EXPUNGE_VM);
    pass(world, LONG_MS);
    world->next_request--; /* The last one again. */
    ask(world, 2, VM_COMMAND__COMMAND_EXPUNGE_VM);
    settle(world);
}

/* ---- What has come of it */

static void print_log(GString *text, const GPtrArray *log)
{
    for (guint i = 0; i < log->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(log, i);
        g_autofree char *value = g_base64_encode(record->value, record->value_bytes);
        g_string_append_printf(text, "%s-%d@%d %.*s=%s", topic_info(record->topic)->suffix,
                               record->partition, (int)record->offset, (int)record->key_bytes,
                               (const char *)record->key, value);
        for (size_t h = 0; h < record->n_headers; h++) {
            g_string_append_printf(text, " %s:%.*s", record->headers[h].name,
                                   (int)record->headers[h].size_bytes,
                                   (const char *)record->headers[h].value);
        }
        g_string_append_printf(text, " %d\n", (int)record->time_ms);
    }
}

/* Step by step; and each input at most once. */
static void print_journal(World *world, const Side *side, int partition, GString *text)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const GPtrArray *log =
        memory_bus_log(side->memory, side->service->journal_topic, NULL, partition);
    for (guint i = 0; i < log->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(log, i);
        Journal *journal = journal__unpack(arena_allocator(world->arena, SIZE_MAX),
                                           record->value_bytes, record->value);
        for (size_t k = 0; k < journal->n_steps; k++) {
            const JournalStep *step = journal->steps[k];
            g_autoptr(GBytes) packed = message_pack(step);
            g_autofree char *value =
                g_base64_encode(g_bytes_get_data(packed, NULL), g_bytes_get_size(packed));
            char *name = g_strdup_printf("%s@%d", step->topic, (int)step->offset);
            g_string_append_printf(text, "%s step %s\n", side->service->name, value);
            if (step->topic[0] != '\0' && step->runtime_input == NULL &&
                g_hash_table_contains(seen, name)) {
                break_with(world, "I9: %s stepped %s twice", side->service->name, name);
            }
            g_hash_table_add(seen, name);
        }
    }
}

static void each_state(const char *vm_uuid, const void *bytes, size_t size_bytes, void *user)
{
    g_autofree char *text = g_base64_encode(bytes, size_bytes);
    g_ptr_array_add(user, g_strdup_printf("%s %s", vm_uuid, text));
}

static gint compare_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_states(const Side *side, GString *text)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    loop_each_state(side->loop, each_state, lines);
    g_ptr_array_sort(lines, compare_text);
    for (guint i = 0; i < lines->len; i++) {
        g_string_append_printf(text, "%s state %s\n", side->service->name,
                               (char *)g_ptr_array_index(lines, i));
    }
}

/* All that was committed: offsets are counted by no transaction that was not. */
static void check_offsets(World *world, const Side *side, int partition)
{
    for (size_t input = 0; input < side->service->n_inputs; input++) {
        VbTopic topic = side->service->inputs[input];
        guint n = memory_bus_log(side->memory, topic, NULL, partition)->len;
        gint64 committed = memory_bus_committed(side->memory, topic, partition);
        if (n > 0 && committed != n) {
            break_with(world, "I9: %u records of %s-%d, and offset %d is committed", n,
                       topic_info(topic)->suffix, partition, (int)committed);
        }
    }
}

/* Both begin anew once more: the states are what the topics say. */
static void restore(World *world)
{
    world->fault.mode = BUS_FAULT_NONE;
    for (int i = 0; i < N_SIDES; i++) {
        loop_free(world->sides[i].loop);
        side_begin(&world->sides[i]);
    }
    settle(world);
}

/* Everything that was written, as text (g_free). */
static char *world_text(World *world)
{
    static const VbTopic topics[] = {TOPIC_VM_EVENTS, TOPIC_VOLUME_COMMANDS, TOPIC_VOLUME_EVENTS,
                                     TOPIC_DLQ};
    GString *text = g_string_new(NULL);
    restore(world);
    for (int i = 0; i < N_SIDES; i++) {
        Side *side = &world->sides[i];
        for (int partition = 0; partition < PARTITIONS; partition++) {
            for (size_t t = 0; t < G_N_ELEMENTS(topics); t++) {
                print_log(text, memory_bus_log(side->memory, topics[t], NULL, partition));
            }
            print_journal(world, side, partition, text);
            check_offsets(world, side, partition);
        }
        print_log(text, memory_bus_log(side->memory, TOPIC_HOST_COMMANDS, HOST, 0));
        print_states(side, text);
    }
    return g_string_free(text, FALSE);
}

/* Requests that were answered, and done. */
static guint count_done(World *world)
{
    guint n = 0;
    for (int partition = 0; partition < PARTITIONS; partition++) {
        const GPtrArray *log =
            memory_bus_log(world->sides[VM_SIDE].memory, TOPIC_VM_EVENTS, NULL, partition);
        for (guint i = 0; i < log->len; i++) {
            const VbBusRecord *record = g_ptr_array_index(log, i);
            VmEvent *event = vm_event__unpack(arena_allocator(world->arena, SIZE_MAX),
                                              record->value_bytes, record->value);
            n += event->event_case == VM_EVENT__EVENT_REPLY && event->reply->error == NULL &&
                 !event->reply->repeated;
        }
    }
    return n;
}

/* ---- The sweep */

static World *world_new(BusFaultMode mode, guint at)
{
    static const VbService *const services[N_SIDES] = {&vm_service, &volume_service};
    World *world = g_new0(World, 1);
    world->fault = (BusFault){.mode = mode, .at = at};
    world->arena = arena_new();
    world->carried = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    world->now_ms = BEGIN_MS;
    settings__init(&world->settings);
    world->settings.start_timeout_ms = TIMEOUT_MS;
    world->settings.stop_timeout_ms = TIMEOUT_MS;
    world->settings.expunge_timeout_ms = TIMEOUT_MS;
    world->settings.delete_retry_ms = TIMEOUT_MS;
    world->settings.expunged_keep_ms = G_GINT64_CONSTANT(100) * LONG_MS;
    for (int i = 0; i < N_SIDES; i++) {
        Side *side = &world->sides[i];
        side->service = services[i];
        side->memory = memory_bus_new(services[i], PARTITIONS);
        memory_bus_set_now(side->memory, world->now_ms);
        memory_bus_add_host(side->memory, HOST);
        side->bus = fault_bus_new(&world->fault, side->memory);
        side->config = (VbLoopConfig){.service = services[i],
                                      .settings = &world->settings,
                                      .prefix = "test",
                                      .group_id = "test.service",
                                      .instance_id = "i1",
                                      .n_partitions = PARTITIONS,
                                      .max_records = BATCH};
        side_begin(side);
    }
    return world;
}

static void world_free(World *world)
{
    for (int i = 0; i < N_SIDES; i++) {
        loop_free(world->sides[i].loop);
        fault_bus_free(world->sides[i].bus);
        memory_bus_free(world->sides[i].memory);
    }
    g_hash_table_unref(world->carried);
    arena_free(world->arena);
    g_free(world->broken);
    g_free(world);
}

/* The first line that differs, cut. */
static void compare(World *world, const char *wanted, const char *found)
{
    g_auto(GStrv) left = g_strsplit(wanted, "\n", -1);
    g_auto(GStrv) right = g_strsplit(found, "\n", -1);
    for (guint i = 0; left[i] != NULL || right[i] != NULL; i++) {
        if (g_strcmp0(left[i], right[i]) != 0) {
            break_with(world, "I7: another outcome: \"%.300s\" instead of \"%.300s\"",
                       right[i] != NULL ? right[i] : "", left[i] != NULL ? left[i] : "");
            return;
        }
        if (left[i] == NULL || right[i] == NULL) {
            return;
        }
    }
}

static void sweep(void **state)
{
    BusFaultMode mode = (BusFaultMode)GPOINTER_TO_INT(*state);
    World *calm = world_new(BUS_FAULT_NONE, 0);
    live(calm);
    g_autofree char *wanted = world_text(calm);
    if (calm->broken != NULL) {
        fail_msg("without a fault: %s", calm->broken);
    }
    assert_true(count_done(calm) >= OK_LEAST);
    world_free(calm);
    guint n_broken = 0;
    guint at = 1;
    for (gboolean hit = TRUE; hit && at < MOST_CALLS; at++) {
        World *world = world_new(mode, at);
        live(world);
        hit = world->fault.hit;
        g_autofree char *found = world_text(world);
        compare(world, wanted, found);
        if (world->broken != NULL && n_broken++ < SHOWN_MAX) {
            print_error("call %u (%s) %s: %s\n", at, world->fault.function,
                        fault_bus_mode_name(mode), world->broken);
        }
        world_free(world);
    }
    print_message("%s: %u calls\n", fault_bus_mode_name(mode), at - 2);
    assert_int_equal(n_broken, 0);
    assert_true(mode == BUS_FAULT_NONE || (at > LEAST_CALLS && at < MOST_CALLS));
}

#define SWEEP(mode)                                                                                \
    {                                                                                              \
#mode, sweep, NULL, NULL, GINT_TO_POINTER(mode)                                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        SWEEP(BUS_FAULT_NONE),          SWEEP(BUS_FAULT_ABORT),      SWEEP(BUS_FAULT_REFUSED),
        SWEEP(BUS_FAULT_REFUSED_TWICE), SWEEP(BUS_FAULT_FATAL),      SWEEP(BUS_FAULT_UNKNOWN),
        SWEEP(BUS_FAULT_ABORT_EVER),    SWEEP(BUS_FAULT_FATAL_EVER),
    };
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
