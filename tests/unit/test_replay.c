/* Replay: a day of the echo service is recorded; then the recording is changed in one place, and
 * what is found must name that place. What replay takes as equal is shown by test_bus_loop, which
 * replays every one of its tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base/message.h"
#include "common/base/uuid.h"
#include "common/bus/replay.h"
#include "common/bus/step_loop.h"
#include "common/runtime/log.h"
#include "tests/lib/bus_memory.h"
#include "tests/lib/echo_service.h"
#include "tests/lib/memory_recording.h"

#define HOST   "aaaaaaaa-0000-4000-8000-000000000001"
#define NOBODY "bbbbbbbb-0000-4000-8000-000000000002"

enum { PARTITIONS = 2, N_VMS = 3, NOW_MS = 1000000 };

typedef struct {
    VbMemoryBus *memory;
    VbLoop *loop;
    VbArena *arena;
    Settings settings;
    const char *vms[N_VMS]; /* All of partition 1. */
    int next_request;
    VbService service; /* That replays. */
    VbRecording *recording;
    VbReplayResult *result;
    GString *story;
} World;

/* ---- The day */

static void send(World *world, const char *vm, VmCommand__CommandCase which, const char *host,
                 gint64 timeout_ms)
{
    VmCommand *command = ARENA_MSG(world->arena, vm_command);
    command->vm_uuid = (char *)vm;
    command->request_id =
        arena_printf(world->arena, "11111111-0000-4000-8000-%012x", ++world->next_request);
    command->timeout_ms = timeout_ms;
    command->command_case = which;
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&vm_command__descriptor, which);
    command->create_vm = (void *)arena_message(world->arena, field->descriptor);
    if (host != NULL) {
        command->start_vm->host_uuid = (char *)host;
    }
    g_autoptr(GBytes) packed = message_pack(command);
    VbBusMessage message = {.topic = TOPIC_VM_COMMANDS,
                            .partition = 1,
                            .key = vm,
                            .key_bytes = strlen(vm),
                            .value = g_bytes_get_data(packed, NULL),
                            .value_bytes = g_bytes_get_size(packed)};
    memory_bus_append(world->memory, &message);
}

static void garbage(World *world, const char *key, int partition)
{
    VbBusMessage message = {.topic = TOPIC_VM_COMMANDS,
                            .partition = partition,
                            .key = key,
                            .key_bytes = strlen(key),
                            .value = "\xff",
                            .value_bytes = 1};
    memory_bus_append(world->memory, &message);
}

static void settle(World *world)
{
    const VbMemoryCounts *counts = memory_bus_counts(world->memory);
    for (int idle = 0; idle < 3; idle++) {
        guint before = counts->commits + counts->aborts;
        g_autoptr(GError) error = NULL;
        assert_true(loop_turn(world->loop, 0, &error));
        idle = counts->commits + counts->aborts != before ? -1 : idle;
    }
}

/* Commands, an aborted transaction, a deadline, hosts that are and are not there, poison, dead
 * letters, a moved record, a doubled one, and a VM that goes. */
static void live(World *world)
{
    for (int i = 0; i < N_VMS; i++) {
        send(world, world->vms[i], VM_COMMAND__COMMAND_CREATE_VM, NULL, 0);
    }
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 50);
    memory_bus_fail(world->memory, "commit", 2, BUS_ERROR_ABORT);
    send(world, world->vms[0], VM_COMMAND__COMMAND_START_VM, HOST, 0);
    send(world, world->vms[1], VM_COMMAND__COMMAND_START_VM, NOBODY, 0);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 70);
    send(world, world->vms[0], VM_COMMAND__COMMAND_GET_VM, NULL, 0);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 100);
    send(world, world->vms[0], VM_COMMAND__COMMAND_STOP_VM, NULL, 500);
    garbage(world, world->vms[2], 1);
    garbage(world, "no VM", 0);
    garbage(world, world->vms[2], 0);
    send(world, world->vms[2], VM_COMMAND__COMMAND_DESTROY_VM, NULL, 0);
    send(world, world->vms[2], VM_COMMAND__COMMAND_GET_VM, NULL, 0);
    world->next_request--;
    send(world, world->vms[2], VM_COMMAND__COMMAND_GET_VM, NULL, 0);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 600);
    settle(world);
    send(world, world->vms[1], VM_COMMAND__COMMAND_EXPUNGE_VM, NULL, 0);
    send(world, world->vms[0], VM_COMMAND__COMMAND_START_VM, HOST, 0);
    settle(world);
}

