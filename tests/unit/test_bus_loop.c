/* test_bus_loop: the step loop over a bus in memory, with a service that does as it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base/message.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/bus/replay.h"
#include "common/bus/step_loop.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "tests/lib/bus_memory.h"
#include "tests/lib/echo_service.h"
#include "tests/lib/memory_recording.h"

enum { PARTITIONS = 4, NOW_MS = 1000000 };

#define HOST_A "aaaaaaaa-0000-4000-8000-000000000001"
#define HOST_B "bbbbbbbb-0000-4000-8000-000000000002"
#define HOST_C "cccccccc-0000-4000-8000-000000000003"

typedef struct {
    VbMemoryBus *memory;
    VbLoop *loop;
    VbArena *arena;
    Settings settings;
    VbLoopConfig config;
    int next_request;
    gboolean is_not_replayed; /* Not all that the topics hold was made by steps. */
} World;

/* ---- The world */

static void loop_start(World *world)
{
    world->loop = loop_new(memory_bus(world->memory), &world->config);
    for (int i = 0; i < PARTITIONS; i++) {
        memory_bus_gain(world->memory, i);
    }
}

static int set_up(void **state)
{
    World *world = g_new0(World, 1);
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    world->memory = memory_bus_new(&echo_service, PARTITIONS);
    memory_bus_set_now(world->memory, NOW_MS);
    memory_bus_add_host(world->memory, HOST_A);
    memory_bus_add_host(world->memory, HOST_B);
    memory_bus_add_host(world->memory, HOST_C);
    world->arena = arena_new();
    settings__init(&world->settings);
    world->settings.start_timeout_ms = 60000;
    world->config = (VbLoopConfig){.service = &echo_service,
                                   .settings = &world->settings,
                                   .prefix = "test",
                                   .group_id = "test.echo-service",
                                   .instance_id = "i1",
                                   .n_partitions = PARTITIONS};
    loop_start(world);
    *state = world;
    return 0;
}

/* I7: whatever a test did, its topics say how to do it again. A test that wrote states by hand or
 * consumed twice says so. */
static void replay(World *world)
{
    static const VbService *const services[] = {&echo_service};
    static const char *const hosts[] = {HOST_A, HOST_B, HOST_C, NULL};
    g_autoptr(VbRecording) recording = memory_recording(world->memory, "test", PARTITIONS, hosts);
    VbReplayConfig config = {.services = services, .n_services = 1, .until_ms = G_MAXINT64};
    g_autoptr(VbReplayResult) result = replay_run(recording, &config);
    for (guint i = 0; i < result->differences->len; i++) {
        const VbReplayDifference *difference = g_ptr_array_index(result->differences, i);
        print_error("replay: %s, step %s, VM %s, %s: recorded %s, replayed %s\n", difference->place,
                    difference->step, difference->vm_uuid, difference->path, difference->recorded,
                    difference->replayed);
    }
    assert_int_equal(result->n_differences, 0);
    assert_int_equal(result->n_logic_differences, 0);
    assert_int_equal(result->n_steps_unknown, 0);
}

static int tear_down(void **state)
{
    World *world = *state;
    if (!world->is_not_replayed) {
        replay(world);
    }
    loop_free(world->loop);
    memory_bus_free(world->memory);
    arena_free(world->arena);
    g_free(world);
    return 0;
}

/* A process that starts anew and knows only what the topics say. */
static void restart(World *world)
{
    loop_free(world->loop);
    loop_start(world);
}

static void settle(World *world)
{
    const VbMemoryCounts *counts = memory_bus_counts(world->memory);
    for (int idle = 0; idle < 3; idle++) {
        guint before = counts->commits + counts->aborts;
        g_autoptr(GError) error = NULL;
        if (!loop_turn(world->loop, 0, &error)) {
            fail_msg("the loop ended: %s", error->message);
        }
        idle = counts->commits + counts->aborts != before ? -1 : idle;
    }
}

/* The n-th VM whose records belong into that partition. */
static const char *vm_in(World *world, int partition, int n)
{
    for (int i = 1;; i++) {
        char *uuid = arena_printf(world->arena, "00000000-0000-4000-8000-%012x", i);
        if (topic_partition(uuid, 36, PARTITIONS) == partition && n-- == 0) {
            return uuid;
        }
    }
}

static VmCommand *command_new(World *world, const char *vm, VmCommand__CommandCase which)
{
    VmCommand *command = ARENA_MSG(world->arena, vm_command);
    command->vm_uuid = (char *)vm;
    command->request_id =
        arena_printf(world->arena, "11111111-0000-4000-8000-%012x", ++world->next_request);
    command->command_case = which;
    /* Every command of the oneof is a message; an empty one of the right kind will do. */
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&vm_command__descriptor, which);
    command->create_vm = (void *)arena_message(world->arena, field->descriptor);
    return command;
}

static gint64 append(World *world, VbTopic topic, int partition, const char *key, const void *value,
                     size_t value_bytes)
{
    VbBusMessage message = {.topic = topic,
                            .partition = partition,
                            .key = key,
                            .key_bytes = key != NULL ? strlen(key) : 0,
                            .value = value,
                            .value_bytes = value_bytes};
    return memory_bus_append(world->memory, &message);
}

static gint64 send_message(World *world, VbTopic topic, const char *vm, const void *message)
{
    g_autoptr(GBytes) packed = message_pack(message);
    return append(world, topic, topic_partition(vm, 36, PARTITIONS), vm,
                  g_bytes_get_data(packed, NULL), g_bytes_get_size(packed));
}

static const char *send(World *world, const char *vm, VmCommand__CommandCase which)
{
    VmCommand *command = command_new(world, vm, which);
    send_message(world, TOPIC_VM_COMMANDS, vm, command);
    return command->request_id;
}

static const char *send_create(World *world, const char *vm)
{
    return send(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
}

static const char *send_start(World *world, const char *vm, const char *host)
{
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_START_VM);
    command->start_vm->host_uuid = (char *)host;
    send_message(world, TOPIC_VM_COMMANDS, vm, command);
    return command->request_id;
}

static const char *send_stop(World *world, const char *vm, gint64 timeout_ms)
{
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_STOP_VM);
    command->timeout_ms = timeout_ms;
    send_message(world, TOPIC_VM_COMMANDS, vm, command);
    return command->request_id;
}

/* ---- What the topics hold */

static const GPtrArray *log_of(World *world, VbTopic topic, int partition)
{
    return memory_bus_log(world->memory, topic, NULL, partition);
}

