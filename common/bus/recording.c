/* Writing a recording, and what writer and reader must agree on. */
#include "common/bus/recording_private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

G_DEFINE_QUARK(virtbus - recording - error, recording_error)

static const char host_commands[] = "host.commands";

struct VbRecordingWriter {
    GOutputStream *stream; /* Not its own. */
    const RecordingHeader *header;
    GChecksum *checksum;
    VbArena *arena;
    guint64 n_records;
    guint source; /* Of the last record. */
    gint64 offset;
};

const char *recording_topic_text(VbTopic topic)
{
    return topic == TOPIC_HOST_COMMANDS ? host_commands : topic_info(topic)->suffix;
}

gboolean recording_topic_parse(const char *text, VbTopic *ret_topic)
{
    if (strcmp(text, host_commands) == 0) {
        *ret_topic = TOPIC_HOST_COMMANDS;
        return TRUE;
    }
    return topic_parse(text, ret_topic);
}

gint recording_source_compare(const RecordedSource *a, const RecordedSource *b)
{
    int order = strcmp(a->topic, b->topic);
    if (order == 0) {
        order = strcmp(a->host_uuid, b->host_uuid);
    }
    return order != 0 ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

void recording_checksum(GChecksum *checksum, guint8 bytes[RECORDING_SHA256_BYTES])
{
    g_autoptr(GChecksum) copy = g_checksum_copy(checksum);
    gsize size_bytes = RECORDING_SHA256_BYTES;
    g_checksum_get_digest(copy, bytes, &size_bytes);
}

/* ---- Writing */

static gboolean bytes_write(VbRecordingWriter *writer, const void *bytes, gsize size_bytes,
                            GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (g_output_stream_write_all(writer->stream, bytes, size_bytes, NULL, NULL, &cause)) {
        g_checksum_update(writer->checksum, bytes, (gssize)size_bytes);
        return TRUE;
    }
    g_set_error(error, RECORDING_ERROR, RECORDING_ERROR_IO, "the recording cannot be written: %s",
                cause->message);
    return FALSE;
}

static gboolean frame_write(VbRecordingWriter *writer, const RecordingFrame *frame, GError **error)
{
    size_t size_bytes = recording_frame__get_packed_size(frame);
    if (size_bytes > RECORDING_MAX_FRAME_BYTES) {
        g_set_error(error, RECORDING_ERROR, RECORDING_ERROR_RECORD,
                    "a frame of %zu bytes cannot be written: at most %d are read again", size_bytes,
                    RECORDING_MAX_FRAME_BYTES);
        return FALSE;
    }
    guint8 length[RECORDING_LENGTH_BYTES];
    gsize n = 0;
    for (size_t left = size_bytes; n == 0 || left > 0; left >>= 7) {
        length[n++] = (guint8)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    }
    guint8 *bytes = arena_alloc(writer->arena, size_bytes);
    recording_frame__pack(frame, bytes);
    gboolean done =
        bytes_write(writer, length, n, error) && bytes_write(writer, bytes, size_bytes, error);
    arena_reset(writer->arena);
    return done;
}

VbRecordingWriter *recording_writer_new(GOutputStream *stream, RecordingHeader *header,
                                        GError **error)
{
    g_autoptr(VbRecordingWriter) writer = g_new0(VbRecordingWriter, 1);
    writer->stream = stream;
    writer->header = header;
    writer->checksum = g_checksum_new(G_CHECKSUM_SHA256);
    writer->arena = arena_new();
    writer->offset = -1;
    header->format = RECORDING_FORMAT;
    for (size_t i = 1; i < header->n_sources; i++) {
        g_assert(recording_source_compare(header->sources[i - 1], header->sources[i]) < 0);
    }
    RecordingFrame frame = RECORDING_FRAME__INIT;
    frame.frame_case = RECORDING_FRAME__FRAME_HEADER;
    frame.header = header;
    if (!bytes_write(writer, RECORDING_MAGIC, strlen(RECORDING_MAGIC), error) ||
        !frame_write(writer, &frame, error)) {
        return NULL;
    }
    return g_steal_pointer(&writer);
}

void recording_writer_free(VbRecordingWriter *writer)
{
    if (writer != NULL) {
        g_checksum_free(writer->checksum);
        arena_free(writer->arena);
        g_free(writer);
    }
}

static RecordedRecord *message_of(VbArena *arena, guint source, const VbBusRecord *record)
{
    RecordedRecord *message = ARENA_MSG(arena, recorded_record);
    message->source = source;
    message->offset = record->offset;
    message->time_ms = record->time_ms;
    message->key = (ProtobufCBinaryData){.data = (void *)record->key, .len = record->key_bytes};
    message->tombstone = record->value == NULL;
    message->value =
        (ProtobufCBinaryData){.data = (void *)record->value, .len = record->value_bytes};
    message->headers = arena_alloc(arena, record->n_headers * sizeof(*message->headers));
    message->n_headers = record->n_headers;
    for (size_t i = 0; i < record->n_headers; i++) {
        const VbBusHeader *from = &record->headers[i];
        RecordedHeader *header = ARENA_MSG(arena, recorded_header);
        header->name = (char *)from->name;
        header->value = (ProtobufCBinaryData){.data = (void *)from->value, .len = from->size_bytes};
        message->headers[i] = header;
    }
    return message;
}

gboolean recording_write(VbRecordingWriter *writer, guint source, const VbBusRecord *record,
                         GError **error)
{
    g_assert(source < writer->header->n_sources);
    const RecordedSource *of = writer->header->sources[source];
    if (source < writer->source || (source == writer->source && record->offset <= writer->offset) ||
        record->offset < of->begin || record->offset >= of->end) {
        g_set_error(error, RECORDING_ERROR, RECORDING_ERROR_RECORD,
                    "record %s/%d@%" G_GINT64_FORMAT " cannot be written: it is out of order, or "
                    "outside of what the header says of its source",
                    of->topic, of->partition, record->offset);
        return FALSE;
    }
    if (record->time_ms < 0 || record->time_ms > RECORDING_MAX_TIME_MS) {
        g_set_error(error, RECORDING_ERROR, RECORDING_ERROR_RECORD,
                    "record %s/%d@%" G_GINT64_FORMAT " cannot be written: %" G_GINT64_FORMAT
                    " ms is no time that a broker gives",
                    of->topic, of->partition, record->offset, record->time_ms);
        return FALSE;
    }
    writer->source = source;
    writer->offset = record->offset;
    writer->n_records++;
    RecordingFrame frame = RECORDING_FRAME__INIT;
    frame.frame_case = RECORDING_FRAME__FRAME_RECORD;
    frame.record = message_of(writer->arena, source, record);
    return frame_write(writer, &frame, error);
}

gboolean recording_write_end(VbRecordingWriter *writer, GError **error)
{
    guint8 sha256[RECORDING_SHA256_BYTES];
    recording_checksum(writer->checksum, sha256);
    RecordingEnd end = RECORDING_END__INIT;
    end.records = writer->n_records;
    end.sha256 = (ProtobufCBinaryData){.data = sha256, .len = sizeof(sha256)};
    RecordingFrame frame = RECORDING_FRAME__INIT;
    frame.frame_case = RECORDING_FRAME__FRAME_END;
    frame.end = &end;
    g_autoptr(GError) cause = NULL;
    if (!frame_write(writer, &frame, error)) {
        return FALSE;
    }
    if (!g_output_stream_flush(writer->stream, NULL, &cause)) {
        g_set_error(error, RECORDING_ERROR, RECORDING_ERROR_IO,
                    "the recording cannot be written: %s", cause->message);
        return FALSE;
    }
    return TRUE;
}

/* ---- The file */

static gboolean file_fail(const char *path, const char *why, GError **error)
{
    g_set_error(error, RECORDING_ERROR, RECORDING_ERROR_IO, "%s cannot be written: %s", path, why);
    return FALSE;
}

static gboolean file_fill(const char *path, RecordingFill fill, gpointer data, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GFile) file = g_file_new_for_path(path);
    g_autoptr(GFileOutputStream) stream = g_file_create(file, G_FILE_CREATE_PRIVATE, NULL, &cause);
    if (stream == NULL) {
        return file_fail(path, cause->message, error);
    }
    return fill(G_OUTPUT_STREAM(stream), data, error) &&
           (g_output_stream_close(G_OUTPUT_STREAM(stream), NULL, &cause) ||
            file_fail(path, cause->message, error));
}

static gboolean file_sync(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    gboolean done = (fd >= 0 && fsync(fd) == 0) || file_fail(path, g_strerror(errno), error);
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

gboolean recording_save(const char *path, RecordingFill fill, gpointer data, GError **error)
{
    GStatBuf facts;
    if (g_lstat(path, &facts) == 0 && !S_ISREG(facts.st_mode)) {
        return file_fail(path, "it is no regular file; name another", error);
    }
    g_autofree char *beside = g_strconcat(path, ".new", NULL);
    g_unlink(beside); /* Left by one that was killed. */
    gboolean done = file_fill(beside, fill, data, error) && file_sync(beside, error) &&
                    (g_rename(beside, path) == 0 || file_fail(path, g_strerror(errno), error));
    if (!done) {
        g_unlink(beside);
    }
    return done;
}
