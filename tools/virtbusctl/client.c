/* See client.h. */
#include "tools/virtbusctl/client.h"

#include <string.h>

#include "common/base/message.h"
#include "common/bus/kafka_conf.h"

enum {
    CONNECT_MS = 5000,
    ANSWER_MS = 10000,
    PRODUCE_MS = 30000,
};

struct VbClient {
    VbKafkaSettings settings;
    GArray *properties; /* What settings.extra points to. */
    const char *prefix;
    rd_kafka_t *producer;
    rd_kafka_t *consumer;
    rd_kafka_t *asker;     /* Asked for the ends with what is not committed; NULL: not yet. */
    GPtrArray *sources;    /* of ClientSource * */
    GHashTable *open_ends; /* of ClientSource *: not read to their end yet. */
    gboolean delivered;
    rd_kafka_resp_err_t delivery;
};

static void source_free(gpointer data)
{
    ClientSource *source = data;
    g_free(source->host_uuid);
    g_free(source->name);
    g_free(source);
}

static void on_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    VbClient *client = opaque;
    client->delivered = TRUE;
    client->delivery = message->err;
}

static gboolean unreachable(const VbClient *client, GError **error, const char *reason)
{
    g_set_error(error, CTL_ERROR, CTL_UNREACHABLE,
                "no broker answers at %s (%s); check that it runs, and --bootstrap",
                client->settings.bootstrap, reason);
    return FALSE;
}

/* What is wrong with properties or rights is not about brokers that do not answer. */
static gboolean of_bus(const VbClient *client, GError *cause, GError **error)
{
    if (g_error_matches(cause, BUS_ERROR, BUS_ERROR_SETUP)) {
        g_set_error_literal(error, CTL_ERROR, CTL_FAILED, cause->message);
    } else {
        unreachable(client, error, cause->message);
    }
    g_error_free(cause);
    return FALSE;
}

/* Reading up to a topic's end costs one empty fetch: librdkafka's 500 ms are long for a person. */
static void settings_make(VbClient *client, const VbOptions *options)
{
    static const VbKafkaProperty own = {.name = (char *)"fetch.wait.max.ms", .value = (char *)"50"};
    client->settings = kafka_settings(options, "virtbusctl");
    client->properties = g_array_new(FALSE, FALSE, sizeof(VbKafkaProperty));
    g_array_append_val(client->properties, own);
    g_array_append_vals(client->properties, client->settings.extra,
                        (guint)client->settings.n_extra);
    client->settings.extra = (const VbKafkaProperty *)(void *)client->properties->data;
    client->settings.n_extra = client->properties->len;
}

static gboolean handles_open(VbClient *client, GError **error)
{
    GError *cause = NULL;
    client->producer = kafka_producer_new(&client->settings, on_delivered, client, &cause);
    if (client->producer != NULL) {
        client->consumer = kafka_consumer_new(&client->settings, NULL, &cause);
    }
    if (client->consumer == NULL) {
        g_set_error(error, CTL_ERROR, CTL_USAGE, "%s", cause->message);
        g_error_free(cause);
        return FALSE;
    }
    return TRUE;
}

VbClient *client_open(const Ctl *ctl, GError **error)
{
    g_autoptr(VbClient) client = g_new0(VbClient, 1);
    settings_make(client, ctl->options);
    client->prefix = options_get_string(ctl->options, "topic.prefix");
    client->sources = g_ptr_array_new_with_free_func(source_free);
    client->open_ends = g_hash_table_new(NULL, NULL);
    if (!handles_open(client, error)) {
        return NULL;
    }
    g_autofree char *topic = topic_name(client->prefix, TOPIC_VM_COMMANDS, NULL);
    GError *cause = NULL;
    if (kafka_partitions(client->consumer, topic, (int)MIN(CONNECT_MS, ctl->timeout_ms), &cause) <
        0) {
        of_bus(client, cause, error);
        return NULL;
    }
    return g_steal_pointer(&client);
}

void client_close(VbClient *client)
{
    if (client == NULL) {
        return;
    }
    if (client->consumer != NULL) {
        rd_kafka_consumer_close(client->consumer);
        rd_kafka_destroy(client->consumer);
    }
    if (client->producer != NULL) {
        rd_kafka_destroy(client->producer);
    }
    if (client->asker != NULL) {
        rd_kafka_destroy(client->asker);
    }
    g_clear_pointer(&client->open_ends, g_hash_table_unref);
    g_clear_pointer(&client->sources, g_ptr_array_unref);
    g_clear_pointer(&client->properties, g_array_unref);
    g_free(client);
}