static void *message_at(World *world, VbTopic topic, int partition, guint index)
{
    const GPtrArray *log = log_of(world, topic, partition);
    assert_true(index < log->len);
    const VbBusRecord *record = g_ptr_array_index(log, index);
    void *message = protobuf_c_message_unpack(topic_info(topic)->message,
                                              arena_allocator(world->arena, SIZE_MAX),
                                              record->value_bytes, record->value);
    assert_non_null(message);
    return message;
}

static void *message_last(World *world, VbTopic topic, int partition)
{
    const GPtrArray *log = log_of(world, topic, partition);
    assert_true(log->len > 0);
    return message_at(world, topic, partition, log->len - 1);
}

static const char *header_text(World *world, const VbBusRecord *record, const char *name)
{
    const VbBusHeader *header = bus_record_header(record, name);
    if (header == NULL) {
        return NULL;
    }
    char *text = arena_alloc(world->arena, header->size_bytes + 1);
    memcpy(text, header->value, header->size_bytes);
    return text;
}

static const VbBusRecord *dlq_last(World *world)
{
    const GPtrArray *log = log_of(world, TOPIC_DLQ, 0);
    assert_true(log->len > 0);
    return g_ptr_array_index(log, log->len - 1);
}

static void expect_dlq(World *world, guint n, const char *stage, const char *code)
{
    assert_int_equal(log_of(world, TOPIC_DLQ, 0)->len, n);
    const VbBusRecord *record = dlq_last(world);
    assert_string_equal(header_text(world, record, "__connect.errors.stage"), stage);
    assert_string_equal(header_text(world, record, "__connect.errors.exception.class.name"), code);
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

/* The whole table as text. */
static char *table_text(World *world)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    loop_each_state(world->loop, each_state, lines);
    g_ptr_array_sort(lines, compare_text);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}

static void log_print(GString *text, const GPtrArray *log, gboolean with_time)
{
    for (guint i = 0; i < log->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(log, i);
        g_autofree char *value = g_base64_encode(record->value, record->value_bytes);
        g_string_append_printf(text, "%d.%d@%d %.*s=%s", record->topic, record->partition,
                               (int)record->offset, (int)record->key_bytes,
                               (const char *)record->key, value);
        for (size_t h = 0; h < record->n_headers; h++) {
            g_string_append_printf(text, " %s:%.*s", record->headers[h].name,
                                   (int)record->headers[h].size_bytes,
                                   (const char *)record->headers[h].value);
        }
        g_string_append_printf(text, with_time ? " %d\n" : "\n", (int)record->time_ms);
    }
}

/* All that the service wrote, as text. */
static char *outputs_text(World *world)
{
    static const VbTopic topics[] = {TOPIC_VM_EVENTS, TOPIC_VM_STATE, TOPIC_VM_JOURNAL, TOPIC_DLQ};
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(topics); i++) {
        for (int partition = 0; partition < PARTITIONS; partition++) {
            log_print(text, log_of(world, topics[i], partition), FALSE);
        }
    }
    log_print(text, memory_bus_log(world->memory, TOPIC_HOST_COMMANDS, HOST_A, 0), FALSE);
    return g_string_free(text, FALSE);
}

/* ---- Steps */

static void test_one_command(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 2, 0);
    const char *request = send_create(world, vm);
    settle(world);

    VmEvent *event = message_last(world, TOPIC_VM_EVENTS, 2);
    assert_string_equal(event->vm_uuid, vm);
    assert_string_equal(event->reply->request_id, request);
    assert_int_equal(event->version, 1);
    const VbBusRecord *record = g_ptr_array_index(log_of(world, TOPIC_VM_EVENTS, 2), 0);
    assert_string_equal(header_text(world, record, "ce_type"), "virtbus.v1.VmEvent.reply");
    assert_string_equal(header_text(world, record, "ce_time"), "1970-01-01T00:16:40.000Z");

    StateRecord *stored = message_last(world, TOPIC_VM_STATE, 2);
    assert_int_equal(stored->version, 1);
    assert_int_equal(stored->logic_version, 1);
    assert_int_equal(stored->step_ms, NOW_MS);
    assert_int_equal(stored->n_applied, 1);
    assert_string_equal(stored->applied[0]->topic, "vm.commands");
    assert_int_equal(stored->applied[0]->offset, 0);
    assert_int_equal(stored->vm->epoch, 1);

    Journal *journal = message_last(world, TOPIC_VM_JOURNAL, 2);
    assert_int_equal(journal->logic_version, 1);
    assert_int_equal(journal->settings->start_timeout_ms, 60000);
    assert_int_equal(journal->partition, 2);
    assert_string_equal(journal->instance_id, "i1");
    assert_int_equal(journal->n_steps, 1);
    assert_string_equal(journal->steps[0]->topic, "vm.commands");
    assert_string_equal(journal->steps[0]->vm_uuid, vm);
    assert_int_equal(journal->steps[0]->offset, 0);
    assert_int_equal(journal->steps[0]->time_ms, NOW_MS);
    assert_null(journal->steps[0]->runtime_input);

    /* Every input of the partition, so that none is ever left without an offset. */
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 2), 1);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_REPORTS, 2), 0);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 1), -1);
}

static void test_one_batch_writes_a_state_once(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send_create(world, vm);
    send(world, vm, VM_COMMAND__COMMAND_GET_VM);
    send_create(world, vm);
    settle(world);

    assert_int_equal(memory_bus_counts(world->memory)->commits, 1);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 4);
    assert_int_equal(log_of(world, TOPIC_VM_STATE, 1)->len, 1);
    StateRecord *stored = message_last(world, TOPIC_VM_STATE, 1);
    assert_int_equal(stored->version, 3);
    assert_int_equal(stored->vm->epoch, 3);
    assert_int_equal(stored->applied[0]->offset, 3);
    assert_int_equal(((Journal *)message_last(world, TOPIC_VM_JOURNAL, 1))->n_steps, 4);
}

static void test_read_changes_nothing(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    settle(world);
    g_autofree char *before = table_text(world);
    send(world, vm, VM_COMMAND__COMMAND_GET_VM);
    settle(world);

    g_autofree char *after = table_text(world);
    assert_string_equal(before, after);
    assert_int_equal(log_of(world, TOPIC_VM_STATE, 1)->len, 1);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 2);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 1), 2);
}

