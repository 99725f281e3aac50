/* test_bus_records: what becomes of records, on a real broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <string.h>

#include "common/base/message.h"
#include "common/bus/bus_topics.h"
#include "common/runtime/metrics.h"
#include "tests/integration/kafka_world.h"

static VmEvent *event_at(World *world, const GPtrArray *events, guint index)
{
    assert_true(index < events->len);
    return world_unpack(world, g_ptr_array_index(events, index), &vm_event__descriptor);
}

static void expect_text(World *world, const VbBusRecord *record, const char *name,
                        const char *expected)
{
    assert_string_equal(world_header(world, record, name), expected);
}

static void test_command_is_answered(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    const char *request = world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 1);

    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    const VbBusRecord *record = g_ptr_array_index(events, 0);
    assert_string_equal(event_at(world, events, 0)->reply->request_id, request);
    assert_memory_equal(record->key, vm, 36);
    expect_text(world, record, "ce_type", "virtbus.v1.VmEvent.reply");
    expect_text(world, record, "ce_subject", vm);
    expect_text(world, record, "ce_source", "/virtbus/echo-service");
    assert_int_equal(strlen(world_header(world, record, "traceparent")), 55);

    g_autoptr(GPtrArray) commands = world_read(world, "vm.commands", 1, TRUE);
    g_autoptr(GPtrArray) journal = world_read(world, "vm.journal", 1, TRUE);
    const VbBusRecord *command = g_ptr_array_index(commands, 0);
    Journal *steps = world_unpack(world, g_ptr_array_index(journal, 0), &journal__descriptor);
    assert_int_equal(steps->n_steps, 1);
    assert_int_equal(steps->steps[0]->time_ms, command->time_ms); /* The broker's clock. */
    service_free(service);
}

static void test_bad_records_go_to_the_dlq(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 0, 0);
    g_autofree char *large = g_malloc0(300 * 1024);
    world_produce(world, TOPIC_VM_COMMANDS, 0, vm, "\xff\xff\xff", 3);
    world_produce(world, TOPIC_VM_COMMANDS, 0, NULL, "no key", 6);
    world_produce(world, TOPIC_VM_COMMANDS, 0, vm, large, 300 * 1024);
    world_produce(world, TOPIC_VM_COMMANDS, 0, vm, NULL, 0);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM); /* The partition moves on. */
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 0, 1);

    static const char *const codes[] = {"INVALID_ARGUMENT", "INVALID_ARGUMENT", "TOO_LARGE",
                                        "INVALID_ARGUMENT"};
    static const char *const sizes[] = {"3", "6", "307200", "0"};
    g_autofree char *topic = g_strdup_printf("%s.vm.commands", world->prefix);
    g_autoptr(GPtrArray) dead = world_read(world, "dlq", 0, TRUE);
    assert_int_equal(dead->len, 4);
    for (guint i = 0; i < dead->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(dead, i);
        g_autofree char *offset = g_strdup_printf("%u", i);
        expect_text(world, record, "__connect.errors.topic", topic);
        expect_text(world, record, "__connect.errors.partition", "0");
        expect_text(world, record, "__connect.errors.offset", offset);
        expect_text(world, record, "__connect.errors.stage", "validate");
        expect_text(world, record, "__connect.errors.exception.class.name", codes[i]);
        expect_text(world, record, "virtbus.value.bytes", sizes[i]);
        world_header(world, record, "__connect.errors.exception.message");
        assert_int_equal(strlen(world_header(world, record, "virtbus.value.sha256")), 64);
    }
    const VbBusRecord *garbage = g_ptr_array_index(dead, 0);
    assert_memory_equal(garbage->value, "\xff\xff\xff", 3);
    assert_memory_equal(garbage->key, vm, 36);
    const VbBusRecord *cut = g_ptr_array_index(dead, 2);
    assert_int_equal(cut->value_bytes, 256 * 1024);
    service_free(service);
}

