/* What the loop produced, beside what was recorded. */
#include <string.h>

#include "common/base/message.h"
#include "common/base/message_diff.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/bus/replay_private.h"

enum { WORDS_MAX_BYTES = 1024 };

/* ---- Findings */

const char *replay_place(const Replay *replay, VbTopic topic, const char *host_uuid, int partition,
                         gint64 offset)
{
    VbArena *arena = replay->result->arena;
    if (topic == TOPIC_HOST_COMMANDS) {
        return arena_printf(arena, "host.%s.commands/%d@%" G_GINT64_FORMAT, host_uuid, partition,
                            offset);
    }
    return arena_printf(arena, "%s/%d@%" G_GINT64_FORMAT, topic_info(topic)->suffix, partition,
                        offset);
}

static const char *step_place(const Replay *replay)
{
    const VbBusRecord *journal = replay->journal_record;
    return journal == NULL
               ? ""
               : replay_place(replay, journal->topic, NULL, journal->partition, journal->offset);
}

static const char *kept(const Replay *replay, const char *text)
{
    return text != NULL ? text_tame(replay->result->arena, text, WORDS_MAX_BYTES) : NULL;
}

gboolean replay_is_logic(const Replay *replay)
{
    const VbService *service = replay->config->services[replay->service_index];
    return replay->journal != NULL && replay->journal->logic_version != service->logic_version;
}

void replay_find(Replay *replay, const ReplayFinding *finding)
{
    VbReplayResult *result = replay->result;
    gboolean is_logic = replay_is_logic(replay);
    *(is_logic ? &result->n_logic_differences : &result->n_differences) += 1;
    ReplayVm *vm = replay->vms != NULL ? g_hash_table_lookup(replay->vms, finding->vm_uuid) : NULL;
    if (vm != NULL) {
        vm->is_different = TRUE;
    }
    if (result->differences->len >= REPLAY_MAX_DIFFERENCES) {
        return;
    }
    VbReplayDifference *difference = arena_alloc(result->arena, sizeof(*difference));
    *difference = (VbReplayDifference){.place = kept(replay, finding->place),
                                       .step = step_place(replay),
                                       .vm_uuid = kept(replay, finding->vm_uuid),
                                       .path = kept(replay, finding->path),
                                       .recorded = kept(replay, finding->recorded),
                                       .replayed = kept(replay, finding->replayed),
                                       .is_logic = is_logic};
    g_ptr_array_add(result->differences, difference);
}

/* ---- Bytes */

static gboolean bytes_are_equal(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return a_bytes == b_bytes && (a_bytes == 0 || memcmp(a, b, a_bytes) == 0);
}

static const char *bytes_words(VbArena *arena, const void *bytes, size_t size_bytes)
{
    if (bytes == NULL) {
        return "nothing";
    }
    g_autofree char *sha256 = g_compute_checksum_for_data(G_CHECKSUM_SHA256, bytes, size_bytes);
    return arena_printf(arena, "%zu bytes, SHA-256 %.16s...", size_bytes, sha256);
}

static void first_difference(const char *path, const char *a, const char *b, void *user)
{
    ReplayFinding *finding = user;
    if (*finding->path == '\0') {
        finding->path = path;
        finding->recorded = a != NULL ? a : "nothing";
        finding->replayed = b != NULL ? b : "nothing";
    }
}

static ProtobufCMessage *value_of(VbArena *arena, VbTopic topic, const void *bytes,
                                  size_t size_bytes)
{
    const ProtobufCMessageDescriptor *type = topic_info(topic)->message;
    return type == NULL || bytes == NULL
               ? NULL
               : protobuf_c_message_unpack(
                     type, arena_allocator(arena, 4 * (size_t)MESSAGE_MAX_ARENA_BYTES), size_bytes,
                     bytes);
}