static void test_expunge_writes_a_tombstone(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    settle(world);
    send(world, vm, VM_COMMAND__COMMAND_EXPUNGE_VM);
    settle(world);

    const GPtrArray *states = log_of(world, TOPIC_VM_STATE, 1);
    assert_int_equal(states->len, 2);
    assert_null(((const VbBusRecord *)g_ptr_array_index(states, 1))->value);
    g_autofree char *table = table_text(world);
    assert_string_equal(table, "");
    restart(world);
    settle(world);
    g_autofree char *restored = table_text(world);
    assert_string_equal(restored, "");
}

static void test_applied_record_is_ignored(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send_create(world, vm);
    settle(world);
    memory_bus_set_committed(world->memory, TOPIC_VM_COMMANDS, 1, 0);
    restart(world);
    settle(world);

    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 2);
    assert_int_equal(((StateRecord *)message_last(world, TOPIC_VM_STATE, 1))->version, 2);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 1), 2);
}

static void test_step_time_never_goes_back(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS - 500);
    send_create(world, vm);
    settle(world);
    assert_int_equal(((VmEvent *)message_last(world, TOPIC_VM_EVENTS, 1))->time_ms, NOW_MS);
    Journal *journal = message_last(world, TOPIC_VM_JOURNAL, 1);
    assert_int_equal(journal->steps[0]->time_ms, NOW_MS);
}

/* ---- Transactions */

static void busy_day(World *world)
{
    send_create(world, vm_in(world, 1, 0));
    send_create(world, vm_in(world, 2, 0));
    send_start(world, vm_in(world, 1, 0), HOST_A);
    send_start(world, vm_in(world, 2, 0), "dddddddd-0000-4000-8000-000000000004");
    append(world, TOPIC_VM_COMMANDS, 3, "garbage", "\xff\xff", 2);
    send_stop(world, vm_in(world, 1, 0), 10);
}

static void test_aborted_transaction_is_written_again(void **state)
{
    static const char *const functions[] = {"begin", "produce", "flush", "send_offsets", "commit"};
    World *world = *state;
    busy_day(world);
    settle(world);
    g_autofree char *expected = outputs_text(world);
    g_autofree char *expected_table = table_text(world);
    for (size_t i = 0; i < G_N_ELEMENTS(functions); i++) {
        World *other;
        set_up((void **)&other);
        busy_day(other);
        memory_bus_fail(other->memory, functions[i], 4, BUS_ERROR_ABORT);
        settle(other);
        assert_int_equal(memory_bus_counts(other->memory)->aborts, 4);
        g_autofree char *outputs = outputs_text(other);
        g_autofree char *table = table_text(other);
        assert_string_equal(outputs, expected);
        assert_string_equal(table, expected_table);
        tear_down((void **)&other);
    }
}

static void test_fatal_ends_the_loop(void **state)
{
    World *world = *state;
    send_create(world, vm_in(world, 1, 0));
    memory_bus_fail(world->memory, "commit", 1, BUS_ERROR_FATAL);
    g_autoptr(GError) error = NULL;
    while (loop_turn(world->loop, 0, &error)) {
    }
    assert_true(g_error_matches(error, BUS_ERROR, BUS_ERROR_FATAL));
}

static void test_endless_aborts_end_the_loop(void **state)
{
    World *world = *state;
    send_create(world, vm_in(world, 1, 0));
    memory_bus_fail(world->memory, "commit", 100, BUS_ERROR_ABORT);
    g_autoptr(GError) error = NULL;
    while (loop_turn(world->loop, 0, &error)) {
    }
    assert_true(g_error_matches(error, BUS_ERROR, BUS_ERROR_FATAL));
    assert_non_null(strstr(error->message, "injected into commit"));
    assert_int_equal(memory_bus_counts(world->memory)->aborts, 10);
}

static void test_refused_record_is_poison_and_the_rest_goes_on(void **state)
{
    World *world = *state;
    const char *good = vm_in(world, 1, 0);
    const char *bad = vm_in(world, 1, 1);
    send_create(world, good);
    send_create(world, bad);
    send(world, bad, VM_COMMAND__COMMAND_RESET_NVRAM); /* A reply that is too large. */
    send_create(world, good);
    settle(world);

    expect_dlq(world, 1, "transaction", "INTERNAL");
    assert_string_equal(header_text(world, dlq_last(world), "__connect.errors.offset"), "2");
    assert_non_null(strstr(
        header_text(world, dlq_last(world), "__connect.errors.exception.message"), "too large"));
    /* Twice as a whole, then alone: the third one three times. */
    assert_int_equal(memory_bus_counts(world->memory)->aborts, 5);
    assert_int_equal(memory_bus_counts(world->memory)->commits, 4);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 1), 4);
    const GPtrArray *events = log_of(world, TOPIC_VM_EVENTS, 1);
    assert_int_equal(events->len, 4);
    VmEvent *warning = message_at(world, TOPIC_VM_EVENTS, 1, 2);
    assert_int_equal(warning->warning->error->code, ERROR_CODE_QUARANTINED);
    StateRecord *stored = message_at(world, TOPIC_VM_STATE, 1, 2);
    assert_int_equal(stored->vm->status, VM_STATUS_QUARANTINED);
    assert_int_equal(stored->vm->epoch, 1);
    assert_int_equal(stored->applied[0]->offset, 2);

    /* And batches are batches again. */
    send_create(world, good);
    send_create(world, good);
    settle(world);
    assert_int_equal(memory_bus_counts(world->memory)->commits, 5);
}

static void test_refused_reply_about_no_vm_leaves_nothing(void **state)
{
    World *world = *state;
    memory_bus_set_max_value(world->memory, 100); /* The command fits, the reply does not. */
    send(world, vm_in(world, 1, 0), VM_COMMAND__COMMAND_GET_VM);
    settle(world);
    expect_dlq(world, 1, "transaction", "INTERNAL");
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 0);
    assert_int_equal(log_of(world, TOPIC_VM_JOURNAL, 1)->len, 0);
}

