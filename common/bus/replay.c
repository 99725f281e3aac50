/* See replay.h: the recording's journals, one after the other, and what there is to say at the end.
 */
#include "common/bus/replay_private.h"

#include <string.h>

#include "common/base/message.h"
#include "common/base/uuid.h"

enum {
    JOURNAL_MAX_ARENA_BYTES = 4 * RECORDING_MAX_FRAME_BYTES,
    LOGIC_OUTPUTS = 32, /* Of one input, that are looked for. */
};

/* ---- Whose steps are made */

/* Sums of a few of them do not overflow. */
static gboolean is_time(gint64 time_ms)
{
    return time_ms >= 0 && time_ms <= RECORDING_MAX_TIME_MS;
}

static gboolean settings_are_sound(const Settings *settings)
{
    return message_check(&settings->base, NULL) && is_time(settings->start_timeout_ms) &&
           is_time(settings->stop_timeout_ms) && is_time(settings->expunge_timeout_ms) &&
           is_time(settings->allowed_skew_ms) && is_time(settings->nvram_retain_ms) &&
           is_time(settings->expunged_keep_ms) && is_time(settings->delete_retry_ms);
}

/* A journal comes from a file: what the loop would trust is judged first. */
static const char *journal_fault(const Replay *replay)
{
    const Journal *journal = replay->journal;
    if (journal == NULL || journal->n_steps == 0 || journal->settings == NULL ||
        !settings_are_sound(journal->settings)) {
        return "bytes that are no journal of steps";
    }
    if (journal->partition != replay->partition) {
        return "the journal of another partition";
    }
    for (size_t i = 0; i < journal->n_steps; i++) {
        const JournalStep *step = journal->steps[i];
        const RuntimeInput *input = step->runtime_input;
        if (!uuid_is_valid(step->vm_uuid) || !is_time(step->time_ms) ||
            (input != NULL && input->input_case == RUNTIME_INPUT__INPUT__NOT_SET) ||
            (i == 0 && input != NULL && input->input_case == RUNTIME_INPUT__INPUT_UNDELIVERABLE)) {
            return "a step of no VM, of no time, or of nothing";
        }
    }
    return NULL;
}

