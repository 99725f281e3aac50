/* volume-service's core and what nobody should ask or tell it: commands for a VM of which it knows
 * nothing or whose volumes are worked on, and reports by the wrong host. What happens in order is
 * told by tests/scenario. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/base/message.h"
#include "services/volume-service/volume_core.h"

#define VM_UUID   "11111111-1111-4111-8111-111111111111"
#define OPERATION "33333333-3333-4333-8333-333333333333"
#define HOST_A    "aaaaaaaa-0000-4000-8000-000000000001"
#define HOST_B    "bbbbbbbb-0000-4000-8000-000000000002"

enum { NOW_MS = 1000000 };

typedef struct {
    VbArena *arena;
    Settings settings;
    StateRecord *state; /* NULL: no record. */
    GArray *outputs;    /* of VbOutput */
} World;

static int setup(void **state)
{
    World *world = g_new0(World, 1);
    world->arena = arena_new();
    settings__init(&world->settings);
    world->settings.nvram_retain_ms = 1000;
    world->settings.delete_retry_ms = 1000;
    world->outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    World *world = *state;
    g_array_unref(world->outputs);
    arena_free(world->arena);
    g_free(world);
    return 0;
}

/* ---- Steps */

static void step(World *world, VbStepInput input)
{
    input.vm_uuid = VM_UUID;
    input.time_ms = NOW_MS;
    input.settings = &world->settings;
    VbStep step = {
        .input = &input, .arena = world->arena, .state = world->state, .outputs = world->outputs};
    g_array_set_size(world->outputs, 0);
    assert_int_equal(volume_service.step(&step), STEP_OK);
    world->state = step.state;
}

/* Any member of the oneof will do: each is a message. */
static VolumeCommand *command_new(World *world, VolumeCommand__CommandCase kind)
{
    VolumeCommand *command = ARENA_MSG(world->arena, volume_command);
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&volume_command__descriptor, kind);
    command->vm_uuid = VM_UUID;
    command->operation_id = OPERATION;
    command->expires_ms = NOW_MS + 60000;
    command->command_case = kind;
    command->prepare_volumes = (void *)arena_message(world->arena, field->descriptor);
    return command;
}

static void give(World *world, const VolumeCommand *command)
{
    step(world, (VbStepInput){.topic = TOPIC_VOLUME_COMMANDS, .record = &command->base});
}

static void give_report(World *world, const HostReport *report)
{
    step(world, (VbStepInput){.topic = TOPIC_VOLUME_REPORTS, .record = &report->base});
}

static void give_deadline(World *world, const char *id)
{
    RuntimeInput *input = ARENA_MSG(world->arena, runtime_input);
    input->input_case = RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED;
    input->deadline_elapsed = ARENA_MSG(world->arena, deadline_elapsed);
    input->deadline_elapsed->deadline_id = arena_strdup(world->arena, id);
    step(world, (VbStepInput){.runtime = input});
}

/* The last event of this kind that the step told. */
static const VolumeEvent *told(const World *world, VolumeEvent__EventCase kind)
{
    for (guint i = world->outputs->len; i > 0; i--) {
        const VbOutput *output = &g_array_index(world->outputs, VbOutput, i - 1);
        const VolumeEvent *event = output->message;
        if (output->topic == TOPIC_VOLUME_EVENTS && event->event_case == kind) {
            return event;
        }
    }
    fail_msg("there is no event of kind %d", kind);
    return NULL;
}

static const HostCommand *sent_to(const World *world, const char *host_uuid)
{
    for (guint i = 0; i < world->outputs->len; i++) {
        const VbOutput *output = &g_array_index(world->outputs, VbOutput, i);
        if (output->topic == TOPIC_HOST_COMMANDS && g_str_equal(output->host_uuid, host_uuid)) {
            return output->message;
        }
    }
    fail_msg("nothing was sent to host %s", host_uuid);
    return NULL;
}

/* ---- What is there */

