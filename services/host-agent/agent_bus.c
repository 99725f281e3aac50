/* The agent's side of Kafka: see agent_bus.h. */
#include "services/host-agent/agent_bus.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/bus/bus_topics.h"
#include "common/base/text.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "services/host-agent/agent_offsets.h"

enum {
    UNFINISHED_MAX = 256, /* Commands that were read and are not finished: bounds the memory. */
    OPEN_TIMEOUT_MS = 10000,
    CHECK_TIMEOUT_MS = 1000,
    END_SLICE_MS = 100,
};

static VbMetric dead_letters =
    METRICS_COUNTER("virtbus_agent_dead_letters_total", "Bad records sent to the agents' DLQ.");

struct VbAgentBus {
    char *prefix;
    char *host_uuid;
    char *topic;
    VbReportFate fate;
    void *data;
    rd_kafka_t *producer;
    rd_kafka_t *consumer;
    int fd;
    gboolean assigned;
    gboolean made; /* The topic, and it was not opened since. */
    VbOffsets offsets;
    gint64 committed;
    gint64 commit_asked; /* Behind what was asked to be committed. */
};

/* What a message that is out stands for: its VM's report, or a dead letter's offset. */
typedef struct {
    char *vm_uuid;
    gint64 offset;
} Sent;

static void sent_free(Sent *sent)
{
    g_free(sent->vm_uuid);
    g_free(sent);
}

/* --- The offset */

static void on_commit(rd_kafka_t *consumer, rd_kafka_resp_err_t failure,
                      rd_kafka_topic_partition_list_t *offsets, void *opaque)
{
    VbAgentBus *bus = opaque;
    (void)consumer;
    if (failure == RD_KAFKA_RESP_ERR__NO_OFFSET || offsets == NULL || offsets->cnt == 0) {
        return;
    }
    if (failure != RD_KAFKA_RESP_ERR_NO_ERROR) {
        log_event(VB_LOG_WARNING, "commit-failed",
                  "The offset was not committed; the next one will be.", "error",
                  rd_kafka_err2str(failure), NULL);
        bus->commit_asked = bus->committed;
        return;
    }
    bus->committed = MAX(bus->committed, offsets->elems[0].offset);
}

void agent_bus_commit(VbAgentBus *bus)
{
    gint64 offset = offsets_low_water(&bus->offsets);
    if (!bus->assigned || offset <= bus->commit_asked) {
        return;
    }
    g_autoptr(rd_kafka_topic_partition_list_t) offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(offsets, bus->topic, 0)->offset = offset;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(bus->consumer);
    bus->commit_asked = offset;
    rd_kafka_resp_err_t failure =
        rd_kafka_commit_queue(bus->consumer, offsets, queue, on_commit, bus);
    rd_kafka_queue_destroy(queue);
    if (failure != RD_KAFKA_RESP_ERR_NO_ERROR) {
        on_commit(bus->consumer, failure, offsets, bus);
    }
}

void agent_bus_finish(VbAgentBus *bus, gint64 offset)
{
    offsets_finish(&bus->offsets, offset);
    agent_bus_commit(bus);
}

gint64 agent_bus_committed(VbAgentBus *bus)
{
    return bus->committed;
}

/* --- Out */

static void on_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    VbAgentBus *bus = opaque;
    Sent *sent = message->_private;
    gboolean delivered = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    (void)producer;
    if (!delivered) {
        log_event(VB_LOG_WARNING, "delivery-failed",
                  "The broker did not take a record; it will be sent again.", "topic",
                  rd_kafka_topic_name(message->rkt), "error", rd_kafka_err2str(message->err), NULL);
    }
    if (sent == NULL) {
        return; /* A heartbeat: the next one replaces it. */
    }
    if (sent->vm_uuid != NULL) {
        bus->fate(bus->data, sent->vm_uuid, delivered);
    } else if (delivered) {
        agent_bus_finish(bus, sent->offset);
    } else {
        bus->assigned = FALSE; /* To be opened and read again from the committed offset. */
    }
    sent_free(sent);
}

static rd_kafka_headers_t *headers_of(const VbBusMessage *message)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(message->n_headers);
    for (size_t i = 0; i < message->n_headers; i++) {
        const VbBusHeader *header = &message->headers[i];
        rd_kafka_header_add(headers, header->name, -1, header->value, (ssize_t)header->size_bytes);
    }
    return headers;
}