/* Each input is judged by what it was refused itself. */
static void test_refusals_of_another_input_do_not_count(void **state)
{
    World *world = *state;
    memory_bus_lose(world->memory, 0);
    memory_bus_lose(world->memory, 3);
    for (int partition = 1; partition <= 2; partition++) {
        send_create(world, vm_in(world, partition, 0));
    }
    settle(world);
    send(world, vm_in(world, 1, 0), VM_COMMAND__COMMAND_RESET_NVRAM); /* Too large a reply. */
    for (int turn = 0; turn < 2; turn++) {
        g_autoptr(GError) error = NULL;
        assert_true(loop_turn(world->loop, 0, &error));
    }
    assert_int_equal(memory_bus_counts(world->memory)->aborts, 2);
    memory_bus_lose(world->memory, 1);
    send(world, vm_in(world, 2, 0), VM_COMMAND__COMMAND_RESET_NVRAM);
    settle(world);
    expect_dlq(world, 1, "transaction", "INTERNAL");
    assert_int_equal(memory_bus_counts(world->memory)->aborts, 2 + 3);
}

static void test_transaction_is_bounded(void **state)
{
    World *world = *state;
    world->config.max_hosts = 2;
    restart(world);
    for (int i = 0; i < 4; i++) {
        send_create(world, vm_in(world, 1, i));
    }
    settle(world);
    assert_int_equal(memory_bus_counts(world->memory)->commits, 1);
    send_start(world, vm_in(world, 1, 0), HOST_A);
    send_start(world, vm_in(world, 1, 1), HOST_A);
    send_start(world, vm_in(world, 1, 2), HOST_B);
    send_start(world, vm_in(world, 1, 3), HOST_C);
    settle(world);
    assert_int_equal(memory_bus_counts(world->memory)->commits, 3);

    world->config.max_records = 2;
    restart(world);
    for (int i = 0; i < 5; i++) {
        send_create(world, vm_in(world, 1, i));
    }
    settle(world);
    assert_int_equal(memory_bus_counts(world->memory)->commits, 6);
}

static void test_transaction_is_bounded_in_bytes(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    memory_bus_set_max_value(world->memory, 2 * 1024 * 1024);
    send_create(world, vm);
    settle(world);
    for (int i = 0; i < 6; i++) {
        send(world, vm, VM_COMMAND__COMMAND_RESET_NVRAM); /* 1.5 MiB each: three fill 4 MiB. */
    }
    settle(world);
    assert_int_equal(memory_bus_counts(world->memory)->commits, 1 + 2);
}

/* ---- Deadlines */

static void test_deadlines_in_order_and_not_before(void **state)
{
    World *world = *state;
    const char *late = vm_in(world, 1, 0);
    const char *early = vm_in(world, 1, 1);
    const char *first = vm_in(world, 1, 2); /* Same deadline as the next: by uuid. */
    const char *second = vm_in(world, 1, 3);
    const char *all[] = {late, early, first, second};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        send_create(world, all[i]);
    }
    const char *late_id = send_stop(world, late, 300);
    const char *second_id = send_stop(world, second, 200);
    const char *early_id = send_stop(world, early, 100);
    const char *first_id = send_stop(world, first, 200);
    settle(world);
    guint n = log_of(world, TOPIC_VM_EVENTS, 1)->len;

    memory_bus_set_now(world->memory, NOW_MS + 99);
    memory_bus_counts(world->memory)->last_wait_ms = 0;
    g_autoptr(GError) error = NULL;
    assert_true(loop_turn(world->loop, 1000, &error));
    assert_int_equal(memory_bus_counts(world->memory)->last_wait_ms, 1);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, n);

    memory_bus_set_now(world->memory, NOW_MS + 299);
    settle(world);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, n + 3);
    const char *expected[] = {early_id, first_id, second_id};
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        VmEvent *event = message_at(world, TOPIC_VM_EVENTS, 1, n + i);
        assert_string_equal(event->warning->error->message, expected[i]);
        assert_int_equal(event->time_ms, NOW_MS + 299);
    }
    Journal *journal = message_last(world, TOPIC_VM_JOURNAL, 1);
    assert_int_equal(journal->n_steps, 3);
    assert_string_equal(journal->steps[0]->topic, "");
    assert_string_equal(journal->steps[0]->vm_uuid, early);
    assert_string_equal(journal->steps[0]->runtime_input->deadline_elapsed->deadline_id, early_id);

    memory_bus_set_now(world->memory, NOW_MS + 300);
    restart(world); /* The heap comes back from the state records. */
    settle(world);
    VmEvent *event = message_last(world, TOPIC_VM_EVENTS, 1);
    assert_string_equal(event->warning->error->message, late_id);
    settle(world);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, n + 4);
}

static HostReport *report_new(World *world, const char *vm)
{
    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = (char *)vm;
    report->report_case = HOST_REPORT__REPORT_VM_FORGOTTEN;
    report->vm_forgotten = ARENA_MSG(world->arena, vm_forgotten);
    return report;
}

static void test_queued_answer_wins_over_its_deadline(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send_stop(world, vm, 100);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 1000);
    HostReport *report = report_new(world, vm);
    send_message(world, TOPIC_VM_REPORTS, vm, report);
    settle(world);

    const GPtrArray *events = log_of(world, TOPIC_VM_EVENTS, 1);
    assert_int_equal(events->len, 4);
    VmEvent *answer = message_at(world, TOPIC_VM_EVENTS, 1, 2);
    VmEvent *timeout = message_at(world, TOPIC_VM_EVENTS, 1, 3);
    assert_string_equal(answer->warning->error->message, "report");
    assert_int_equal(timeout->warning->error->code, ERROR_CODE_TIMEOUT);
}

static void test_deadline_waits_until_the_broker_confirms_the_end(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send_stop(world, vm, 100);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 1000);
    memory_bus_set_confirm_end(world->memory, FALSE);
    settle(world);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 2);
    memory_bus_set_confirm_end(world->memory, TRUE);
    settle(world);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 3);
}

static void test_new_deadline_in_the_same_batch_counts(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send_stop(world, vm, 100);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 1000);
    send_stop(world, vm, 5000);
    settle(world);
    VmEvent *event = message_last(world, TOPIC_VM_EVENTS, 1);
    assert_int_equal(event->event_case, VM_EVENT__EVENT_REPLY);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 3);
}

/* The poll stopped at its limit of bytes: what it did not reach may be the answer. */
static void test_unread_answer_wins_over_its_deadline(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send_stop(world, vm, 100);
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 1000);
    g_autofree char *large = g_malloc0(1024 * 1024);
    for (int i = 0; i < 5; i++) {
        append(world, TOPIC_VM_COMMANDS, 0, vm_in(world, 0, 0), large, 1024 * 1024);
    }
    send_message(world, TOPIC_VM_REPORTS, vm, report_new(world, vm));
    settle(world);
    VmEvent *answer = message_at(world, TOPIC_VM_EVENTS, 1, 2);
    assert_string_equal(answer->warning->error->message, "report");
    assert_int_equal(log_of(world, TOPIC_DLQ, 0)->len, 5);
}

