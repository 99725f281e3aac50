/* One input and all the steps it leads to, as one whole: either all of it enters the batch, or the
 * input is poison and the VM is told so instead.
 *
 *     record or deadline --step--> state, outputs
 *                                    | outputs for a host without a topic
 *                                    v
 *                               Undeliverable --step--> ...
 *
 * A state enters the batch only if the core's part of it changed; then, and only then, the
 * runtime's fields are set. */
#include <string.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/bus/loop_metrics.h"
#include "common/bus/loop_private.h"
#include "common/bus/validate.h"
#include "common/runtime/log.h"

/* A core that answers each Undeliverable with another host command is broken. */
enum { VISIT_MAX_STEPS = 64 };

static const char fault_endless[] = "the input led to steps without end";
static const char fault_step[] = "the step found a broken assumption";

typedef struct {
    VbLoop *loop;
    const VbVisitInput *input;
    VbBatchPart *part;
    VbOrigin origin;
    StateRecord *state;
    GPtrArray *undelivered; /* of RuntimeInput, to be stepped. */
    guint n_outputs;
    guint n_steps;
    const char *fault; /* Why the last step is not to be trusted. */
    /* The way back. */
    guint messages_before;
    guint steps_before;
    VbOverlay *overlay_before;
} VbVisit;

/* What one step is given: exactly one of message, runtime and refusal. */
typedef struct {
    const ProtobufCMessage *message;
    const RuntimeInput *runtime;
    const VbJudgement *refusal;
} VbStepGiven;

typedef struct {
    void *bytes;
    size_t size_bytes;
} VbPacked;

static VbPacked pack(VbArena *arena, const void *message)
{
    VbPacked packed = {.bytes = NULL};
    if (message != NULL) {
        packed.size_bytes = protobuf_c_message_get_packed_size(message);
        packed.bytes = arena_alloc(arena, packed.size_bytes);
        protobuf_c_message_pack(message, packed.bytes);
    }
    return packed;
}

static gboolean packed_equal(VbPacked a, VbPacked b)
{
    if (a.bytes == NULL || b.bytes == NULL) {
        return a.bytes == b.bytes;
    }
    return a.size_bytes == b.size_bytes && memcmp(a.bytes, b.bytes, a.size_bytes) == 0;
}

/* ---- State */

StateRecord *visit_load_state(VbLoop *loop, const VbPartition *partition, const char *vm_uuid)
{
    const void *bytes = NULL;
    size_t size_bytes = 0;
    const VbOverlay *overlay = g_hash_table_lookup(loop->batch.overlay, vm_uuid);
    if (overlay != NULL) {
        bytes = overlay->bytes;
        size_bytes = overlay->size_bytes;
    } else {
        const VbTableEntry *entry = table_find(partition->table, vm_uuid);
        if (entry != NULL && !entry->is_broken) {
            bytes = entry->bytes;
            size_bytes = entry->size_bytes;
        }
    }
    if (bytes == NULL) {
        return NULL;
    }
    VbArena *arena = loop->batch.scratch;
    StateRecord *state = state_record__unpack(arena_allocator(arena, SIZE_MAX), size_bytes, bytes);
    g_assert(state != NULL); /* Packed by this process, or tried at restore. */
    return state;
}

static void runtime_fields_copy(StateRecord *to, const StateRecord *from)
{
    to->version = from->version;
    to->logic_version = from->logic_version;
    to->n_applied = from->n_applied;
    to->applied = from->applied;
    to->step_ms = from->step_ms;
}

/* This record and all before it in its topic have been applied. */
static void applied_set(VbArena *arena, StateRecord *state, const VbBusRecord *record)
{
    const char *topic = topic_info(record->topic)->suffix;
    for (size_t i = 0; i < state->n_applied; i++) {
        if (strcmp(state->applied[i]->topic, topic) == 0) {
            state->applied[i]->offset = record->offset;
            return;
        }
    }
    AppliedOffset *applied = ARENA_MSG(arena, applied_offset);
    applied->topic = arena_strdup(arena, topic);
    applied->offset = record->offset;
    ARENA_APPEND(arena, state->n_applied, state->applied, applied);
}