/* Takes `sent` (may be NULL). The partition is the key's, by the handle's partitioner. */
static gboolean produce(VbAgentBus *bus, const VbBusMessage *message, Sent *sent)
{
    g_autofree char *topic = topic_name(bus->prefix, message->topic, NULL);
    rd_kafka_headers_t *headers = headers_of(message);
    rd_kafka_resp_err_t failure = rd_kafka_producev(
        bus->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(message->key, message->key_bytes),
        RD_KAFKA_V_VALUE((void *)message->value, message->value_bytes),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(sent), RD_KAFKA_V_END);
    if (failure == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return TRUE;
    }
    log_event(VB_LOG_WARNING, "send-failed", "A record was not sent; it will be again.", "topic",
              topic, "error", rd_kafka_err2str(failure), NULL);
    rd_kafka_headers_destroy(headers);
    if (sent != NULL) {
        sent_free(sent);
    }
    return FALSE;
}

void agent_bus_report(VbAgentBus *bus, VbArena *arena, const HostReport *report,
                      const char *traceparent)
{
    VbBusMessage message = agent_record_report(arena, bus->host_uuid, report, traceparent);
    Sent *sent = g_new0(Sent, 1);
    sent->vm_uuid = g_strdup(report->vm_uuid);
    if (!produce(bus, &message, sent)) {
        bus->fate(bus->data, report->vm_uuid, FALSE);
    }
}

void agent_bus_info(VbAgentBus *bus, VbArena *arena, const HostInfo *info)
{
    VbBusMessage message = agent_record_info(arena, bus->host_uuid, info);
    produce(bus, &message, NULL);
}

/* --- In */

static VbBusRecord *record_of(VbArena *arena, const rd_kafka_message_t *message)
{
    VbBusRecord *record = arena_alloc(arena, sizeof(*record));
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_timestamp_type_t type;
    record->topic = TOPIC_HOST_COMMANDS;
    record->partition = message->partition;
    record->offset = message->offset;
    record->time_ms = rd_kafka_message_timestamp(message, &type);
    record->key = message->key;
    record->key_bytes = message->key_len;
    record->value = message->payload;
    record->value_bytes = message->len;
    if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t n = rd_kafka_header_cnt(headers);
        VbBusHeader *copies = arena_alloc(arena, (n + 1) * sizeof(*copies));
        for (size_t i = 0; i < n; i++) {
            rd_kafka_header_get_all(headers, i, &copies[i].name, &copies[i].value,
                                    &copies[i].size_bytes);
        }
        record->headers = copies;
        record->n_headers = n;
    }
    return record;
}

static void dead_letter(VbAgentBus *bus, VbArena *arena, const VbBusRecord *record,
                        const Error *error)
{
    VbBusMessage message = agent_record_dlq(arena, bus->prefix, bus->host_uuid, record, error);
    log_event(VB_LOG_WARNING, "dead-letter", error->message, "offset", log_number(record->offset),
              "error", ENUM_CODE(error_code, error->code), NULL);
    metrics_add(&dead_letters, 1);
    Sent *sent = g_new0(Sent, 1);
    sent->offset = record->offset;
    if (!produce(bus, &message, sent)) {
        bus->assigned = FALSE;
    }
}

/* TRUE: a command for the caller. */
static gboolean record_take(VbAgentBus *bus, VbArena *arena, const rd_kafka_message_t *message,
                            VbAgentCommand *ret_command)
{
    VbBusRecord *record = record_of(arena, message);
    offsets_read(&bus->offsets, record->offset);
    const Error *error = NULL;
    if (!agent_record_read(arena, record, ret_command, &error)) {
        dead_letter(bus, arena, record, error);
        return FALSE;
    }
    return TRUE;
}

static void event_take(VbAgentBus *bus, const rd_kafka_message_t *message)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return; /* librdkafka goes on by itself. */
    default:
        log_event(VB_LOG_WARNING, "read-failed",
                  "The command topic cannot be read; it is opened again.", "topic", bus->topic,
                  "error", rd_kafka_message_errstr(message), NULL);
        bus->assigned = FALSE;
    }
}