static int set_up(void **state)
{
    static const char *const hosts[] = {HOST, NULL};
    World *world = g_new0(World, 1);
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    world->arena = arena_new();
    world->service = echo_service;
    world->story = g_string_new(NULL);
    world->memory = memory_bus_new(&echo_service, PARTITIONS);
    memory_bus_set_now(world->memory, NOW_MS);
    memory_bus_add_host(world->memory, HOST);
    settings__init(&world->settings);
    world->settings.start_timeout_ms = 60000;
    for (int i = 0, n = 0; n < N_VMS; i++) {
        char *uuid = arena_printf(world->arena, "00000000-0000-4000-8000-%012x", i + 1);
        if (topic_partition(uuid, UUID_TEXT_BYTES - 1, PARTITIONS) == 1) {
            world->vms[n++] = uuid;
        }
    }
    VbLoopConfig config = {.service = &echo_service,
                           .settings = &world->settings,
                           .prefix = "test",
                           .group_id = "test.echo-service",
                           .instance_id = "i1",
                           .n_partitions = PARTITIONS};
    world->loop = loop_new(memory_bus(world->memory), &config);
    for (int i = 0; i < PARTITIONS; i++) {
        memory_bus_gain(world->memory, i);
    }
    live(world);
    world->recording = memory_recording(world->memory, "test", PARTITIONS, hosts);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    World *world = *state;
    replay_result_free(world->result);
    recording_free(world->recording);
    loop_free(world->loop);
    memory_bus_free(world->memory);
    g_string_free(world->story, TRUE);
    arena_free(world->arena);
    g_free(world);
    return 0;
}

/* ---- Replaying, and changing what is replayed */

static void tell(const VbReplayVisit *visit, void *user)
{
    World *world = user;
    g_string_append_printf(world->story, "%s%s%s>%zu;", visit->before != NULL ? "+" : "-",
                           visit->record != NULL    ? topic_info(visit->record->topic)->suffix
                           : visit->runtime != NULL ? "runtime"
                                                    : "?",
                           visit->after != NULL ? "+" : "-", visit->n_outputs);
}

static const VbReplayResult *replay_of(World *world, const char *vm_uuid, gint64 until_ms)
{
    const VbService *services[] = {&world->service};
    VbReplayConfig config = {.services = services,
                             .n_services = 1,
                             .vm_uuid = vm_uuid,
                             .until_ms = until_ms,
                             .visit = tell,
                             .user = world};
    replay_result_free(world->result);
    world->result = replay_run(world->recording, &config);
    return world->result;
}

static const VbReplayResult *replay(World *world)
{
    return replay_of(world, NULL, G_MAXINT64);
}

static GPtrArray *records_of(World *world, VbTopic topic, const char *host, int partition)
{
    const VbRecordedLog *log = recording_log(world->recording, topic, host, partition);
    assert_non_null(log);
    return log->records;
}

/* In place of the record: the same with another value. */
static void value_set(GPtrArray *records, guint index, const void *message)
{
    g_autoptr(GBytes) packed = message_pack(message);
    const VbBusRecord *record = g_ptr_array_index(records, index);
    VbBusRecord changed = *record;
    changed.value = g_bytes_get_data(packed, NULL);
    changed.value_bytes = g_bytes_get_size(packed);
    VbBusRecord *copy = bus_record_copy(&changed);
    bus_record_free(g_ptr_array_index(records, index));
    records->pdata[index] = copy;
}