static void test_deadline_that_stays_is_muted(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send(world, vm, VM_COMMAND__COMMAND_REBOOT_VM);
    settle(world);
    guint commits = memory_bus_counts(world->memory)->commits;
    memory_bus_set_now(world->memory, NOW_MS + 1000);
    settle(world);
    assert_true(memory_bus_counts(world->memory)->commits <= commits + 1);
    send_stop(world, vm, 100); /* Changes the state: the deadline counts again. */
    settle(world);
    memory_bus_set_now(world->memory, NOW_MS + 2000);
    settle(world);
    VmEvent *event = message_last(world, TOPIC_VM_EVENTS, 1);
    assert_int_equal(event->warning->error->code, ERROR_CODE_TIMEOUT);
}

/* ---- Undeliverable, poison */

static void test_unknown_host_is_answered_at_once(void **state)
{
    static const char *const hosts[] = {"dddddddd-0000-4000-8000-000000000004", "no uuid", ""};
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    settle(world);
    for (guint i = 0; i < G_N_ELEMENTS(hosts); i++) {
        guint n = log_of(world, TOPIC_VM_EVENTS, 1)->len;
        const char *request = send_start(world, vm, hosts[i]);
        settle(world);
        assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, n + 2);
        VmEvent *event = message_last(world, TOPIC_VM_EVENTS, 1);
        assert_int_equal(event->reply->error->code, ERROR_CODE_HOST_UNKNOWN);
        assert_string_equal(event->reply->request_id, request);
        Journal *journal = message_last(world, TOPIC_VM_JOURNAL, 1);
        assert_int_equal(journal->n_steps, 2);
        assert_string_equal(journal->steps[0]->topic, "vm.commands");
        assert_string_equal(journal->steps[1]->runtime_input->undeliverable->host_uuid, hosts[i]);
        assert_string_equal(journal->steps[1]->runtime_input->undeliverable->operation_id, request);
        assert_string_equal(((StateRecord *)message_last(world, TOPIC_VM_STATE, 1))->vm->host_uuid,
                            hosts[i]);
    }
    assert_int_equal(log_of(world, TOPIC_VM_STATE, 1)->len, 4);
    assert_int_equal(((StateRecord *)message_last(world, TOPIC_VM_STATE, 1))->version, 7);
}

static void test_known_host_gets_its_command(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send_start(world, vm, HOST_A);
    send_start(world, vm, HOST_A);
    settle(world);
    const GPtrArray *log = memory_bus_log(world->memory, TOPIC_HOST_COMMANDS, HOST_A, 0);
    assert_int_equal(log->len, 2);
    const VbBusRecord *record = g_ptr_array_index(log, 0);
    assert_memory_equal(record->key, vm, 36);
    assert_int_equal(memory_bus_counts(world->memory)->host_lookups, 1);
}

static void test_fault_is_poison(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    send(world, vm, VM_COMMAND__COMMAND_DESTROY_VM);
    send_create(world, vm);
    settle(world);

    expect_dlq(world, 1, "step", "INTERNAL");
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 3);
    VmEvent *event = message_at(world, TOPIC_VM_EVENTS, 1, 1);
    assert_int_equal(event->warning->error->code, ERROR_CODE_QUARANTINED);
    StateRecord *stored = message_last(world, TOPIC_VM_STATE, 1);
    assert_int_equal(stored->vm->status, VM_STATUS_QUARANTINED);
    assert_int_equal(stored->vm->epoch, 2);
    Journal *journal = message_last(world, TOPIC_VM_JOURNAL, 1);
    assert_int_equal(journal->n_steps, 3);
    Poisoned *poisoned = journal->steps[1]->runtime_input->poisoned;
    assert_string_equal(poisoned->topic, "vm.commands");
    assert_int_equal(poisoned->partition, 1);
    assert_int_equal(poisoned->offset, 1);
}

static void test_fault_upon_fault_leaves_the_state(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send(world, vm, VM_COMMAND__COMMAND_DESTROY_VM); /* No record: Poisoned faults as well. */
    settle(world);
    expect_dlq(world, 1, "step", "INTERNAL");
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 0);
    assert_int_equal(log_of(world, TOPIC_VM_STATE, 1)->len, 0);
    assert_int_equal(log_of(world, TOPIC_VM_JOURNAL, 1)->len, 0);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 1), 1);
}

static void test_steps_without_end_are_poison(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_ADOPT_VOLUME);
    command->adopt_volume->volume_uuid = "dddddddd-0000-4000-8000-000000000004";
    send_message(world, TOPIC_VM_COMMANDS, vm, command);
    settle(world);
    expect_dlq(world, 1, "step", "INTERNAL");
    StateRecord *stored = message_last(world, TOPIC_VM_STATE, 1);
    assert_int_equal(stored->vm->status, VM_STATUS_QUARANTINED);
    assert_int_equal(stored->vm->epoch, 1);
    assert_int_equal(((Journal *)message_last(world, TOPIC_VM_JOURNAL, 1))->n_steps, 2);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 2); /* No reply to the bad one. */
}

/* The VM was in no batch before: what the steps made of it goes with them. */
static void test_steps_that_are_taken_back_leave_no_state(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    send_create(world, vm);
    settle(world);
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_ADOPT_VOLUME);
    command->adopt_volume->volume_uuid = "dddddddd-0000-4000-8000-000000000004";
    send_message(world, TOPIC_VM_COMMANDS, vm, command);
    settle(world);
    expect_dlq(world, 1, "step", "INTERNAL");
    StateRecord *stored = message_last(world, TOPIC_VM_STATE, 1);
    assert_int_equal(stored->vm->status, VM_STATUS_QUARANTINED);
    assert_int_equal(stored->vm->epoch, 1);
    assert_int_equal(stored->version, 2);
}

/* ---- Bad records */

