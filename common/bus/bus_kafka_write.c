/* The Kafka bus, writing: transactions, and what goes wrong with them.
 *
 *     retriable                   the same call again, in slices
 *     the transaction is lost     BUS_ERROR_ABORT
 *     ... by a record's fault     BUS_ERROR_REFUSED
 *     fatal, or not to be known   BUS_ERROR_FATAL; a restore finds out what was committed
 */
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/bus_kafka_private.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum { HOST_SEEN_MS = 60000 }; /* How long a host's topic is believed to be there still. */

static VbMetric metric_transaction =
    METRICS_HISTOGRAM("virtbus_transaction_seconds",
                      "From begin to the broker's word on the commit.", metrics_seconds_bounds);

/* ---- Errors */

/* Whether the same record would be refused again. What is wrong with one of the service's own
 * topics is wrong for every record: that is no record's fault. A host's topic that is gone is found
 * out by the next look-up. */
static gboolean is_refusal(const VbBusKafka *kafka, rd_kafka_resp_err_t code, const char *topic)
{
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        for (int i = 0; i < TOPIC_COUNT; i++) {
            if (g_strcmp0(kafka->names[i], topic) == 0) {
                return FALSE;
            }
        }
        return TRUE;
    }
    return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
           code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE ||
           code == RD_KAFKA_RESP_ERR_INVALID_RECORD || code == RD_KAFKA_RESP_ERR_INVALID_MSG;
}

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    VbBusKafka *kafka = opaque;
    (void)producer;
    /* What an abort throws out of the queue failed because of another record. */
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
        message->err != RD_KAFKA_RESP_ERR__PURGE_QUEUE &&
        message->err != RD_KAFKA_RESP_ERR__PURGE_INFLIGHT &&
        kafka->undelivered == RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka->undelivered = message->err;
        g_free(kafka->undelivered_topic);
        kafka->undelivered_topic = g_strdup(rd_kafka_topic_name(message->rkt));
    }
}

static gboolean fail_undelivered(const VbBusKafka *kafka, GError **error)
{
    g_set_error(error, BUS_ERROR,
                is_refusal(kafka, kafka->undelivered, kafka->undelivered_topic) ? BUS_ERROR_REFUSED
                                                                                : BUS_ERROR_ABORT,
                "the broker did not take a record for %s: %s", kafka->undelivered_topic,
                rd_kafka_err2str(kafka->undelivered));
    return FALSE;
}

/* Takes `cause`, which is not retriable. */
static gboolean fail_transaction(VbBusKafka *kafka, const char *what, rd_kafka_error_t *cause,
                                 GError **error)
{
    g_autoptr(rd_kafka_error_t) taken = cause;
    if (rd_kafka_error_is_fatal(taken) && !bus_kafka_is_alive(kafka, kafka->producer, error)) {
        return FALSE;
    }
    if (rd_kafka_error_txn_requires_abort(taken)) {
        if (kafka->undelivered != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return fail_undelivered(kafka, error);
        }
        g_set_error(error, BUS_ERROR, BUS_ERROR_ABORT, "%s: %s (%s)", what,
                    rd_kafka_error_string(taken), rd_kafka_error_name(taken));
        return FALSE;
    }
    g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL, "%s, outcome unknown: %s (%s)", what,
                rd_kafka_error_string(taken), rd_kafka_error_name(taken));
    return FALSE;
}

/* One call of librdkafka that can be made again until it is through. */
typedef rd_kafka_error_t *(*VbKafkaCall)(VbBusKafka *kafka, const void *argument);

static gboolean call(VbBusKafka *kafka, const char *what, VbKafkaCall function,
                     const void *argument, GError **error)
{
    for (;;) {
        gint64 begin_us = g_get_monotonic_time();
        rd_kafka_error_t *cause = function(kafka, argument);
        if (cause == NULL) {
            return TRUE;
        }
        if (!rd_kafka_error_is_retriable(cause) || rd_kafka_error_txn_requires_abort(cause) ||
            rd_kafka_error_is_fatal(cause)) {
            return fail_transaction(kafka, what, cause, error);
        }
        log_event(VB_LOG_DEBUG, "transaction-retry", rd_kafka_error_string(cause), "call", what,
                  NULL);
        gint64 spent_us = g_get_monotonic_time() - begin_us;
        rd_kafka_error_destroy(cause);
        /* A call that was refused at once is not made again at once. */
        rd_kafka_poll(kafka->producer, spent_us < 10000 ? KAFKA_SLICE_MS / 20 : 0);
        if (!bus_kafka_tick(kafka, KAFKA_STOP_GRACE_MS, error)) {
            return FALSE;
        }
    }
}