gboolean agent_bus_next(VbAgentBus *bus, VbArena *arena, VbAgentCommand *ret_command)
{
    while (bus->assigned && offsets_n_unfinished(&bus->offsets) < UNFINISHED_MAX) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(bus->consumer, 0);
        if (message == NULL) {
            return FALSE;
        }
        gboolean taken = FALSE;
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            event_take(bus, message);
        } else {
            taken = record_take(bus, arena, message, ret_command);
        }
        rd_kafka_message_destroy(message);
        if (taken) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean agent_bus_serve(VbAgentBus *bus, GError **error)
{
    uint64_t count;
    char reason[256];
    (void)!read(bus->fd, &count, sizeof(count));
    rd_kafka_poll(bus->producer, 0);
    if (rd_kafka_fatal_error(bus->producer, reason, sizeof(reason)) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return TRUE;
    }
    g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL,
                "the producer of reports has failed for good: %s", reason);
    return FALSE;
}

int agent_bus_fd(VbAgentBus *bus)
{
    return bus->fd;
}

/* --- The topic */

static gboolean fail(GError **error, rd_kafka_resp_err_t failure, const char *topic,
                     const char *what)
{
    g_set_error(error, BUS_ERROR, BUS_ERROR_ABORT, "topic %s: %s: %s", topic, what,
                rd_kafka_err2str(failure));
    return FALSE;
}

static gboolean topic_ensure(VbAgentBus *bus, GError **error)
{
    int partitions = kafka_partitions(bus->producer, bus->topic, OPEN_TIMEOUT_MS, error);
    if (partitions == 0) {
        gboolean created = FALSE;
        if (!bus_topics_create_host(bus->producer, bus->prefix, bus->host_uuid, -1, &created,
                                    error)) {
            g_prefix_error(error, "the host has no command topic and may not make it: ");
            return FALSE;
        }
        bus->made = TRUE;
        log_event(VB_LOG_INFO, "topic-created", "The host's command topic was made.", "topic",
                  bus->topic, NULL);
        return TRUE;
    }
    if (partitions > 1) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL,
                    "topic %s has %d partitions; commands of a host need exactly one: delete it",
                    bus->topic, partitions);
        return FALSE;
    }
    return partitions == 1;
}

/* The first record to a topic that was never looked up waits a second with librdkafka, and it would be the answer to the first command. */
static gboolean reports_look_up(VbAgentBus *bus, GError **error)
{
    static const VbTopic topics[] = {TOPIC_VM_REPORTS, TOPIC_VOLUME_REPORTS, TOPIC_HOSTS};
    for (size_t i = 0; i < G_N_ELEMENTS(topics); i++) {
        g_autofree char *name = topic_name(bus->prefix, topics[i], NULL);
        int partitions = kafka_partitions(bus->producer, name, OPEN_TIMEOUT_MS, error);
        if (partitions == 0) {
            g_set_error(error, BUS_ERROR, BUS_ERROR_ABORT,
                        "topic %s does not exist: run virtbusctl topics create", name);
        }
        if (partitions <= 0) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean is_marked(const rd_kafka_message_t *message, const VbAgentMark *mark)
{
    if (message->offset != mark->offset || message->payload == NULL) {
        return FALSE;
    }
    HostCommand *command = host_command__unpack(NULL, message->len, message->payload);
    gboolean is = command != NULL && strcmp(command->operation_id, mark->operation_id) == 0;
    if (command != NULL) {
        host_command__free_unpacked(command, NULL);
    }
    return is;
}

/* Whether the mark's command is where the journal knows it. */
static gboolean mark_find(VbAgentBus *bus, const VbAgentMark *mark, gboolean *ret_found,
                          GError **error)
{
    gint64 deadline_us = g_get_monotonic_time() + OPEN_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND;
    gboolean known = FALSE;
    g_autoptr(rd_kafka_topic_partition_list_t) offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(offsets, bus->topic, 0)->offset = mark->offset;
    rd_kafka_assign(bus->consumer, offsets);
    *ret_found = FALSE;
    while (!known && g_get_monotonic_time() < deadline_us) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(bus->consumer, END_SLICE_MS);
        if (message == NULL) {
            continue;
        }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            *ret_found = is_marked(message, mark);
            known = TRUE;
        }
        known = known || message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
                message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
                message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
        rd_kafka_message_destroy(message);
    }
    rd_kafka_assign(bus->consumer, NULL);
    return known || fail(error, RD_KAFKA_RESP_ERR__TIMED_OUT, bus->topic,
                         "whether it is the one of the journal is not known");
}

static gboolean topic_compare(VbAgentBus *bus, const VbAgentMark *mark, gint64 first, gint64 end,
                              gboolean *ret_is_another, GError **error)
{
    gboolean found = FALSE;
    if (*ret_is_another || mark->offset < first) {
        return TRUE;
    }
    if (mark->offset < end && !mark_find(bus, mark, &found, error)) {
        return FALSE;
    }
    *ret_is_another = !found;
    return TRUE;
}

