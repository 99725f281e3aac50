/* The Kafka bus: opening, closing, and what its parts share. */
#include <string.h>

#include "common/bus/bus_kafka_private.h"

gboolean bus_kafka_tick(VbBusKafka *kafka, int grace_ms, GError **error)
{
    gint64 now_us = g_get_monotonic_time();
    if (kafka->config.tick(kafka->config.user)) {
        kafka->stop_us = kafka->stop_us != 0 ? kafka->stop_us : now_us;
        if (now_us - kafka->stop_us >= grace_ms * G_GINT64_CONSTANT(1000)) {
            g_set_error(error, BUS_ERROR, BUS_ERROR_STOP, "asked to end while waiting for Kafka");
            return FALSE;
        }
    }
    if (now_us - kafka->check_us >= KAFKA_SLICE_MS * G_GINT64_CONSTANT(1000)) {
        kafka->check_us = now_us;
        kafka_broker_probe(kafka->producer, KAFKA_SLICE_MS); /* Something is waited for. */
    }
    return TRUE;
}

static gboolean is_fenced(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
           code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH ||
           code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
}

gboolean bus_kafka_is_alive(const VbBusKafka *kafka, rd_kafka_t *handle, GError **error)
{
    char text[512];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(handle, text, sizeof(text));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return TRUE;
    }
    if (is_fenced(code)) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FENCED,
                    "the broker shut this process out in favour of a newer one of instance.id "
                    "\"%s\" (%s). If two processes run with this id, stop one or give it an id of "
                    "its own. After an outage of the broker it is the end of this process's own "
                    "transaction, and nothing needs to be done",
                    kafka->config.instance_id, text);
        return FALSE;
    }
    g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL, "%s: %s (%s)", rd_kafka_name(handle), text,
                rd_kafka_err2name(code));
    return FALSE;
}

int bus_kafka_input_index(const VbBusKafka *kafka, const char *topic)
{
    const VbService *service = kafka->config.service;
    for (size_t i = 0; i < service->n_inputs; i++) {
        if (strcmp(kafka->names[service->inputs[i]], topic) == 0) {
            return (int)i;
        }
    }
    return -1;
}

rd_kafka_topic_partition_list_t *bus_kafka_inputs(const VbBusKafka *kafka, int partition)
{
    const VbService *service = kafka->config.service;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)service->n_inputs);
    for (size_t i = 0; i < service->n_inputs; i++) {
        rd_kafka_topic_partition_list_add(list, kafka->names[service->inputs[i]], partition);
    }
    return list;
}

static gint64 bus_kafka_now_ms(VbBus *bus)
{
    (void)bus;
    return g_get_real_time() / 1000;
}

/* ---- Opening */

/* The number of partitions, once somebody answers. */
static gboolean partitions_ask(VbBusKafka *kafka, const char *name, int *ret_n, GError **error)
{
    for (;;) {
        g_autoptr(GError) cause = NULL;
        *ret_n = kafka_partitions(kafka->producer, name, KAFKA_SLICE_MS, &cause);
        if (*ret_n >= 0) {
            return TRUE;
        }
        if (g_error_matches(cause, BUS_ERROR, BUS_ERROR_SETUP)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return FALSE;
        }
        rd_kafka_poll(kafka->producer, 100);
        if (!bus_kafka_tick(kafka, 0, error)) {
            return FALSE;
        }
    }
}

/* All topics that are keyed by VM have the same number of partitions, or no VM is where it is
 * looked for. */
