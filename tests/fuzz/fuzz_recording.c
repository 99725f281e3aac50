/* fuzz_recording: a fuzz.Recording, of which a file is made; what `virtbusctl replay` would read.
 *
 * A file is refused with a reason that can be shown, or holds as many records as it has. What was
 * read is replayed through both cores, which must end, the same each time, and say in words what
 * differs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus/recording_private.h"
#include "common/bus/replay.h"
#include "common/runtime/log.h"
#include "fuzz.pb-c.h"
#include "services/vm-service/vm_core.h"
#include "services/volume-service/volume_core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_message.h"

static G_NORETURN void broken(const char *what, const char *words)
{
    fprintf(stderr, "BROKEN: %s: %s\n", what, words);
    abort();
}

/* ---- The file */

static void frame_append(GByteArray *file, const RecordingFrame *frame)
{
    g_autofree guint8 *packed = g_malloc(recording_frame__get_packed_size(frame) + 1);
    size_t size_bytes = recording_frame__pack(frame, packed);
    for (size_t left = size_bytes;; left >>= 7) {
        guint8 byte = (guint8)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        g_byte_array_append(file, &byte, 1);
        if (left <= 0x7f) {
            break;
        }
    }
    g_byte_array_append(file, packed, (guint)size_bytes);
}

/* What the end of a sound file says of it. */
static void end_append(GByteArray *file, const Fuzz__Recording *wanted)
{
    guint8 sha256[RECORDING_SHA256_BYTES];
    RecordingFrame frame = RECORDING_FRAME__INIT;
    RecordingEnd end = RECORDING_END__INIT;
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(checksum, file->data, (gssize)file->len);
    recording_checksum(checksum, sha256);
    for (size_t i = 0; i < wanted->n_frames; i++) {
        end.records += wanted->frames[i]->frame_case == RECORDING_FRAME__FRAME_RECORD;
    }
    end.sha256 = (ProtobufCBinaryData){.data = sha256, .len = sizeof(sha256)};
    frame.frame_case = RECORDING_FRAME__FRAME_END;
    frame.end = &end;
    frame_append(file, &frame);
}

static GByteArray *file_make(const Fuzz__Recording *wanted)
{
    GByteArray *file = g_byte_array_new();
    g_byte_array_append(file, (const guint8 *)RECORDING_MAGIC, strlen(RECORDING_MAGIC));
    for (size_t i = 0; i < wanted->n_frames; i++) {
        frame_append(file, wanted->frames[i]);
    }
    if (wanted->ends_well) {
        end_append(file, wanted);
    }
    return file;
}

/* ---- The judge */

static void words_check(const char *words)
{
    if (words != NULL && !g_utf8_validate(words, -1, NULL)) {
        broken("a difference is told in words that cannot be shown", words);
    }
}

static VbReplayResult *replay(const VbRecording *recording)
{
    static const VbService *const services[] = {&vm_service, &volume_service};
    VbReplayConfig config = {
        .services = services, .n_services = G_N_ELEMENTS(services), .until_ms = G_MAXINT64};
    VbReplayResult *result = replay_run(recording, &config);
    for (guint i = 0; i < result->differences->len; i++) {
        const VbReplayDifference *difference = g_ptr_array_index(result->differences, i);
        words_check(difference->place);
        words_check(difference->path);
        words_check(difference->recorded);
        words_check(difference->replayed);
    }
    return result;
}

static void judge(const VbRecording *recording)
{
    guint64 n_records = 0;
    for (guint i = 0; i < recording->logs->len; i++) {
        n_records += ((const VbRecordedLog *)g_ptr_array_index(recording->logs, i))->records->len;
    }
    if (n_records != recording->n_records) {
        broken("the reader has miscounted", "");
    }
    g_autoptr(VbReplayResult) first = replay(recording);
    g_autoptr(VbReplayResult) second = replay(recording);
    if (first->n_steps != second->n_steps || first->n_differences != second->n_differences ||
        first->n_logic_differences != second->n_logic_differences ||
        first->differences->len != second->differences->len) {
        broken("the second replay is another one", "");
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_start("fuzz", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    g_autoptr(VbArena) arena = arena_new();
    Fuzz__Recording *wanted =
        fuzz__recording__unpack(arena_allocator(arena, SIZE_MAX), size_bytes, data);
    if (wanted == NULL) {
        return 0;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) file = file_make(wanted);
    g_autoptr(GInputStream) stream =
        g_memory_input_stream_new_from_data(file->data, (gssize)file->len, NULL);
    g_autoptr(VbRecording) recording = recording_read(stream, &error);
    if (recording != NULL) {
        judge(recording);
    } else if (error == NULL || error->domain != RECORDING_ERROR ||
               !g_utf8_validate(error->message, -1, NULL)) {
        broken("no reason, or none that can be shown", error != NULL ? error->message : "");
    }
    return 0;
}

/* ---- Mutations */

static const char *const words[] = {"vm.commands",    "vm.events",
                                    "vm.state",       "vm.journal",
                                    "vm.reports",     "volume.commands",
                                    "volume.events",  "volume.state",
                                    "volume.journal", "host.commands",
                                    "volume.reports", "",
                                    "\xff",           NULL};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size_bytes, size_t max_bytes, unsigned seed)
{
    return mutate_message(&fuzz__recording__descriptor, words, data, size_bytes, max_bytes, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                                 uint8_t *out, size_t max_bytes, unsigned seed)
{
    return mutate_cross(&fuzz__recording__descriptor, a, a_bytes, b, b_bytes, out, max_bytes, seed);
}