gboolean agent_bus_open(VbAgentBus *bus, const VbAgentMark *mark, VbAgentTopic *ret_topic,
                        GError **error)
{
    if (!reports_look_up(bus, error) || !topic_ensure(bus, error)) {
        return FALSE;
    }
    ret_topic->is_another = bus->made;
    gint64 first = 0;
    gint64 end = 0;
    rd_kafka_resp_err_t failure = rd_kafka_query_watermark_offsets(bus->consumer, bus->topic, 0,
                                                                   &first, &end, OPEN_TIMEOUT_MS);
    if (failure != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return fail(error, failure, bus->topic, "its end is not known");
    }
    if (!topic_compare(bus, mark, first, end, &ret_topic->is_another, error)) {
        return FALSE;
    }
    g_autoptr(rd_kafka_topic_partition_list_t) offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *partition =
        rd_kafka_topic_partition_list_add(offsets, bus->topic, 0);
    failure = rd_kafka_committed(bus->consumer, offsets, OPEN_TIMEOUT_MS);
    if (failure != RD_KAFKA_RESP_ERR_NO_ERROR || partition->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return fail(error, failure != RD_KAFKA_RESP_ERR_NO_ERROR ? failure : partition->err,
                    bus->topic, "the committed offset is not known");
    }
    gboolean usable =
        !ret_topic->is_another && partition->offset >= first && partition->offset <= end;
    ret_topic->start = usable ? partition->offset : first;
    ret_topic->end = end;
    bus->made = FALSE;
    return TRUE;
}

void agent_bus_assign(VbAgentBus *bus, const VbAgentTopic *topic)
{
    g_autoptr(rd_kafka_topic_partition_list_t) offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(offsets, bus->topic, 0)->offset = topic->start;
    offsets_begin(&bus->offsets, topic->start);
    bus->committed = topic->start;
    bus->commit_asked = topic->start;
    rd_kafka_assign(bus->consumer, offsets);
    bus->assigned = TRUE;
}

gboolean agent_bus_is_assigned(VbAgentBus *bus)
{
    return bus->assigned;
}

gboolean agent_bus_check(VbAgentBus *bus)
{
    kafka_broker_probe(bus->producer, CHECK_TIMEOUT_MS);
    return kafka_partitions(bus->producer, bus->topic, CHECK_TIMEOUT_MS, NULL) != 0;
}

void agent_bus_unassign(VbAgentBus *bus)
{
    bus->assigned = FALSE;
}

/* --- Life */

/* A byte in the eventfd when the queue was empty and is no longer. */
static void wake_by(rd_kafka_queue_t *queue, int fd)
{
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof(one));
    rd_kafka_queue_destroy(queue);
}

VbAgentBus *agent_bus_new(const VbKafkaSettings *settings, const char *prefix,
                          const char *host_uuid, VbReportFate fate, void *data, GError **error)
{
    VbAgentBus *bus = g_new0(VbAgentBus, 1);
    metrics_register(&dead_letters);
    bus->prefix = g_strdup(prefix);
    bus->host_uuid = g_strdup(host_uuid);
    bus->topic = topic_name(prefix, TOPIC_HOST_COMMANDS, host_uuid);
    bus->fate = fate;
    bus->data = data;
    bus->committed = -1;
    offsets_init(&bus->offsets);
    bus->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert(bus->fd >= 0);
    bus->producer = kafka_producer_new(settings, on_delivered, bus, error);
    bus->consumer = bus->producer != NULL ? kafka_consumer_new(settings, host_uuid, error) : NULL;
    if (bus->consumer == NULL) {
        return NULL;
    }
    wake_by(rd_kafka_queue_get_main(bus->producer), bus->fd);
    wake_by(rd_kafka_queue_get_consumer(bus->consumer), bus->fd);
    return bus;
}

void agent_bus_end(VbAgentBus *bus, int timeout_ms)
{
    gint64 deadline_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
    rd_kafka_flush(bus->producer, timeout_ms);
    agent_bus_commit(bus);
    while (bus->committed < bus->commit_asked && g_get_monotonic_time() < deadline_us) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(bus->consumer, END_SLICE_MS);
        if (message != NULL) {
            rd_kafka_message_destroy(message); /* It is read again by the next process. */
        }
    }
}
