/* `vm timeline`: every record of one VM, each hop of its sagas with its time. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"
#include "tools/virtbusctl/timeline.h"

typedef struct {
    Ctl *ctl;
    VbClient *client;
    const char *vm_uuid;
    GArray *rows;      /* of TimelineRow */
    GHashTable *hosts; /* of char *: hosts that the records name. */
} Timeline;

/* The header ce_time, RFC 3339; 0: there is none. */
static gint64 step_time(VbArena *arena, const ClientRecord *record)
{
    const char *text = client_record_header(record, arena, "ce_time");
    g_autoptr(GDateTime) time = text != NULL ? g_date_time_new_from_iso8601(text, NULL) : NULL;
    return time != NULL
               ? g_date_time_to_unix(time) * 1000 + g_date_time_get_microsecond(time) / 1000
               : 0;
}

static TimelineRow row_of(const Timeline *timeline, const ClientRecord *record)
{
    const ClientSource *source = record->source;
    VbArena *arena = timeline->ctl->arena;
    const char *prefix = options_get_string(timeline->ctl->options, "topic.prefix");
    return (TimelineRow){
        .time_ms = record->time_ms,
        .topic = source->topic,
        .topic_name = arena_strdup(arena, source->name + strlen(prefix) + 1),
        .partition = source->partition,
        .offset = record->offset,
        .description = {.kind = "?", .text = "", .tone = TONE_BAD, .operation_id = ""},
        .event_id = client_record_header(record, arena, "ce_id"),
        .step_ms = step_time(arena, record),
        .cause = TIMELINE_NO_CAUSE,
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
            row.step_ms = step->time_ms;
            row.description = describe(timeline->ctl->arena, row.message);
            g_array_append_val(timeline->rows, row);
        }
    }
}

static gboolean record_take(const ClientRecord *record, gpointer data)
{
    Timeline *timeline = data;
    VbArena *arena = timeline->ctl->arena;
    VbTopic topic = record->source->topic;
    if (topic == TOPIC_VM_JOURNAL || topic == TOPIC_VOLUME_JOURNAL) {
        journal_take(timeline, record);
        return TRUE;
    }
    if (g_strcmp0(record->key, timeline->vm_uuid) != 0) {
        return TRUE;
    }
    TimelineRow row = row_of(timeline, record);
    row.message = client_record_message(record, arena);
    if (row.message != NULL) {
        row.description = describe(arena, row.message);
        hosts_note(timeline, row.message);
    } else if (topic_info(topic)->message == NULL) {
        const char *reason = client_record_header(record, arena, CLIENT_HEADER_REASON);
        row.description.kind = "DeadLetter";
        row.description.text = reason != NULL ? reason : "";
    } else if (record->value == NULL) {
        row.description.kind = "Tombstone";
        row.description.tone = TONE_PLAIN;
    } else {
        row.description.text = arena_printf(arena, "%zu bytes that are no %s", record->value_bytes,
                                            topic_info(topic)->message->short_name);
    }
    g_array_append_val(timeline->rows, row);
    return TRUE;
}

static gboolean read_to_end(Timeline *timeline, GError **error)
{
    gboolean ok = client_read_start(timeline->client, error) &&
                  client_read_to_end(timeline->client, timeline->ctl->timeout_ms, record_take,
                                     timeline, error);
    client_read_stop(timeline->client);
    return ok;
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
    return read_to_end(timeline, error);
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
    return n_sources == 0 || read_to_end(timeline, error);
}

static gint64 since_cause_ms(const Timeline *timeline, const TimelineRow *row)
{
    return row->time_ms - g_array_index(timeline->rows, TimelineRow, row->cause).time_ms;
}

static void row_print(const Timeline *timeline, VbColumns *columns, guint i)
{
    const TimelineRow *row = &g_array_index(timeline->rows, TimelineRow, i);
    gboolean has_cause = row->cause != TIMELINE_NO_CAUSE;
    g_autofree char *number = g_strdup_printf("%u", i + 1);
    g_autofree char *clock = style_clock(row->time_ms);
    g_autofree char *delta = g_strdup_printf("%+" G_GINT64_FORMAT, row->delta_ms);
    g_autofree char *cause = has_cause ? g_strdup_printf("%d", row->cause + 1) : g_strdup("");
    g_autofree char *step =
        has_cause ? g_strdup_printf("%+" G_GINT64_FORMAT, since_cause_ms(timeline, row))
                  : g_strdup("");
    /* A host's topic name is long: its uuid's first part says enough beside the others. */
    g_autofree char *topic = row->topic == TOPIC_HOST_COMMANDS
                                 ? g_strdup_printf("host.%.8s.commands", row->topic_name + 5)
                                 : g_strdup(row->topic_name);
    columns_row(columns, number, clock, row->delta_ms == 0 ? "0" : delta, cause, step, topic,
                row->description.kind, row->description.text, NULL);
    columns_colour(columns, row->is_begin ? STYLE_BOLD : print_colour(row->description.tone));
}

static void rows_print(const Timeline *timeline)
{
    g_autoptr(VbColumns) columns =
        columns_new(">#", "TIME", ">MS", ">BY", ">STEP", "TOPIC", "RECORD", "WHAT", NULL);
    for (guint i = 0; i < timeline->rows->len; i++) {
        if (g_array_index(timeline->rows, TimelineRow, i).is_begin && i > 0) {
            columns_row(columns, "", NULL);
        }
        row_print(timeline, columns, i);
    }
    print_columns(columns);
}

static void rows_print_json(const Timeline *timeline)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < timeline->rows->len; i++) {
        const TimelineRow *row = &g_array_index(timeline->rows, TimelineRow, i);
        JsonObject *object = json_object_new();
        json_object_set_int_member(object, "row", i + 1);
        if (row->cause != TIMELINE_NO_CAUSE) {
            json_object_set_int_member(object, "cause_row", row->cause + 1);
            json_object_set_int_member(object, "step_ms", since_cause_ms(timeline, row));
        }
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

char *timeline_help(void)
{
    return g_strdup(
        "MS is the time since the request that a record belongs to. BY is the row of the "
        "input\nthat it was made of, STEP the time since then.\n");
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
    timeline_link(rows, ctl->arena, timeline.vm_uuid);
    if (ctl->json) {
        rows_print_json(&timeline);
    } else if (rows->len == 0) {
        printf("no topic has a record of VM %s\n", timeline.vm_uuid);
    } else {
        rows_print(&timeline);
    }
    return CTL_DONE;
}
