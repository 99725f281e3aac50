/* See memory_recording.h. */
#include "tests/lib/memory_recording.h"

typedef struct {
    RecordedSource about;
    const GPtrArray *records; /* of VbBusRecord */
} Source;

static void source_add(GPtrArray *sources, VbMemoryBus *memory, VbTopic topic, const char *host,
                       int partition)
{
    Source *source = g_new0(Source, 1);
    recorded_source__init(&source->about);
    source->about.topic = (char *)recording_topic_text(topic);
    source->about.partition = partition;
    if (host != NULL) {
        source->about.host_uuid = (char *)host;
    }
    source->records = memory_bus_log(memory, topic, host, partition);
    if (source->records->len > 0) {
        const VbBusRecord *first = g_ptr_array_index(source->records, 0);
        const VbBusRecord *last = g_ptr_array_index(source->records, source->records->len - 1);
        source->about.begin = first->offset;
        source->about.end = last->offset + 1;
    }
    if (topic == TOPIC_VM_JOURNAL || topic == TOPIC_VOLUME_JOURNAL) {
        source->about.whole_end = source->about.end;
    }
    g_ptr_array_add(sources, source);
}

static gint source_compare(gconstpointer a, gconstpointer b)
{
    const Source *left = *(const Source *const *)a;
    const Source *right = *(const Source *const *)b;
    return recording_source_compare(&left->about, &right->about);
}

static GPtrArray *sources_of(VbMemoryBus *memory, int n_partitions, const char *const *hosts)
{
    GPtrArray *sources = g_ptr_array_new_with_free_func(g_free);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        int n = topic_info((VbTopic)topic)->per_vm ? n_partitions : 1;
        for (int partition = 0; topic != TOPIC_HOST_COMMANDS && partition < n; partition++) {
            source_add(sources, memory, (VbTopic)topic, NULL, partition);
        }
    }
    for (; *hosts != NULL; hosts++) {
        source_add(sources, memory, TOPIC_HOST_COMMANDS, *hosts, 0);
    }
    g_ptr_array_sort(sources, source_compare);
    return sources;
}

static void sources_write(GOutputStream *stream, RecordingHeader *header, const GPtrArray *sources)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VbRecordingWriter) writer = recording_writer_new(stream, header, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < sources->len; i++) {
        const Source *source = g_ptr_array_index(sources, i);
        for (guint j = 0; j < source->records->len; j++) {
            VbBusRecord record = *(const VbBusRecord *)g_ptr_array_index(source->records, j);
            if (*source->about.host_uuid != '\0') {
                record.n_headers--; /* The last one is the bus's own note. */
            }
            recording_write(writer, i, &record, &error);
            g_assert_no_error(error);
        }
    }
    recording_write_end(writer, &error);
    g_assert_no_error(error);
}

VbRecording *memory_recording(VbMemoryBus *memory, const char *prefix, int n_partitions,
                              const char *const *hosts)
{
    g_autoptr(GPtrArray) sources = sources_of(memory, n_partitions, hosts);
    g_autoptr(GPtrArray) abouts = g_ptr_array_new();
    for (guint i = 0; i < sources->len; i++) {
        Source *source = g_ptr_array_index(sources, i);
        g_ptr_array_add(abouts, &source->about);
    }
    RecordingHeader header = RECORDING_HEADER__INIT;
    header.prefix = (char *)prefix;
    header.partitions = (guint32)n_partitions;
    header.n_sources = abouts->len;
    header.sources = (RecordedSource **)abouts->pdata;
    g_autoptr(GOutputStream) stream = g_memory_output_stream_new_resizable();
    sources_write(stream, &header, sources);
    g_output_stream_close(stream, NULL, NULL);
    g_autoptr(GBytes) bytes = g_memory_output_stream_steal_as_bytes(G_MEMORY_OUTPUT_STREAM(stream));
    g_autoptr(GInputStream) input = g_memory_input_stream_new_from_bytes(bytes);
    g_autoptr(GError) error = NULL;
    VbRecording *recording = recording_read(input, &error);
    g_assert_no_error(error);
    return recording;
}
