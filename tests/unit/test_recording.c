/* Recordings: written and read again, and those that are not what was written. */
#include "common/bus/recording.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <glib/gstdio.h>
#include <string.h>
#include <cmocka.h>

#define VM   "11111111-0000-4000-8000-000000000001"
#define HOST "aaaaaaaa-0000-4000-8000-000000000001"

static RecordedSource commands = RECORDED_SOURCE__INIT;
static RecordedSource host = RECORDED_SOURCE__INIT;
static RecordedSource *sources[2];

static RecordingHeader header_make(void)
{
    recorded_source__init(&commands);
    recorded_source__init(&host);
    host.topic = (char *)"host.commands";
    host.host_uuid = (char *)HOST;
    host.end = 9;
    commands.topic = (char *)"vm.commands";
    commands.partition = 1;
    commands.begin = 5;
    commands.end = 100;
    sources[0] = &host;
    sources[1] = &commands;
    RecordingHeader header = RECORDING_HEADER__INIT;
    header.prefix = (char *)"virtbus";
    header.partitions = 2;
    header.n_sources = G_N_ELEMENTS(sources);
    header.sources = sources;
    return header;
}

static VbBusRecord record_make(gint64 offset)
{
    static const VbBusHeader headers[] = {{.name = "ce_id", .value = "x\0y", .size_bytes = 3},
                                          {.name = "empty", .value = "", .size_bytes = 0}};
    return (VbBusRecord){.offset = offset,
                         .time_ms = 1000 + offset,
                         .key = VM,
                         .key_bytes = strlen(VM),
                         .value = "\x00\x01value",
                         .value_bytes = 7,
                         .headers = headers,
                         .n_headers = 2};
}

/* A host command, a command, a tombstone without a key. */
static GBytes *recording_bytes(void)
{
    RecordingHeader header = header_make();
    g_autoptr(GOutputStream) stream = g_memory_output_stream_new_resizable();
    g_autoptr(VbRecordingWriter) writer = recording_writer_new(stream, &header, NULL);
    assert_non_null(writer);
    VbBusRecord first = record_make(7);
    VbBusRecord second = record_make(5);
    VbBusRecord third = {.offset = 99};
    assert_true(recording_write(writer, 0, &first, NULL));
    assert_true(recording_write(writer, 1, &second, NULL));
    assert_true(recording_write(writer, 1, &third, NULL));
    assert_true(recording_write_end(writer, NULL));
    assert_true(g_output_stream_close(stream, NULL, NULL));
    return g_memory_output_stream_steal_as_bytes(G_MEMORY_OUTPUT_STREAM(stream));
}

static VbRecording *bytes_read(const void *bytes, gsize size_bytes, GError **error)
{
    g_autoptr(GInputStream) stream =
        g_memory_input_stream_new_from_data(bytes, (gssize)size_bytes, NULL);
    return recording_read(stream, error);
}

static void assert_refused(const void *bytes, gsize size_bytes, VbRecordingError code)
{
    g_autoptr(GError) error = NULL;
    assert_null(bytes_read(bytes, size_bytes, &error));
    assert_non_null(error);
    assert_int_equal(error->domain, RECORDING_ERROR);
    assert_int_equal(error->code, code);
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    g_autoptr(GBytes) bytes = recording_bytes();
    gsize size_bytes;
    const void *data = g_bytes_get_data(bytes, &size_bytes);
    g_autoptr(VbRecording) recording = bytes_read(data, size_bytes, NULL);
    assert_non_null(recording);
    assert_int_equal(recording->n_records, 3);
    assert_string_equal(recording->header->prefix, "virtbus");
    assert_null(recording_log(recording, TOPIC_VM_COMMANDS, NULL, 0));
    assert_null(recording_log(recording, TOPIC_HOST_COMMANDS, VM, 0));
    const VbRecordedLog *log = recording_log(recording, TOPIC_HOST_COMMANDS, HOST, 0);
    assert_int_equal(log->records->len, 1);
    const VbBusRecord *record = recorded_log_find(log, 7);
    assert_int_equal(record->time_ms, 1007);
    assert_int_equal(record->key_bytes, strlen(VM));
    assert_memory_equal(record->key, VM, strlen(VM));
    assert_int_equal(record->value_bytes, 7);
    assert_memory_equal(record->value, "\x00\x01value", 7);
    assert_int_equal(record->n_headers, 2);
    assert_memory_equal(bus_record_header(record, "ce_id")->value, "x\0y", 3);
    assert_int_equal(bus_record_header(record, "empty")->size_bytes, 0);
    log = recording_log(recording, TOPIC_VM_COMMANDS, NULL, 1);
    assert_int_equal(log->records->len, 2);
    assert_null(recorded_log_find(log, 6));
    assert_non_null(recorded_log_find(log, 5)->value);
    record = recorded_log_find(log, 99);
    assert_null(record->value);
    assert_int_equal(record->key_bytes, 0);
}

