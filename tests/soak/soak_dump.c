/* Prints a recording as JSON lines, one a record: what check.py reads.
 *
 *   soak-dump RECORDING >topics.jsonl
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/message.h"
#include "common/bus/recording.h"

static void member_text(JsonObject *line, const char *name, const void *bytes, gsize n_bytes)
{
    g_autofree char *text = g_utf8_make_valid(bytes != NULL ? bytes : "", (gssize)n_bytes);
    json_object_set_string_member(line, name, text);
}

static void add_header(JsonObject *line, const VbBusRecord *record, const char *header,
                       const char *name)
{
    for (size_t i = 0; i < record->n_headers; i++) {
        if (g_str_equal(record->headers[i].name, header)) {
            member_text(line, name, record->headers[i].value, record->headers[i].size_bytes);
        }
    }
}

static void add_message(VbArena *arena, JsonObject *line, const VbBusRecord *record, VbTopic topic)
{
    const ProtobufCMessageDescriptor *descriptor = topic_info(topic)->message;
    ProtobufCMessage *message =
        descriptor != NULL && record->value != NULL
            ? message_unpack(arena, descriptor, record->value, record->value_bytes, NULL)
            : NULL;
    if (message != NULL && message_check(message, NULL)) {
        json_object_set_member(line, "message", message_to_json(message));
    }
}

static void dump(VbArena *arena, const VbRecordedLog *log, const VbBusRecord *record)
{
    g_autoptr(JsonNode) node = json_node_alloc();
    JsonObject *line = json_object_new();
    g_autofree char *sha256 =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, record->value, record->value_bytes);
    json_object_set_string_member(line, "topic", recording_topic_text(log->topic));
    json_object_set_string_member(line, "host", log->host_uuid != NULL ? log->host_uuid : "");
    json_object_set_int_member(line, "partition", log->partition);
    json_object_set_int_member(line, "offset", record->offset);
    json_object_set_int_member(line, "time_ms", record->time_ms);
    member_text(line, "key", record->key, record->key_bytes);
    json_object_set_string_member(line, "sha256", sha256);
    add_header(line, record, "ce_id", "ce_id");
    add_header(line, record, "__connect.errors.topic", "dlq_topic");
    add_header(line, record, "__connect.errors.partition", "dlq_partition");
    add_header(line, record, "__connect.errors.offset", "dlq_offset");
    add_message(arena, line, record, log->topic);
    json_node_take_object(node, line);
    g_autofree char *text = json_to_string(node, FALSE);
    puts(text);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VbRecording) recording = argc == 2 ? recording_open(argv[1], &error) : NULL;
    if (recording == NULL) {
        fprintf(stderr, "soak-dump: %s\n",
                error != NULL ? error->message : "usage: soak-dump RECORDING");
        return EXIT_FAILURE;
    }
    g_autoptr(VbArena) arena = arena_new();
    for (guint i = 0; i < recording->logs->len; i++) {
        const VbRecordedLog *log = g_ptr_array_index(recording->logs, i);
        for (guint j = 0; j < log->records->len; j++) {
            dump(arena, log, g_ptr_array_index(log->records, j));
            arena_reset(arena);
        }
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
