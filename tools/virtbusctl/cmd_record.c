/* `record`: what the topics of a deployment hold, in one file. It only reads.
 *
 * What is asked when makes the file whole. First the journals' ends: all that transactions below
 * them wrote is there by then. Then every other topic's, and all of it is read. At last the
 * journals, up to their ends as they are by then: whatever was read, the journal that explains it
 * is in the file. */
#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/recording.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"

enum { ANSWER_MS = 10000 };

typedef struct {
    VbTopic topic;
    char *host_uuid; /* TOPIC_HOST_COMMANDS; else NULL. */
    RecordedSource about;
    GPtrArray *records; /* of VbBusRecord */
} Source;

typedef struct {
    Ctl *ctl;
    VbClient *client;
    const char *path;
    GPtrArray *vm_uuids; /* of char *; empty: all. */
    GPtrArray *sources;  /* of Source, in the order of the file. */
    GHashTable *by_name; /* "vm.events/3" -> Source */
    int n_partitions;
    guint64 n_records;
} Recording;

static void source_free(gpointer data)
{
    Source *source = data;
    g_ptr_array_free(source->records, TRUE);
    g_free(source->host_uuid);
    g_free(source);
}

/* ---- Which topics there are */

static gboolean is_journal(VbTopic topic)
{
    return topic == TOPIC_VM_JOURNAL || topic == TOPIC_VOLUME_JOURNAL;
}

static void source_add(Recording *recording, VbTopic topic, const char *host_uuid, int partition)
{
    Source *source = g_new0(Source, 1);
    source->topic = topic;
    source->host_uuid = g_strdup(host_uuid);
    source->records = g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free);
    recorded_source__init(&source->about);
    source->about.topic = (char *)recording_topic_text(topic);
    source->about.partition = partition;
    if (host_uuid != NULL) {
        source->about.host_uuid = source->host_uuid;
    }
    g_ptr_array_add(recording->sources, source);
}

static gboolean hosts_add(Recording *recording, GError **error)
{
    const char *prefix = options_get_string(recording->ctl->options, "topic.prefix");
    g_autofree char *head = g_strdup_printf("%s.host.", prefix);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t failed =
        rd_kafka_metadata(client_handle(recording->client), 1, NULL, &metadata, ANSWER_MS);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        g_set_error(error, CTL_ERROR, CTL_UNREACHABLE, "the broker does not list its topics: %s",
                    rd_kafka_err2str(failed));
        return FALSE;
    }
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const char *name = metadata->topics[i].topic;
        if (!g_str_has_prefix(name, head)) {
            continue;
        }
        g_autofree char *uuid = g_strndup(name + strlen(head), UUID_TEXT_BYTES - 1);
        g_autofree char *whole = topic_name(prefix, TOPIC_HOST_COMMANDS, uuid);
        if (uuid_is_valid(uuid) && strcmp(whole, name) == 0) {
            source_add(recording, TOPIC_HOST_COMMANDS, uuid, 0);
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return TRUE;
}

static gint source_compare(gconstpointer a, gconstpointer b)
{
    const Source *left = *(const Source *const *)a;
    const Source *right = *(const Source *const *)b;
    return recording_source_compare(&left->about, &right->about);
}

static char *source_name(VbTopic topic, const char *host_uuid, int partition)
{
    g_autofree char *name = topic_name("", topic, host_uuid);
    return g_strdup_printf("%s/%d", name, partition);
}

static gboolean sources_find(Recording *recording, GError **error)
{
    recording->n_partitions = client_partitions_needed(recording->client, TOPIC_VM_COMMANDS, error);
    if (recording->n_partitions < 0 || !hosts_add(recording, error)) {
        return FALSE;
    }
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        int n_partitions = topic == TOPIC_HOST_COMMANDS
                               ? 0
                               : client_partitions(recording->client, (VbTopic)topic, NULL, error);
        if (n_partitions < 0) {
            return FALSE;
        }
        for (int partition = 0; partition < n_partitions; partition++) {
            source_add(recording, (VbTopic)topic, NULL, partition);
        }
    }
    g_ptr_array_sort(recording->sources, source_compare);
    for (guint i = 0; i < recording->sources->len; i++) {
        Source *source = g_ptr_array_index(recording->sources, i);
        g_hash_table_insert(recording->by_name,
                            source_name(source->topic, source->host_uuid, source->about.partition),
                            source);
    }
    return TRUE;
}

/* ---- Reading */

