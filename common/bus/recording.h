/* A recording of a deployment's topics: one file, as proto/virtbus/v1/recording.proto says.
 *
 * The reader believes nothing: memory is taken for what is there, not for what a length says, each record
 * must belong to a source that the header names and follow the one before it, and the end must say
 * the same count and checksum. What fails is a RECORDING_ERROR whose message says where.
 */
#pragma once

#include <gio/gio.h>

#include "common/base/arena.h"
#include "common/bus/bus.h"
#include "virtbus/v1/virtbus.h"

#define RECORDING_ERROR (recording_error_quark())
GQuark recording_error_quark(void);

typedef enum {
    RECORDING_ERROR_IO,      /* The file cannot be read or written. */
    RECORDING_ERROR_FORMAT,  /* It is no recording, or one of a newer format. */
    RECORDING_ERROR_CUT_OFF, /* It ends before its end. */
    RECORDING_ERROR_DAMAGED, /* Its bytes are not what was written. */
    RECORDING_ERROR_RECORD, /* The record cannot be written: too large, out of order, of no time. */
} VbRecordingError;

enum {
    RECORDING_FORMAT = 1,
    RECORDING_MAX_FRAME_BYTES = 64 * 1024 * 1024,
};
/* Times are from 1970 to the year 9999. */
#define RECORDING_MAX_TIME_MS G_GINT64_CONSTANT(253402300799999)

/* "host.commands" of a host's topic: what RecordedSource calls it. */
const char *recording_topic_text(VbTopic topic);

/* The order of sources. */
gint recording_source_compare(const RecordedSource *a, const RecordedSource *b);

/* ---- Writing */

typedef struct VbRecordingWriter VbRecordingWriter;

/* Writes the header, whose sources must be in order. It sets its format; header and stream must
 * outlive the writer. */
VbRecordingWriter *recording_writer_new(GOutputStream *stream, RecordingHeader *header,
                                        GError **error);
void recording_writer_free(VbRecordingWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbRecordingWriter, recording_writer_free)

/* `source`: index in the header's sources; the record's own topic is not looked at. */
gboolean recording_write(VbRecordingWriter *writer, guint source, const VbBusRecord *record,
                         GError **error);

/* The end, without which it is none. Flushes the stream, and does not close it. */
gboolean recording_write_end(VbRecordingWriter *writer, GError **error);

/* Writes the whole recording: writer, records, end. */
typedef gboolean (*RecordingFill)(GOutputStream *stream, gpointer data, GError **error);

/* The file `path`, which only its owner may read: filled beside it as "<path>.new", and durable
 * before it takes the name. Where that fails, what had the name still has it. Only a regular file is
 * replaced, and no link to one. */
gboolean recording_save(const char *path, RecordingFill fill, gpointer data, GError **error);

/* ---- Reading */

/* All of one partition. A record's time_ms is 0 where its topic keeps its producers' times. */
typedef struct {
    const RecordedSource *source;
    VbTopic topic;
    const char *host_uuid; /* TOPIC_HOST_COMMANDS; else NULL. */
    int partition;
    GPtrArray *records; /* of VbBusRecord, by offset. */
} VbRecordedLog;

typedef struct {
    const RecordingHeader *header;
    GPtrArray *logs; /* of VbRecordedLog, as the header's sources. */
    guint64 n_records;
    VbArena *arena;
} VbRecording;

/* The whole recording; NULL and an error. */
VbRecording *recording_read(GInputStream *stream, GError **error);
VbRecording *recording_open(const char *path, GError **error);
void recording_free(VbRecording *recording);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbRecording, recording_free)

/* NULL: it is not in the recording. `host_uuid`: of TOPIC_HOST_COMMANDS, else NULL. */
const VbRecordedLog *recording_log(const VbRecording *recording, VbTopic topic,
                                   const char *host_uuid, int partition);

/* NULL: the recording has no record of that offset. */
const VbBusRecord *recorded_log_find(const VbRecordedLog *log, gint64 offset);