rd_kafka_t *client_handle(const VbClient *client)
{
    return client->producer;
}

static int partitions_of(const VbClient *client, rd_kafka_t *handle, VbTopic topic,
                         const char *host_uuid, GError **error)
{
    g_autofree char *name = topic_name(client->prefix, topic, host_uuid);
    GError *cause = NULL;
    int n_partitions = kafka_partitions(handle, name, ANSWER_MS, &cause);
    if (n_partitions < 0) {
        of_bus(client, cause, error);
    }
    return n_partitions;
}

static int partitions_needed(const VbClient *client, rd_kafka_t *handle, VbTopic topic,
                             GError **error)
{
    int n_partitions = partitions_of(client, handle, topic, NULL, error);
    if (n_partitions == 0) {
        g_autofree char *name = topic_name(client->prefix, topic, NULL);
        g_set_error(error, CTL_ERROR, CTL_FAILED,
                    "the broker has no topic %s; make the topics with `virtbusctl topics create`, "
                    "or check --topic.prefix",
                    name);
        return -1;
    }
    return n_partitions;
}

int client_partitions(VbClient *client, VbTopic topic, const char *host_uuid, GError **error)
{
    return partitions_of(client, client->consumer, topic, host_uuid, error);
}

int client_partitions_needed(VbClient *client, VbTopic topic, GError **error)
{
    return partitions_needed(client, client->consumer, topic, error);
}

int client_vm_partition(VbClient *client, VbTopic topic, const char *vm_uuid, GError **error)
{
    int n_partitions = client_partitions_needed(client, topic, error);
    return n_partitions < 0 ? -1 : topic_partition(vm_uuid, strlen(vm_uuid), n_partitions);
}

/* ---- Producing */

static gboolean delivery_wait(VbClient *client, GError **error)
{
    gint64 deadline_us = g_get_monotonic_time() + PRODUCE_MS * G_TIME_SPAN_MILLISECOND;
    while (!client->delivered && g_get_monotonic_time() < deadline_us) {
        rd_kafka_poll(client->producer, 100);
    }
    if (!client->delivered || client->delivery == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT) {
        g_set_error(error, CTL_ERROR, CTL_NO_REPLY,
                    "the broker did not confirm that it has the request");
        return FALSE;
    }
    if (client->delivery != RD_KAFKA_RESP_ERR_NO_ERROR) {
        g_set_error(error, CTL_ERROR, CTL_FAILED, "the broker refused the request: %s",
                    rd_kafka_err2str(client->delivery));
        return FALSE;
    }
    return TRUE;
}

gboolean client_produce(VbClient *client, VbTopic topic, const char *vm_uuid, const void *message,
                        GError **error)
{
    /* Asked through the producer: a topic that it has not looked up costs a second at the first
     * record. */
    int n_partitions = partitions_needed(client, client->producer, topic, error);
    if (n_partitions < 0) {
        return FALSE;
    }
    int partition = topic_partition(vm_uuid, strlen(vm_uuid), n_partitions);
    g_autofree char *name = topic_name(client->prefix, topic, NULL);
    g_autoptr(GBytes) bytes = message_pack(message);
    gsize size_bytes;
    const void *data = g_bytes_get_data(bytes, &size_bytes);
    if (size_bytes > MESSAGE_MAX_BYTES) {
        g_set_error(error, CTL_ERROR, CTL_FAILED,
                    "the request has %" G_GSIZE_FORMAT " bytes, at most %d are accepted: nothing "
                    "was sent",
                    size_bytes, MESSAGE_MAX_BYTES);
        return FALSE;
    }
    client->delivered = FALSE;
    rd_kafka_resp_err_t failed = rd_kafka_producev(
        client->producer, RD_KAFKA_V_TOPIC(name), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(vm_uuid, strlen(vm_uuid)),
        RD_KAFKA_V_VALUE((void *)data, size_bytes), RD_KAFKA_V_END);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        g_set_error(error, CTL_ERROR, CTL_FAILED, "the request cannot be sent: %s",
                    rd_kafka_err2str(failed));
        return FALSE;
    }
    return delivery_wait(client, error);
}

