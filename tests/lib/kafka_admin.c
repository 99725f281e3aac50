#include "tests/lib/kafka_admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

enum { ADMIN_WAIT_MS = 60000 };

/* The broker's word, which must be no error. */
static rd_kafka_event_t *answer_of(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_WAIT_MS);
    assert_non_null(event);
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fail_msg("%s: %s", rd_kafka_event_name(event), rd_kafka_event_error_string(event));
    }
    rd_kafka_queue_destroy(queue);
    return event;
}

void admin_topic_delete(rd_kafka_t *client, const char *topic)
{
    size_t n = 0;
    rd_kafka_DeleteTopic_t *deletion = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DeleteTopics(client, &deletion, 1, NULL, queue);
    rd_kafka_event_t *event = answer_of(queue);
    const rd_kafka_topic_result_t **results =
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &n);
    assert_int_equal(n, 1);
    assert_int_equal(rd_kafka_topic_result_error(results[0]), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteTopic_destroy(deletion);
}

/* ---- A topic's settings */

static void resource_expect_good(const rd_kafka_ConfigResource_t **resources, size_t n)
{
    assert_int_equal(n, 1);
    if (rd_kafka_ConfigResource_error(resources[0]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fail_msg("%s: %s", rd_kafka_ConfigResource_name(resources[0]),
                 rd_kafka_ConfigResource_error_string(resources[0]));
    }
}

/* What else was set for this topic: to change one setting is to say all of them again. */
static void settings_copy(rd_kafka_t *client, rd_kafka_ConfigResource_t *topic, const char *but)
{
    size_t n = 0;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DescribeConfigs(client, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = answer_of(queue);
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &n);
    resource_expect_good(resources, n);
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &n);
    for (size_t i = 0; i < n; i++) {
        const char *name = rd_kafka_ConfigEntry_name(entries[i]);
        if (rd_kafka_ConfigEntry_source(entries[i]) ==
                RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG &&
            strcmp(name, but) != 0) {
            rd_kafka_ConfigResource_set_config(topic, name, rd_kafka_ConfigEntry_value(entries[i]));
        }
    }
    rd_kafka_event_destroy(event);
}

void admin_topic_set(rd_kafka_t *client, const char *topic, const char *setting, const char *value)
{
    size_t n = 0;
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    settings_copy(client, resource, setting);
    rd_kafka_ConfigResource_set_config(resource, setting, value);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_AlterConfigs(client, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = answer_of(queue);
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event), &n);
    resource_expect_good(resources, n);
    rd_kafka_event_destroy(event);
    rd_kafka_ConfigResource_destroy(resource);
}