static void a_cut_off_file_says_so(void **state)
{
    (void)state;
    g_autoptr(GBytes) bytes = recording_bytes();
    gsize size_bytes;
    const char *data = g_bytes_get_data(bytes, &size_bytes);
    gsize magic_bytes = (gsize)(strchr(data, '\n') + 1 - data);
    for (gsize n = 0; n < size_bytes; n++) {
        assert_refused(data, n, n < magic_bytes ? RECORDING_ERROR_FORMAT : RECORDING_ERROR_CUT_OFF);
    }
}

/* Any other byte at any place. */
static void a_changed_byte_is_found(void **state)
{
    (void)state;
    g_autoptr(GBytes) bytes = recording_bytes();
    gsize size_bytes;
    const guint8 *data = g_bytes_get_data(bytes, &size_bytes);
    g_autofree guint8 *changed = g_memdup2(data, size_bytes);
    for (gsize i = 0; i < size_bytes; i++) {
        for (int bit = 0; bit < 8; bit++) {
            changed[i] = data[i] ^ (guint8)(1 << bit);
            g_autoptr(GError) error = NULL;
            assert_null(bytes_read(changed, size_bytes, &error));
            assert_int_equal(error->domain, RECORDING_ERROR);
        }
        changed[i] = data[i];
    }
}

static void bytes_behind_the_end_are_damage(void **state)
{
    (void)state;
    g_autoptr(GBytes) bytes = recording_bytes();
    gsize size_bytes;
    const guint8 *data = g_bytes_get_data(bytes, &size_bytes);
    g_autofree guint8 *longer = g_malloc0(size_bytes + 1);
    memcpy(longer, data, size_bytes);
    assert_refused(longer, size_bytes + 1, RECORDING_ERROR_DAMAGED);
}

/* A length is judged before memory is taken, and what unpacks to far more than its bytes is no
 * frame. */
static void hostile_lengths_take_no_memory(void **state)
{
    (void)state;
    static const char magic[] = "virtbus recording 1\n";
    static const guint8 lengths[][5] = {{0xff, 0xff, 0xff, 0xff, 0x7f},
                                        {0x80, 0x80, 0x80, 0x80, 0x01},
                                        {0xff, 0xff, 0xff, 0x7f, 0x00}};
    for (gsize i = 0; i < G_N_ELEMENTS(lengths); i++) {
        guint8 bytes[sizeof(magic) - 1 + sizeof(lengths[i])];
        memcpy(bytes, magic, sizeof(magic) - 1);
        memcpy(bytes + sizeof(magic) - 1, lengths[i], sizeof(lengths[i]));
        assert_refused(bytes, sizeof(bytes), RECORDING_ERROR_DAMAGED);
    }
    /* A header of 4 million empty sources: 0x42 0x00 each. */
    const gsize n = 4 * 1000 * 1000;
    g_autoptr(GByteArray) many = g_byte_array_new();
    g_byte_array_append(many, (const guint8 *)magic, sizeof(magic) - 1);
    const guint8 length[] = {0x85, 0xa4, 0xe8, 0x03};      /* 2 n + 5 */
    const guint8 field[] = {0x0a, 0x80, 0xa4, 0xe8, 0x03}; /* header, 2 n */
    g_byte_array_append(many, length, sizeof(length));
    g_byte_array_append(many, field, sizeof(field));
    for (gsize i = 0; i < n; i++) {
        g_byte_array_append(many, (const guint8 *)"\x42", 2);
    }
    assert_refused(many->data, many->len, RECORDING_ERROR_DAMAGED);
}