/* Names the first field that differs, else both values as bytes. */
static void value_differs(Replay *replay, const VbBusMessage *made, const VbBusRecord *record,
                          ReplayFinding *finding)
{
    const ProtobufCMessage *recorded =
        value_of(replay->arena, made->topic, record->value, record->value_bytes);
    const ProtobufCMessage *replayed =
        value_of(replay->arena, made->topic, made->value, made->value_bytes);
    finding->path = "";
    if (recorded != NULL && replayed != NULL) {
        message_diff(replay->arena, recorded, replayed, first_difference, finding);
    }
    if (*finding->path == '\0') {
        finding->path = "value";
        finding->recorded = bytes_words(replay->arena, record->value, record->value_bytes);
        finding->replayed = bytes_words(replay->arena, made->value, made->value_bytes);
    }
}

static const char *header_words(VbArena *arena, const VbBusHeader *header)
{
    return header == NULL ? "nothing"
                          : arena_printf(arena, "%s: %.*s", header->name, (int)header->size_bytes,
                                         (const char *)header->value);
}

/* TRUE: they differ, and the first that does is found. */
static gboolean headers_differ(Replay *replay, const VbBusMessage *made, const VbBusRecord *record,
                               ReplayFinding *finding)
{
    for (size_t i = 0; i < MAX(made->n_headers, record->n_headers); i++) {
        const VbBusHeader *a = i < record->n_headers ? &record->headers[i] : NULL;
        const VbBusHeader *b = i < made->n_headers ? &made->headers[i] : NULL;
        if (a == NULL || b == NULL || strcmp(a->name, b->name) != 0 ||
            !bytes_are_equal(a->value, a->size_bytes, b->value, b->size_bytes)) {
            finding->path = arena_printf(replay->arena, "header %s", a != NULL ? a->name : b->name);
            finding->recorded = header_words(replay->arena, a);
            finding->replayed = header_words(replay->arena, b);
            return TRUE;
        }
    }
    return FALSE;
}

/* TRUE: equal, byte for byte; else what differs first is found. */
static gboolean compare(Replay *replay, const VbBusMessage *made, const VbBusRecord *record,
                        const char *vm_uuid)
{
    ReplayFinding finding = {.place = replay_place(replay, made->topic, made->host_uuid,
                                                   made->partition, record->offset),
                             .vm_uuid = vm_uuid};
    if ((made->value == NULL) != (record->value == NULL) ||
        !bytes_are_equal(made->value, made->value_bytes, record->value, record->value_bytes)) {
        value_differs(replay, made, record, &finding);
    } else if (!bytes_are_equal(made->key, made->key_bytes, record->key, record->key_bytes)) {
        finding.path = "key";
        finding.recorded = bytes_words(replay->arena, record->key, record->key_bytes);
        finding.replayed = bytes_words(replay->arena, made->key, made->key_bytes);
    } else if (!headers_differ(replay, made, record, &finding)) {
        return TRUE;
    }
    replay_find(replay, &finding);
    return FALSE;
}

/* A record that is not there: behind the recording's end, or a difference. */
static void missing(Replay *replay, const VbBusMessage *made, const char *vm_uuid,
                    const char *replayed)
{
    if (!replay->is_whole) {
        replay->result->n_beyond++;
        return;
    }
    const char *topic = recording_topic_text(made->topic);
    ReplayFinding finding = {.place = arena_printf(replay->arena, "%s/%d", topic, made->partition),
                             .vm_uuid = vm_uuid,
                             .path = "",
                             .replayed = replayed};
    replay_find(replay, &finding);
}

/* ---- Outputs */

static void output_judge(Replay *replay, const VbBusMessage *made)
{
    const char *key = arena_printf(replay->arena, "%.*s", (int)made->key_bytes,
                                   made->key != NULL ? (const char *)made->key : "");
    const char *vm_uuid = uuid_is_valid(key) ? key : "";
    const ReplayOutput *output = replay_index_take(replay, made);
    if (output == NULL) {
        const ProtobufCMessage *body =
            value_of(replay->arena, made->topic, made->value, made->value_bytes);
        missing(replay, made, vm_uuid,
                body != NULL ? envelope_type(replay->arena, body) : "a record");
        return;
    }
    replay->result->n_outputs++;
    if (compare(replay, made, output->record, vm_uuid) && !replay_index_order(replay, output)) {
        replay_find(replay,
                    &(ReplayFinding){.place = replay_place(replay, made->topic, made->host_uuid,
                                                           made->partition, output->record->offset),
                                     .vm_uuid = vm_uuid,
                                     .path = "order",
                                     .recorded = "behind a later output",
                                     .replayed = "before it"});
    }
}

