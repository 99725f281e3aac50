/* Reading a recording. Its bytes may come from anybody. */
#include <string.h>

#include "common/base/message.h"
#include "common/base/uuid.h"
#include "common/bus/recording_private.h"

enum {
    MAX_PARTITIONS = 10000,
    CHUNK_BYTES = 256 * 1024,
    /* What one frame may unpack to: protobuf-c takes fifty times the bytes of a hostile one. */
    MAX_UNPACKED_BYTES = 2 * RECORDING_MAX_FRAME_BYTES,
};

typedef struct {
    GInputStream *stream;
    GChecksum *checksum; /* Of all frames before the one that is read. */
    guint64 position;    /* In bytes. */
    VbRecording *recording;
    VbArena *scratch;
    guint8 length[RECORDING_LENGTH_BYTES];
    gsize length_bytes;
    gsize size_bytes;  /* That the frame says it has. */
    GByteArray *bytes; /* That it has. */
    guint source;      /* Of the last record. */
    gint64 offset;
    gboolean is_ended;
} Reader;

G_GNUC_PRINTF(3, 4)
static gboolean fail(GError **error, VbRecordingError code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error != NULL) {
        *error = g_error_new_valist(RECORDING_ERROR, (int)code, format, args);
    }
    va_end(args);
    return FALSE;
}

static gboolean damaged(const Reader *reader, GError **error, const char *what)
{
    return fail(error, RECORDING_ERROR_DAMAGED,
                "the recording is damaged: %s, in the frame that ends at byte %" G_GUINT64_FORMAT,
                what, reader->position);
}

/* ---- Bytes */

/* As many as there are, at most `size_bytes`. */
static gboolean some_read(Reader *reader, void *bytes, gsize size_bytes, gsize *ret_n,
                          GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (!g_input_stream_read_all(reader->stream, bytes, size_bytes, ret_n, NULL, &cause)) {
        return fail(error, RECORDING_ERROR_IO, "the recording cannot be read: %s", cause->message);
    }
    reader->position += *ret_n;
    return TRUE;
}

static gboolean bytes_read(Reader *reader, void *bytes, gsize size_bytes, GError **error)
{
    gsize n = 0;
    if (!some_read(reader, bytes, size_bytes, &n, error)) {
        return FALSE;
    }
    return n == size_bytes || fail(error, RECORDING_ERROR_CUT_OFF,
                                   "the recording is cut off: it ends at byte %" G_GUINT64_FORMAT
                                   ", behind %" G_GUINT64_FORMAT " records, without its end",
                                   reader->position, reader->recording->n_records);
}

static gboolean length_read(Reader *reader, GError **error)
{
    reader->size_bytes = 0;
    reader->length_bytes = 0;
    guint8 byte;
    do {
        if (reader->length_bytes == RECORDING_LENGTH_BYTES) {
            return damaged(reader, error, "a length is no length");
        }
        if (!bytes_read(reader, &byte, 1, error)) {
            return FALSE;
        }
        reader->size_bytes |= (gsize)(byte & 0x7f) << (7 * reader->length_bytes);
        reader->length[reader->length_bytes++] = byte;
    } while ((byte & 0x80) != 0);
    return reader->size_bytes <= RECORDING_MAX_FRAME_BYTES ||
           damaged(reader, error, "a length is too large");
}