static VolumeRecord *record(World *world)
{
    if (world->state == NULL) {
        world->state = ARENA_MSG(world->arena, state_record);
        world->state->body_case = STATE_RECORD__BODY_VOLUMES;
        world->state->volumes = ARENA_MSG(world->arena, volume_record);
        world->state->volumes->epoch = 3;
    }
    return world->state->volumes;
}

static Volume *volume_on(World *world, const char *host_uuid, VolumeType type, VolumeStatus status)
{
    VolumeRecord *volumes = record(world);
    Volume *volume = ARENA_MSG(world->arena, volume);
    volume->uuid = arena_printf(world->arena, "volume-%zu", volumes->n_volumes);
    volume->host_uuid = arena_strdup(world->arena, host_uuid);
    volume->type = type;
    volume->status = status;
    ARENA_APPEND(world->arena, volumes->n_volumes, volumes->volumes, volume);
    return volume;
}

static VolumeOperation *operation_of(World *world, VolumeOperationKind kind)
{
    VolumeOperation *operation = ARENA_MSG(world->arena, volume_operation);
    operation->id = OPERATION;
    operation->kind = kind;
    operation->host_uuid = arena_strdup(world->arena, HOST_A);
    operation->host_operation_id = arena_strdup(world->arena, "create");
    operation->expires_ms = NOW_MS + 60000;
    operation->prepare = ARENA_MSG(world->arena, prepare_volumes);
    operation->prepare->spec = ARENA_MSG(world->arena, vm_spec);
    record(world)->operation = operation;
    return operation;
}

/* The host says of each volume that it made it, or deleted it. */
static HostReport *report_of(World *world, const char *host_uuid, HostReport__ReportCase kind,
                             Volume *about)
{
    HostReport *report = ARENA_MSG(world->arena, host_report);
    VolumeResult *result = ARENA_MSG(world->arena, volume_result);
    result->volume = arena_copy(world->arena, about);
    report->host_uuid = arena_strdup(world->arena, host_uuid);
    report->operation_id = arena_strdup(world->arena, "create");
    report->report_case = kind;
    if (kind == HOST_REPORT__REPORT_VOLUMES_CREATED) {
        report->volumes_created = ARENA_MSG(world->arena, volumes_created);
        ARENA_APPEND(world->arena, report->volumes_created->n_results,
                     report->volumes_created->results, result);
    } else {
        report->volumes_deleted = ARENA_MSG(world->arena, volumes_deleted);
        ARENA_APPEND(world->arena, report->volumes_deleted->n_results,
                     report->volumes_deleted->results, result);
    }
    return report;
}

/* ---- Commands */

static void commands_for_a_vm_without_volumes_are_answered(void **state)
{
    World *world = *state;
    give(world, command_new(world, VOLUME_COMMAND__COMMAND_CHOOSE_VOLUME));
    assert_non_null(told(world, VOLUME_EVENT__EVENT_VOLUME_CHOSEN)->volume_chosen->error);
    world->state = NULL;
    give(world, command_new(world, VOLUME_COMMAND__COMMAND_REPLACE_NVRAM));
    assert_int_equal(told(world, VOLUME_EVENT__EVENT_NVRAM_REPLACED)->nvram_replaced->error->code,
                     ERROR_CODE_INVALID_ARGUMENT);
    assert_null(world->state);
    give(world, command_new(world, VOLUME_COMMAND__COMMAND_EXPUNGE_VOLUMES));
    assert_int_equal(told(world, VOLUME_EVENT__EVENT_VOLUMES_EXPUNGED)->volumes_expunged->left, 0);
    assert_null(world->state);
}

static VolumeCommand *prepare_command(World *world)
{
    VolumeCommand *command = command_new(world, VOLUME_COMMAND__COMMAND_PREPARE_VOLUMES);
    VmSpec *spec = ARENA_MSG(world->arena, vm_spec);
    spec->storage = ARENA_MSG(world->arena, storage_ref);
    spec->storage->type = STORAGE_TYPE_LOCAL;
    command->prepare_volumes->spec = spec;
    command->prepare_volumes->host_uuid = arena_strdup(world->arena, HOST_A);
    return command;
}

