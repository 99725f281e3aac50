/* test_bus_setup: topics are made as designed, and a deployment that is not is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/bus/bus_topics.h"
#include "common/runtime/daemon.h"
#include "tests/integration/kafka_world.h"
#include "tests/lib/echo_service.h"

/* ---- Topics */

static char *config_of(World *world, const char *topic_suffix, const char *name)
{
    g_autofree char *topic = g_strdup_printf("%s.%s", world->prefix, topic_suffix);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(world->producer);
    rd_kafka_DescribeConfigs(world->producer, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WORLD_WAIT_MS);
    assert_non_null(event);
    size_t n;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &n);
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &n);
    char *value = NULL;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0) {
            value = g_strdup(rd_kafka_ConfigEntry_value(entries[i]));
        }
    }
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    return value;
}

static void expect_config(World *world, const char *topic_suffix, const char *name,
                          const char *expected)
{
    g_autofree char *value = config_of(world, topic_suffix, name);
    assert_string_equal(value, expected);
}

static void test_topics_are_made_as_designed(void **state)
{
    World *world = *state;
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) created = g_ptr_array_new_with_free_func(g_free);
    VbTopicPlan plan = {.prefix = world->prefix, .partitions = 3, .replication = 1};
    assert_true(bus_topics_create(world->producer, &plan, created, &error));
    assert_int_equal(created->len, TOPIC_COUNT - 1);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (topic != TOPIC_HOST_COMMANDS) {
            g_autofree char *name = topic_name(world->prefix, (VbTopic)topic, NULL);
            int n = kafka_partitions(world->producer, name, WORLD_WAIT_MS, &error);
            assert_int_equal(n, topic_info((VbTopic)topic)->per_vm ? 3 : 1);
        }
    }
    expect_config(world, "vm.commands", "message.timestamp.type", "LogAppendTime");
    expect_config(world, "vm.commands", "cleanup.policy", "delete");
    expect_config(world, "vm.commands", "retention.ms", "1209600000");
    expect_config(world, "dlq", "retention.ms", "2592000000");
    expect_config(world, "vm.state", "cleanup.policy", "compact");
    expect_config(world, "vm.state", "min.cleanable.dirty.ratio", "0.1");
    expect_config(world, "vm.state", "segment.ms", "3600000");

    g_ptr_array_set_size(created, 0);
    assert_true(bus_topics_create(world->producer, &plan, created, &error));
    assert_int_equal(created->len, 0);
    plan.partitions = 4;
    assert_false(bus_topics_create(world->producer, &plan, created, &error));
    assert_non_null(strstr(error->message, "has 3 partitions, 4 were asked for"));
}

/* What the other tests change of a topic is one thing only. */
static void test_a_changed_setting_leaves_the_others(void **state)
{
    World *world = *state;
    world_topics(world);
    world_topic_keep_times(world, TOPIC_VM_COMMANDS, 1);
    expect_config(world, "vm.commands", "message.timestamp.type", "CreateTime");
    expect_config(world, "vm.commands", "retention.ms", "1209600000");
}

/* ---- Refusals */

static gboolean on_tick(void *user)
{
    (void)user;
    return FALSE;
}

static GError *open_error(World *world, const VbKafkaProperty *extra, size_t n_extra)
{
    int n_partitions;
    GError *error = NULL;
    VbBusKafkaConfig config = {.kafka = world->kafka,
                               .service = &echo_service,
                               .prefix = world->prefix,
                               .group_id = world->group,
                               .instance_id = "i1",
                               .tick = on_tick};
    config.kafka.extra = extra;
    config.kafka.n_extra = n_extra;
    assert_null(bus_kafka_open(&config, &n_partitions, &error));
    assert_true(g_error_matches(error, BUS_ERROR, BUS_ERROR_SETUP));
    return error;
}

static void test_missing_topics_are_refused(void **state)
{
    g_autoptr(GError) error = open_error(*state, NULL, 0);
    assert_non_null(strstr(error->message, "virtbusctl topics create"));
}

static void test_unequal_partitions_are_refused(void **state)
{
    World *world = *state;
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (topic != TOPIC_HOST_COMMANDS) {
            world_topic(world, (VbTopic)topic, topic == TOPIC_VM_REPORTS ? 5 : 2);
        }
    }
    g_autoptr(GError) error = open_error(world, NULL, 0);
    assert_non_null(strstr(error->message, "all must have the same number"));
    assert_non_null(strstr(error->message, "vm.reports 5"));
}

static void test_fixed_property_is_refused(void **state)
{
    VbKafkaProperty fixed = {"isolation.level", "read_uncommitted"};
    g_autoptr(GError) error = open_error(*state, &fixed, 1);
    assert_non_null(strstr(error->message, "kafka.isolation.level cannot be set"));
    VbKafkaProperty unknown = {"no.such.property", "1"};
    g_autoptr(GError) other = open_error(*state, &unknown, 1);
    assert_non_null(strstr(other->message, "no.such.property"));
}

static void test_process_refuses_to_start(void **state)
{
    static const char *const bad_storage[] = {"--default.storage=nothing", NULL};
    World *world = *state;
    assert_int_equal(world_reap(world, world_spawn(world, NULL, NULL)), DAEMON_STATUS_USAGE);
    assert_int_equal(world_reap(world, world_spawn(world, "no good", NULL)), DAEMON_STATUS_USAGE);
    assert_int_equal(world_reap(world, world_spawn(world, "i1", bad_storage)), DAEMON_STATUS_USAGE);
    assert_int_equal(world_reap(world, world_spawn(world, "i1", NULL)), 1); /* No topics. */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, world_set_up_bare, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_topics_are_made_as_designed), TEST(test_a_changed_setting_leaves_the_others),
        TEST(test_missing_topics_are_refused),  TEST(test_unequal_partitions_are_refused),
        TEST(test_fixed_property_is_refused),   TEST(test_process_refuses_to_start),
    };
    return cmocka_run_group_tests_name("bus_setup", tests, NULL, NULL);
}
