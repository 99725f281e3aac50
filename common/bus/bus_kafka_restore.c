/* The Kafka bus, restoring: what a gained partition needs to know before it is consumed. */
#include "common/bus/bus_kafka_private.h"
#include "common/runtime/log.h"

/* Before the next try: a pause, the group, the stop. */
static gboolean try_again(VbBusKafka *kafka, const char *what, const char *why, GError **error)
{
    log_event(VB_LOG_DEBUG, "restore-retry", why, "what", what, NULL);
    return bus_kafka_pump(kafka, 100, error) && bus_kafka_tick(kafka, 0, error);
}

static gboolean denied(rd_kafka_resp_err_t code, const char *what, GError **error)
{
    if (code != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED &&
        code != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) {
        return FALSE;
    }
    g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP, "%s: %s: give this service's user the right",
                what, rd_kafka_err2str(code));
    return TRUE;
}

gboolean bus_kafka_committed(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    g_autoptr(rd_kafka_topic_partition_list_t) list = bus_kafka_inputs(kafka, offsets->partition);
    for (;;) {
        rd_kafka_resp_err_t code = rd_kafka_committed(kafka->consumer, list, KAFKA_SLICE_MS);
        for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
            code = list->elems[i].err;
        }
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            break;
        }
        if (denied(code, "the committed offsets cannot be read", error) ||
            !try_again(kafka, "committed", rd_kafka_err2str(code), error)) {
            return FALSE;
        }
    }
    for (int i = 0; i < list->cnt; i++) {
        gint64 offset = list->elems[i].offset;
        offsets->next[bus_kafka_input_index(kafka, list->elems[i].topic)] =
            offset >= 0 ? offset : -1;
    }
    return TRUE;
}

/* First and next offset of a partition, asked through the producer: read-uncommitted. */
static gboolean ends_query(VbBusKafka *kafka, const char *topic, int partition, gint64 *ret_first,
                           gint64 *ret_next, GError **error)
{
    for (;;) {
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            kafka->producer, topic, partition, ret_first, ret_next, KAFKA_SLICE_MS);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return TRUE;
        }
        if (denied(code, topic, error) || !try_again(kafka, topic, rd_kafka_err2str(code), error)) {
            return FALSE;
        }
    }
}

gboolean bus_kafka_state_end(VbBus *bus, int partition, gint64 *ret_end, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    gint64 first;
    return ends_query(kafka, kafka->names[kafka->config.service->state_topic], partition, &first,
                      ret_end, error);
}

/* ---- States */

typedef struct {
    VbBusKafka *kafka;
    gint64 end;
    VbBusRead read;
    void *user;
    gboolean is_done;
} VbStateRead;

static gboolean state_message(VbStateRead *state_read, const rd_kafka_message_t *message,
                              GError **error)
{
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        /* Behind an open transaction the end is reported too; the real one comes later. */
        state_read->is_done = message->offset >= state_read->end;
        return TRUE;
    }
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        VbBusRecord record = {.topic = state_read->kafka->config.service->state_topic,
                              .partition = message->partition,
                              .offset = message->offset,
                              .time_ms = rd_kafka_message_timestamp(message, NULL),
                              .key = message->key,
                              .key_bytes = message->key_len,
                              .value = message->payload,
                              .value_bytes = message->len};
        state_read->read(&record, state_read->user);
        return TRUE;
    }
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL,
                    "the state topic changed while it was read: %s",
                    rd_kafka_message_errstr(message));
        return FALSE;
    }
    log_event(VB_LOG_WARNING, "restore", rd_kafka_message_errstr(message), NULL);
    return TRUE;
}

/* The group and the stop are served at the beginning and then once a second. */
static gboolean state_pump(VbBusKafka *kafka, gint64 *served_us, GError **error)
{
    gint64 now_us = g_get_monotonic_time();
    if (now_us - *served_us < KAFKA_SLICE_MS * G_GINT64_CONSTANT(1000)) {
        return TRUE;
    }
    *served_us = now_us;
    return bus_kafka_pump(kafka, 0, error) && bus_kafka_tick(kafka, 0, error);
}

static gboolean reader_open(VbBusKafka *kafka, GError **error)
{
    if (kafka->reader == NULL) {
        kafka->reader = kafka_reader_new(&kafka->config.kafka, kafka->config.group_id, error);
    }
    if (kafka->reader == NULL) {
        return FALSE;
    }
    /* A topic that was looked up is read at once; else librdkafka takes half a second to ask. */
    kafka_partitions(kafka->reader, kafka->names[kafka->config.service->state_topic],
                     KAFKA_SLICE_MS, NULL);
    return TRUE;
}

gboolean bus_kafka_read_state(VbBus *bus, int partition, gint64 end, VbBusRead read, void *user,
                              GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    VbStateRead state_read = {.kafka = kafka, .end = end, .read = read, .user = user};
    gint64 served_us = 0;
    if (end == 0) {
        return TRUE;
    }
    if (!reader_open(kafka, error)) {
        return FALSE;
    }
    g_autoptr(rd_kafka_topic_partition_list_t) list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, kafka->names[kafka->config.service->state_topic],
                                      partition)
        ->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(kafka->reader, list);
    gboolean done = TRUE;
    while (done && !state_read.is_done) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka->reader, KAFKA_SLICE_MS);
        if (message != NULL) {
            done = state_message(&state_read, message, error);
            rd_kafka_message_destroy(message);
        }
        done = done && state_pump(kafka, &served_us, error);
    }
    rd_kafka_assign(kafka->reader, NULL);
    return done;
}

/* ---- Consuming */

gboolean bus_kafka_consume(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    for (size_t i = 0; i < kafka->config.service->n_inputs; i++) {
        const char *topic = kafka->names[kafka->config.service->inputs[i]];
        gint64 next;
        if (offsets->next[i] < 0 &&
            !ends_query(kafka, topic, offsets->partition, &offsets->next[i], &next, error)) {
            return FALSE;
        }
    }
    if (kafka->restoring != offsets->partition) {
        return TRUE; /* Revoked while it was restored. */
    }
    kafka->restoring = -1;
    for (size_t i = 0; i < kafka->config.service->n_inputs; i++) {
        const char *topic = kafka->names[kafka->config.service->inputs[i]];
        rd_kafka_topic_partition_list_set_offset(kafka->assignment, topic, offsets->partition,
                                                 offsets->next[i]);
    }
    if (--kafka->n_unrestored > 0) {
        return TRUE;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(kafka->consumer, kafka->assignment);
    g_clear_pointer(&kafka->assignment, rd_kafka_topic_partition_list_destroy);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL, "the assignment is not taken: %s",
                    rd_kafka_err2str(code));
        return FALSE;
    }
    return TRUE;
}
