/* test_broker_outage: when a broker counts as lost, and when as back. The broker is librdkafka's own
 * double: it can be made to hang up, and nothing else is asked of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "common/bus/kafka_conf.h"
#include "common/runtime/log.h"

enum { WAIT_MS = 60000, PROBE_MS = 1000, POLL_MS = 20 };

typedef struct {
    rd_kafka_t *ground;
    rd_kafka_mock_cluster_t *cluster;
    rd_kafka_t *producer;
    rd_kafka_t *consumer;
    rd_kafka_queue_t *unheard; /* What librdkafka has said to the consumer's owner. */
} World;

static int set_up(void **state)
{
    World *world = g_new0(World, 1);
    char text[256];
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    world->ground = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    world->cluster = rd_kafka_mock_cluster_new(world->ground, 1);
    VbKafkaSettings settings = {.bootstrap = rd_kafka_mock_cluster_bootstraps(world->cluster),
                                .client_id = "test"};
    world->producer = kafka_producer_new(&settings, NULL, NULL, NULL);
    world->consumer = kafka_consumer_new(&settings, NULL, NULL);
    world->unheard = rd_kafka_queue_get_consumer(world->consumer);
    kafka_broker_probe(world->producer, WAIT_MS);
    kafka_broker_probe(world->consumer, WAIT_MS);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    World *world = *state;
    rd_kafka_queue_destroy(world->unheard);
    rd_kafka_destroy(world->consumer);
    rd_kafka_destroy(world->producer);
    rd_kafka_mock_cluster_destroy(world->cluster);
    rd_kafka_destroy(world->ground);
    g_free(world);
    return 0;
}

static gboolean is_lost(World *world)
{
    rd_kafka_poll(world->producer, POLL_MS);
    return kafka_outage().is_on;
}

static gboolean is_said(World *world)
{
    g_usleep(POLL_MS * 1000);
    return rd_kafka_queue_length(world->unheard) > 0;
}

static gboolean is_back(World *world)
{
    kafka_broker_probe(world->producer, PROBE_MS);
    return !kafka_outage().is_on;
}

static gboolean is_heard(World *world)
{
    rd_kafka_message_t *message = rd_kafka_consumer_poll(world->consumer, 0);
    if (message != NULL) {
        rd_kafka_message_destroy(message);
    }
    return rd_kafka_queue_length(world->unheard) == 0;
}

static void await(World *world, gboolean (*is_so)(World *world))
{
    gint64 end_us = g_get_monotonic_time() + WAIT_MS * G_GINT64_CONSTANT(1000);
    while (!is_so(world)) {
        assert_true(g_get_monotonic_time() < end_us);
    }
}

/* A consumer that nobody polled meanwhile tells of the outage when it is over. */
static void a_late_word_is_no_new_outage(void **state)
{
    World *world = *state;
    assert_false(kafka_outage().is_on);
    rd_kafka_mock_broker_set_down(world->cluster, 1);
    await(world, is_lost);
    await(world, is_said);
    assert_int_equal(kafka_outage().n, 1);
    rd_kafka_mock_broker_set_up(world->cluster, 1);
    await(world, is_back);
    await(world, is_heard);
    assert_false(kafka_outage().is_on);
    assert_int_equal(kafka_outage().n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_late_word_is_no_new_outage, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("broker_outage", tests, NULL, NULL);
}