static void test_bad_records_go_to_the_dlq(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    g_autoptr(GBytes) good = message_pack(command);
    const void *bytes = g_bytes_get_data(good, NULL);
    size_t size_bytes = g_bytes_get_size(good);

    append(world, TOPIC_VM_COMMANDS, 1, NULL, bytes, size_bytes);
    settle(world);
    expect_dlq(world, 1, "validate", "INVALID_ARGUMENT");
    assert_string_equal(header_text(world, dlq_last(world), "__connect.errors.topic"),
                        "test.vm.commands");
    assert_string_equal(header_text(world, dlq_last(world), "__connect.errors.partition"), "1");
    assert_string_equal(header_text(world, dlq_last(world), "__connect.errors.offset"), "0");
    assert_int_equal(dlq_last(world)->value_bytes, size_bytes);
    assert_memory_equal(dlq_last(world)->value, bytes, size_bytes);

    append(world, TOPIC_VM_COMMANDS, 1, "AAAAAAAA-0000-4000-8000-000000000001", bytes, size_bytes);
    settle(world);
    expect_dlq(world, 2, "validate", "INVALID_ARGUMENT");

    append(world, TOPIC_VM_COMMANDS, 1, vm, "\xff\xff\xff", 3);
    settle(world);
    expect_dlq(world, 3, "validate", "INVALID_ARGUMENT");
    assert_memory_equal(dlq_last(world)->key, vm, 36);

    append(world, TOPIC_VM_COMMANDS, 1, vm, NULL, 0);
    settle(world);
    expect_dlq(world, 4, "validate", "INVALID_ARGUMENT");
    assert_string_equal(header_text(world, dlq_last(world), "virtbus.value.bytes"), "0");

    g_autofree char *large = g_malloc0(MESSAGE_MAX_BYTES + 1);
    append(world, TOPIC_VM_COMMANDS, 1, vm, large, MESSAGE_MAX_BYTES + 1);
    settle(world);
    expect_dlq(world, 5, "validate", "TOO_LARGE");

    command->request_id = "not a uuid";
    send_message(world, TOPIC_VM_COMMANDS, vm, command);
    settle(world);
    expect_dlq(world, 6, "validate", "INVALID_ARGUMENT");

    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = (char *)vm_in(world, 1, 1);
    send_message(world, TOPIC_VM_REPORTS, vm, report);
    settle(world);
    expect_dlq(world, 7, "validate", "KEY_MISMATCH");

    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 0);
    assert_int_equal(log_of(world, TOPIC_VM_JOURNAL, 1)->len, 0);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 1), 6);
}

static void test_wrong_request_is_answered(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    VmCommand *mismatch = command_new(world, vm_in(world, 1, 1), VM_COMMAND__COMMAND_CREATE_VM);
    send_message(world, TOPIC_VM_COMMANDS, vm, mismatch);
    VmCommand *bad_enum = command_new(world, vm, VM_COMMAND__COMMAND_STOP_VM);
    bad_enum->stop_vm->mode = (StopMode)99;
    send_message(world, TOPIC_VM_COMMANDS, vm, bad_enum);
    VmCommand *bad_text = command_new(world, vm, VM_COMMAND__COMMAND_START_VM);
    bad_text->start_vm->host_uuid = "a\nb";
    send_message(world, TOPIC_VM_COMMANDS, vm, bad_text);
    settle(world);

    VmCommand *commands[] = {mismatch, bad_enum, bad_text};
    static const ErrorCode codes[] = {ERROR_CODE_KEY_MISMATCH, ERROR_CODE_INVALID_ARGUMENT,
                                      ERROR_CODE_INVALID_ARGUMENT};
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 3);
    for (guint i = 0; i < 3; i++) {
        VmEvent *event = message_at(world, TOPIC_VM_EVENTS, 1, i);
        assert_string_equal(event->vm_uuid, vm);
        assert_string_equal(event->reply->request_id, commands[i]->request_id);
        assert_int_equal(event->reply->error->code, codes[i]);
    }
    assert_int_equal(log_of(world, TOPIC_DLQ, 0)->len, 0);
    assert_int_equal(log_of(world, TOPIC_VM_STATE, 1)->len, 0);
}

static void test_wrong_partition_is_repaired(void **state)
{
    World *world = *state;
    world->is_not_replayed = TRUE; /* One record says that it was moved, and was not. */
    const char *vm = vm_in(world, 1, 0);
    VmCommand *command = command_new(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    g_autoptr(GBytes) packed = message_pack(command);
    append(world, TOPIC_VM_COMMANDS, 3, vm, g_bytes_get_data(packed, NULL),
           g_bytes_get_size(packed));
    settle(world);

    const GPtrArray *log = log_of(world, TOPIC_VM_COMMANDS, 1);
    assert_int_equal(log->len, 1);
    const VbBusRecord *moved = g_ptr_array_index(log, 0);
    assert_string_equal(header_text(world, moved, "moved-from"), "vm.commands/3/0");
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 1);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 3)->len, 0);
    assert_int_equal(log_of(world, TOPIC_VM_JOURNAL, 3)->len, 0);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 3), 1);

    VbBusMessage again = {.topic = TOPIC_VM_COMMANDS,
                          .partition = 2,
                          .key = vm,
                          .key_bytes = 36,
                          .value = moved->value,
                          .value_bytes = moved->value_bytes,
                          .headers = moved->headers,
                          .n_headers = moved->n_headers};
    memory_bus_append(world->memory, &again);
    settle(world);
    expect_dlq(world, 1, "move", "INTERNAL");
}

/* ---- Restore and partitions */

static void test_restore_equals_live_state(void **state)
{
    World *world = *state;
    for (int i = 0; i < 20; i++) {
        send_create(world, vm_in(world, i % PARTITIONS, i));
    }
    busy_day(world);
    settle(world);
    g_autofree char *live = table_text(world);
    restart(world);
    settle(world);
    g_autofree char *restored = table_text(world);
    assert_string_equal(live, restored);
    assert_int_equal(loop_partitions(world->loop), PARTITIONS);
}

/* What a dead instance had under way when this one asks: it is committed before the answer. */
static void predecessor_commits(void *user)
{
    World *world = user;
    const char *vm = vm_in(world, 1, 0);
    StateRecord *record = ARENA_MSG(world->arena, state_record);
    record->body_case = STATE_RECORD__BODY_VM;
    record->vm = ARENA_MSG(world->arena, vm_record);
    record->vm->epoch = 41;
    record->version = 2;
    record->logic_version = 1;
    send_message(world, TOPIC_VM_STATE, vm, record);
    memory_bus_set_committed(world->memory, TOPIC_VM_COMMANDS, 1, 1);
    memory_bus_set_committed(world->memory, TOPIC_VM_REPORTS, 1, 0);
}

