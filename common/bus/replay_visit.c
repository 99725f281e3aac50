/* One visit of the loop at a time: what the journal says of it becomes what the loop is given. */
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/replay_private.h"
#include "common/bus/validate.h"

const char *replay_record_id(const Replay *replay, const VbBusRecord *record)
{
    return envelope_record_id(replay->arena, record->topic, record->partition, record->offset);
}

int replay_input_index(const Replay *replay, const char *topic)
{
    for (size_t i = 0; i < replay->service.n_inputs; i++) {
        if (strcmp(topic_info(replay->service.inputs[i])->suffix, topic) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static gboolean is_undeliverable(const JournalStep *step)
{
    return step->runtime_input != NULL &&
           step->runtime_input->input_case == RUNTIME_INPUT__INPUT_UNDELIVERABLE;
}

size_t replay_visit_length(JournalStep **steps, size_t n_steps)
{
    size_t n = 1;
    while (n < n_steps && is_undeliverable(steps[n]) &&
           strcmp(steps[n]->vm_uuid, steps[0]->vm_uuid) == 0) {
        n++;
    }
    return n;
}

static void find(Replay *replay, const char *place, const char *vm_uuid, const char *recorded,
                 const char *replayed)
{
    replay_find(replay, &(ReplayFinding){.place = place,
                                         .vm_uuid = vm_uuid,
                                         .path = "",
                                         .recorded = recorded,
                                         .replayed = replayed});
}

/* ---- Around a visit */

static void visit_begin(Replay *replay, const VbReplayVisit *told, gboolean is_fault)
{
    VbLoop *loop = replay->loop;
    const VbBatchPart *part = batch_part(loop, loop->partitions[replay->partition]);
    ReplayVisit visit = {.told = *told,
                         .is_fault = is_fault,
                         .steps_before = part->steps->len,
                         .outputs_before = loop->batch.messages->len};
    visit.told.service = replay->config->services[replay->service_index];
    if (replay->config->visit != NULL && *told->vm_uuid != '\0') {
        visit.told.before = replay_vm_state(replay, told->vm_uuid);
    }
    g_array_append_val(replay->visits, visit);
    replay->visit = &g_array_index(replay->visits, ReplayVisit, replay->visits->len - 1);
}

static void visit_end(Replay *replay)
{
    ReplayVisit *visit = replay->visit;
    visit->outputs_after = replay->loop->batch.messages->len;
    visit->origin = replay->loop->batch.last_origin;
    if (replay->config->visit != NULL && *visit->told.vm_uuid != '\0') {
        visit->told.after = replay_vm_state(replay, visit->told.vm_uuid);
    }
    replay->loop->n_suspect = 0;
    replay->visit = NULL;
}

/* The broker refused the input for this reason, until it was poison. */
static void suspect_set(Replay *replay, const char *origin, const char *reason)
{
    VbLoop *loop = replay->loop;
    g_free(loop->suspect);
    g_free(loop->suspect_reason);
    loop->suspect = g_strdup(origin);
    loop->suspect_reason = g_strdup(reason);
    loop->n_suspect = G_MAXUINT;
}

/* Where a topic keeps its producers' times, the service's clock stood in: the journal has it. */
static const VbBusRecord *record_timed(Replay *replay, const VbBusRecord *record, gint64 time_ms)
{
    if (record->time_ms != 0) {
        return record;
    }
    VbBusRecord *timed = arena_alloc(replay->arena, sizeof(*timed));
    *timed = *record;
    timed->time_ms = time_ms;
    return timed;
}

static void record_add(Replay *replay, const VbBusRecord *record)
{
    g_autoptr(GError) error = NULL;
    replay->result->n_records++;
    g_assert(batch_add_record(replay->loop, record, &error)); /* This bus does not fail. */
}

/* ---- Records without a step */

static char *header_text(const VbBusRecord *record, const char *name)
{
    const VbBusHeader *header = bus_record_header(record, name);
    return header != NULL ? g_strndup(header->value, header->size_bytes) : NULL;
}

/* A VM whose state could not be read was refused without a step. */
static void broken_notice(Replay *replay, ReplayVm *vm)
{
    if (vm->next < vm->states->len) {
        const VbBusRecord *next = g_ptr_array_index(vm->states, vm->next);
        const StateRecord *state = replay_state(replay, next);
        if (next->value != NULL &&
            (state == NULL || state->logic_version > replay->service.logic_version)) {
            replay_vm_break(replay, vm);
        }
    }
}

/* Whether what becomes of the record can be known. */
static gboolean is_judged(Replay *replay, const VbBusRecord *record, const char *vm_uuid)
{
    const ReplayOutput *fate = replay_index_fate(replay, record);
    if (vm_uuid == NULL ||
        topic_partition(vm_uuid, UUID_TEXT_BYTES - 1, replay->loop->config.n_partitions) !=
            record->partition) {
        return replay->config->vm_uuid == NULL || replay_vm_is_wanted(replay, vm_uuid);
    }
    if (!replay_vm_is_wanted(replay, vm_uuid)) {
        return FALSE;
    }
    ReplayVm *vm = replay_vm(replay, vm_uuid);
    if (fate == NULL) {
        broken_notice(replay, vm);
    }
    return vm->is_known || vm->is_broken;
}

/* What the loop has stepped although no journal names it. */
static void step_without_journal(Replay *replay, const VbBusRecord *record, guint n_steps_before)
{
    const VbBatchPart *part = g_ptr_array_index(replay->loop->batch.parts, 0);
    if (part->steps->len > n_steps_before) {
        find(replay, replay_record_id(replay, record), replay->visit->told.vm_uuid,
             "an input that no journal names, and that the ones behind it were taken after",
             "a step");
    }
}

static void record_without_step(Replay *replay, const VbBusRecord *record)
{
    const char *vm_uuid = validate_key(replay->arena, record);
    if (!is_judged(replay, record, vm_uuid)) {
        return;
    }
    const ReplayOutput *fate = replay_index_fate(replay, record);
    g_autofree char *stage =
        fate != NULL ? header_text(fate->record, "__connect.errors.stage") : NULL;
    g_autofree char *reason =
        fate != NULL ? header_text(fate->record, "__connect.errors.exception.message") : NULL;
    visit_begin(replay,
                &(VbReplayVisit){.vm_uuid = vm_uuid != NULL ? vm_uuid : "",
                                 .time_ms = record->time_ms,
                                 .record = record},
                g_strcmp0(stage, "step") == 0);
    if (g_strcmp0(stage, "transaction") == 0 && reason != NULL) {
        suspect_set(replay, replay_record_id(replay, record), reason);
    }
    guint n_steps_before = replay->visit->steps_before;
    record_add(replay, record);
    step_without_journal(replay, record, n_steps_before);
    visit_end(replay);
}

/* Index of the first record behind that offset. */
static guint index_behind(const VbRecordedLog *log, gint64 offset)
{
    guint low = 0;
    guint high = log->records->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        const VbBusRecord *record = g_ptr_array_index(log->records, middle);
        if (record->offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Everything in front of `offset` that was not taken yet. */
static void records_before(Replay *replay, size_t input, gint64 offset)
{
    const VbRecordedLog *log = replay->inputs[input];
    gint64 last = replay->last[input];
    guint i = last != REPLAY_UNKNOWN_OFFSET ? index_behind(log, last) : log->records->len;
    for (; i < log->records->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(log->records, i);
        if (record->offset >= offset) {
            break;
        }
        record_without_step(replay, record);
    }
    replay->last[input] = MAX(last, offset);
}

void replay_visit_rest(Replay *replay)
{
    for (size_t input = 0; input < replay->service.n_inputs; input++) {
        const VbRecordedLog *log = replay->inputs[input];
        guint i = log != NULL ? index_behind(log, replay->last[input]) : 0;
        for (; log != NULL && i < log->records->len; i++) {
            const VbBusRecord *record = g_ptr_array_index(log->records, i);
            if (replay_index_fate(replay, record) != NULL) {
                record_without_step(replay, record);
            } else {
                replay->result->n_unconsumed++;
            }
        }
    }
}

/* ---- Steps */

/* The record that a step or its poison is of; NULL: the runtime made the input by itself. */
static const char *topic_of(const JournalStep *step, gint64 *ret_offset)
{
    if (step->runtime_input == NULL) {
        *ret_offset = step->offset;
        return step->topic;
    }
    if (step->runtime_input->input_case == RUNTIME_INPUT__INPUT_POISONED) {
        const Poisoned *poisoned = step->runtime_input->poisoned;
        *ret_offset = poisoned->offset;
        return *poisoned->topic != '\0' ? poisoned->topic : NULL;
    }
    return NULL;
}

/* The input cannot be had: its VM's state is not known behind it. */
static ReplayVisitResult input_missing(Replay *replay, const char *topic, int input, gint64 offset,
                                       const char *vm_uuid)
{
    const VbRecordedLog *log = input >= 0 ? replay->inputs[input] : NULL;
    if (log != NULL && offset >= log->source->end && !replay->is_whole) {
        return VISIT_BEYOND;
    }
    if (log == NULL || offset >= log->source->begin) {
        find(replay,
             arena_printf(replay->arena, "%s/%d/%" G_GINT64_FORMAT, topic, replay->partition,
                          offset),
             vm_uuid, NULL, "an input that the journal names");
    }
    replay_vm_forget(replay_vm(replay, vm_uuid));
    return VISIT_DONE;
}

static void poison_notice(Replay *replay, const JournalStep *step, const char *origin)
{
    if (step->runtime_input == NULL ||
        step->runtime_input->input_case != RUNTIME_INPUT__INPUT_POISONED) {
        return;
    }
    const char *reason = step->runtime_input->poisoned->reason;
    if (visit_is_fault(reason)) {
        replay->visit->is_fault = TRUE;
    } else {
        suspect_set(replay, origin, reason);
    }
}

static void deadline_add(Replay *replay, const JournalStep *step)
{
    VbPartition *partition = replay->loop->partitions[replay->partition];
    const VbTableEntry *entry = table_find(partition->table, step->vm_uuid);
    if (entry == NULL || entry->is_broken) {
        find(replay, "a deadline", step->vm_uuid, "a step", "no VM that could have one");
        return;
    }
    const StateRecord *state = replay_vm_state(replay, step->vm_uuid);
    if (state != NULL) {
        poison_notice(replay, step,
                      arena_printf(replay->arena, "deadline/%s/%" G_GUINT64_FORMAT,
                                   state->deadline_id, (guint64)state->version));
    }
    g_autoptr(GError) error = NULL;
    g_assert(batch_add_deadline(replay->loop, partition, entry, step->time_ms, &error));
}

static void visit_run(Replay *replay, JournalStep **steps, size_t n_steps,
                      const VbBusRecord *record)
{
    JournalStep *first = steps[0];
    VbReplayVisit told = {.journal = replay->journal_record,
                          .vm_uuid = first->vm_uuid,
                          .time_ms = first->time_ms,
                          .record = record,
                          .runtime = first->runtime_input,
                          .more = steps + 1,
                          .n_more = n_steps - 1};
    ReplayVm *vm = replay_vm(replay, first->vm_uuid);
    vm->is_stepped = TRUE;
    for (size_t i = 0; i < n_steps; i++) {
        g_ptr_array_add(replay->steps, steps[i]);
    }
    visit_begin(replay, &told, FALSE);
    if (record == NULL) {
        deadline_add(replay, first);
    } else {
        poison_notice(replay, first, replay_record_id(replay, record));
        record_add(replay, record_timed(replay, record, first->time_ms));
    }
    visit_end(replay);
}

ReplayVisitResult replay_visit_steps(Replay *replay, JournalStep **steps, size_t n_steps)
{
    const JournalStep *first = steps[0];
    gint64 offset = -1;
    const char *topic = topic_of(first, &offset);
    const VbBusRecord *record = NULL;
    if (topic != NULL) {
        int input = replay_input_index(replay, topic);
        record = input >= 0 && replay->inputs[input] != NULL
                     ? recorded_log_find(replay->inputs[input], offset)
                     : NULL;
        if (record == NULL) {
            return replay_vm_is_wanted(replay, first->vm_uuid)
                       ? input_missing(replay, topic, input, offset, first->vm_uuid)
                       : VISIT_DONE;
        }
        if (offset <= replay->last[input] && replay->last[input] != REPLAY_UNKNOWN_OFFSET) {
            find(replay, replay_record_id(replay, record), first->vm_uuid,
                 "an input that was taken twice, or after a later one", "once, in order");
        }
        records_before(replay, (size_t)input, offset);
    }
    ReplayVm *vm = replay_vm(replay, first->vm_uuid);
    if (!replay_vm_is_wanted(replay, first->vm_uuid) || !vm->is_known) {
        return VISIT_DONE;
    }
    visit_run(replay, steps, n_steps, record);
    return VISIT_DONE;
}