static void test_wrong_partition_is_repaired(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    VmCommand *command = world_command(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    g_autoptr(GBytes) packed = message_pack(command);
    world_produce(world, TOPIC_VM_COMMANDS, 0, vm, g_bytes_get_data(packed, NULL),
                  g_bytes_get_size(packed));
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 1);

    g_autoptr(GPtrArray) moved = world_read(world, "vm.commands", 1, TRUE);
    assert_int_equal(moved->len, 1);
    expect_text(world, g_ptr_array_index(moved, 0), "moved-from", "vm.commands/0/0");
    g_autoptr(GPtrArray) none = world_read(world, "vm.events", 0, TRUE);
    assert_int_equal(none->len, 0);
    service_free(service);
}

static void send_start(World *world, const char *vm, const char *host)
{
    VmCommand *command = world_command(world, vm, VM_COMMAND__COMMAND_START_VM);
    command->start_vm->host_uuid = (char *)host;
    world_send(world, command);
}

static void test_missing_host_is_answered(void **state)
{
    static const char missing[] = "dddddddd-0000-4000-8000-000000000004";
    World *world = *state;
    g_autoptr(GError) error = NULL;
    const char *vm = world_vm(world, 1, 0);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    send_start(world, vm, missing);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 3);
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    assert_int_equal(event_at(world, events, 2)->reply->error->code, ERROR_CODE_HOST_UNKNOWN);

    /* The host comes, and gets its commands. */
    gboolean is_made = FALSE;
    assert_true(
        bus_topics_create_host(world->producer, world->prefix, missing, 1, &is_made, &error));
    assert_true(is_made);
    send_start(world, vm, missing);
    send_start(world, vm, HOST_A);
    service_serve(service, "vm.events", 1, 5);
    g_autofree char *topic = g_strdup_printf("host.%s.commands", missing);
    g_autoptr(GPtrArray) commands = world_read(world, topic, 0, TRUE);
    g_autoptr(GPtrArray) others = world_read(world, "host." HOST_A ".commands", 0, TRUE);
    assert_int_equal(commands->len, 1);
    assert_int_equal(others->len, 1);
    assert_memory_equal(((const VbBusRecord *)g_ptr_array_index(commands, 0))->key, vm, 36);
    service_free(service);
}

/* A deadline must come although the input ends with the marks of an aborted transaction, which are
 * no records, and although the other inputs have no records at all. */
static void test_deadline_comes_behind_an_aborted_transaction(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    VmCommand *stop = world_command(world, vm, VM_COMMAND__COMMAND_STOP_VM);
    stop->timeout_ms = 2000;
    world_send(world, stop);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 2);

    g_autofree char *topic = g_strdup_printf("%s.vm.reports", world->prefix);
    rd_kafka_t *stranger = world_transaction(world, "stranger");
    assert_int_equal(rd_kafka_producev(stranger, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(1),
                                       RD_KAFKA_V_KEY(vm, 36), RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(stranger, WORLD_WAIT_MS), 0);
    assert_null(rd_kafka_abort_transaction(stranger, WORLD_WAIT_MS));
    rd_kafka_destroy(stranger);

    service_serve(service, "vm.events", 1, 3);
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    assert_int_equal(event_at(world, events, 2)->warning->error->code, ERROR_CODE_TIMEOUT);
    service_free(service);
}

/* A process that was stopped for a while must read before it believes that a deadline has passed.
 */
static void test_queued_answer_wins_after_a_pause(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 1);
    VmCommand *stop = world_command(world, vm, VM_COMMAND__COMMAND_STOP_VM);
    stop->timeout_ms = 1000;
    world_send(world, stop);
    service_serve(service, "vm.events", 1, 2);
    g_autoptr(GPtrArray) before = world_read(world, "vm.events", 1, TRUE);
    gint64 deadline_ms = event_at(world, before, 1)->time_ms + 1000;

    HostReport report = HOST_REPORT__INIT;
    report.vm_uuid = (char *)vm;
    report.report_case = HOST_REPORT__REPORT_VM_FORGOTTEN;
    report.vm_forgotten = ARENA_MSG(world->arena, vm_forgotten);
    g_autoptr(GBytes) packed = message_pack(&report);
    while (g_get_real_time() / 1000 <= deadline_ms) {
        g_usleep(1000); /* Nobody turns the loop meanwhile. */
    }
    world_produce(world, TOPIC_VM_REPORTS, 1, vm, g_bytes_get_data(packed, NULL),
                  g_bytes_get_size(packed));
    service_serve(service, "vm.events", 1, 4);
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    assert_string_equal(event_at(world, events, 2)->warning->error->message, "report");
    assert_int_equal(event_at(world, events, 3)->warning->error->code, ERROR_CODE_TIMEOUT);
    service_free(service);
}