static void expect_not_prepared(World *world, ErrorCode code)
{
    const VolumeEvent *event = told(world, VOLUME_EVENT__EVENT_VOLUMES_PREPARED);
    assert_int_equal(event->volumes_prepared->error->code, code);
}

/* That many volumes, of which one is its store. */
static void volumes_fill(World *world, size_t n_volumes)
{
    volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_READY);
    while (record(world)->n_volumes < n_volumes) {
        volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_RETAINED);
    }
}

static VolumeCommand *prepare_with_store(World *world)
{
    VolumeCommand *command = prepare_command(world);
    command->prepare_volumes->nvram_needed = TRUE;
    command->prepare_volumes->firmware_class = ARENA_MSG(world->arena, firmware_class);
    return command;
}

static void disk_add(World *world, VmSpec *spec, VolumeType type, guint index)
{
    DiskSpec *disk = ARENA_MSG(world->arena, disk_spec);
    disk->type = type;
    disk->index = index;
    ARENA_APPEND(world->arena, spec->n_disks, spec->disks, disk);
}

static void vm_at_its_limit_can_still_start(void **state)
{
    World *world = *state;
    volumes_fill(world, VOLUMES_MAX - 1);
    VolumeCommand *reset = command_new(world, VOLUME_COMMAND__COMMAND_REPLACE_NVRAM);
    reset->replace_nvram->spec = prepare_command(world)->prepare_volumes->spec;
    reset->replace_nvram->firmware_class = ARENA_MSG(world->arena, firmware_class);
    give(world, reset);
    assert_null(told(world, VOLUME_EVENT__EVENT_NVRAM_REPLACED)->nvram_replaced->error);
    assert_int_equal(record(world)->n_volumes, VOLUMES_MAX);
    give(world, prepare_with_store(world));
    /* Nothing has to be added: it is asked of the host. */
    assert_non_null(sent_to(world, HOST_A));
}

/* One place is free, and each kind of volume wants it. */
static void volume_beyond_the_limit_is_refused(void **state)
{
    World *world = *state;
    for (int full = 0; full < 2; full++) {
        for (int kind = 0; kind < 3; kind++) {
            world->state = NULL;
            VolumeCommand *command = prepare_with_store(world);
            VmSpec *spec = command->prepare_volumes->spec;
            if (kind == 0) {
                for (size_t i = 0; i < VOLUMES_MAX - 1u + (size_t)full; i++) {
                    volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_RETAINED);
                }
            } else {
                volumes_fill(world, VOLUMES_MAX - 1u + (size_t)full);
            }
            if (kind == 1) {
                spec->tpm = ARENA_MSG(world->arena, tpm_spec);
            } else if (kind == 2) {
                disk_add(world, spec, VOLUME_TYPE_ROOT, 0);
            }
            give(world, command);
            if (full) {
                expect_not_prepared(world, ERROR_CODE_UNSUPPORTED);
            } else {
                assert_non_null(sent_to(world, HOST_A));
            }
            assert_int_equal(record(world)->n_volumes, VOLUMES_MAX);
        }
    }
}

/* Volumes of the uuid's earlier life are still to be deleted. */
static void life_that_begins_has_epochs_of_its_own(void **state)
{
    World *world = *state;
    volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_DELETING);
    record(world)->epoch = 6;
    record(world)->vm_expunged = TRUE;
    VolumeCommand *command = prepare_command(world);
    disk_add(world, command->prepare_volumes->spec, VOLUME_TYPE_DATA, 0);
    command->prepare_volumes->host_uuid = arena_strdup(world->arena, HOST_B);
    command->epoch = 1;
    give(world, command);
    assert_int_equal(sent_to(world, HOST_B)->epoch, 1);
    /* Within a life they only grow. */
    record(world)->operation = NULL;
    record(world)->epoch = 3;
    give(world, command);
    assert_int_equal(sent_to(world, HOST_B)->epoch, 3);
}

