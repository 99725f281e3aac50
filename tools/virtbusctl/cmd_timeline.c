/* `vm timeline`: every record of one VM, each hop of its sagas with its time. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"
#include "tools/virtbusctl/timeline.h"

#define HEADER_REASON "__connect.errors.exception.message"

typedef struct {
    Ctl *ctl;
    VbClient *client;
    const char *vm_uuid;
    GArray *rows;      /* of TimelineRow */
    GHashTable *hosts; /* of char *: hosts that the records name. */
} Timeline;

static TimelineRow row_of(const Timeline *timeline, const ClientRecord *record)
{
    const ClientSource *source = record->source;
    const char *prefix = options_get_string(timeline->ctl->options, "topic.prefix");
    return (TimelineRow){
        .time_ms = record->time_ms,
        .topic = source->topic,
        .topic_name = arena_strdup(timeline->ctl->arena, source->name + strlen(prefix) + 1),
        .partition = source->partition,
        .offset = record->offset,
        .description = {.kind = "?", .text = "", .tone = TONE_BAD, .operation_id = ""},
    };
}

static void host_note(Timeline *timeline, const char *host_uuid)
{
    if (*host_uuid != '\0') {
        g_hash_table_add(timeline->hosts, g_strdup(host_uuid));
    }
}

/* Remembers the hosts that a message names: their topics are read too. */
static void hosts_note(Timeline *timeline, const ProtobufCMessage *message)
{
    if (message->descriptor == &vm_command__descriptor) {
        const VmCommand *command = (const VmCommand *)message;
        if (command->command_case == VM_COMMAND__COMMAND_START_VM) {
            host_note(timeline, command->start_vm->host_uuid);
        }
    } else if (message->descriptor == &vm_event__descriptor) {
        host_note(timeline, ((const VmEvent *)message)->host_uuid);
    } else if (message->descriptor == &host_report__descriptor) {
        host_note(timeline, ((const HostReport *)message)->host_uuid);
    } else if (message->descriptor == &state_record__descriptor) {
        const VmRecord *vm = model_vm((const StateRecord *)message);
        for (size_t i = 0; vm != NULL && i < vm->n_seen_host_uuids; i++) {
            host_note(timeline, vm->seen_host_uuids[i]);
        }
    }
}

/* A journal is one partition's; of it, only what the runtime itself put in is on no other topic. */
static void journal_take(Timeline *timeline, const ClientRecord *record)
{
    const Journal *journal = (const Journal *)client_record_message(record, timeline->ctl->arena);
    for (size_t i = 0; journal != NULL && i < journal->n_steps; i++) {
        const JournalStep *step = journal->steps[i];
        if (step->runtime_input != NULL && strcmp(step->vm_uuid, timeline->vm_uuid) == 0) {
            TimelineRow row = row_of(timeline, record);
            row.message = &step->runtime_input->base;
            row.description = describe(timeline->ctl->arena, row.message);
            g_array_append_val(timeline->rows, row);
        }
    }
}

static const char *dead_letter_reason(VbArena *arena, const ClientRecord *record)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size_bytes;
    if (rd_kafka_message_headers(record->message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, HEADER_REASON, &value, &size_bytes) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
        return "";
    }
    return arena_printf(arena, "%.*s", (int)size_bytes, (const char *)value);
}

static void record_take(Timeline *timeline, const ClientRecord *record)
{
    VbArena *arena = timeline->ctl->arena;
    VbTopic topic = record->source->topic;
    if (topic == TOPIC_VM_JOURNAL || topic == TOPIC_VOLUME_JOURNAL) {
        journal_take(timeline, record);
        return;
    }
    if (g_strcmp0(record->key, timeline->vm_uuid) != 0) {
        return;
    }
    TimelineRow row = row_of(timeline, record);
    row.message = client_record_message(record, arena);
    if (row.message != NULL) {
        row.description = describe(arena, row.message);
        hosts_note(timeline, row.message);
    } else if (topic_info(topic)->message == NULL) {
        row.description.kind = "DeadLetter";
        row.description.text = dead_letter_reason(arena, record);
    } else if (record->value == NULL) {
        row.description.kind = "Tombstone";
        row.description.tone = TONE_PLAIN;
    } else {
        row.description.text = arena_printf(arena, "%zu bytes that are no %s", record->value_bytes,
                                            topic_info(topic)->message->short_name);
    }
    g_array_append_val(timeline->rows, row);
}

static gboolean read_to_end(Timeline *timeline, GError **error)
{
    gint64 deadline_us =
        g_get_monotonic_time() + timeline->ctl->timeout_ms * G_TIME_SPAN_MILLISECOND;
    for (;;) {
        g_auto(ClientRecord) record = {0};
        switch (client_next(timeline->client, deadline_us, &record, error)) {
        case CLIENT_RECORD:
            record_take(timeline, &record);
            break;
        case CLIENT_ENDS:
            client_read_stop(timeline->client);
            return TRUE;
        case CLIENT_TIMEOUT:
            g_set_error_literal(error, CTL_ERROR, CTL_UNREACHABLE,
                                "the broker did not give all records in time; see --timeout");
            return FALSE;
        case CLIENT_ERROR:
            return FALSE;
        }
    }
}