/* ---- States */

/* Records that are in front of the one of this version: no step made them. */
static const VbBusRecord *state_recorded(Replay *replay, ReplayVm *vm, const StateRecord *made)
{
    while (vm->next < vm->states->len) {
        const VbBusRecord *record = g_ptr_array_index(vm->states, vm->next);
        const StateRecord *state = replay_state(replay, record);
        if (made == NULL || state == NULL || state->version >= made->version ||
            replay_vm_is_made_here(replay, vm, state)) {
            return record;
        }
        vm->next++;
        replay_find(replay,
                    &(ReplayFinding){.place = replay_place(replay, record->topic, NULL,
                                                           record->partition, record->offset),
                                     .vm_uuid = vm->uuid,
                                     .path = "version",
                                     .recorded = "a version that no step made"});
    }
    return NULL;
}

/* Before the first one that is there: the log was compacted since. */
static gboolean is_compacted(Replay *replay, const ReplayVm *vm, const StateRecord *made)
{
    if (vm->next > 0) {
        return FALSE;
    }
    if (vm->states->len == 0) {
        return made == NULL;
    }
    const VbBusRecord *first = g_ptr_array_index(vm->states, 0);
    const StateRecord *state = replay_state(replay, first);
    return first->value == NULL ? made != NULL
                                : made == NULL || (state != NULL && state->version > made->version);
}

/* Whether the recorded state is of a later step. Versions tell, but not where another logic may have
 * made more or fewer. */
static gboolean is_later(const Replay *replay, const ReplayVm *vm, const StateRecord *recorded,
                         const StateRecord *made)
{
    return (recorded->version > made->version || replay_is_logic(replay)) &&
           !replay_vm_is_made_here(replay, vm, recorded);
}

static void state_judge(Replay *replay, const VbBusMessage *made)
{
    ReplayVm *vm = replay_vm(replay, made->key);
    vm->is_made = TRUE;
    VbBusRecord as_record = {.value = made->value, .value_bytes = made->value_bytes};
    const StateRecord *state = replay_state(replay, &as_record);
    const char *words = state == NULL
                            ? "a deletion"
                            : arena_printf(replay->arena, "a state of version %" G_GUINT64_FORMAT,
                                           (guint64)state->version);
    if (is_compacted(replay, vm, state)) {
        replay->result->n_states_compacted++;
        return;
    }
    const VbBusRecord *record = state_recorded(replay, vm, state);
    const StateRecord *recorded = record != NULL ? replay_state(replay, record) : NULL;
    if (record == NULL ||
        (state != NULL && recorded != NULL && is_later(replay, vm, recorded, state))) {
        vm->is_too_much = replay->is_whole;
        missing(replay, made, vm->uuid, words);
        return;
    }
    vm->next++;
    replay->result->n_states++;
    if (!compare(replay, made, record, vm->uuid)) {
        vm->correct = record;
    }
}

/* ---- Journals */

/* The recorded journal as if it had only the steps that are made. */
static VbBusRecord journal_filtered(Replay *replay)
{
    Journal journal = *replay->journal;
    journal.n_steps = replay->steps->len;
    journal.steps = (JournalStep **)replay->steps->pdata;
    VbBusRecord record = *replay->journal_record;
    record.value_bytes = journal__get_packed_size(&journal);
    uint8_t *bytes = arena_alloc(replay->arena, record.value_bytes);
    journal__pack(&journal, bytes);
    record.value = bytes;
    return record;
}

static void journal_judge(Replay *replay, const VbBusMessage *made)
{
    replay->is_told = TRUE;
    if (replay->journal_record == NULL) {
        missing(replay, made, "", "steps that no journal names");
        return;
    }
    VbBusRecord recorded = replay->is_filtered ? journal_filtered(replay) : *replay->journal_record;
    compare(replay, made, &recorded, "");
}

void replay_judge(Replay *replay, const VbBusMessage *message)
{
    if (message->topic == replay->service.journal_topic) {
        journal_judge(replay, message);
    } else if (message->topic == replay->service.state_topic) {
        state_judge(replay, message);
    } else {
        output_judge(replay, message);
    }
}