static void host_is_not_asked_for_what_has_expired(void **state)
{
    World *world = *state;
    VolumeCommand *command = prepare_with_store(world);
    command->expires_ms = NOW_MS + 1;
    give(world, command);
    expect_not_prepared(world, ERROR_CODE_TIMEOUT);
    assert_null(world->state);
}

static void nothing_is_prepared_while_all_is_expunged(void **state)
{
    World *world = *state;
    volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_DELETING);
    VolumeOperation *expunge = operation_of(world, VOLUME_OPERATION_KIND_EXPUNGE);
    give(world, prepare_command(world));
    expect_not_prepared(world, ERROR_CODE_VOLUME_BUSY);
    assert_ptr_equal(record(world)->operation, expunge);
}

/* Found by fuzzing: each was a second live store (I2). */
static void disk_is_no_store_and_shares_no_volume(void **state)
{
    World *world = *state;
    for (VolumeType type = VOLUME_TYPE_UNSPECIFIED; type <= VOLUME_TYPE_TPM_STATE; type++) {
        gboolean is_disk = type == VOLUME_TYPE_ROOT || type == VOLUME_TYPE_DATA;
        world->state = NULL;
        VolumeCommand *command = prepare_with_store(world);
        disk_add(world, command->prepare_volumes->spec, type, 0);
        give(world, command);
        if (is_disk) {
            assert_int_equal(sent_to(world, HOST_A)->create_volumes->n_volumes, 2);
            continue;
        }
        expect_not_prepared(world, ERROR_CODE_INVALID_ARGUMENT);
        assert_int_equal(record(world)->n_volumes, 0);
    }
    world->state = NULL;
    VolumeCommand *command = prepare_command(world);
    disk_add(world, command->prepare_volumes->spec, VOLUME_TYPE_DATA, 1);
    disk_add(world, command->prepare_volumes->spec, VOLUME_TYPE_DATA, 1);
    give(world, command);
    expect_not_prepared(world, ERROR_CODE_INVALID_ARGUMENT);
}

static void store_is_not_replaced_while_a_start_is_prepared(void **state)
{
    World *world = *state;
    volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_READY);
    operation_of(world, VOLUME_OPERATION_KIND_PREPARE);
    VolumeCommand *command = command_new(world, VOLUME_COMMAND__COMMAND_REPLACE_NVRAM);
    command->replace_nvram->spec = prepare_command(world)->prepare_volumes->spec;
    command->replace_nvram->firmware_class = ARENA_MSG(world->arena, firmware_class);
    give(world, command);
    assert_int_equal(told(world, VOLUME_EVENT__EVENT_NVRAM_REPLACED)->nvram_replaced->error->code,
                     ERROR_CODE_VOLUME_BUSY);
    assert_int_equal(record(world)->n_volumes, 1);
}

static void disk_is_never_adopted_as_a_store(void **state)
{
    World *world = *state;
    Volume *disk = volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_READY);
    VolumeCommand *command = command_new(world, VOLUME_COMMAND__COMMAND_CHOOSE_VOLUME);
    command->choose_volume->volume_uuid = disk->uuid;
    give(world, command);
    assert_int_equal(told(world, VOLUME_EVENT__EVENT_VOLUME_CHOSEN)->volume_chosen->error->code,
                     ERROR_CODE_VOLUME_NOT_FOUND);
}

static void disk_of_another_image_is_no_answer(void **state)
{
    World *world = *state;
    Volume *root = volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_READY);
    root->format = VOLUME_FORMAT_QCOW2;
    root->image = arena_strdup(world->arena, "old.qcow2");
    root->image_mode = IMAGE_MODE_COPY;
    DiskSpec *disk = ARENA_MSG(world->arena, disk_spec);
    disk->type = VOLUME_TYPE_ROOT;
    disk->image = arena_strdup(world->arena, "old.qcow2");
    VolumeCommand *command = prepare_command(world);
    VmSpec *spec = command->prepare_volumes->spec;
    ARENA_APPEND(world->arena, spec->n_disks, spec->disks, disk);
    give(world, command);
    const VolumeEvent *event = told(world, VOLUME_EVENT__EVENT_VOLUMES_PREPARED);
    assert_null(event->volumes_prepared->error);
    disk->image = arena_strdup(world->arena, "new.qcow2");
    give(world, command);
    expect_not_prepared(world, ERROR_CODE_UNSUPPORTED);
}