static void overlay_put(VbVisit *visit, const StateRecord *state)
{
    VbBatch *batch = &visit->loop->batch;
    VbPacked packed = pack(batch->arena, state);
    VbOverlay *overlay = arena_alloc(batch->arena, sizeof(*overlay));
    *overlay = (VbOverlay){.partition = visit->input->partition,
                           .vm_uuid = arena_strdup(batch->arena, visit->input->vm_uuid),
                           .bytes = packed.bytes,
                           .size_bytes = packed.size_bytes,
                           .deadline_ms = state != NULL ? state->deadline_ms : 0};
    g_hash_table_replace(batch->overlay, (gpointer)overlay->vm_uuid, overlay);
    batch->size_bytes += packed.size_bytes;
}

/* Takes the core's part of a stepped state into the batch. TRUE: it changed. */
static gboolean state_take(VbVisit *visit, const StateRecord *runtime_before, VbPacked before,
                           StateRecord *after, gint64 step_ms)
{
    VbArena *scratch = visit->loop->batch.scratch;
    if (after != NULL) {
        runtime_fields_copy(after, runtime_before);
    }
    visit->state = after;
    if (packed_equal(before, pack(scratch, after))) {
        return FALSE;
    }
    if (after != NULL) {
        after->version++;
        after->logic_version = visit->loop->config.service->logic_version;
        after->step_ms = step_ms;
        if (visit->input->record != NULL) {
            applied_set(scratch, after, visit->input->record);
        }
    }
    overlay_put(visit, after);
    return TRUE;
}

/* ---- Outputs */

static gboolean host_exists(VbLoop *loop, const char *host_uuid, gboolean *ret_exists,
                            GError **error)
{
    VbBatch *batch = &loop->batch;
    *ret_exists = FALSE;
    if (!uuid_is_valid(host_uuid)) {
        return TRUE;
    }
    if (g_hash_table_contains(batch->hosts, host_uuid)) {
        *ret_exists = TRUE;
        return TRUE;
    }
    if (!loop->bus->host_exists(loop->bus, host_uuid, ret_exists, error)) {
        return FALSE;
    }
    if (*ret_exists) {
        g_hash_table_add(batch->hosts, arena_strdup(batch->arena, host_uuid));
    }
    return TRUE;
}

static const char *operation_id_of(const ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "operation_id");
    g_assert(field != NULL && field->type == PROTOBUF_C_TYPE_STRING);
    return *(char *const *)(const void *)((const char *)message + field->offset);
}

/* Several commands of one step, operation and host make one Undeliverable. `first` is that of the
 * step. */
static void undeliverable_add(VbVisit *visit, guint first, const VbOutput *output)
{
    VbArena *scratch = visit->loop->batch.scratch;
    const char *operation_id = operation_id_of(output->message);
    for (guint i = first; i < visit->undelivered->len; i++) {
        const RuntimeInput *known = g_ptr_array_index(visit->undelivered, i);
        if (strcmp(known->undeliverable->host_uuid, output->host_uuid) == 0 &&
            strcmp(known->undeliverable->operation_id, operation_id) == 0) {
            return;
        }
    }
    RuntimeInput *input = ARENA_MSG(scratch, runtime_input);
    Undeliverable *undeliverable = ARENA_MSG(scratch, undeliverable);
    undeliverable->host_uuid = arena_strdup(scratch, output->host_uuid);
    undeliverable->operation_id = arena_strdup(scratch, operation_id);
    input->input_case = RUNTIME_INPUT__INPUT_UNDELIVERABLE;
    input->undeliverable = undeliverable;
    g_ptr_array_add(visit->undelivered, input);
    log_event(VB_LOG_WARNING, "undeliverable",
              "A command was not sent: the host has no command topic.", "vm", visit->input->vm_uuid,
              "host", output->host_uuid, "operation", operation_id, NULL);
}