static void records_out_of_order_are_not_written(void **state)
{
    (void)state;
    RecordingHeader header = header_make();
    g_autoptr(GOutputStream) stream = g_memory_output_stream_new_resizable();
    g_autoptr(VbRecordingWriter) writer = recording_writer_new(stream, &header, NULL);
    const struct {
        guint source;
        gint64 offset;
        gboolean done;
    } cases[] = {{0, 9, FALSE}, {0, 3, TRUE},  {0, 3, FALSE}, {0, 2, FALSE},
                 {1, 4, FALSE}, {1, 50, TRUE}, {0, 4, FALSE}, {1, 100, FALSE}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        VbBusRecord record = record_make(cases[i].offset);
        assert_int_equal(recording_write(writer, cases[i].source, &record, &error), cases[i].done);
        if (!cases[i].done) {
            assert_int_equal(error->code, RECORDING_ERROR_RECORD);
        }
    }
}

static void record_of_no_time_is_not_written(void **state)
{
    (void)state;
    static const gint64 times[] = {-1, G_MAXINT64, RECORDING_MAX_TIME_MS + 1};
    for (gsize i = 0; i < G_N_ELEMENTS(times); i++) {
        RecordingHeader header = header_make();
        g_autoptr(GError) error = NULL;
        g_autoptr(GOutputStream) stream = g_memory_output_stream_new_resizable();
        g_autoptr(VbRecordingWriter) writer = recording_writer_new(stream, &header, NULL);
        VbBusRecord record = record_make(7);
        record.time_ms = times[i];
        assert_false(recording_write(writer, 0, &record, &error));
        assert_int_equal(error->code, RECORDING_ERROR_RECORD);
    }
}

/* ---- The file */

static char *folder;
static char *path;

static int folder_make(void **state)
{
    (void)state;
    folder = g_dir_make_tmp("vb-recording-XXXXXX", NULL);
    path = g_build_filename(folder, "one.recording", NULL);
    return 0;
}

/* The file at `path` must be all that is left. */
static int folder_remove(void **state)
{
    (void)state;
    g_remove(path);
    int failed = g_rmdir(folder);
    g_free(path);
    g_free(folder);
    return failed;
}

/* What has one record, or (`data`) one that is no part of it. */
static gboolean one_fill(GOutputStream *stream, gpointer data, GError **error)
{
    RecordingHeader header = header_make();
    g_autoptr(VbRecordingWriter) writer = recording_writer_new(stream, &header, error);
    VbBusRecord record = record_make(GPOINTER_TO_INT(data));
    return recording_write(writer, 0, &record, error) && recording_write_end(writer, error);
}

static void assert_holds(gint64 offset)
{
    g_autoptr(VbRecording) recording = recording_open(path, NULL);
    assert_non_null(recording);
    const VbRecordedLog *log = g_ptr_array_index(recording->logs, 0);
    const VbBusRecord *record = g_ptr_array_index(log->records, 0);
    assert_int_equal(record->offset, offset);
}

static void only_a_whole_recording_takes_the_place_of_another(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    GStatBuf facts;
    assert_true(recording_save(path, one_fill, GINT_TO_POINTER(3), NULL));
    assert_holds(3);
    assert_int_equal(g_stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 0600);
    assert_false(recording_save(path, one_fill, GINT_TO_POINTER(9), &error));
    assert_int_equal(error->code, RECORDING_ERROR_RECORD);
    assert_holds(3);
    assert_true(recording_save(path, one_fill, GINT_TO_POINTER(4), NULL));
    assert_holds(4);
}

static void a_recording_that_fails_leaves_no_file(void **state)
{
    (void)state;
    assert_false(recording_save(path, one_fill, GINT_TO_POINTER(9), NULL));
    assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void what_is_no_regular_file_is_left_alone(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    assert_int_equal(g_mkdir(path, 0700), 0);
    assert_false(recording_save(path, one_fill, GINT_TO_POINTER(3), &error));
    assert_int_equal(error->code, RECORDING_ERROR_IO);
    assert_true(g_file_test(path, G_FILE_TEST_IS_DIR));
    assert_false(recording_save("/dev/null", one_fill, GINT_TO_POINTER(3), NULL));
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_cut_off_file_says_so),
        cmocka_unit_test(a_changed_byte_is_found),
        cmocka_unit_test(bytes_behind_the_end_are_damage),
        cmocka_unit_test(hostile_lengths_take_no_memory),
        cmocka_unit_test(records_out_of_order_are_not_written),
        cmocka_unit_test(record_of_no_time_is_not_written),
        FILE_TEST(only_a_whole_recording_takes_the_place_of_another),
        FILE_TEST(a_recording_that_fails_leaves_no_file),
        FILE_TEST(what_is_no_regular_file_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