/* ---- Reports */

static void only_the_host_that_was_asked_can_have_made_it(void **state)
{
    World *world = *state;
    Volume *volume = volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_CREATING);
    give_report(world, report_of(world, HOST_B, HOST_REPORT__REPORT_VOLUMES_CREATED, volume));
    assert_int_equal(volume->status, VOLUME_STATUS_CREATING);
    give_report(world, report_of(world, HOST_A, HOST_REPORT__REPORT_VOLUMES_CREATED, volume));
    assert_int_equal(volume->status, VOLUME_STATUS_READY);
    assert_true(volume->ever_ready); /* No host will ever make it anew. */
}

static void only_the_host_where_it_lies_can_have_deleted_it(void **state)
{
    World *world = *state;
    Volume *volume = volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_DELETING);
    volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_READY);
    give_report(world, report_of(world, HOST_B, HOST_REPORT__REPORT_VOLUMES_DELETED, volume));
    assert_int_equal(volume->status, VOLUME_STATUS_DELETING);
    give_report(world, report_of(world, HOST_A, HOST_REPORT__REPORT_VOLUMES_DELETED, volume));
    assert_int_equal(volume->status, VOLUME_STATUS_DELETED);
    assert_int_equal(record(world)->n_volumes, 1);
}

static void what_nobody_doomed_is_not_deleted_by_a_report(void **state)
{
    World *world = *state;
    Volume *volume = volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_READY);
    give_report(world, report_of(world, HOST_A, HOST_REPORT__REPORT_VOLUMES_DELETED, volume));
    assert_int_equal(volume->status, VOLUME_STATUS_READY);
    assert_int_equal(record(world)->n_volumes, 1);
}

/* An earlier try may have left what this one did not make. */
static void only_what_was_surely_not_made_may_be_made_elsewhere(void **state)
{
    World *world = *state;
    static const struct {
        gboolean is_fresh;
        gboolean is_not_made;
        VolumeStatus status;
        const char *host_uuid;
    } rows[] = {
        {TRUE, TRUE, VOLUME_STATUS_NOT_INSTANTIATED, ""},
        {TRUE, FALSE, VOLUME_STATUS_CREATING, HOST_A},
        {FALSE, TRUE, VOLUME_STATUS_CREATING, HOST_A},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Volume *volume = volume_on(world, HOST_A, VOLUME_TYPE_ROOT, VOLUME_STATUS_CREATING);
        VolumeOperation *operation = operation_of(world, VOLUME_OPERATION_KIND_PREPARE);
        HostReport *report = report_of(world, HOST_A, HOST_REPORT__REPORT_VOLUMES_CREATED, volume);
        VolumesCreated *created = report->volumes_created;
        if (rows[i].is_fresh) {
            ARENA_APPEND(world->arena, operation->n_fresh, operation->fresh, volume->uuid);
        }
        if (rows[i].is_not_made) {
            ARENA_APPEND(world->arena, created->n_not_made, created->not_made, volume->uuid);
        }
        report->error = error_make(world->arena, ERROR_CODE_STORAGE_IO, "it broke");
        created->results[0]->error = report->error;
        give_report(world, report);
        expect_not_prepared(world, ERROR_CODE_STORAGE_IO);
        assert_int_equal(volume->status, rows[i].status);
        assert_string_equal(volume->host_uuid, rows[i].host_uuid);
        record(world)->n_volumes = 0;
    }
}