static void output_add(VbVisit *visit, const VbOutput *output, guint index, gint64 step_ms)
{
    VbBatch *batch = &visit->loop->batch;
    const VbTopicInfo *info = topic_info(output->topic);
    const ProtobufCMessage *body = output->message;
    g_assert(body->descriptor == info->message);
    VbPacked packed = pack(batch->arena, body);
    VbBusMessage message = {.topic = output->topic,
                            .partition = info->per_vm ? visit->input->partition->number : 0,
                            .key = visit->origin.vm_uuid,
                            .key_bytes = UUID_TEXT_BYTES - 1,
                            .value = packed.bytes,
                            .value_bytes = packed.size_bytes};
    if (output->host_uuid != NULL) {
        message.host_uuid = arena_strdup(batch->arena, output->host_uuid);
    }
    envelope_output(batch->arena, &visit->origin, index, visit->loop->config.service->name, step_ms,
                    body, &message);
    batch_add_message(batch, &message);
    metrics_add(&loop_metric_outputs, 1,
                output->topic == TOPIC_HOST_COMMANDS ? "host.commands" : info->suffix);
}

static gboolean outputs_take(VbVisit *visit, const GArray *outputs, gint64 step_ms, GError **error)
{
    guint first = visit->undelivered->len;
    for (guint i = 0; i < outputs->len; i++) {
        const VbOutput *output = &g_array_index(outputs, VbOutput, i);
        guint index = visit->n_outputs++;
        gboolean exists = TRUE;
        g_assert((output->topic == TOPIC_HOST_COMMANDS) == (output->host_uuid != NULL));
        if (output->host_uuid != NULL &&
            !host_exists(visit->loop, output->host_uuid, &exists, error)) {
            return FALSE;
        }
        if (exists) {
            output_add(visit, output, index, step_ms);
        } else {
            undeliverable_add(visit, first, output);
        }
    }
    return TRUE;
}

/* ---- Steps */

static void journal_add(VbVisit *visit, const RuntimeInput *runtime, gint64 step_ms)
{
    VbArena *arena = visit->loop->batch.arena;
    JournalStep *step = ARENA_MSG(arena, journal_step);
    step->time_ms = step_ms;
    step->vm_uuid = (char *)visit->origin.vm_uuid;
    if (runtime != NULL) {
        step->runtime_input = arena_copy(arena, runtime);
    } else {
        step->topic = (char *)topic_info(visit->input->record->topic)->suffix;
        step->offset = visit->input->record->offset;
    }
    g_ptr_array_add(visit->part->steps, step);
}

static const char *given_name(const VbVisit *visit, const VbStepGiven *given)
{
    if (given->runtime == NULL) {
        return topic_info(visit->input->record->topic)->suffix;
    }
    return protobuf_c_message_descriptor_get_field(&runtime_input__descriptor,
                                                   given->runtime->input_case)
        ->name;
}

/* One call of the core. A fault leaves visit->fault set and the batch untouched. */
static gboolean step_run(VbVisit *visit, const VbStepGiven *given, GError **error)
{
    VbLoop *loop = visit->loop;
    VbArena *scratch = loop->batch.scratch;
    StateRecord runtime_before = STATE_RECORD__INIT;
    if (visit->state != NULL) {
        runtime_fields_copy(&runtime_before, visit->state);
    }
    VbPacked before = pack(scratch, visit->state);
    gint64 step_ms = MAX(visit->input->time_ms, runtime_before.step_ms);
    VbStepInput input = {.vm_uuid = visit->origin.vm_uuid,
                         .time_ms = step_ms,
                         .settings = loop->config.settings,
                         .record = given->message,
                         .runtime = given->runtime,
                         .topic = visit->input->record != NULL ? visit->input->record->topic : 0};
    g_autoptr(GArray) outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    VbStep step = {.input = &input, .arena = scratch, .state = visit->state, .outputs = outputs};
    const char *result = "unchanged";
    if (++visit->n_steps > VISIT_MAX_STEPS) {
        visit->fault = fault_endless;
        return TRUE;
    }
    if (given->refusal != NULL) {
        loop->config.service->refuse(&step, given->refusal->request_id, given->refusal->error);
        result = "refused";
    } else if (loop->config.service->step(&step) == STEP_FAULT) {
        visit->fault = fault_step;
        metrics_add(&loop_metric_steps, 1, given_name(visit, given), "fault");
        return TRUE;
    } else if (state_take(visit, &runtime_before, before, step.state, step_ms)) {
        result = "changed";
    }
    metrics_add(&loop_metric_steps, 1, given_name(visit, given), result);
    if (!visit->input->is_broken) {
        journal_add(visit, given->runtime, step_ms);
    }
    return outputs_take(visit, outputs, step_ms, error);
}

