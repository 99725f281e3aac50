/* Recorded outputs by what made them. An output's ce_id, a dead letter's and a moved record's origin
 * name the input that led to each. */
#include <stdlib.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/replay_private.h"

#define SOURCE_PREFIX "/virtbus/"

/* What a name is made of: of a recorded record, or of one that is to be written. */
typedef struct {
    VbTopic topic;
    const char *host_uuid;
    int partition;
    const VbBusHeader *headers;
    size_t n_headers;
} Written;

/* g_free; NULL: no such header. */
static char *header_text(const Written *written, const char *name)
{
    VbBusRecord record = {.headers = written->headers, .n_headers = written->n_headers};
    const VbBusHeader *header = bus_record_header(&record, name);
    return header != NULL ? g_strndup(header->value, header->size_bytes) : NULL;
}

static int service_named(const Replay *replay, const char *name)
{
    for (size_t i = 0; name != NULL && i < replay->config->n_services; i++) {
        if (strcmp(replay->config->services[i]->name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int service_of_input(const Replay *replay, VbTopic topic)
{
    for (size_t i = 0; i < replay->config->n_services; i++) {
        const VbService *service = replay->config->services[i];
        for (size_t input = 0; input < service->n_inputs; input++) {
            if (service->inputs[input] == topic) {
                return (int)i;
            }
        }
    }
    return -1;
}

static char *dead_name(const char *service, const char *topic, const char *partition,
                       const char *offset)
{
    return g_strdup_printf("dead %s %s/%s/%s", service, topic, partition, offset);
}

/* Sets what is known of the cause. NULL: no service wrote this. */
static char *dead_name_of(const Replay *replay, const Written *written, ReplayOutput *output)
{
    g_autofree char *service = header_text(written, "__connect.errors.connector.name");
    g_autofree char *topic = header_text(written, "__connect.errors.topic");
    g_autofree char *partition = header_text(written, "__connect.errors.partition");
    g_autofree char *offset = header_text(written, "__connect.errors.offset");
    const char *prefix = replay->recording->header->prefix;
    int index = service_named(replay, service);
    if (index < 0 || topic == NULL || partition == NULL || offset == NULL ||
        !g_str_has_prefix(topic, prefix) || topic[strlen(prefix)] != '.' ||
        !topic_parse(topic + strlen(prefix) + 1, &output->cause_topic)) {
        return NULL;
    }
    output->service = (size_t)index;
    output->partition = atoi(partition);
    output->cause = g_ascii_strtoll(offset, NULL, 10);
    return dead_name(service, topic, partition, offset);
}

static char *moved_name(const char *from)
{
    return g_strdup_printf("moved %s", from);
}

static char *moved_name_of(const Replay *replay, const Written *written, const char *from,
                           ReplayOutput *output)
{
    g_auto(GStrv) words = g_strsplit(from, "/", -1);
    int index = service_of_input(replay, written->topic);
    if (index < 0 || g_strv_length(words) != 3) {
        return NULL;
    }
    output->service = (size_t)index;
    output->partition = atoi(words[1]);
    output->cause = g_ascii_strtoll(words[2], NULL, 10);
    output->cause_topic = written->topic;
    return moved_name(from);
}

static char *made_name(const char *service, const char *id)
{
    return g_strdup_printf("made %s %s", service, id);
}

static char *name_of(const Replay *replay, const Written *written, ReplayOutput *output)
{
    if (written->topic == TOPIC_DLQ) {
        return dead_name_of(replay, written, output);
    }
    g_autofree char *from = header_text(written, ENVELOPE_MOVED_FROM);
    if (from != NULL) {
        return moved_name_of(replay, written, from, output);
    }
    g_autofree char *source = header_text(written, "ce_source");
    g_autofree char *id = header_text(written, "ce_id");
    int index = source != NULL && g_str_has_prefix(source, SOURCE_PREFIX)
                    ? service_named(replay, source + strlen(SOURCE_PREFIX))
                    : -1;
    if (index < 0 || id == NULL) {
        return NULL;
    }
    output->service = (size_t)index;
    return made_name(replay->config->services[index]->name, id);
}

static void record_index(Replay *replay, const VbRecordedLog *log, const VbBusRecord *record)
{
    Written written = {.topic = log->topic,
                       .host_uuid = log->host_uuid,
                       .partition = log->partition,
                       .headers = record->headers,
                       .n_headers = record->n_headers};
    ReplayOutput found = {.record = record, .log = log, .cause = -1};
    g_autofree char *name = name_of(replay, &written, &found);
    if (name == NULL) {
        return;
    }
    if (found.cause < 0) {
        found.partition = topic_partition(record->key, record->key_bytes,
                                          (int)replay->recording->header->partitions);
    }
    ReplayOutput *output = g_memdup2(&found, sizeof(found));
    g_ptr_array_add(replay->outputs, output);
    GPtrArray *same = g_hash_table_lookup(replay->by_name, name);
    if (same == NULL) {
        same = g_ptr_array_new();
        g_hash_table_insert(replay->by_name, g_steal_pointer(&name), same);
    }
    g_ptr_array_add(same, output);
}

void replay_index_make(Replay *replay)
{
    for (guint i = 0; i < replay->recording->logs->len; i++) {
        const VbRecordedLog *log = g_ptr_array_index(replay->recording->logs, i);
        for (guint j = 0; j < log->records->len; j++) {
            record_index(replay, log, g_ptr_array_index(log->records, j));
        }
    }
}

ReplayOutput *replay_index_take(Replay *replay, const VbBusMessage *message)
{
    Written written = {.topic = message->topic,
                       .host_uuid = message->host_uuid,
                       .partition = message->partition,
                       .headers = message->headers,
                       .n_headers = message->n_headers};
    ReplayOutput unused;
    g_autofree char *name = name_of(replay, &written, &unused);
    const GPtrArray *same = name != NULL ? g_hash_table_lookup(replay->by_name, name) : NULL;
    for (guint i = 0; same != NULL && i < same->len; i++) {
        ReplayOutput *output = g_ptr_array_index(same, i);
        if (!output->is_made && output->log->topic == message->topic &&
            output->log->partition == message->partition &&
            g_strcmp0(output->log->host_uuid, message->host_uuid) == 0) {
            output->is_made = TRUE;
            return output;
        }
    }
    return NULL;
}

/* Records that one partition of one service wrote to one partition of a topic. g_free. */
static char *stream_name(const ReplayOutput *output)
{
    return g_strdup_printf("%zu %d %p", output->service, output->partition,
                           (const void *)output->log);
}

gboolean replay_index_order(Replay *replay, const ReplayOutput *output)
{
    if (output->cause >= 0) {
        return TRUE; /* When it was found to be bad is not recorded. */
    }
    char *name = stream_name(output);
    gint64 *last = g_hash_table_lookup(replay->streams, name);
    if (last == NULL) {
        g_hash_table_insert(replay->begun, g_strdup(name), g_memdup2(&output->record->offset, 8));
        g_hash_table_insert(replay->streams, name, g_memdup2(&output->record->offset, 8));
        return TRUE;
    }
    gboolean in_order = output->record->offset > *last;
    *last = output->record->offset;
    g_free(name);
    return in_order;
}

const ReplayOutput *replay_index_fate(const Replay *replay, const VbBusRecord *record)
{
    g_autofree char *topic = topic_name(replay->recording->header->prefix, record->topic, NULL);
    g_autofree char *name = g_strdup_printf("dead %s %s/%d/%" G_GINT64_FORMAT, replay->service.name,
                                            topic, record->partition, record->offset);
    const GPtrArray *same = g_hash_table_lookup(replay->by_name, name);
    if (same == NULL) {
        g_autofree char *moved =
            g_strdup_printf("moved %s/%d/%" G_GINT64_FORMAT, topic_info(record->topic)->suffix,
                            record->partition, record->offset);
        same = g_hash_table_lookup(replay->by_name, moved);
    }
    return same != NULL ? g_ptr_array_index(same, 0) : NULL;
}

/* ---- What was not made */

static void output_find(Replay *replay, ReplayOutput *output)
{
    const VbBusRecord *record = output->record;
    g_autofree char *key = g_strndup(record->key, record->key_bytes);
    output->is_made = TRUE;
    replay_find(replay, &(ReplayFinding){.place = replay_place(
                                             replay, output->log->topic, output->log->host_uuid,
                                             output->log->partition, record->offset),
                                         .vm_uuid = uuid_is_valid(key) ? key : "",
                                         .path = "",
                                         .recorded = "a record that says a step made it"});
}

void replay_index_unmade(Replay *replay, const char *vm_uuid, const char *origin, guint n_outputs)
{
    for (guint i = 0; i < n_outputs; i++) {
        const char *id =
            uuid_derive(replay->arena, vm_uuid, arena_printf(replay->arena, "%s/%u", origin, i));
        g_autofree char *name = made_name(replay->service.name, id);
        const GPtrArray *same = g_hash_table_lookup(replay->by_name, name);
        for (guint j = 0; same != NULL && j < same->len; j++) {
            ReplayOutput *output = g_ptr_array_index(same, j);
            if (!output->is_made) {
                output_find(replay, output);
            }
        }
    }
}

/* Whether it was written before what the journals know, so that nothing can be said. */
static gboolean is_before(const Replay *replay, const ReplayOutput *output)
{
    const VbService *service = replay->config->services[output->service];
    const VbRecordedLog *journals =
        recording_log(replay->recording, service->journal_topic, NULL, output->partition);
    if (journals == NULL || journals->source->begin == 0) {
        return FALSE;
    }
    if (output->cause >= 0) {
        return TRUE;
    }
    g_autofree char *name = stream_name(output);
    const gint64 *first = g_hash_table_lookup(replay->begun, name);
    return first == NULL || output->record->offset < *first;
}

void replay_index_end(Replay *replay)
{
    for (guint i = 0; i < replay->outputs->len; i++) {
        ReplayOutput *output = g_ptr_array_index(replay->outputs, i);
        const VbBusRecord *record = output->record;
        g_autofree char *key = g_strndup(record->key, record->key_bytes);
        g_autofree char *known =
            g_strdup_printf("%s/%s", replay->config->services[output->service]->name, key);
        if (output->is_made || !replay_vm_is_wanted(replay, key)) {
            continue;
        }
        if (is_before(replay, output) || g_hash_table_contains(replay->unknown, known)) {
            replay->result->n_before++;
        } else {
            output_find(replay, output);
        }
    }
}