static gboolean is_late(const Replay *replay)
{
    for (size_t i = 0; i < replay->journal->n_steps; i++) {
        if (replay->journal->steps[i]->time_ms > replay->config->until_ms) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Those of this transaction, each once. */
static void vms_each(Replay *replay, void (*each)(Replay *replay, ReplayVm *vm),
                     gboolean is_touched)
{
    for (size_t i = 0; i < replay->journal->n_steps; i++) {
        const char *uuid = replay->journal->steps[i]->vm_uuid;
        ReplayVm *vm = replay_vm_is_wanted(replay, uuid) ? replay_vm(replay, uuid) : NULL;
        if (vm != NULL && vm->is_touched == is_touched) {
            each(replay, vm);
        }
    }
}

/* Counts the steps by the logic that made them. */
static void steps_count(Replay *replay, VbReplayLogic *logic)
{
    for (guint i = 0; i < replay->steps->len; i++) {
        const JournalStep *step = g_ptr_array_index(replay->steps, i);
        logic->n_steps++;
        logic->n_different += replay_vm(replay, step->vm_uuid)->is_different;
    }
    replay->result->n_steps += replay->steps->len;
    replay->result->n_transactions += replay->steps->len > 0;
    for (size_t i = 0; i < replay->journal->n_steps; i++) {
        const char *uuid = replay->journal->steps[i]->vm_uuid;
        if (replay_vm_is_wanted(replay, uuid)) {
            replay->result->n_steps_unknown += !replay_vm(replay, uuid)->is_known;
        }
    }
}

static VbReplayLogic *logic_of(Replay *replay)
{
    const VbService *service = replay->config->services[replay->service_index];
    GArray *logic = replay->result->logic;
    for (guint i = 0; i < logic->len; i++) {
        VbReplayLogic *known = &g_array_index(logic, VbReplayLogic, i);
        if (known->service == service &&
            known->recorded_version == replay->journal->logic_version) {
            return known;
        }
    }
    VbReplayLogic added = {.service = service, .recorded_version = replay->journal->logic_version};
    g_array_append_val(logic, added);
    return &g_array_index(logic, VbReplayLogic, logic->len - 1);
}

/* ---- One transaction */

static void transaction_begin(Replay *replay, const VbBusRecord *record)
{
    arena_reset(replay->arena);
    g_ptr_array_set_size(replay->steps, 0);
    g_array_set_size(replay->visits, 0);
    replay->is_told = FALSE;
    replay->journal_record = record;
    replay->is_whole = record->offset < replay->journals->source->whole_end;
    replay->journal = journal__unpack(arena_allocator(replay->arena, JOURNAL_MAX_ARENA_BYTES),
                                      record->value_bytes, record->value);
}

static void loop_set(Replay *replay)
{
    Journal *journal = replay->journal;
    replay->service.logic_version = journal->logic_version;
    replay->loop->config.settings = journal->settings;
    replay->loop->config.instance_id = journal->instance_id;
}

static ReplayVisitResult journal_visit(Replay *replay)
{
    Journal *journal = replay->journal;
    size_t n = 0;
    for (size_t i = 0; i < journal->n_steps; i += n) {
        n = replay_visit_length(journal->steps + i, journal->n_steps - i);
        if (replay_visit_steps(replay, journal->steps + i, n) == VISIT_BEYOND) {
            return VISIT_BEYOND;
        }
    }
    replay->is_filtered = replay->steps->len != journal->n_steps;
    return VISIT_DONE;
}

static void visits_tell(const Replay *replay)
{
    const GArray *messages = replay->loop->batch.messages;
    for (guint i = 0; replay->config->visit != NULL && i < replay->visits->len; i++) {
        ReplayVisit *visit = &g_array_index(replay->visits, ReplayVisit, i);
        visit->told.n_outputs = visit->outputs_after - visit->outputs_before;
        if (visit->told.n_outputs > 0) {
            visit->told.outputs = &g_array_index(messages, VbBusMessage, visit->outputs_before);
        }
        replay->config->visit(&visit->told, replay->config->user);
    }
}

/* Another logic may have made more outputs; of the same one, this is found at the end. */
static void visits_judge(Replay *replay)
{
    for (guint i = 0; replay_is_logic(replay) && i < replay->visits->len; i++) {
        const ReplayVisit *visit = &g_array_index(replay->visits, ReplayVisit, i);
        if (visit->told.journal != NULL) {
            replay_index_unmade(replay, visit->told.vm_uuid, visit->origin, LOGIC_OUTPUTS);
        }
    }
}

static void batch_judge(Replay *replay)
{
    g_autoptr(GError) error = NULL;
    if (replay->loop->batch.parts->len > 0) {
        g_assert(transaction_write(replay->loop, &error)); /* This bus does not fail. */
        visits_judge(replay);
        visits_tell(replay);
        batch_apply(replay->loop);
    }
    batch_reset(replay->loop);
}

/* FALSE: the rest of the partition is not replayed. */
static gboolean transaction_replay(Replay *replay, const VbBusRecord *record)
{
    transaction_begin(replay, record);
    const char *fault = journal_fault(replay);
    if (fault != NULL) {
        replay->journal = NULL;
        replay_find(replay,
                    &(ReplayFinding){.place = "", .vm_uuid = "", .path = "", .recorded = fault});
        return TRUE;
    }
    if (is_late(replay)) {
        return FALSE;
    }
    loop_set(replay);
    vms_each(replay, replay_vm_begin, FALSE);
    if (journal_visit(replay) == VISIT_BEYOND) {
        batch_reset(replay->loop);
        replay->result->n_beyond++;
        return FALSE;
    }
    batch_judge(replay);
    if (replay->steps->len > 0 && !replay->is_told) {
        replay_find(
            replay,
            &(ReplayFinding){
                .place = "", .vm_uuid = "", .path = "", .recorded = "steps", .replayed = "none"});
    }
    vms_each(replay, replay_vm_judge, TRUE);
    steps_count(replay, logic_of(replay));
    vms_each(replay, replay_vm_end, TRUE);
    return TRUE;
}

/* Records behind the last journal: of those only what led to no step can be judged. */
static void rest_replay(Replay *replay)
{
    static Settings no_settings = SETTINGS__INIT;
    arena_reset(replay->arena);
    g_ptr_array_set_size(replay->steps, 0);
    g_array_set_size(replay->visits, 0);
    replay->journal_record = NULL;
    replay->journal = NULL;
    replay->is_whole = TRUE;
    replay->loop->config.settings = &no_settings;
    replay->loop->config.instance_id = "";
    replay_visit_rest(replay);
    batch_judge(replay);
}

/* ---- All of them */

static void partition_begin(Replay *replay, int number)
{
    const VbRecording *recording = replay->recording;
    g_autoptr(GError) error = NULL;
    replay->partition = number;
    replay->journals = recording_log(recording, replay->service.journal_topic, NULL, number);
    replay->states = recording_log(recording, replay->service.state_topic, NULL, number);
    for (size_t i = 0; i < replay->service.n_inputs; i++) {
        replay->inputs[i] = recording_log(recording, replay->service.inputs[i], NULL, number);
        replay->last[i] = replay_is_in_the_middle(replay) ? REPLAY_UNKNOWN_OFFSET : -1;
    }
    VbLoopConfig config = {.service = &replay->service,
                           .prefix = recording->header->prefix,
                           .group_id = "",
                           .n_partitions = (int)recording->header->partitions};
    replay->loop = loop_new(&replay->bus, &config);
    g_assert(restore_partition(replay->loop, number, &error));
    replay_vms_make(replay);
}

static void partition_replay(Replay *replay, int number)
{
    partition_begin(replay, number);
    gboolean is_all = TRUE;
    const VbRecordedLog *journals = replay->journals;
    for (guint i = 0; journals != NULL && is_all && i < journals->records->len; i++) {
        is_all = transaction_replay(replay, g_ptr_array_index(journals->records, i));
        replay->journal = NULL;
    }
    replay->journal_record = NULL;
    if (is_all) {
        rest_replay(replay);
    }
    replay_vms_end(replay);
    g_clear_pointer(&replay->loop, loop_free);
}

static void service_replay(Replay *replay, size_t index)
{
    replay->service_index = index;
    replay->service = *replay->config->services[index];
    replay->inputs = g_new0(const VbRecordedLog *, replay->service.n_inputs);
    replay->last = g_new0(gint64, replay->service.n_inputs);
    for (int number = 0; number < (int)replay->recording->header->partitions; number++) {
        partition_replay(replay, number);
    }
    g_free(replay->inputs);
    g_free(replay->last);
}

static void replay_init(Replay *replay)
{
    replay->arena = arena_new();
    replay->outputs = g_ptr_array_new_with_free_func(g_free);
    replay->by_name =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    replay->streams = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    replay->begun = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    replay->vms_seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    replay->unknown = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    replay->steps = g_ptr_array_new();
    replay->visits = g_array_new(FALSE, FALSE, sizeof(ReplayVisit));
    replay_bus_init(replay);
    replay_index_make(replay);
}

static void replay_clear(Replay *replay)
{
    g_array_free(replay->visits, TRUE);
    g_ptr_array_free(replay->steps, TRUE);
    g_hash_table_destroy(replay->unknown);
    g_hash_table_destroy(replay->vms_seen);
    g_hash_table_destroy(replay->begun);
    g_hash_table_destroy(replay->streams);
    g_hash_table_destroy(replay->by_name);
    g_ptr_array_free(replay->outputs, TRUE);
    arena_free(replay->arena);
}

VbReplayResult *replay_run(const VbRecording *recording, const VbReplayConfig *config)
{
    VbReplayResult *result = g_new0(VbReplayResult, 1);
    result->arena = arena_new();
    result->differences = g_ptr_array_new();
    result->logic = g_array_new(FALSE, FALSE, sizeof(VbReplayLogic));
    Replay replay = {.recording = recording, .config = config, .result = result};
    replay_init(&replay);
    for (size_t i = 0; i < config->n_services; i++) {
        service_replay(&replay, i);
    }
    if (config->until_ms == G_MAXINT64) {
        replay_index_end(&replay);
    }
    result->n_vms = g_hash_table_size(replay.vms_seen);
    replay_clear(&replay);
    return result;
}

void replay_result_free(VbReplayResult *result)
{
    if (result != NULL) {
        g_array_free(result->logic, TRUE);
        g_ptr_array_free(result->differences, TRUE);
        arena_free(result->arena);
        g_free(result);
    }
}