/* The step, and those for what could not be delivered. */
static gboolean steps_run(VbVisit *visit, const VbStepGiven *given, GError **error)
{
    g_ptr_array_set_size(visit->undelivered, 0);
    if (!step_run(visit, given, error)) {
        return FALSE;
    }
    for (guint i = 0; i < visit->undelivered->len && visit->fault == NULL; i++) {
        VbStepGiven next = {.runtime = g_ptr_array_index(visit->undelivered, i)};
        if (!step_run(visit, &next, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Poison */

gboolean visit_is_fault(const char *reason)
{
    return strcmp(reason, fault_endless) == 0 || strcmp(reason, fault_step) == 0;
}

static void visit_roll_back(VbVisit *visit)
{
    VbBatch *batch = &visit->loop->batch;
    g_array_set_size(batch->messages, visit->messages_before);
    g_ptr_array_set_size(visit->part->steps, (gint)visit->steps_before);
    if (visit->overlay_before != NULL) {
        g_hash_table_replace(batch->overlay, (gpointer)visit->overlay_before->vm_uuid,
                             visit->overlay_before);
    } else {
        g_hash_table_remove(batch->overlay, visit->input->vm_uuid);
    }
    visit->state = visit_load_state(visit->loop, visit->input->partition, visit->input->vm_uuid);
    visit->n_outputs = 0;
    visit->n_steps = 0;
    visit->fault = NULL;
}

static RuntimeInput *poisoned_input(VbVisit *visit, const char *reason)
{
    VbArena *scratch = visit->loop->batch.scratch;
    const VbBusRecord *record = visit->input->record;
    RuntimeInput *input = ARENA_MSG(scratch, runtime_input);
    Poisoned *poisoned = ARENA_MSG(scratch, poisoned);
    poisoned->reason = arena_strdup(scratch, reason);
    poisoned->partition = visit->input->partition->number;
    poisoned->offset = -1;
    if (record != NULL) {
        poisoned->topic = arena_strdup(scratch, topic_info(record->topic)->suffix);
        poisoned->offset = record->offset;
    }
    input->input_case = RUNTIME_INPUT__INPUT_POISONED;
    input->poisoned = poisoned;
    return input;
}

/* The input goes to the DLQ and the VM hears of it. A core that cannot even take that keeps its
 * state as it was. */
static gboolean visit_poison(VbVisit *visit, const char *stage, const char *reason, GError **error)
{
    VbLoop *loop = visit->loop;
    log_event(VB_LOG_ERROR, "poisoned", "An input cannot be handled; its VM is told.", "vm",
              visit->input->vm_uuid, "input", visit->origin.id, "stage", stage, "error", reason,
              NULL);
    metrics_add(&loop_metric_poisoned, 1);
    visit_roll_back(visit);
    if (visit->input->record != NULL) {
        VbDlqReason why = {
            .stage = stage, .code = ENUM_CODE(error_code, ERROR_CODE_INTERNAL), .reason = reason};
        batch_dead_letter(loop, visit->input->record, &why);
        visit->messages_before = loop->batch.messages->len;
    }
    if (visit->input->is_broken) {
        return TRUE; /* There is no state that could say so. */
    }
    VbStepGiven given = {.runtime = poisoned_input(visit, reason)};
    if (!steps_run(visit, &given, error)) {
        return FALSE;
    }
    if (visit->fault != NULL) {
        log_event(VB_LOG_ERROR, "poison-fault", "The core cannot take the news either.", "vm",
                  visit->input->vm_uuid, "input", visit->origin.id, NULL);
        visit_roll_back(visit);
    }
    return TRUE;
}

/* ---- Inputs */

/* Nobody knows what a step would do to a state that cannot be read, so a good record is refused. It
 * is no step of the VM: the journal does not have it. */
static VbJudgement broken_judge(const VbVisit *visit, const char *request_id)
{
    VbArena *scratch = visit->loop->batch.scratch;
    const VbLoopConfig *config = &visit->loop->config;
    gboolean can_answer = request_id != NULL && config->service->refuse != NULL;
    return (VbJudgement){
        .validity = can_answer ? VALIDITY_REFUSED : VALIDITY_DEAD_LETTER,
        .request_id = request_id,
        .error = error_make(scratch, ERROR_CODE_INTERNAL,
                            "%s cannot read the state of VM %s: its log names the record of %s.%s "
                            "(event state-broken). Mend or delete that record, then start the "
                            "service again",
                            config->service->name, visit->input->vm_uuid, config->prefix,
                            topic_info(config->service->state_topic)->suffix)};
}

static gboolean visit_record(VbVisit *visit, GError **error)
{
    VbLoop *loop = visit->loop;
    const VbBusRecord *record = visit->input->record;
    const char *stage = "validate";
    VbJudgement judgement =
        validate_record(loop->batch.scratch, loop->config.service, record, visit->origin.vm_uuid);
    if (judgement.validity == VALIDITY_GOOD && visit->input->is_broken) {
        judgement = broken_judge(visit, judgement.request_id);
        stage = "restore";
    }
    switch (judgement.validity) {
    case VALIDITY_GOOD:
        return steps_run(visit, &(VbStepGiven){.message = judgement.message}, error);
    case VALIDITY_REFUSED:
        return steps_run(visit, &(VbStepGiven){.refusal = &judgement}, error);
    case VALIDITY_DEAD_LETTER: {
        VbDlqReason why = {.stage = stage,
                           .code = ENUM_CODE(error_code, judgement.error->code),
                           .reason = judgement.error->message};
        batch_dead_letter(loop, record, &why);
        return TRUE;
    }
    }
    g_assert_not_reached();
}

static gboolean visit_deadline(VbVisit *visit, GError **error)
{
    VbArena *scratch = visit->loop->batch.scratch;
    RuntimeInput *input = ARENA_MSG(scratch, runtime_input);
    DeadlineElapsed *elapsed = ARENA_MSG(scratch, deadline_elapsed);
    elapsed->deadline_id = arena_strdup(scratch, visit->input->deadline_id);
    input->input_case = RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED;
    input->deadline_elapsed = elapsed;
    return steps_run(visit, &(VbStepGiven){.runtime = input}, error);
}

gboolean visit_input(VbLoop *loop, const VbVisitInput *input, StateRecord *state, GError **error)
{
    VbBatch *batch = &loop->batch;
    g_autoptr(GPtrArray) undelivered = g_ptr_array_new();
    VbVisit visit = {.loop = loop,
                     .input = input,
                     .part = batch_part(loop, input->partition),
                     .origin =
                         envelope_origin(batch->arena, arena_strdup(batch->arena, input->origin_id),
                                         arena_strdup(batch->arena, input->vm_uuid), input->record),
                     .state = state,
                     .undelivered = undelivered,
                     .messages_before = batch->messages->len,
                     .overlay_before = g_hash_table_lookup(batch->overlay, input->vm_uuid)};
    visit.steps_before = visit.part->steps->len;
    if (input->poison != NULL) {
        return visit_poison(&visit, "transaction", input->poison, error);
    }
    gboolean done =
        input->record != NULL ? visit_record(&visit, error) : visit_deadline(&visit, error);
    if (done && visit.fault != NULL) {
        return visit_poison(&visit, "step", visit.fault, error);
    }
    return done;
}