/* A producer's own idea of the time moves no VM. */
static void test_time_is_not_the_producers(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    g_autofree char *topic = g_strdup_printf("%s.vm.commands", world->prefix);
    world_topic_keep_times(world, TOPIC_VM_COMMANDS, 1);

    VmCommand *command = world_command(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    g_autoptr(GBytes) packed = message_pack(command);
    size_t size_bytes = g_bytes_get_size(packed);
    void *bytes = (void *)g_bytes_get_data(packed, NULL);
    gint64 year_ms = G_GINT64_CONSTANT(365) * 86400 * 1000;
    gint64 now_ms = g_get_real_time() / 1000;
    assert_int_equal(rd_kafka_producev(world->producer, RD_KAFKA_V_TOPIC(topic),
                                       RD_KAFKA_V_PARTITION(1), RD_KAFKA_V_KEY(vm, 36),
                                       RD_KAFKA_V_VALUE(bytes, size_bytes),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_TIMESTAMP(now_ms - 10 * year_ms), RD_KAFKA_V_END),
                     0);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 1);
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    assert_true(event_at(world, events, 0)->time_ms >= now_ms);
    g_autofree char *metrics = metrics_print();
    assert_non_null(strstr(metrics, "\nvirtbus_producer_times_total{topic=\"vm.commands\"} 2\n"));
    service_free(service);
}

static gboolean host_exists(const Service *service, GError **error)
{
    gboolean exists = TRUE;
    return service->bus->host_exists(service->bus, HOST_A, &exists, error) && exists;
}

/* Where rights are given host by host, a host that nobody has made is one that may not be looked at.
 * The broker of this test says so, and no more. */
static void test_forbidden_host_is_no_host(void **state)
{
    World *world = *state;
    g_autoptr(GError) error = NULL;
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(world->producer, 1);
    World *other = world_new(rd_kafka_mock_cluster_bootstraps(cluster));
    g_autofree char *forbidden = topic_name(other->prefix, TOPIC_HOST_COMMANDS, HOST_A);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        const char *host = topic == TOPIC_HOST_COMMANDS ? HOST_A : NULL;
        g_autofree char *name = topic_name(other->prefix, (VbTopic)topic, host);
        rd_kafka_mock_topic_create(cluster, name, WORLD_PARTITIONS, 1);
    }
    Service *service = service_new(other, "i1", NULL, NULL);
    rd_kafka_mock_topic_set_error(cluster, forbidden, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    gboolean exists_forbidden = host_exists(service, &error);
    rd_kafka_mock_topic_set_error(cluster, forbidden, RD_KAFKA_RESP_ERR_NO_ERROR);
    gboolean exists_allowed = host_exists(service, NULL);
    service_free(service);
    world_free(other);
    rd_kafka_mock_cluster_destroy(cluster);
    assert_null(error);
    assert_false(exists_forbidden);
    assert_true(exists_allowed);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_command_is_answered),
        TEST(test_bad_records_go_to_the_dlq),
        TEST(test_wrong_partition_is_repaired),
        TEST(test_missing_host_is_answered),
        TEST(test_deadline_comes_behind_an_aborted_transaction),
        TEST(test_queued_answer_wins_after_a_pause),
        TEST(test_time_is_not_the_producers),
        TEST(test_forbidden_host_is_no_host),
    };
    return cmocka_run_group_tests_name("bus_records", tests, NULL, NULL);
}