/* Adds the whole topic as far as it can hold records of this VM. FALSE: an error. */
static gboolean topic_add(Timeline *timeline, VbTopic topic, const char *host_uuid, int *n_sources,
                          GError **error)
{
    int n_partitions = client_partitions(timeline->client, topic, host_uuid, error);
    if (n_partitions <= 0) {
        return n_partitions == 0; /* A host's topic may be gone; then there is nothing to show. */
    }
    const char *uuid = timeline->vm_uuid;
    int partition =
        topic_info(topic)->per_vm ? topic_partition(uuid, strlen(uuid), n_partitions) : 0;
    (*n_sources)++;
    return client_read(timeline->client, topic, host_uuid, partition, -1, error);
}

static gboolean services_read(Timeline *timeline, GError **error)
{
    int n_sources = 0;
    if (client_partitions_needed(timeline->client, TOPIC_VM_COMMANDS, error) < 0) {
        return FALSE;
    }
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (topic != TOPIC_HOST_COMMANDS && topic != TOPIC_HOSTS &&
            !topic_add(timeline, (VbTopic)topic, NULL, &n_sources, error)) {
            return FALSE;
        }
    }
    return client_read_start(timeline->client, error) && read_to_end(timeline, error);
}

static gboolean hosts_read(Timeline *timeline, GError **error)
{
    int n_sources = 0;
    GHashTableIter iter;
    gpointer host_uuid;
    g_hash_table_iter_init(&iter, timeline->hosts);
    while (g_hash_table_iter_next(&iter, &host_uuid, NULL)) {
        if (!topic_add(timeline, TOPIC_HOST_COMMANDS, host_uuid, &n_sources, error)) {
            return FALSE;
        }
    }
    return n_sources == 0 ||
           (client_read_start(timeline->client, error) && read_to_end(timeline, error));
}

static void rows_print(const Timeline *timeline)
{
    g_autoptr(VbColumns) columns = columns_new("TIME", ">MS", "TOPIC", "RECORD", "WHAT", NULL);
    for (guint i = 0; i < timeline->rows->len; i++) {
        const TimelineRow *row = &g_array_index(timeline->rows, TimelineRow, i);
        if (row->is_begin && i > 0) {
            columns_row(columns, "", NULL);
        }
        g_autofree char *clock = style_clock(row->time_ms);
        g_autofree char *delta = g_strdup_printf("%+" G_GINT64_FORMAT, row->delta_ms);
        /* A host's topic name is long: its uuid's first part says enough beside the others. */
        g_autofree char *topic = row->topic == TOPIC_HOST_COMMANDS
                                     ? g_strdup_printf("host.%.8s.commands", row->topic_name + 5)
                                     : g_strdup(row->topic_name);
        columns_row(columns, clock, row->delta_ms == 0 ? "0" : delta, topic, row->description.kind,
                    row->description.text, NULL);
        columns_colour(columns, row->is_begin ? STYLE_BOLD : print_colour(row->description.tone));
    }
    print_columns(columns);
}

static void rows_print_json(const Timeline *timeline)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < timeline->rows->len; i++) {
        const TimelineRow *row = &g_array_index(timeline->rows, TimelineRow, i);
        JsonObject *object = json_object_new();
        json_object_set_int_member(object, "time_ms", row->time_ms);
        json_object_set_int_member(object, "delta_ms", row->delta_ms);
        json_object_set_string_member(object, "topic", row->topic_name);
        json_object_set_int_member(object, "partition", row->partition);
        json_object_set_int_member(object, "offset", row->offset);
        json_object_set_string_member(object, "kind", row->description.kind);
        g_autofree char *text = g_utf8_make_valid(row->description.text, -1);
        json_object_set_string_member(object, "text", text);
        if (row->message != NULL) {
            json_object_set_member(object, "message", message_to_json(row->message));
        }
        json_array_add_object_element(list, object);
    }
    print_json(json_node_init_array(json_node_alloc(), list));
    json_array_unref(list);
}

CtlStatus cmd_vm_timeline(Ctl *ctl)
{
    g_auto(GStrv) words = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(TimelineRow));
    g_autoptr(GHashTable) hosts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Timeline timeline = {.ctl = ctl, .rows = rows, .hosts = hosts};
    if (!args_parse(ctl, NULL, 1, &words, &error) || (client = client_open(ctl, &error)) == NULL ||
        (timeline.vm_uuid = model_find_vm(ctl, client, words[0], &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    timeline.client = client;
    if (!services_read(&timeline, &error) || !hosts_read(&timeline, &error)) {
        return ctl_fail(ctl, error);
    }
    timeline_sort(rows);
    if (ctl->json) {
        rows_print_json(&timeline);
    } else if (rows->len == 0) {
        printf("no topic has a record of VM %s\n", timeline.vm_uuid);
    } else {
        rows_print(&timeline);
    }
    return CTL_DONE;
}