static void test_predecessors_last_commit_is_not_missed(void **state)
{
    World *world = *state;
    const char *vm = vm_in(world, 1, 0);
    world->is_not_replayed = TRUE; /* The predecessor's state is written by hand. */
    settle(world);
    loop_free(world->loop);
    send_create(world, vm); /* It has stepped this one. */
    world->loop = loop_new(memory_bus(world->memory), &world->config);
    memory_bus_on_committed(world->memory, predecessor_commits, world);
    memory_bus_gain(world->memory, 1);
    settle(world);
    send_create(world, vm);
    settle(world);
    StateRecord *stored = message_last(world, TOPIC_VM_STATE, 1);
    assert_int_equal(stored->vm->epoch, 42);
    assert_int_equal(stored->version, 3);
}

/* Whichever partition it belongs to. */
static void test_states_of_other_partitions_are_ignored(void **state)
{
    World *world = *state;
    world->is_not_replayed = TRUE; /* There are states that nobody made. */
    StateRecord *record = ARENA_MSG(world->arena, state_record);
    record->body_case = STATE_RECORD__BODY_VM;
    record->vm = ARENA_MSG(world->arena, vm_record);
    g_autoptr(GBytes) packed = message_pack(record);
    loop_free(world->loop);
    for (int partition = 0; partition < PARTITIONS; partition++) {
        append(world, TOPIC_VM_STATE, 1, vm_in(world, partition, 0), g_bytes_get_data(packed, NULL),
               g_bytes_get_size(packed));
    }
    memory_bus_set_committed(world->memory, TOPIC_VM_COMMANDS, 1, 0);
    memory_bus_set_committed(world->memory, TOPIC_VM_REPORTS, 1, 0);
    loop_start(world);
    settle(world);
    g_autofree char *table = table_text(world);
    assert_non_null(strstr(table, vm_in(world, 1, 0)));
    assert_null(strchr(table, '\n')); /* One line, one VM. */
}

/* Garbage, a newer version's, another service's: none of them is taken for "no such VM". */
static void test_unreadable_state_refuses_its_vm_only(void **state)
{
    World *world = *state;
    const char *broken[] = {vm_in(world, 1, 0), vm_in(world, 1, 1), vm_in(world, 1, 2)};
    const char *good = vm_in(world, 1, 3);
    append(world, TOPIC_VM_STATE, 1, broken[0], "\xff\xff\xff", 3);
    StateRecord *record = ARENA_MSG(world->arena, state_record);
    record->body_case = STATE_RECORD__BODY_VM;
    record->vm = ARENA_MSG(world->arena, vm_record);
    record->logic_version = 2;
    record->deadline_ms = 1;
    send_message(world, TOPIC_VM_STATE, broken[1], record);
    record->body_case = STATE_RECORD__BODY_VOLUMES;
    record->volumes = ARENA_MSG(world->arena, volume_record);
    record->logic_version = 1;
    send_message(world, TOPIC_VM_STATE, broken[2], record);
    append(world, TOPIC_VM_STATE, 1, "no uuid", "x", 1);
    memory_bus_set_committed(world->memory, TOPIC_VM_COMMANDS, 1, 0);
    memory_bus_set_committed(world->memory, TOPIC_VM_REPORTS, 1, 0);
    for (guint i = 0; i < G_N_ELEMENTS(broken); i++) {
        send_create(world, broken[i]);
    }
    HostReport *report = report_new(world, broken[2]);
    send_message(world, TOPIC_VM_REPORTS, broken[2], report);
    send_create(world, good);
    settle(world);

    expect_dlq(world, 1, "restore", "INTERNAL"); /* The report: nobody waits for an answer. */
    const GPtrArray *events = log_of(world, TOPIC_VM_EVENTS, 1);
    assert_int_equal(events->len, 4);
    for (guint i = 0; i < G_N_ELEMENTS(broken); i++) {
        VmEvent *refusal = message_at(world, TOPIC_VM_EVENTS, 1, i);
        assert_string_equal(refusal->vm_uuid, broken[i]);
        assert_int_equal(refusal->reply->error->code, ERROR_CODE_INTERNAL);
        assert_non_null(strstr(refusal->reply->error->message, "test.vm.state"));
    }
    assert_string_equal(((VmEvent *)message_last(world, TOPIC_VM_EVENTS, 1))->vm_uuid, good);
    assert_int_equal(log_of(world, TOPIC_VM_STATE, 1)->len, 5);
    /* Only the good VM's step is in the journal. */
    assert_int_equal(log_of(world, TOPIC_VM_JOURNAL, 1)->len, 1);
    assert_int_equal(((Journal *)message_last(world, TOPIC_VM_JOURNAL, 1))->n_steps, 1);
}

static double metric(const char *series)
{
    g_autofree char *page = metrics_print();
    g_autofree char *start = g_strdup_printf("\n%s ", series);
    const char *line = strstr(page, start);
    assert_non_null(line);
    return g_ascii_strtod(line + strlen(start), NULL);
}

/* Of the partitions that are this instance's: the next owner counts them for itself. */
static void test_broken_states_are_counted_while_they_are_ours(void **state)
{
    World *world = *state;
    world->is_not_replayed = TRUE; /* There are states that nobody made. */
    double n_foreign = metric("virtbus_foreign_states_total");
    append(world, TOPIC_VM_STATE, 1, vm_in(world, 1, 0), "\xff\xff\xff", 3);
    append(world, TOPIC_VM_STATE, 2, vm_in(world, 2, 0), "\xff\xff\xff", 3);
    append(world, TOPIC_VM_STATE, 1, "no uuid", "x", 1);
    for (int partition = 1; partition <= 2; partition++) {
        memory_bus_set_committed(world->memory, TOPIC_VM_COMMANDS, partition, 0);
        memory_bus_set_committed(world->memory, TOPIC_VM_REPORTS, partition, 0);
    }
    settle(world);
    assert_true(metric("virtbus_broken_states") == 2);
    assert_true(metric("virtbus_foreign_states_total") == n_foreign + 1);
    memory_bus_lose(world->memory, 1);
    settle(world);
    assert_true(metric("virtbus_broken_states") == 1);
    restart(world);
    settle(world);
    assert_true(metric("virtbus_broken_states") == 2);
}