static gboolean ends_ask(Recording *recording, gboolean of_journals, GError **error)
{
    for (guint i = 0; i < recording->sources->len; i++) {
        Source *source = g_ptr_array_index(recording->sources, i);
        RecordedSource *about = &source->about;
        if (is_journal(source->topic) == of_journals &&
            !client_bounds_open(recording->client, source->topic, source->host_uuid,
                                about->partition, &about->begin, &about->end, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean names_vm(const Recording *recording, const char *key, gsize key_bytes)
{
    for (guint i = 0; i < recording->vm_uuids->len; i++) {
        const char *uuid = g_ptr_array_index(recording->vm_uuids, i);
        if (strlen(uuid) == key_bytes && memcmp(uuid, key, key_bytes) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A journal is kept as it is when one of its steps is wanted: the others say nothing of their VMs but
 * when they were stepped. */
static gboolean is_wanted(const Recording *recording, const ClientRecord *record)
{
    if (recording->vm_uuids->len == 0) {
        return TRUE;
    }
    if (!is_journal(record->source->topic)) {
        return names_vm(recording, record->message->key, record->message->key_len);
    }
    g_autoptr(VbArena) arena = arena_new();
    const Journal *journal =
        journal__unpack(arena_allocator(arena, SIZE_MAX), record->value_bytes, record->value);
    for (size_t i = 0; journal != NULL && i < journal->n_steps; i++) {
        const char *uuid = journal->steps[i]->vm_uuid;
        if (names_vm(recording, uuid, strlen(uuid))) {
            return TRUE;
        }
    }
    return journal == NULL;
}

/* Of the message, whose memory they lie in. */
static GArray *headers_of(const rd_kafka_message_t *message)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(VbBusHeader));
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return list;
    }
    VbBusHeader header;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &header.name, &header.value,
                                               &header.size_bytes) == RD_KAFKA_RESP_ERR_NO_ERROR;
         i++) {
        g_array_append_val(list, header);
    }
    return list;
}

static gboolean record_take(const ClientRecord *record, gpointer data)
{
    Recording *recording = data;
    const ClientSource *from = record->source;
    g_autofree char *name = source_name(from->topic, from->host_uuid, from->partition);
    Source *source = g_hash_table_lookup(recording->by_name, name);
    if (record->offset >= source->about.end || !is_wanted(recording, record)) {
        return TRUE;
    }
    rd_kafka_timestamp_type_t type;
    gint64 time_ms = rd_kafka_message_timestamp(record->message, &type);
    g_autoptr(GArray) headers = headers_of(record->message);
    VbBusRecord kept = {.topic = from->topic,
                        .partition = from->partition,
                        .offset = record->offset,
                        .time_ms = type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME ? time_ms : 0,
                        .key = record->message->key,
                        .key_bytes = record->message->key_len,
                        .value = record->value,
                        .value_bytes = record->value_bytes,
                        .headers = (const VbBusHeader *)(void *)headers->data,
                        .n_headers = headers->len};
    g_ptr_array_add(source->records, bus_record_copy(&kept));
    recording->n_records++;
    return TRUE;
}

static gboolean sources_read(Recording *recording, gboolean of_journals, GError **error)
{
    guint n = 0;
    for (guint i = 0; i < recording->sources->len; i++) {
        const Source *source = g_ptr_array_index(recording->sources, i);
        const RecordedSource *about = &source->about;
        if (is_journal(source->topic) != of_journals || about->begin == about->end) {
            continue;
        }
        n++;
        if (!client_read_range(recording->client, source->topic, source->host_uuid,
                               about->partition, about->begin, about->end, error)) {
            return FALSE;
        }
    }
    gboolean done = n == 0 || (client_read_start(recording->client, error) &&
                               client_read_to_end(recording->client, recording->ctl->timeout_ms,
                                                  record_take, recording, error));
    client_read_stop(recording->client);
    return done;
}

static gboolean topics_read(Recording *recording, GError **error)
{
    if (!ends_ask(recording, TRUE, error)) {
        return FALSE;
    }
    for (guint i = 0; i < recording->sources->len; i++) {
        Source *source = g_ptr_array_index(recording->sources, i);
        source->about.whole_end = source->about.end;
    }
    return ends_ask(recording, FALSE, error) && sources_read(recording, FALSE, error) &&
           ends_ask(recording, TRUE, error) && sources_read(recording, TRUE, error);
}

/* ---- Writing */

static RecordingHeader *header_make(const Recording *recording)
{
    VbArena *arena = recording->ctl->arena;
    RecordingHeader *header = ARENA_MSG(arena, recording_header);
    g_autofree char *cluster = rd_kafka_clusterid(client_handle(recording->client), ANSWER_MS);
    header->prefix = (char *)options_get_string(recording->ctl->options, "topic.prefix");
    header->time_ms = print_now_ms();
    header->partitions = (guint32)recording->n_partitions;
    header->virtbus_version = (char *)VIRTBUS_VERSION;
    header->cluster_id = arena_strdup(arena, cluster != NULL ? cluster : "");
    header->n_vm_uuids = recording->vm_uuids->len;
    header->vm_uuids = (char **)recording->vm_uuids->pdata;
    header->n_sources = recording->sources->len;
    header->sources = arena_alloc(arena, header->n_sources * sizeof(*header->sources));
    for (guint i = 0; i < recording->sources->len; i++) {
        Source *source = g_ptr_array_index(recording->sources, i);
        header->sources[i] = &source->about;
    }
    return header;
}

static gboolean records_write(GOutputStream *stream, gpointer data, GError **error)
{
    const Recording *recording = data;
    g_autoptr(VbRecordingWriter) writer =
        recording_writer_new(stream, header_make(recording), error);
    for (guint i = 0; writer != NULL && i < recording->sources->len; i++) {
        const Source *source = g_ptr_array_index(recording->sources, i);
        for (guint j = 0; j < source->records->len; j++) {
            if (!recording_write(writer, i, g_ptr_array_index(source->records, j), error)) {
                return FALSE;
            }
        }
    }
    return writer != NULL && recording_write_end(writer, error);
}

static gboolean file_write(Recording *recording, GError **error)
{
    g_autoptr(GError) cause = NULL;
    gboolean done = recording_save(recording->path, records_write, recording, &cause);
    if (!done) {
        g_set_error(error, CTL_ERROR, CTL_FAILED, "%s is not written: %s", recording->path,
                    cause->message);
    }
    return done;
}

/* ---- The command */

static gboolean vms_find(Recording *recording, char **words, GError **error)
{
    for (char **word = words; word != NULL && *word != NULL; word++) {
        const char *uuid = model_find_vm(recording->ctl, recording->client, *word, error);
        if (uuid == NULL) {
            return FALSE;
        }
        g_ptr_array_add(recording->vm_uuids, arena_strdup(recording->ctl->arena, uuid));
    }
    return TRUE;
}

static void done_tell(const Recording *recording)
{
    if (recording->ctl->json) {
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "file", recording->path);
        json_object_set_int_member(object, "records", (gint64)recording->n_records);
        json_object_set_int_member(object, "sources", recording->sources->len);
        print_json(json_node_init_object(json_node_alloc(), object));
        json_object_unref(object);
        return;
    }
    printf("%" G_GUINT64_FORMAT " records of %u topic partitions are in %s\n", recording->n_records,
           recording->sources->len, recording->path);
}

char *record_help(void)
{
    return g_strdup(
        "The file holds all that the topics hold: names, configurations, hosts. With --vm it "
        "holds\n"
        "what is about that VM, and when other VMs of its partition were stepped. It is written\n"
        "while the deployment runs on, and is what `virtbusctl replay` reads.\n");
}

CtlStatus cmd_record(Ctl *ctl)
{
    g_auto(GStrv) words = NULL;
    g_auto(GStrv) vms = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GPtrArray) vm_uuids = g_ptr_array_new();
    g_autoptr(GPtrArray) sources = g_ptr_array_new_with_free_func(source_free);
    g_autoptr(GHashTable) by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Recording recording = {
        .ctl = ctl, .vm_uuids = vm_uuids, .sources = sources, .by_name = by_name};
    const GOptionEntry flags[] = {
        {"vm", 0, 0, G_OPTION_ARG_STRING_ARRAY, &vms,
         "Only what is about this VM; may be given several times", "VM"},
        {0},
    };
    if (!args_parse(ctl, flags, 1, &words, &error) || (client = client_open(ctl, &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    recording.client = client;
    recording.path = words[0];
    if (!vms_find(&recording, vms, &error) || !sources_find(&recording, &error) ||
        !topics_read(&recording, &error) || !file_write(&recording, &error)) {
        return ctl_fail(ctl, error);
    }
    done_tell(&recording);
    return CTL_DONE;
}