/* ---- Reading */

static gboolean bounds_of(const VbClient *client, rd_kafka_t *handle, VbTopic topic,
                          const char *host_uuid, int partition, gint64 *ret_low, gint64 *ret_high,
                          GError **error)
{
    g_autofree char *name = topic_name(client->prefix, topic, host_uuid);
    rd_kafka_resp_err_t failed =
        rd_kafka_query_watermark_offsets(handle, name, partition, ret_low, ret_high, ANSWER_MS);
    return failed == RD_KAFKA_RESP_ERR_NO_ERROR ||
           unreachable(client, error, rd_kafka_err2str(failed));
}

gboolean client_bounds(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                       gint64 *ret_low, gint64 *ret_high, GError **error)
{
    return bounds_of(client, client->consumer, topic, host_uuid, partition, ret_low, ret_high,
                     error);
}

static gboolean asker_open(VbClient *client, GError **error)
{
    const VbKafkaPair pairs[] = {{"isolation.level", "read_uncommitted"}, {NULL, NULL}};
    GError *cause = NULL;
    rd_kafka_conf_t *conf = kafka_conf_new(&client->settings, pairs, &cause);
    if (conf != NULL) {
        client->asker = kafka_handle_new(RD_KAFKA_PRODUCER, conf, &cause);
    }
    return client->asker != NULL || of_bus(client, cause, error);
}

gboolean client_bounds_open(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                            gint64 *ret_low, gint64 *ret_high, GError **error)
{
    return (client->asker != NULL || asker_open(client, error)) &&
           bounds_of(client, client->asker, topic, host_uuid, partition, ret_low, ret_high, error);
}

gint64 client_end(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                  GError **error)
{
    gint64 low;
    gint64 high;
    return client_bounds(client, topic, host_uuid, partition, &low, &high, error) ? high : -1;
}

gboolean client_read(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                     gint64 offset, GError **error)
{
    return client_read_range(client, topic, host_uuid, partition, offset, 0, error);
}

gboolean client_read_range(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                           gint64 offset, gint64 to, GError **error)
{
    gint64 high;
    if (offset < 0 && !client_bounds(client, topic, host_uuid, partition, &offset, &high, error)) {
        return FALSE;
    }
    ClientSource *source = g_new0(ClientSource, 1);
    *source = (ClientSource){.topic = topic,
                             .host_uuid = g_strdup(host_uuid),
                             .name = topic_name(client->prefix, topic, host_uuid),
                             .partition = partition,
                             .from = offset,
                             .to = to};
    g_ptr_array_add(client->sources, source);
    return TRUE;
}

gboolean client_read_start(VbClient *client, GError **error)
{
    g_autoptr(rd_kafka_topic_partition_list_t) list =
        rd_kafka_topic_partition_list_new((int)client->sources->len);
    for (guint i = 0; i < client->sources->len; i++) {
        ClientSource *source = g_ptr_array_index(client->sources, i);
        rd_kafka_topic_partition_list_add(list, source->name, source->partition)->offset =
            source->from;
        g_hash_table_add(client->open_ends, source);
    }
    rd_kafka_resp_err_t failed = rd_kafka_assign(client->consumer, list);
    return failed == RD_KAFKA_RESP_ERR_NO_ERROR ||
           unreachable(client, error, rd_kafka_err2str(failed));
}

void client_read_stop(VbClient *client)
{
    rd_kafka_assign(client->consumer, NULL);
    g_hash_table_remove_all(client->open_ends);
    g_ptr_array_set_size(client->sources, 0);
}

static ClientSource *source_of(VbClient *client, const rd_kafka_message_t *message)
{
    const char *topic = rd_kafka_topic_name(message->rkt);
    for (guint i = 0; i < client->sources->len; i++) {
        ClientSource *source = g_ptr_array_index(client->sources, i);
        if (source->partition == message->partition && strcmp(source->name, topic) == 0) {
            return source;
        }
    }
    return NULL;
}

static ClientRecord record_of(const ClientSource *source, rd_kafka_message_t *message)
{
    return (ClientRecord){
        .source = source,
        .offset = message->offset,
        .time_ms = rd_kafka_message_timestamp(message, NULL),
        .key = message->key != NULL ? g_strndup(message->key, message->key_len) : NULL,
        .value = message->payload,
        .value_bytes = message->len,
        .message = message,
    };
}