static gboolean topics_check(VbBusKafka *kafka, GError **error)
{
    const char *first = NULL;
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        const VbTopicInfo *info = topic_info((VbTopic)topic);
        const char *name = kafka->names[topic];
        int n = 0;
        if (!info->per_vm && topic != TOPIC_DLQ) {
            continue;
        }
        if (!partitions_ask(kafka, name, &n, error)) {
            return FALSE;
        }
        if (n == 0) {
            g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP,
                        "topic %s does not exist: make the topics with `virtbusctl topics create`",
                        name);
            return FALSE;
        }
        if (info->per_vm && first == NULL) {
            first = name;
            kafka->n_partitions = n;
        }
        if (info->per_vm && n != kafka->n_partitions) {
            g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP,
                        "topic %s has %d partitions and %s %d: all must have the same number. "
                        "Start with another topic.prefix and `virtbusctl topics create`",
                        first, kafka->n_partitions, name, n);
            return FALSE;
        }
    }
    return TRUE;
}

static VbBusKafka *bus_kafka_new(const VbBusKafkaConfig *config)
{
    VbBusKafka *kafka = g_new0(VbBusKafka, 1);
    kafka->config = *config;
    kafka->bus = (VbBus){.poll = bus_kafka_poll,
                         .committed = bus_kafka_committed,
                         .state_end = bus_kafka_state_end,
                         .read_state = bus_kafka_read_state,
                         .consume = bus_kafka_consume,
                         .confirm_end = bus_kafka_confirm_end,
                         .host_exists = bus_kafka_host_exists,
                         .begin = bus_kafka_begin,
                         .produce = bus_kafka_produce,
                         .flush = bus_kafka_flush,
                         .send_offsets = bus_kafka_send_offsets,
                         .commit = bus_kafka_commit,
                         .abort = bus_kafka_abort,
                         .now_ms = bus_kafka_now_ms};
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (topic != TOPIC_HOST_COMMANDS) {
            kafka->names[topic] = topic_name(config->prefix, (VbTopic)topic, NULL);
        }
    }
    g_queue_init(&kafka->events);
    kafka->hosts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return kafka;
}

static gboolean bus_kafka_start(VbBusKafka *kafka, GError **error)
{
    kafka->producer = bus_kafka_producer_new(kafka, error);
    if (kafka->producer == NULL) {
        return FALSE;
    }
    /* First of all: a transaction that this instance left open would hold back every reader. */
    if (!bus_kafka_init(kafka, error) || !topics_check(kafka, error)) {
        return FALSE;
    }
    size_t n_ends = (size_t)kafka->n_partitions * kafka->config.service->n_inputs;
    kafka->ends = g_new(gint64, n_ends);
    memset(kafka->ends, 0xff, n_ends * sizeof(gint64)); /* -1 */
    kafka->is_told = g_new0(gboolean, kafka->n_partitions);
    kafka->consumer = bus_kafka_consumer_new(kafka, error);
    return kafka->consumer != NULL && bus_kafka_subscribe(kafka, error);
}

VbBus *bus_kafka_open(const VbBusKafkaConfig *config, int *ret_n_partitions, GError **error)
{
    VbBusKafka *kafka = bus_kafka_new(config);
    if (!bus_kafka_start(kafka, error)) {
        bus_kafka_close(&kafka->bus);
        return NULL;
    }
    *ret_n_partitions = kafka->n_partitions;
    return &kafka->bus;
}

static void event_free(gpointer data)
{
    VbBusEvent *event = data;
    bus_record_free(event->record);
    g_free(event);
}

void bus_kafka_close(VbBus *bus)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    rd_kafka_t *handles[] = {kafka->reader, kafka->consumer, kafka->producer};
    for (size_t i = 0; i < G_N_ELEMENTS(handles); i++) {
        if (handles[i] != NULL) {
            /* An orderly close of a consumer waits for a broker, and has nothing to tell it. */
            rd_kafka_destroy_flags(handles[i], RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
    }
    g_clear_pointer(&kafka->assignment, rd_kafka_topic_partition_list_destroy);
    g_clear_error(&kafka->failure);
    g_queue_clear_full(&kafka->events, event_free);
    g_hash_table_destroy(kafka->hosts);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        g_free(kafka->names[topic]);
    }
    g_free(kafka->is_told);
    g_free(kafka->ends);
    g_free(kafka->undelivered_topic);
    g_free(kafka);
}