static void *message_of(World *world, const GPtrArray *records, guint index)
{
    const VbBusRecord *record = g_ptr_array_index(records, index);
    void *message = protobuf_c_message_unpack(topic_info(record->topic)->message,
                                              arena_allocator(world->arena, SIZE_MAX),
                                              record->value_bytes, record->value);
    assert_non_null(message);
    return message;
}

static void differences_print(const VbReplayResult *result)
{
    for (guint i = 0; i < result->differences->len; i++) {
        const VbReplayDifference *difference = g_ptr_array_index(result->differences, i);
        print_error("%s, %s, %s: recorded %s, replayed %s\n", difference->place, difference->step,
                    difference->path, difference->recorded, difference->replayed);
    }
}

static void assert_equal(const VbReplayResult *result)
{
    if (result->n_differences + result->n_logic_differences > 0) {
        differences_print(result);
        fail_msg("there are differences");
    }
}

static const VbReplayDifference *only_difference(const VbReplayResult *result)
{
    if (result->n_differences + result->n_logic_differences != 1) {
        differences_print(result);
        fail_msg("there is not one difference");
    }
    return g_ptr_array_index(result->differences, 0);
}

static gboolean is_found(const VbReplayResult *result, const char *place)
{
    for (guint i = 0; i < result->differences->len; i++) {
        const VbReplayDifference *difference = g_ptr_array_index(result->differences, i);
        if (strcmp(difference->place, place) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* ---- Tests */

static void test_the_day_is_the_same_again(void **state)
{
    World *world = *state;
    const VbReplayResult *result = replay(world);
    assert_equal(result);
    assert_int_equal(result->n_vms, N_VMS);
    assert_int_equal(result->n_steps_unknown, 0);
    assert_int_equal(result->n_unconsumed, 0);
    assert_int_equal(result->n_beyond + result->n_before + result->n_states_compacted, 0);
    /* Everything that the service wrote was compared. */
    guint states = 0;
    guint outputs = records_of(world, TOPIC_HOST_COMMANDS, HOST, 0)->len +
                    records_of(world, TOPIC_DLQ, NULL, 0)->len + 1; /* The moved one. */
    for (int i = 0; i < PARTITIONS; i++) {
        states += records_of(world, TOPIC_VM_STATE, NULL, i)->len;
        outputs += records_of(world, TOPIC_VM_EVENTS, NULL, i)->len;
    }
    assert_int_equal(result->n_states, states);
    assert_int_equal(result->n_outputs, outputs);
    assert_non_null(strstr(world->story->str, "+runtime+>1;"));
    assert_non_null(strstr(world->story->str, "-vm.commands+>1;"));
    assert_non_null(strstr(world->story->str, "+vm.commands->1;"));
}

static void test_changed_output_is_found_by_its_field(void **state)
{
    World *world = *state;
    GPtrArray *events = records_of(world, TOPIC_VM_EVENTS, NULL, 1);
    VmEvent *event = message_of(world, events, 4);
    event->version += 7;
    value_set(events, 4, event);
    const VbReplayDifference *difference = only_difference(replay(world));
    assert_string_equal(difference->place, "vm.events/1@4");
    assert_string_equal(difference->path, "version");
    assert_true(g_str_has_prefix(difference->step, "vm.journal/1@"));
    assert_string_equal(difference->vm_uuid, event->vm_uuid);
}

static void test_changed_header_is_found(void **state)
{
    World *world = *state;
    GPtrArray *events = records_of(world, TOPIC_VM_EVENTS, NULL, 1);
    VbBusRecord *event = g_ptr_array_index(events, 2);
    char *time = (char *)bus_record_header(event, "ce_time")->value;
    time[0] = '3';
    assert_string_equal(only_difference(replay(world))->path, "header ce_time");
    time[0] = '1';
    ((char *)event->headers[0].name)[0] = 'x';
    assert_string_equal(only_difference(replay(world))->path, "header xe_specversion");
}

static void test_missing_and_doubled_outputs_are_found(void **state)
{
    World *world = *state;
    GPtrArray *commands = records_of(world, TOPIC_HOST_COMMANDS, HOST, 0);
    VbBusRecord *copy = bus_record_copy(g_ptr_array_index(commands, 0));
    g_ptr_array_remove_index(commands, 0);
    const VbReplayDifference *difference = only_difference(replay(world));
    assert_null(difference->recorded);
    assert_non_null(difference->replayed);
    g_ptr_array_insert(commands, 0, copy);
    copy = bus_record_copy(copy);
    copy->offset = 17;
    g_ptr_array_add(commands, copy);
    difference = only_difference(replay(world));
    assert_string_equal(difference->place, "host." HOST ".commands/0@17");
    assert_null(difference->replayed);
}

static void test_swapped_outputs_are_found(void **state)
{
    World *world = *state;
    GPtrArray *events = records_of(world, TOPIC_VM_EVENTS, NULL, 1);
    VbBusRecord *first = g_ptr_array_index(events, 0);
    VbBusRecord *second = g_ptr_array_index(events, 1);
    first->offset = 1;
    second->offset = 0;
    events->pdata[0] = second;
    events->pdata[1] = first;
    assert_string_equal(only_difference(replay(world))->path, "order");
}

static void test_changed_state_is_found_and_the_vm_goes_on_from_it(void **state)
{
    World *world = *state;
    GPtrArray *states = records_of(world, TOPIC_VM_STATE, NULL, 1);
    StateRecord *record = message_of(world, states, 0);
    record->vm->epoch += 100;
    value_set(states, 0, record);
    const VbReplayResult *result = replay(world);
    const VbReplayDifference *difference = g_ptr_array_index(result->differences, 0);
    assert_string_equal(difference->place, "vm.state/1@0");
    assert_string_equal(difference->path, "vm.epoch");
    /* The next step of that VM is made from what was recorded, so it differs as well. */
    assert_true(result->n_differences > 1);
}

static void test_last_state_must_be_there(void **state)
{
    World *world = *state;
    GPtrArray *states = records_of(world, TOPIC_VM_STATE, NULL, 1);
    g_ptr_array_remove_index(states, states->len - 1);
    assert_null(only_difference(replay(world))->recorded);
}

static void test_compacted_states_are_no_difference(void **state)
{
    World *world = *state;
    GPtrArray *states = records_of(world, TOPIC_VM_STATE, NULL, 1);
    g_ptr_array_remove_range(states, 0, N_VMS); /* All first ones. */
    const VbReplayResult *result = replay(world);
    assert_equal(result);
    assert_int_equal(result->n_states_compacted, N_VMS);
}

static void test_missing_journal_is_found(void **state)
{
    World *world = *state;
    GPtrArray *journals = records_of(world, TOPIC_VM_JOURNAL, NULL, 1);
    assert_true(journals->len > 3);
    g_ptr_array_remove_index(journals, 1);
    const VbReplayResult *result = replay(world);
    assert_true(is_found(result, "vm.commands/1/3"));
    assert_true(is_found(result, "vm.commands/1/4"));
}

static void test_missing_last_journal_is_found_by_what_it_wrote(void **state)
{
    World *world = *state;
    GPtrArray *journals = records_of(world, TOPIC_VM_JOURNAL, NULL, 1);
    GPtrArray *events = records_of(world, TOPIC_VM_EVENTS, NULL, 1);
    g_ptr_array_remove_index(journals, journals->len - 1);
    const VbReplayResult *result = replay(world);
    const VbBusRecord *last = g_ptr_array_index(events, events->len - 1);
    g_autofree char *place = g_strdup_printf("vm.events/1@%" G_GINT64_FORMAT, last->offset);
    assert_true(is_found(result, place));
    assert_int_equal(result->n_unconsumed, 2);
}

static void test_input_taken_twice_is_found(void **state)
{
    World *world = *state;
    GPtrArray *journals = records_of(world, TOPIC_VM_JOURNAL, NULL, 1);
    Journal *journal = message_of(world, journals, 0);
    ARENA_APPEND(world->arena, journal->n_steps, journal->steps, journal->steps[0]);
    value_set(journals, 0, journal);
    assert_true(is_found(replay(world), "vm.commands/1/0"));
}

static void test_missing_input_is_found(void **state)
{
    World *world = *state;
    g_ptr_array_remove_index(records_of(world, TOPIC_VM_COMMANDS, NULL, 1), 1);
    assert_true(is_found(replay(world), "vm.commands/1/1"));
}

static void test_journal_that_is_none_is_found(void **state)
{
    World *world = *state;
    GPtrArray *journals = records_of(world, TOPIC_VM_JOURNAL, NULL, 1);
    Journal empty = JOURNAL__INIT;
    value_set(journals, 0, &empty);
    assert_true(replay(world)->n_differences > 0);
}

/* A sum of what it says must not overflow in a core. */
static void test_journal_of_impossible_times_is_found(void **state)
{
    World *world = *state;
    GPtrArray *journals = records_of(world, TOPIC_VM_JOURNAL, NULL, 1);
    Journal *journal = message_of(world, journals, 0);
    gint64 *times[] = {&journal->settings->start_timeout_ms, &journal->settings->expunged_keep_ms,
                       &journal->steps[0]->time_ms};
    static const gint64 wrong[] = {G_MAXINT64, -1};
    for (size_t i = 0; i < G_N_ELEMENTS(times) * G_N_ELEMENTS(wrong); i++) {
        gint64 *time_ms = times[i / G_N_ELEMENTS(wrong)];
        gint64 right_ms = *time_ms;
        *time_ms = wrong[i % G_N_ELEMENTS(wrong)];
        value_set(journals, 0, journal);
        assert_true(is_found(replay(world), ""));
        *time_ms = right_ms;
    }
    value_set(journals, 0, journal);
    assert_equal(replay(world));
}

/* As after fourteen days: journals, inputs and outputs have lost their oldest records. */
static void forget_before(World *world, VbTopic topic, guint n)
{
    const VbRecordedLog *log = recording_log(world->recording, topic, NULL, 1);
    g_ptr_array_remove_range(log->records, 0, n);
    const VbBusRecord *first = g_ptr_array_index(log->records, 0);
    ((RecordedSource *)log->source)->begin = first->offset;
}

static void test_vm_begins_where_its_state_is_certain(void **state)
{
    World *world = *state;
    forget_before(world, TOPIC_VM_JOURNAL, 1);
    forget_before(world, TOPIC_VM_COMMANDS, N_VMS);
    forget_before(world, TOPIC_VM_EVENTS, N_VMS);
    /* The states of all are those of version 1, from before the first journal that is left. */
    const VbReplayResult *result = replay(world);
    assert_equal(result);
    assert_int_equal(result->n_steps_unknown, 0);
    assert_true(result->n_steps > 0);
}

static void test_unknown_beginning_is_counted(void **state)
{
    World *world = *state;
    GPtrArray *states = records_of(world, TOPIC_VM_STATE, NULL, 1);
    forget_before(world, TOPIC_VM_JOURNAL, 1);
    forget_before(world, TOPIC_VM_COMMANDS, N_VMS);
    forget_before(world, TOPIC_VM_EVENTS, N_VMS);
    g_ptr_array_remove_range(states, 0, N_VMS);
    const VbReplayResult *result = replay(world);
    assert_equal(result);
    assert_true(result->n_vms_unknown > 0);
    assert_true(result->n_steps_unknown > 0);
    assert_true(result->n_steps > 0); /* From the states that the first steps made. */
}

static void test_one_vm_alone(void **state)
{
    World *world = *state;
    const VbReplayResult *result = replay_of(world, world->vms[0], G_MAXINT64);
    assert_equal(result);
    assert_int_equal(result->n_vms, 1);
    assert_int_equal(result->n_steps, 6); /* create, start, get, stop, the deadline, start */
}

static void test_until(void **state)
{
    World *world = *state;
    const VbReplayResult *result = replay_of(world, NULL, NOW_MS + 200);
    assert_equal(result);
    assert_null(strstr(world->story->str, "+runtime+>1;"));
}

static VbStepResult changed_step(VbStep *step)
{
    VbStepResult result = echo_service.step(step);
    const VmCommand *command = (const VmCommand *)step->input->record;
    if (step->input->topic == TOPIC_VM_COMMANDS && command != NULL && step->state != NULL &&
        command->command_case == VM_COMMAND__COMMAND_START_VM) {
        step->state->vm->epoch += 1000;
    }
    return result;
}

static void test_another_logic_is_told_as_such(void **state)
{
    World *world = *state;
    world->service.logic_version = 2;
    const VbReplayResult *result = replay(world);
    assert_equal(result);
    const VbReplayLogic *logic = &g_array_index(result->logic, VbReplayLogic, 0);
    assert_int_equal(logic->recorded_version, 1);
    assert_int_equal(logic->n_different, 0);

    guint64 n_steps = result->n_steps;
    world->service.step = changed_step;
    result = replay(world);
    assert_int_equal(result->n_differences, 0);
    assert_true(result->n_logic_differences > 0);
    logic = &g_array_index(result->logic, VbReplayLogic, 0);
    assert_int_equal(logic->n_steps, n_steps);
    assert_true(logic->n_different > 0 && logic->n_different < logic->n_steps);

    world->service.logic_version = 1;
    assert_true(replay(world)->n_differences > 0);
}

static VbStepResult curious_step(VbStep *step)
{
    VbStepResult result = echo_service.step(step);
    const VmCommand *command = (const VmCommand *)step->input->record;
    if (step->input->topic == TOPIC_VM_COMMANDS && command != NULL && step->state != NULL &&
        command->command_case == VM_COMMAND__COMMAND_GET_VM) {
        step->state->vm->epoch += 1000;
    }
    return result;
}

/* It changed nothing then, so the steps behind it are made from what was. */
static void test_states_of_another_logic_are_taken_back(void **state)
{
    World *world = *state;
    world->service.logic_version = 2;
    world->service.step = curious_step;
    const VbReplayResult *result = replay(world);
    assert_int_equal(result->n_differences, 0);
    const VbReplayLogic *logic = &g_array_index(result->logic, VbReplayLogic, 0);
    /* One VM's question alone; the other's two, in one transaction with its poison. */
    assert_int_equal(logic->n_different, 1 + 3);
}

static VbStepResult silent_step(VbStep *step)
{
    VbStepResult result = echo_service.step(step);
    if (step->input->topic == TOPIC_VM_COMMANDS && step->input->record != NULL) {
        g_array_set_size(step->outputs, 0);
    }
    return result;
}

/* What another logic did not make is found where it was made, not at the end. */
static void test_outputs_of_another_logic_are_its_own(void **state)
{
    World *world = *state;
    world->service.logic_version = 2;
    world->service.step = silent_step;
    const VbReplayResult *result = replay(world);
    if (result->n_differences > 0) {
        differences_print(result);
        fail_msg("a difference is not told as another logic's");
    }
    assert_true(result->n_logic_differences > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_the_day_is_the_same_again),
        TEST(test_changed_output_is_found_by_its_field),
        TEST(test_changed_header_is_found),
        TEST(test_missing_and_doubled_outputs_are_found),
        TEST(test_swapped_outputs_are_found),
        TEST(test_changed_state_is_found_and_the_vm_goes_on_from_it),
        TEST(test_last_state_must_be_there),
        TEST(test_compacted_states_are_no_difference),
        TEST(test_missing_journal_is_found),
        TEST(test_missing_last_journal_is_found_by_what_it_wrote),
        TEST(test_input_taken_twice_is_found),
        TEST(test_missing_input_is_found),
        TEST(test_journal_that_is_none_is_found),
        TEST(test_journal_of_impossible_times_is_found),
        TEST(test_vm_begins_where_its_state_is_certain),
        TEST(test_unknown_beginning_is_counted),
        TEST(test_one_vm_alone),
        TEST(test_until),
        TEST(test_another_logic_is_told_as_such),
        TEST(test_states_of_another_logic_are_taken_back),
        TEST(test_outputs_of_another_logic_are_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