/* Errors that another try may cure are none: the deadline ends the tries. */
static gboolean is_lasting(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
           code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           code == RD_KAFKA_RESP_ERR__AUTHENTICATION;
}

ClientNext client_next(VbClient *client, gint64 deadline_us, ClientRecord *ret_record,
                       GError **error)
{
    for (;;) {
        gint64 left_us = deadline_us - g_get_monotonic_time();
        if (left_us <= 0) {
            return CLIENT_TIMEOUT;
        }
        int slice_ms = (int)MIN(left_us / 1000 + 1, 500);
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client->consumer, slice_ms);
        if (message == NULL) {
            continue;
        }
        ClientSource *source = message->rkt != NULL ? source_of(client, message) : NULL;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && source != NULL) {
            *ret_record = record_of(source, message);
            return CLIENT_RECORD;
        }
        gboolean ended = FALSE;
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && source != NULL) {
            if (message->offset >= source->to) {
                g_hash_table_remove(client->open_ends, source);
            }
            ended = g_hash_table_size(client->open_ends) == 0;
        } else if (is_lasting(message->err)) {
            g_set_error(error, CTL_ERROR, CTL_FAILED, "the broker refuses to be read: %s",
                        rd_kafka_message_errstr(message));
            rd_kafka_message_destroy(message);
            return CLIENT_ERROR;
        }
        rd_kafka_message_destroy(message);
        if (ended) {
            return CLIENT_ENDS;
        }
    }
}

/* Names the first of the partitions that were not read to their end. */
static gboolean late(const VbClient *client, GError **error)
{
    guint n_open = g_hash_table_size(client->open_ends);
    g_autoptr(GString) of = g_string_new(NULL);
    for (guint i = 0; i < client->sources->len && of->len == 0; i++) {
        ClientSource *source = g_ptr_array_index(client->sources, i);
        if (g_hash_table_contains(client->open_ends, source)) {
            g_string_printf(of, " of %s/%d", source->name, source->partition);
        }
    }
    if (n_open > 1) {
        g_string_append_printf(of, " and of %u more", n_open - 1);
    }
    g_set_error(error, CTL_ERROR, CTL_UNREACHABLE,
                "the broker did not give all records%s in time: it is slow or away, or a "
                "transaction is open there; see --timeout",
                of->str);
    return FALSE;
}

/* Of what is read up to an end that was known before, there is only so much: while it comes, there
 * is time. */
gboolean client_read_to_end(VbClient *client, gint64 timeout_ms, ClientTake take, gpointer data,
                            GError **error)
{
    gint64 timeout_us = timeout_ms * G_TIME_SPAN_MILLISECOND;
    gint64 deadline_us = g_get_monotonic_time() + timeout_us;
    for (;;) {
        g_auto(ClientRecord) record = {0};
        switch (client_next(client, deadline_us, &record, error)) {
        case CLIENT_RECORD:
            if (!take(&record, data)) {
                return TRUE;
            }
            if (record.offset < record.source->to) {
                deadline_us = g_get_monotonic_time() + timeout_us;
            }
            break;
        case CLIENT_ENDS:
            return TRUE;
        case CLIENT_TIMEOUT:
            return late(client, error);
        case CLIENT_ERROR:
            return FALSE;
        }
    }
}

const char *client_record_header(const ClientRecord *record, VbArena *arena, const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size_bytes;
    if (rd_kafka_message_headers(record->message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, name, &value, &size_bytes) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
        return NULL;
    }
    return arena_printf(arena, "%.*s", (int)size_bytes, (const char *)value);
}

void client_record_clear(ClientRecord *record)
{
    g_clear_pointer(&record->key, g_free);
    g_clear_pointer(&record->message, rd_kafka_message_destroy);
}

ProtobufCMessage *client_record_message(const ClientRecord *record, VbArena *arena)
{
    const ProtobufCMessageDescriptor *type = topic_info(record->source->topic)->message;
    return record->value == NULL || type == NULL
               ? NULL
               : protobuf_c_message_unpack(type, arena_allocator(arena, MESSAGE_MAX_ARENA_BYTES),
                                           record->value_bytes, record->value);
}
