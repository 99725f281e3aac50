/* The Kafka bus, reading: the group's partitions and their records.
 *
 * An assignment is not acknowledged at once: each of its partitions is restored first, then all of
 * them are consumed by one rd_kafka_assign, each from its own offset. Nothing is ever sought. */
#include <string.h>

#include "common/bus/bus_kafka_private.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum { IDLE_CHECK_MS = 5000 };

static VbMetric metric_times =
    METRICS_COUNTER("virtbus_producer_times_total",
                    "Records whose topic keeps its producers' times, which are not used.", "topic");

static VbBusEvent *event_push(VbBusKafka *kafka, VbBusEventKind kind, int partition)
{
    VbBusEvent *event = g_new0(VbBusEvent, 1);
    event->kind = kind;
    event->partition = partition;
    g_queue_push_tail(&kafka->events, event);
    return event;
}

/* ---- The group */

/* The range assignor gives the same partitions of every input, if their numbers are equal. */
static gboolean assignment_check(VbBusKafka *kafka, const rd_kafka_topic_partition_list_t *list)
{
    g_autofree size_t *n_topics = g_new0(size_t, kafka->n_partitions);
    for (int i = 0; i < list->cnt; i++) {
        if (list->elems[i].partition < kafka->n_partitions) {
            n_topics[list->elems[i].partition]++;
        }
    }
    for (int p = 0; p < kafka->n_partitions; p++) {
        if (n_topics[p] != 0 && n_topics[p] != kafka->config.service->n_inputs) {
            g_clear_error(&kafka->failure);
            g_set_error(&kafka->failure, BUS_ERROR, BUS_ERROR_SETUP,
                        "partition %d of %zu input topics was assigned, of %zu expected: every "
                        "member of group %s must run the same service and version",
                        p, n_topics[p], kafka->config.service->n_inputs, kafka->config.group_id);
            return FALSE;
        }
    }
    return TRUE;
}

static void on_assign(VbBusKafka *kafka, const rd_kafka_topic_partition_list_t *list)
{
    if (list->cnt == 0 || !assignment_check(kafka, list)) {
        rd_kafka_assign(kafka->consumer, NULL);
        return;
    }
    const char *first = kafka->names[kafka->config.service->inputs[0]];
    g_clear_pointer(&kafka->assignment, rd_kafka_topic_partition_list_destroy);
    kafka->assignment = rd_kafka_topic_partition_list_copy(list);
    rd_kafka_topic_partition_list_sort(kafka->assignment, NULL, NULL);
    kafka->n_unrestored = 0;
    for (int i = 0; i < kafka->assignment->cnt; i++) {
        if (strcmp(kafka->assignment->elems[i].topic, first) == 0) {
            event_push(kafka, BUS_GAINED, kafka->assignment->elems[i].partition);
            kafka->n_unrestored++;
        }
    }
}

/* Whatever waits in the queue is of the partitions that are gone: a revocation takes all. */
static void on_revoke(VbBusKafka *kafka)
{
    VbBusEvent *event;
    while ((event = g_queue_pop_head(&kafka->events)) != NULL) {
        bus_record_free(event->record);
        g_free(event);
    }
    g_clear_pointer(&kafka->assignment, rd_kafka_topic_partition_list_destroy);
    kafka->restoring = -1;
    for (int p = 0; p < kafka->n_partitions; p++) {
        if (kafka->is_told[p]) {
            event_push(kafka, BUS_LOST, p);
        }
    }
    rd_kafka_assign(kafka->consumer, NULL);
}

static void on_rebalance(rd_kafka_t *consumer, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    VbBusKafka *kafka = opaque;
    log_event(VB_LOG_DEBUG, "rebalance", "The group changed.", "code", rd_kafka_err2name(code),
              "partitions", log_number(list->cnt), NULL);
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        on_assign(kafka, list);
    } else {
        on_revoke(kafka);
    }
    rd_kafka_yield(consumer);
}