/* The volume counts as made all the same. */
static void firmware_beyond_the_limit_is_not_kept(void **state)
{
    World *world = *state;
    for (int beyond = 0; beyond < 2; beyond++) {
        Volume *volume = volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_CREATING);
        HostReport *report = report_of(world, HOST_A, HOST_REPORT__REPORT_VOLUMES_CREATED, volume);
        FirmwareRef *firmware = ARENA_MSG(world->arena, firmware_ref);
        enum { OTHER_BYTES = 3 }; /* The field's number and its length. */
        size_t n_bytes = (size_t)(FIRMWARE_MAX_BYTES - OTHER_BYTES + beyond);
        firmware->code_path = arena_printf(world->arena, "%0*d", (int)n_bytes, 0);
        assert_int_equal(firmware_ref__get_packed_size(firmware), FIRMWARE_MAX_BYTES + beyond);
        report->volumes_created->results[0]->volume->firmware = firmware;
        give_report(world, report);
        assert_int_equal(volume->status, VOLUME_STATUS_READY);
        assert_int_equal(volume->firmware == NULL, beyond);
    }
}

/* ---- Deadlines */

static void each_retention_ends_at_its_own_time(void **state)
{
    World *world = *state;
    Volume *due = volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_RETAINED);
    Volume *kept = volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_RETAINED);
    due->next_ms = NOW_MS;
    kept->next_ms = NOW_MS + 1;
    world->state->deadline_id = arena_strdup(world->arena, "this");
    give_deadline(world, "another"); /* Of a state before this one. */
    assert_int_equal(world->outputs->len, 0);
    assert_int_equal(due->status, VOLUME_STATUS_RETAINED);
    assert_int_equal(world->state->deadline_ms, NOW_MS);
    give_deadline(world, world->state->deadline_id);
    assert_int_equal(due->status, VOLUME_STATUS_DELETING);
    assert_int_equal(kept->status, VOLUME_STATUS_RETAINED);
    assert_int_equal(sent_to(world, HOST_A)->delete_volumes->n_volumes, 1);
}

static void each_host_deletes_what_lies_on_it(void **state)
{
    World *world = *state;
    Volume *here = volume_on(world, HOST_A, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_DELETING);
    Volume *there = volume_on(world, HOST_B, VOLUME_TYPE_NV_RAM, VOLUME_STATUS_DELETING);
    here->next_ms = there->next_ms = NOW_MS;
    world->state->deadline_ms = NOW_MS;
    world->state->deadline_id = arena_strdup(world->arena, "retry");
    give_deadline(world, "retry");
    const DeleteVolumes *on_a = sent_to(world, HOST_A)->delete_volumes;
    const DeleteVolumes *on_b = sent_to(world, HOST_B)->delete_volumes;
    assert_int_equal(on_a->n_volumes, 1);
    assert_string_equal(on_a->volumes[0]->uuid, here->uuid);
    assert_int_equal(on_b->n_volumes, 1);
    assert_string_equal(on_b->volumes[0]->uuid, there->uuid);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands_for_a_vm_without_volumes_are_answered),
        TEST(vm_at_its_limit_can_still_start),
        TEST(volume_beyond_the_limit_is_refused),
        TEST(firmware_beyond_the_limit_is_not_kept),
        TEST(life_that_begins_has_epochs_of_its_own),
        TEST(host_is_not_asked_for_what_has_expired),
        TEST(nothing_is_prepared_while_all_is_expunged),
        TEST(disk_is_no_store_and_shares_no_volume),
        TEST(store_is_not_replaced_while_a_start_is_prepared),
        TEST(disk_is_never_adopted_as_a_store),
        TEST(disk_of_another_image_is_no_answer),
        TEST(only_the_host_that_was_asked_can_have_made_it),
        TEST(only_the_host_where_it_lies_can_have_deleted_it),
        TEST(what_nobody_doomed_is_not_deleted_by_a_report),
        TEST(only_what_was_surely_not_made_may_be_made_elsewhere),
        TEST(each_retention_ends_at_its_own_time),
        TEST(each_host_deletes_what_lies_on_it),
    };
    return cmocka_run_group_tests_name("volume_core", tests, NULL, NULL);
}