/* ---- Start */

rd_kafka_t *bus_kafka_producer_new(VbBusKafka *kafka, GError **error)
{
    g_autofree char *id =
        g_strdup_printf("%s-%s", kafka->config.group_id, kafka->config.instance_id);
    const VbKafkaPair pairs[] = {
        {"transactional.id", id},
        {"transaction.timeout.ms", "10000"},
        {"retry.backoff.ms", "5"},
        {"linger.ms", "0"},
        {"partitioner", "murmur2_random"},
        /* A consumer's property; here it decides what "end of a topic" means in questions. */
        {"isolation.level", "read_uncommitted"},
        {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_new(&kafka->config.kafka, pairs, error);
    if (conf == NULL) {
        return NULL;
    }
    metrics_register(&metric_transaction);
    rd_kafka_conf_set_opaque(conf, kafka);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    return kafka_handle_new(RD_KAFKA_PRODUCER, conf, error);
}

static rd_kafka_error_t *call_init(VbBusKafka *kafka, const void *argument)
{
    (void)argument;
    return rd_kafka_init_transactions(kafka->producer, KAFKA_SLICE_MS);
}

gboolean bus_kafka_init(VbBusKafka *kafka, GError **error)
{
    return call(kafka, "init_transactions", call_init, NULL, error);
}

/* ---- Hosts */

gboolean bus_kafka_host_exists(VbBus *bus, const char *host_uuid, gboolean *ret_exists,
                               GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    const gint64 *seen_us = g_hash_table_lookup(kafka->hosts, host_uuid);
    if (seen_us != NULL &&
        g_get_monotonic_time() - *seen_us < HOST_SEEN_MS * G_GINT64_CONSTANT(1000)) {
        *ret_exists = TRUE;
        return TRUE;
    }
    g_autofree char *name = topic_name(kafka->config.prefix, TOPIC_HOST_COMMANDS, host_uuid);
    for (;;) {
        g_autoptr(GError) cause = NULL;
        int n = kafka_partitions(kafka->producer, name, KAFKA_SLICE_MS, &cause);
        if (n >= 0) {
            *ret_exists = n > 0;
            break;
        }
        if (g_error_matches(cause, BUS_ERROR, BUS_ERROR_SETUP)) {
            /* Where rights are given host by host, this is how one that does not exist looks. */
            log_event(VB_LOG_WARNING, "host-denied",
                      "A host's topic may not be looked up: the host is taken for one that does "
                      "not exist.",
                      "host", host_uuid, "error", cause->message, NULL);
            *ret_exists = FALSE;
            break;
        }
        log_event(VB_LOG_DEBUG, "host-retry", cause->message, "host", host_uuid, NULL);
        rd_kafka_poll(kafka->producer, 100);
        if (!bus_kafka_tick(kafka, 0, error)) {
            return FALSE;
        }
    }
    if (*ret_exists) {
        gint64 now_us = g_get_monotonic_time();
        g_hash_table_replace(kafka->hosts, g_strdup(host_uuid), g_memdup2(&now_us, sizeof(now_us)));
    }
    return TRUE;
}

/* ---- One transaction */

gboolean bus_kafka_begin(VbBus *bus, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    kafka->undelivered = RD_KAFKA_RESP_ERR_NO_ERROR;
    kafka->begin_us = g_get_monotonic_time();
    rd_kafka_error_t *cause = rd_kafka_begin_transaction(kafka->producer);
    return cause == NULL || fail_transaction(kafka, "begin", cause, error);
}

static rd_kafka_resp_err_t produce_once(VbBusKafka *kafka, const char *topic,
                                        const VbBusMessage *message)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(message->n_headers);
    for (size_t i = 0; i < message->n_headers; i++) {
        rd_kafka_header_add(headers, message->headers[i].name, -1, message->headers[i].value,
                            (ssize_t)message->headers[i].size_bytes);
    }
    rd_kafka_resp_err_t code = rd_kafka_producev(
        kafka->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(message->partition),
        RD_KAFKA_V_KEY(message->key, message->key_bytes),
        RD_KAFKA_V_VALUE((void *)message->value, message->value_bytes),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(headers);
    }
    return code;
}

gboolean bus_kafka_produce(VbBus *bus, const VbBusMessage *message, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    g_autofree char *host_topic = NULL;
    const char *topic = kafka->names[message->topic];
    if (topic == NULL) {
        host_topic = topic_name(kafka->config.prefix, message->topic, message->host_uuid);
        topic = host_topic;
    }
    for (;;) {
        rd_kafka_resp_err_t code = produce_once(kafka, topic, message);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return TRUE;
        }
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            g_set_error(error, BUS_ERROR,
                        is_refusal(kafka, code, topic) ? BUS_ERROR_REFUSED : BUS_ERROR_ABORT,
                        "a record for %s of %zu bytes cannot be sent: %s", topic,
                        message->value_bytes, rd_kafka_err2str(code));
            return FALSE;
        }
        rd_kafka_poll(kafka->producer, 100);
        if (!bus_kafka_tick(kafka, KAFKA_STOP_GRACE_MS, error)) {
            return FALSE;
        }
    }
}