rd_kafka_t *bus_kafka_consumer_new(VbBusKafka *kafka, GError **error)
{
    const VbKafkaPair pairs[] = {{"group.id", kafka->config.group_id},
                                 {"group.instance.id", kafka->config.instance_id},
                                 {"partition.assignment.strategy", "range"},
                                 {"session.timeout.ms", "6000"},
                                 {"heartbeat.interval.ms", "1500"},
                                 {"isolation.level", "read_committed"},
                                 {"enable.partition.eof", "true"},
                                 {"auto.offset.reset", "error"},
                                 {"enable.auto.commit", "false"},
                                 {"enable.auto.offset.store", "false"},
                                 {"allow.auto.create.topics", "false"},
                                 {"queued.max.messages.kbytes", "1024"},
                                 {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_new(&kafka->config.kafka, pairs, error);
    if (conf == NULL) {
        return NULL;
    }
    metrics_register(&metric_times);
    rd_kafka_conf_set_opaque(conf, kafka);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    return kafka_handle_new(RD_KAFKA_CONSUMER, conf, error);
}

gboolean bus_kafka_subscribe(VbBusKafka *kafka, GError **error)
{
    g_autoptr(rd_kafka_topic_partition_list_t) list =
        bus_kafka_inputs(kafka, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(kafka->consumer, list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL, "cannot subscribe: %s",
                    rd_kafka_err2str(code));
        return FALSE;
    }
    return TRUE;
}

/* ---- Records */

/* When the broker took the record. A topic that keeps the producer's time instead could put a VM's
 * steps into any year: this machine's clock stands in. The journal says what was used. */
static gint64 record_time_ms(VbBusKafka *kafka, VbTopic topic, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    gint64 time_ms = rd_kafka_message_timestamp(message, &type);
    if (type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME) {
        return time_ms;
    }
    metrics_add(&metric_times, 1, topic_info(topic)->suffix);
    if (!kafka->times_told[topic]) {
        kafka->times_told[topic] = TRUE;
        log_event(VB_LOG_WARNING, "timestamp-type",
                  "A topic keeps its producers' times; they are not used. Set its "
                  "message.timestamp.type to LogAppendTime.",
                  "topic", rd_kafka_topic_name(message->rkt), NULL);
    }
    return kafka->bus.now_ms(&kafka->bus);
}

/* Copies what the loop needs out of librdkafka's memory. */
static VbBusRecord *record_of(VbBusKafka *kafka, VbTopic topic, const rd_kafka_message_t *message)
{
    enum { MAX_HEADERS = 64 }; /* More are for nobody here. */
    VbBusHeader headers[MAX_HEADERS];
    size_t n_headers = 0;
    rd_kafka_headers_t *list;
    if (rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        VbBusHeader *at = headers;
        while (n_headers < MAX_HEADERS &&
               rd_kafka_header_get_all(list, n_headers, &at->name, &at->value, &at->size_bytes) ==
                   RD_KAFKA_RESP_ERR_NO_ERROR) {
            at = &headers[++n_headers];
        }
    }
    VbBusRecord record = {.topic = topic,
                          .partition = message->partition,
                          .offset = message->offset,
                          .time_ms = record_time_ms(kafka, topic, message),
                          .key = message->key,
                          .key_bytes = message->key_len,
                          .value = message->payload,
                          .value_bytes = message->len,
                          .headers = headers,
                          .n_headers = n_headers};
    return bus_record_copy(&record);
}

/* What is not in this list passes by itself: librdkafka tries again. */
static gboolean consumer_error(VbBusKafka *kafka, const rd_kafka_message_t *message, GError **error)
{
    const char *topic = message->rkt != NULL ? rd_kafka_topic_name(message->rkt) : "-";
    const char *text = rd_kafka_message_errstr(message);
    if (!bus_kafka_is_alive(kafka, kafka->consumer, error)) {
        return FALSE;
    }
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
        message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP,
                    "the next record of %s:%d was deleted before it was read (%s). What it said is "
                    "lost; to go on, stop every member of group %s and run "
                    "kafka-consumer-groups.sh --bootstrap-server BROKER --group %s "
                    "--reset-offsets --topic %s:%d --to-earliest --execute",
                    topic, message->partition, text, kafka->config.group_id, kafka->config.group_id,
                    topic, message->partition);
        return FALSE;
    }
    if (message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
        message->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL, "cannot read %s: %s", topic, text);
        return FALSE;
    }
    log_event(VB_LOG_WARNING, "consumer", text, "topic", topic, NULL);
    return TRUE;
}

static gboolean message_take(VbBusKafka *kafka, const rd_kafka_message_t *message, GError **error)
{
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
        message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        return consumer_error(kafka, message, error);
    }
    size_t n_inputs = kafka->config.service->n_inputs;
    int input = bus_kafka_input_index(kafka, rd_kafka_topic_name(message->rkt));
    g_assert(input >= 0 && message->partition < kafka->n_partitions);
    VbTopic topic = kafka->config.service->inputs[input];
    gint64 *end = &kafka->ends[(size_t)message->partition * n_inputs + (size_t)input];
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        event_push(kafka, BUS_AT_END, message->partition)->topic = topic;
        *end = message->offset;
    } else {
        event_push(kafka, BUS_RECORD, message->partition)->record =
            record_of(kafka, topic, message);
        *end = -1;
    }
    return TRUE;
}