static void test_state_without_offsets_halts(void **state)
{
    World *world = *state;
    send_create(world, vm_in(world, 1, 0));
    send_create(world, vm_in(world, 2, 0));
    settle(world);
    memory_bus_set_committed(world->memory, TOPIC_VM_COMMANDS, 1, -1);
    memory_bus_set_committed(world->memory, TOPIC_VM_REPORTS, 2, -1);
    restart(world);
    g_autoptr(GError) error = NULL;
    while (loop_turn(world->loop, 0, &error)) {
    }
    assert_true(g_error_matches(error, BUS_ERROR, BUS_ERROR_SETUP));
    assert_non_null(strstr(error->message, "--reset-offsets"));
    /* All that is missing, at once. */
    assert_non_null(strstr(error->message, "says: test.vm.commands:1 to 1 test.vm.reports:2 to 0"));
}

/* Another instance commits its last step in partition 1 behind the first question for the end. */
static struct {
    VbMemoryBus *memory;
    gboolean is_committed;
    gboolean (*state_end)(VbBus *bus, int partition, gint64 *ret_end, GError **error);
    gint64 committed[2];
} meanwhile;

static gboolean state_end_meanwhile(VbBus *bus, int partition, gint64 *ret_end, GError **error)
{
    assert_true(meanwhile.state_end(bus, partition, ret_end, error));
    if (partition == 1 && !meanwhile.is_committed) {
        meanwhile.is_committed = TRUE;
        *ret_end -= 1;
        memory_bus_set_committed(meanwhile.memory, TOPIC_VM_COMMANDS, 1, meanwhile.committed[0]);
        memory_bus_set_committed(meanwhile.memory, TOPIC_VM_REPORTS, 1, meanwhile.committed[1]);
    }
    return TRUE;
}

static void test_offsets_that_come_while_restoring_do_not_halt(void **state)
{
    World *world = *state;
    VbMemoryBus *memory = world->memory;
    VbBus *bus = memory_bus(memory);
    for (int i = 0; i < 2; i++) {
        send_create(world, vm_in(world, 1, 0));
        settle(world);
    }
    g_autofree char *live = table_text(world);
    meanwhile.memory = memory;
    meanwhile.is_committed = FALSE;
    meanwhile.state_end = bus->state_end;
    meanwhile.committed[0] = memory_bus_committed(memory, TOPIC_VM_COMMANDS, 1);
    meanwhile.committed[1] = memory_bus_committed(memory, TOPIC_VM_REPORTS, 1);
    memory_bus_set_committed(memory, TOPIC_VM_COMMANDS, 1, -1);
    memory_bus_set_committed(memory, TOPIC_VM_REPORTS, 1, -1);
    bus->state_end = state_end_meanwhile;
    double n_restored = metric("virtbus_restored_records_total");
    restart(world);
    settle(world);
    assert_int_equal(loop_partitions(world->loop), PARTITIONS);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 2);
    g_autofree char *restored = table_text(world);
    assert_string_equal(live, restored);
    /* Its states are read twice, and counted once. */
    assert_true(metric("virtbus_restored_records_total") == n_restored + 2);
}

static void test_first_start_begins_with_the_first_record(void **state)
{
    World *world = *state;
    world->is_not_replayed = TRUE; /* Records are there that count as deleted. */
    const char *vm = vm_in(world, 1, 0);
    for (int i = 0; i < 5; i++) {
        send_create(world, vm);
    }
    memory_bus_set_begin(world->memory, TOPIC_VM_COMMANDS, 1, 3); /* Older ones were deleted. */
    settle(world);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 2);
    assert_int_equal(memory_bus_committed(world->memory, TOPIC_VM_COMMANDS, 1), 5);
}

static void test_lost_partition_is_dropped_with_its_records(void **state)
{
    World *world = *state;
    const char *lost = vm_in(world, 1, 0);
    const char *kept = vm_in(world, 2, 0);
    settle(world);
    send_create(world, lost);
    send_create(world, kept);
    memory_bus_fail(world->memory, "commit", 1, BUS_ERROR_ABORT);
    g_autoptr(GError) error = NULL;
    assert_true(loop_turn(world->loop, 0, &error)); /* Both are read, and not committed. */
    memory_bus_lose(world->memory, 1);
    settle(world);

    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 0);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 2)->len, 1);
    assert_int_equal(loop_partitions(world->loop), PARTITIONS - 1);
    memory_bus_gain(world->memory, 1);
    settle(world);
    assert_int_equal(log_of(world, TOPIC_VM_EVENTS, 1)->len, 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_command),
        TEST(test_one_batch_writes_a_state_once),
        TEST(test_read_changes_nothing),
        TEST(test_expunge_writes_a_tombstone),
        TEST(test_applied_record_is_ignored),
        TEST(test_step_time_never_goes_back),
        TEST(test_aborted_transaction_is_written_again),
        TEST(test_fatal_ends_the_loop),
        TEST(test_endless_aborts_end_the_loop),
        TEST(test_refused_record_is_poison_and_the_rest_goes_on),
        TEST(test_refused_reply_about_no_vm_leaves_nothing),
        TEST(test_refusals_of_another_input_do_not_count),
        TEST(test_transaction_is_bounded),
        TEST(test_transaction_is_bounded_in_bytes),
        TEST(test_deadlines_in_order_and_not_before),
        TEST(test_queued_answer_wins_over_its_deadline),
        TEST(test_deadline_waits_until_the_broker_confirms_the_end),
        TEST(test_new_deadline_in_the_same_batch_counts),
        TEST(test_unread_answer_wins_over_its_deadline),
        TEST(test_deadline_that_stays_is_muted),
        TEST(test_unknown_host_is_answered_at_once),
        TEST(test_known_host_gets_its_command),
        TEST(test_fault_is_poison),
        TEST(test_fault_upon_fault_leaves_the_state),
        TEST(test_steps_without_end_are_poison),
        TEST(test_steps_that_are_taken_back_leave_no_state),
        TEST(test_bad_records_go_to_the_dlq),
        TEST(test_wrong_request_is_answered),
        TEST(test_wrong_partition_is_repaired),
        TEST(test_restore_equals_live_state),
        TEST(test_predecessors_last_commit_is_not_missed),
        TEST(test_states_of_other_partitions_are_ignored),
        TEST(test_unreadable_state_refuses_its_vm_only),
        TEST(test_broken_states_are_counted_while_they_are_ours),
        TEST(test_state_without_offsets_halts),
        TEST(test_offsets_that_come_while_restoring_do_not_halt),
        TEST(test_first_start_begins_with_the_first_record),
        TEST(test_lost_partition_is_dropped_with_its_records),
    };
    return cmocka_run_group_tests_name("bus_loop", tests, NULL, NULL);
}
