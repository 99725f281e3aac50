/* See bus_topics.h. Settings stand here and nowhere else. */
#include "common/bus/bus_topics.h"

#include "common/bus/kafka_conf.h"

enum { TIMEOUT_MS = 30000 };

#define DAY_MS (24 * 60 * 60 * G_GINT64_CONSTANT(1000))

static gboolean fail(GError **error, const char *name, const char *why)
{
    g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP, "topic %s cannot be made: %s", name, why);
    return FALSE;
}

static void config_set(rd_kafka_NewTopic_t *topic, const char *name, const char *value)
{
    rd_kafka_NewTopic_set_config(topic, name, value);
}

static rd_kafka_NewTopic_t *topic_new(const char *name, VbTopic topic, int partitions,
                                      int replication, GError **error)
{
    char text[256];
    const VbTopicInfo *info = topic_info(topic);
    rd_kafka_NewTopic_t *new_topic =
        rd_kafka_NewTopic_new(name, partitions, replication, text, sizeof(text));
    if (new_topic == NULL) {
        fail(error, name, text);
        return NULL;
    }
    if (info->compacted) {
        config_set(new_topic, "cleanup.policy", "compact");
        config_set(new_topic, "min.cleanable.dirty.ratio", "0.1");
        config_set(new_topic, "segment.ms", "3600000");
    } else {
        g_autofree char *retention =
            g_strdup_printf("%" G_GINT64_FORMAT, info->retention_days * DAY_MS);
        config_set(new_topic, "cleanup.policy", "delete");
        config_set(new_topic, "retention.ms", retention);
    }
    /* The broker's clock: a producer's own could say 1970 and have its record deleted unread. */
    config_set(new_topic, "message.timestamp.type", "LogAppendTime");
    return new_topic;
}

/* Waits for the broker's word on one topic. FALSE and no error: it exists. */
static gboolean topic_send(rd_kafka_t *handle, const char *name, rd_kafka_NewTopic_t *topic,
                           GError **error)
{
    char text[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_operation_timeout(options, TIMEOUT_MS, text, sizeof(text));
    rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, text, sizeof(text));
    rd_kafka_CreateTopics(handle, &topic, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 2 * TIMEOUT_MS);
    gboolean is_made = FALSE;
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fail(error, name, event != NULL ? rd_kafka_event_error_string(event) : "no answer");
    } else {
        size_t n;
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[0]);
        is_made = code == RD_KAFKA_RESP_ERR_NO_ERROR;
        if (!is_made && code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
            fail(error, name, rd_kafka_topic_result_error_string(results[0]));
        }
    }
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return is_made;
}

/* The controller's word is not the broker's yet: whoever starts next must find the topic. */
static gboolean topic_await(rd_kafka_t *handle, const char *name, GError **error)
{
    gint64 end_us = g_get_monotonic_time() + TIMEOUT_MS * G_GINT64_CONSTANT(1000);
    for (;;) {
        int n = kafka_partitions(handle, name, TIMEOUT_MS, error);
        if (n != 0) {
            return n > 0;
        }
        if (g_get_monotonic_time() > end_us) {
            return fail(error, name, "it was made, and the broker does not show it");
        }
        g_usleep(10000);
    }
}

static gboolean topic_make(rd_kafka_t *handle, const char *name, VbTopic topic, int partitions,
                           int replication, gboolean *ret_made, GError **error)
{
    GError *cause = NULL;
    int there = kafka_partitions(handle, name, TIMEOUT_MS, error);
    *ret_made = FALSE;
    if (there < 0) {
        return FALSE;
    }
    if (there == 0) {
        rd_kafka_NewTopic_t *new_topic = topic_new(name, topic, partitions, replication, error);
        if (new_topic == NULL) {
            return FALSE;
        }
        *ret_made = topic_send(handle, name, new_topic, &cause);
        rd_kafka_NewTopic_destroy(new_topic);
        if (cause != NULL) {
            g_propagate_error(error, cause);
            return FALSE;
        }
        return topic_await(handle, name, error);
    }
    if (there != partitions) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP,
                    "topic %s has %d partitions, %d were asked for: the number is fixed for good. "
                    "Ask for %d, or use another topic.prefix",
                    name, there, partitions, there);
        return FALSE;
    }
    return TRUE;
}

gboolean bus_topics_create(rd_kafka_t *handle, const VbTopicPlan *plan, GPtrArray *created,
                           GError **error)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (topic == TOPIC_HOST_COMMANDS) {
            continue;
        }
        g_autofree char *name = topic_name(plan->prefix, (VbTopic)topic, NULL);
        int partitions = topic_info((VbTopic)topic)->per_vm ? plan->partitions : 1;
        gboolean is_made;
        if (!topic_make(handle, name, (VbTopic)topic, partitions, plan->replication, &is_made,
                        error)) {
            return FALSE;
        }
        if (is_made && created != NULL) {
            g_ptr_array_add(created, g_steal_pointer(&name));
        }
    }
    return TRUE;
}

gboolean bus_topics_create_host(rd_kafka_t *handle, const char *prefix, const char *host_uuid,
                                int replication, gboolean *ret_created, GError **error)
{
    g_autofree char *name = topic_name(prefix, TOPIC_HOST_COMMANDS, host_uuid);
    gboolean is_made = FALSE;
    gboolean done = topic_make(handle, name, TOPIC_HOST_COMMANDS, 1, replication, &is_made, error);
    if (ret_created != NULL) {
        *ret_created = is_made;
    }
    return done;
}