gboolean bus_kafka_pump(VbBusKafka *kafka, int timeout_ms, GError **error)
{
    rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka->consumer, timeout_ms);
    gboolean done = TRUE;
    if (message != NULL) {
        done = message_take(kafka, message, error);
        rd_kafka_message_destroy(message);
    }
    if (done && kafka->failure != NULL) {
        g_propagate_error(error, g_steal_pointer(&kafka->failure));
        return FALSE;
    }
    return done;
}

/* librdkafka does not always say that no broker is left, so an idle loop asks now and then. */
static void broker_check(VbBusKafka *kafka)
{
    gint64 now_us = g_get_monotonic_time();
    if (now_us - kafka->check_us >= IDLE_CHECK_MS * G_GINT64_CONSTANT(1000)) {
        kafka->check_us = now_us;
        kafka_broker_probe(kafka->producer, KAFKA_SLICE_MS);
    } else {
        kafka_broker_check(kafka->producer, KAFKA_SLICE_MS);
    }
}

gboolean bus_kafka_poll(VbBus *bus, int timeout_ms, VbBusEvent *ret_event, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    if (g_queue_is_empty(&kafka->events)) {
        if (timeout_ms > 0) {
            rd_kafka_poll(kafka->producer, 0);
            broker_check(kafka);
        }
        if (!bus_kafka_pump(kafka, MIN(timeout_ms, KAFKA_SLICE_MS), error)) {
            return FALSE;
        }
    }
    if (!bus_kafka_is_alive(kafka, kafka->producer, error)) {
        return FALSE;
    }
    g_autofree VbBusEvent *event = g_queue_pop_head(&kafka->events);
    *ret_event = event != NULL ? *event : (VbBusEvent){.kind = BUS_NOTHING};
    if (ret_event->kind == BUS_GAINED || ret_event->kind == BUS_LOST) {
        kafka->is_told[ret_event->partition] = ret_event->kind == BUS_GAINED;
        kafka->restoring = ret_event->kind == BUS_GAINED ? ret_event->partition : -1;
    } else if (kafka->reader != NULL && kafka->assignment == NULL) {
        g_clear_pointer(&kafka->reader, rd_kafka_destroy); /* Nothing is left to restore. */
    }
    return TRUE;
}

/* ---- The end */

/* Where each input of the partition ends now, for readers of committed records. */
static gboolean ends_ask(VbBusKafka *kafka, rd_kafka_topic_partition_list_t *list, GError **error)
{
    for (;;) {
        gboolean is_known = TRUE;
        for (int i = 0; i < list->cnt; i++) {
            list->elems[i].offset = RD_KAFKA_OFFSET_END;
        }
        rd_kafka_resp_err_t code =
            rd_kafka_offsets_for_times(kafka->consumer, list, KAFKA_SLICE_MS);
        for (int i = 0; i < list->cnt; i++) {
            is_known = is_known && list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
                       list->elems[i].offset >= 0;
        }
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR && is_known) {
            return TRUE;
        }
        rd_kafka_poll(kafka->producer, 100);
        if (!bus_kafka_tick(kafka, 0, error)) {
            return FALSE;
        }
    }
}

gboolean bus_kafka_confirm_end(VbBus *bus, int partition, gboolean *ret_at_end, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    size_t n_inputs = kafka->config.service->n_inputs;
    g_autoptr(rd_kafka_topic_partition_list_t) list = bus_kafka_inputs(kafka, partition);
    if (!ends_ask(kafka, list, error)) {
        return FALSE;
    }
    g_autofree gboolean *is_end = g_new0(gboolean, n_inputs);
    *ret_at_end = TRUE;
    for (int i = 0; i < list->cnt; i++) {
        size_t input = (size_t)bus_kafka_input_index(kafka, list->elems[i].topic);
        is_end[input] = kafka->ends[(size_t)partition * n_inputs + input] >= list->elems[i].offset;
        *ret_at_end = *ret_at_end && is_end[input];
    }
    /* librdkafka reports an end once. The inputs that are not there yet will come to a new one. */
    for (size_t input = 0; !*ret_at_end && input < n_inputs; input++) {
        if (is_end[input]) {
            event_push(kafka, BUS_AT_END, partition)->topic = kafka->config.service->inputs[input];
        }
    }
    return TRUE;
}