gboolean bus_kafka_flush(VbBus *bus, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    while (rd_kafka_flush(kafka->producer, KAFKA_SLICE_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (!bus_kafka_is_alive(kafka, kafka->producer, error) ||
            !bus_kafka_tick(kafka, KAFKA_STOP_GRACE_MS, error)) {
            return FALSE;
        }
    }
    return kafka->undelivered == RD_KAFKA_RESP_ERR_NO_ERROR || fail_undelivered(kafka, error);
}

static rd_kafka_error_t *call_send_offsets(VbBusKafka *kafka, const void *argument)
{
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(kafka->consumer);
    rd_kafka_error_t *cause =
        rd_kafka_send_offsets_to_transaction(kafka->producer, argument, group, KAFKA_SLICE_MS);
    rd_kafka_consumer_group_metadata_destroy(group);
    return cause;
}

gboolean bus_kafka_send_offsets(VbBus *bus, const VbBusOffsets *offsets, size_t n_offsets,
                                GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    const VbService *service = kafka->config.service;
    g_autoptr(rd_kafka_topic_partition_list_t) list =
        rd_kafka_topic_partition_list_new((int)(n_offsets * service->n_inputs));
    for (size_t i = 0; i < n_offsets; i++) {
        for (size_t input = 0; input < service->n_inputs; input++) {
            rd_kafka_topic_partition_list_add(list, kafka->names[service->inputs[input]],
                                              offsets[i].partition)
                ->offset = offsets[i].next[input];
        }
    }
    return call(kafka, "send_offsets", call_send_offsets, list, error);
}

static rd_kafka_error_t *call_commit(VbBusKafka *kafka, const void *argument)
{
    (void)argument;
    return rd_kafka_commit_transaction(kafka->producer, KAFKA_SLICE_MS);
}

gboolean bus_kafka_commit(VbBus *bus, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    if (!call(kafka, "commit", call_commit, NULL, error)) {
        return FALSE;
    }
    metrics_observe(&metric_transaction,
                    (double)(g_get_monotonic_time() - kafka->begin_us) / 1000000);
    return TRUE;
}

static rd_kafka_error_t *call_abort(VbBusKafka *kafka, const void *argument)
{
    (void)argument;
    return rd_kafka_abort_transaction(kafka->producer, KAFKA_SLICE_MS);
}

/* Hosts are looked up anew: a topic that is gone may be why. */
gboolean bus_kafka_abort(VbBus *bus, GError **error)
{
    VbBusKafka *kafka = bus_kafka_of(bus);
    g_hash_table_remove_all(kafka->hosts);
    g_autoptr(GError) cause = NULL;
    if (call(kafka, "abort", call_abort, NULL, &cause)) {
        return TRUE;
    }
    if (g_error_matches(cause, BUS_ERROR, BUS_ERROR_STOP) ||
        g_error_matches(cause, BUS_ERROR, BUS_ERROR_FENCED)) {
        g_propagate_error(error, g_steal_pointer(&cause));
    } else {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL, "%s", cause->message);
    }
    return FALSE;
}
