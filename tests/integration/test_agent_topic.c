/* The agent's command topic on a real broker: which one it opens, when somebody deletes it and makes
 * it again, however long the new one is by then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/message.h"
#include "common/bus/bus_topics.h"
#include "services/host-agent/agent_bus.h"
#include "tests/integration/kafka_world.h"

enum { N_COMMANDS = 3 };

static void on_fate(void *data, const char *vm_uuid, gboolean delivered)
{
    (void)data;
    (void)vm_uuid;
    (void)delivered;
}

static VbAgentBus *bus_new(World *world)
{
    GError *error = NULL;
    VbAgentBus *bus = agent_bus_new(&world->kafka, world->prefix, HOST_A, on_fate, NULL, &error);
    assert_non_null(bus);
    return bus;
}

static char *topic_of(World *world)
{
    return topic_name(world->prefix, TOPIC_HOST_COMMANDS, HOST_A);
}

/* Commands of operations "<name>-0", "<name>-1" ... */
static void send_commands(World *world, const char *name)
{
    g_autofree char *topic = topic_of(world);
    for (int i = 0; i < N_COMMANDS; i++) {
        HostCommand command = HOST_COMMAND__INIT;
        command.vm_uuid = (char *)HOST_A;
        command.operation_id = arena_printf(world->arena, "%s-%d", name, i);
        g_autoptr(GBytes) packed = message_pack(&command);
        gsize size_bytes = 0;
        const void *bytes = g_bytes_get_data(packed, &size_bytes);
        assert_int_equal(
            rd_kafka_producev(world->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                              RD_KAFKA_V_VALUE((void *)bytes, size_bytes),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
            RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    world_flush(world);
}

/* What can be asked of a topic that was made this moment is asked until it answers, as the agent
 * does. */
typedef struct {
    VbAgentBus *bus;
    VbAgentMark mark;
    VbAgentTopic topic;
} Opening;

static gboolean is_open(void *user)
{
    Opening *opening = user;
    return agent_bus_open(opening->bus, &opening->mark, &opening->topic, NULL);
}

static VbAgentTopic open_topic(VbAgentBus *bus, gint64 offset, const char *operation_id)
{
    Opening opening = {.bus = bus, .mark = {.offset = offset, .operation_id = operation_id}};
    world_until(is_open, &opening);
    return opening.topic;
}

static void topic_is_known_by_its_newest_command(void **state)
{
    World *world = *state;
    VbAgentBus *bus = bus_new(world);
    assert_false(open_topic(bus, -1, NULL).is_another); /* Nothing is known, nothing is missed. */
    send_commands(world, "old");
    VbAgentTopic topic = open_topic(bus, 1, "old-1");
    assert_false(topic.is_another);
    assert_int_equal(topic.end, N_COMMANDS);
    assert_true(open_topic(bus, 1, "old-2").is_another);
    assert_true(open_topic(bus, N_COMMANDS, "old-3").is_another); /* It ends before. */
}

static void topic_that_others_made_again_is_another_though_it_is_longer(void **state)
{
    World *world = *state;
    VbAgentBus *bus = bus_new(world);
    send_commands(world, "old");
    assert_false(open_topic(bus, 0, "old-0").is_another);
    world_topic_delete(world, TOPIC_HOST_COMMANDS, HOST_A);
    GError *error = NULL;
    assert_true(bus_topics_create_host(world->producer, world->prefix, HOST_A, 1, NULL, &error));
    send_commands(world, "new");
    send_commands(world, "newer");
    VbAgentTopic topic = open_topic(bus, 0, "old-0");
    assert_true(topic.is_another);
    assert_int_equal(topic.start, 0);
}

static void topic_that_the_agent_made_is_another(void **state)
{
    World *world = *state;
    VbAgentBus *bus = bus_new(world);
    assert_false(open_topic(bus, -1, NULL).is_another);
    world_topic_delete(world, TOPIC_HOST_COMMANDS, HOST_A);
    VbAgentTopic topic = open_topic(bus, -1, NULL);
    assert_true(topic.is_another);
    assert_int_equal(topic.start, 0);
    assert_false(open_topic(bus, -1, NULL).is_another); /* That was said. */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(topic_is_known_by_its_newest_command),
        TEST(topic_that_others_made_again_is_another_though_it_is_longer),
        TEST(topic_that_the_agent_made_is_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