static gboolean frame_bytes_read(Reader *reader, GError **error)
{
    GByteArray *bytes = reader->bytes;
    g_byte_array_set_size(bytes, 0);
    while (bytes->len < reader->size_bytes) {
        guint before = bytes->len;
        guint n = (guint)MIN(reader->size_bytes - before, (gsize)CHUNK_BYTES);
        g_byte_array_set_size(bytes, before + n);
        if (!bytes_read(reader, bytes->data + before, n, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* In the scratch arena. */
static const RecordingFrame *frame_read(Reader *reader, GError **error)
{
    arena_reset(reader->scratch);
    if (!length_read(reader, error)) {
        return NULL;
    }
    if (!frame_bytes_read(reader, error)) {
        return NULL;
    }
    RecordingFrame *frame =
        recording_frame__unpack(arena_allocator(reader->scratch, MAX_UNPACKED_BYTES),
                                reader->bytes->len, reader->bytes->data);
    if (frame == NULL) {
        damaged(reader, error, "the bytes are no frame");
    }
    return frame;
}

static void frame_count(Reader *reader)
{
    g_checksum_update(reader->checksum, reader->length, (gssize)reader->length_bytes);
    g_checksum_update(reader->checksum, reader->bytes->data, (gssize)reader->bytes->len);
}

/* ---- The header */

static gboolean source_is_good(const RecordingHeader *header, const RecordedSource *source,
                               VbTopic topic)
{
    guint32 n_partitions = topic_info(topic)->per_vm ? header->partitions : 1;
    gboolean is_host = topic == TOPIC_HOST_COMMANDS;
    return (is_host ? uuid_is_valid(source->host_uuid) : *source->host_uuid == '\0') &&
           source->partition >= 0 && (guint32)source->partition < n_partitions &&
           source->begin >= 0 && source->begin <= source->end && source->whole_end >= 0 &&
           source->whole_end <= source->end;
}

static gboolean sources_take(Reader *reader, GError **error)
{
    VbRecording *recording = reader->recording;
    const RecordingHeader *header = recording->header;
    for (size_t i = 0; i < header->n_sources; i++) {
        const RecordedSource *source = header->sources[i];
        VbTopic topic;
        if (!recording_topic_parse(source->topic, &topic)) {
            return fail(error, RECORDING_ERROR_FORMAT,
                        "the recording has a topic that this version does not know: \"%.64s\"; use "
                        "a newer virtbusctl",
                        source->topic);
        }
        if (!source_is_good(header, source, topic) ||
            (i > 0 && recording_source_compare(header->sources[i - 1], source) >= 0)) {
            return damaged(reader, error, "the header's sources are not in order");
        }
        VbRecordedLog *log = g_new0(VbRecordedLog, 1);
        *log = (VbRecordedLog){.source = source,
                               .topic = topic,
                               .host_uuid = topic == TOPIC_HOST_COMMANDS ? source->host_uuid : NULL,
                               .partition = source->partition,
                               .records =
                                   g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free)};
        g_ptr_array_add(recording->logs, log);
    }
    return TRUE;
}

static gboolean header_judge(Reader *reader, GError **error)
{
    const RecordingHeader *header = reader->recording->header;
    g_autoptr(GError) cause = NULL;
    if (header->format != RECORDING_FORMAT) {
        return fail(error, RECORDING_ERROR_FORMAT,
                    "the recording has format %u, this version knows %d only", header->format,
                    RECORDING_FORMAT);
    }
    if (!message_check(&header->base, &cause)) {
        return damaged(reader, error, cause->message);
    }
    if (*header->prefix == '\0' || header->partitions < 1 || header->partitions > MAX_PARTITIONS) {
        return damaged(reader, error, "the header names no deployment");
    }
    for (size_t i = 0; i < header->n_vm_uuids; i++) {
        if (!uuid_is_valid(header->vm_uuids[i])) {
            return damaged(reader, error, "the header names a VM that is no uuid");
        }
    }
    return sources_take(reader, error);
}

static gboolean header_read(Reader *reader, GError **error)
{
    char magic[sizeof(RECORDING_MAGIC) - 1];
    gsize n = 0;
    if (!some_read(reader, magic, sizeof(magic), &n, error)) {
        return FALSE;
    }
    if (n != sizeof(magic) || memcmp(magic, RECORDING_MAGIC, n) != 0) {
        return fail(error, RECORDING_ERROR_FORMAT,
                    "this is no recording: it does not begin with the words of `virtbusctl "
                    "record`");
    }
    g_checksum_update(reader->checksum, (const guchar *)magic, (gssize)n);
    const RecordingFrame *frame = frame_read(reader, error);
    if (frame == NULL) {
        return FALSE;
    }
    if (frame->frame_case != RECORDING_FRAME__FRAME_HEADER) {
        return damaged(reader, error, "the first frame is no header");
    }
    frame_count(reader);
    reader->recording->header = arena_copy(reader->recording->arena, frame->header);
    return header_judge(reader, error);
}

/* ---- Records */

static void record_keep(Reader *reader, const VbRecordedLog *log, const RecordedRecord *message)
{
    VbBusHeader *headers = arena_alloc(reader->scratch, message->n_headers * sizeof(VbBusHeader));
    for (size_t i = 0; i < message->n_headers; i++) {
        const RecordedHeader *header = message->headers[i];
        headers[i] = (VbBusHeader){
            .name = header->name, .value = header->value.data, .size_bytes = header->value.len};
    }
    static const guint8 empty[1];
    const void *value = message->value.len > 0 ? message->value.data : empty;
    VbBusRecord record = {.topic = log->topic,
                          .partition = log->partition,
                          .offset = message->offset,
                          .time_ms = message->time_ms,
                          .key = message->key.data,
                          .key_bytes = message->key.len,
                          .value = message->tombstone ? NULL : value,
                          .value_bytes = message->value.len,
                          .headers = headers,
                          .n_headers = message->n_headers};
    g_ptr_array_add(log->records, bus_record_copy(&record));
    reader->recording->n_records++;
}

static gboolean record_take(Reader *reader, const RecordedRecord *message, GError **error)
{
    VbRecording *recording = reader->recording;
    if (message->source >= recording->logs->len || message->source < reader->source) {
        return damaged(reader, error, "a record's source is not in order");
    }
    const VbRecordedLog *log = g_ptr_array_index(recording->logs, message->source);
    gboolean is_first = message->source > reader->source || log->records->len == 0;
    if (message->offset < log->source->begin || message->offset >= log->source->end ||
        (!is_first && message->offset <= reader->offset)) {
        return damaged(reader, error, "a record's offset is not in order");
    }
    if (message->time_ms < 0 || message->time_ms > RECORDING_MAX_TIME_MS) {
        return damaged(reader, error, "a record's time is none");
    }
    if (message->tombstone && message->value.len > 0) {
        return damaged(reader, error, "a tombstone has a value");
    }
    reader->source = message->source;
    reader->offset = message->offset;
    record_keep(reader, log, message);
    frame_count(reader);
    return TRUE;
}

static gboolean end_take(Reader *reader, const RecordingEnd *end, GError **error)
{
    guint8 sha256[RECORDING_SHA256_BYTES];
    guint8 more;
    gsize n = 0;
    recording_checksum(reader->checksum, sha256);
    if (end->records != reader->recording->n_records || end->sha256.len != sizeof(sha256) ||
        memcmp(end->sha256.data, sha256, sizeof(sha256)) != 0) {
        return damaged(reader, error, "its end names another count or checksum");
    }
    if (!some_read(reader, &more, 1, &n, error)) {
        return FALSE;
    }
    reader->is_ended = TRUE;
    return n == 0 || damaged(reader, error, "there are bytes behind its end");
}

static gboolean frame_take(Reader *reader, GError **error)
{
    const RecordingFrame *frame = frame_read(reader, error);
    if (frame == NULL) {
        return FALSE;
    }
    if (frame->frame_case == RECORDING_FRAME__FRAME_RECORD) {
        return record_take(reader, frame->record, error);
    }
    if (frame->frame_case == RECORDING_FRAME__FRAME_END) {
        return end_take(reader, frame->end, error);
    }
    return damaged(reader, error, "a frame is neither record nor end");
}

/* ---- All of it */

static void log_free(gpointer data)
{
    VbRecordedLog *log = data;
    g_ptr_array_free(log->records, TRUE);
    g_free(log);
}

void recording_free(VbRecording *recording)
{
    if (recording != NULL) {
        g_ptr_array_free(recording->logs, TRUE);
        arena_free(recording->arena);
        g_free(recording);
    }
}

VbRecording *recording_read(GInputStream *stream, GError **error)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(VbArena) scratch = arena_new();
    g_autoptr(GInputStream) buffered = g_buffered_input_stream_new_sized(stream, 64 * 1024);
    g_filter_input_stream_set_close_base_stream(G_FILTER_INPUT_STREAM(buffered), FALSE);
    g_autoptr(VbRecording) recording = g_new0(VbRecording, 1);
    recording->arena = arena_new();
    recording->logs = g_ptr_array_new_with_free_func(log_free);
    Reader reader = {.stream = buffered,
                     .checksum = checksum,
                     .recording = recording,
                     .scratch = scratch,
                     .bytes = bytes};
    gboolean done = header_read(&reader, error);
    while (done && !reader.is_ended) {
        done = frame_take(&reader, error);
    }
    return done ? g_steal_pointer(&recording) : NULL;
}

VbRecording *recording_open(const char *path, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GFile) file = g_file_new_for_path(path);
    g_autoptr(GFileInputStream) stream = g_file_read(file, NULL, &cause);
    if (stream == NULL) {
        fail(error, RECORDING_ERROR_IO, "the recording cannot be opened: %s", cause->message);
        return NULL;
    }
    return recording_read(G_INPUT_STREAM(stream), error);
}

const VbRecordedLog *recording_log(const VbRecording *recording, VbTopic topic,
                                   const char *host_uuid, int partition)
{
    for (guint i = 0; i < recording->logs->len; i++) {
        const VbRecordedLog *log = g_ptr_array_index(recording->logs, i);
        if (log->topic == topic && log->partition == partition &&
            g_strcmp0(log->host_uuid, host_uuid) == 0) {
            return log;
        }
    }
    return NULL;
}

const VbBusRecord *recorded_log_find(const VbRecordedLog *log, gint64 offset)
{
    guint low = 0;
    guint high = log->records->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        const VbBusRecord *record = g_ptr_array_index(log->records, middle);
        if (record->offset == offset) {
            return record;
        }
        if (record->offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
