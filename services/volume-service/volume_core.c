/* volume-service's core: what is asked of a VM's volumes, and what hosts say of them. It knows
 * nothing of libvirt, files, Kafka or the clock.
 *
 *   input            while idle           while preparing           while expunging
 *   PrepareVolumes   plan                 take its place            refuse VOLUME_BUSY
 *   ExpungeVolumes   delete all           take its place            go on
 *   ReadVolumes      answer               answer                    answer
 *   ReplaceNvram     retire, record new   refuse VOLUME_BUSY        refuse VOLUME_BUSY
 *   ChooseVolume     retire the others    refuse VOLUME_BUSY        refuse VOLUME_BUSY
 *   VolumesCreated   a late Ready counts  results, then answer      does not count
 *   VolumesDeleted   Deleted, or retry    the same, then plan on    the same, then answer
 *   DeadlineElapsed  retention, retries   answer TIMEOUT            answer with what is left
 *   Undeliverable    retry later          answer HOST_UNKNOWN       retry later
 */
#include "services/volume-service/volume_core.h"

#include <string.h>

#include "common/base/limits.h"
#include "services/volume-service/prepare.h"
#include "services/volume-service/volume_context.h"

enum { LOGIC_VERSION = 4 };

static gboolean is_running(const VolumeContext *ctx, VolumeOperationKind kind)
{
    return ctx->record != NULL && ctx->record->operation != NULL &&
           ctx->record->operation->kind == kind;
}

static VolumeOperation *operation_begin(VolumeContext *ctx, const VolumeCommand *command,
                                        VolumeOperationKind kind)
{
    VolumeRecord *record = volume_record(ctx);
    VolumeOperation *operation = ARENA_MSG(ctx->arena, volume_operation);
    operation->id = command->operation_id;
    operation->kind = kind;
    operation->expires_ms = command->expires_ms;
    record->operation = operation;
    record->epoch = MAX(record->epoch, command->epoch);
    return operation;
}

/* ---- Commands */

static void refuse_prepare(VolumeContext *ctx, const VolumeCommand *command, Error *error)
{
    VolumeEvent *event = volume_emit(ctx, command->operation_id);
    event->event_case = VOLUME_EVENT__EVENT_VOLUMES_PREPARED;
    event->volumes_prepared = ARENA_MSG(ctx->arena, volumes_prepared);
    event->volumes_prepared->error = error;
}

/* A start may have to wait until an old variable store is gone: its retry is due now, not later. */
static void hurry_deletions(VolumeContext *ctx)
{
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        if (ctx->record->volumes[i]->status == VOLUME_STATUS_DELETING) {
            ctx->record->volumes[i]->next_ms = ctx->now_ms;
        }
    }
}

static void prepare_volumes(VolumeContext *ctx, const VolumeCommand *command)
{
    if (is_running(ctx, VOLUME_OPERATION_KIND_EXPUNGE)) {
        refuse_prepare(ctx, command,
                       error_make(ctx->arena, ERROR_CODE_VOLUME_BUSY,
                                  "the volumes of VM %s are being expunged", ctx->vm_uuid));
        return;
    }
    if (command->prepare_volumes->spec == NULL ||
        (command->prepare_volumes->nvram_needed &&
         command->prepare_volumes->firmware_class == NULL)) {
        refuse_prepare(ctx, command,
                       error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                                  "PrepareVolumes for VM %s lacks its spec or firmware class",
                                  ctx->vm_uuid));
        return;
    }
    Error *late = prepare_check_time(ctx, command->expires_ms);
    if (late != NULL) {
        refuse_prepare(ctx, command, late);
        return;
    }
    VolumeOperation *operation = operation_begin(ctx, command, VOLUME_OPERATION_KIND_PREPARE);
    operation->host_uuid = command->prepare_volumes->host_uuid;
    operation->prepare = command->prepare_volumes;
    if (ctx->record->vm_expunged) {
        ctx->record->epoch = command->epoch; /* Of a new life; the old one's mean nothing to it. */
    }
    ctx->record->vm_expunged = FALSE;
    hurry_deletions(ctx);
    prepare_plan(ctx);
}

/* Answers once nothing is waited for. The deletions that are left go on without the operation. */
static void expunge_answer(VolumeContext *ctx)
{
    VolumeRecord *record = ctx->record;
    VolumeEvent *event = volume_emit(ctx, record->operation->id);
    event->event_case = VOLUME_EVENT__EVENT_VOLUMES_EXPUNGED;
    event->volumes_expunged = ARENA_MSG(ctx->arena, volumes_expunged);
    event->volumes_expunged->left = (guint32)record->n_volumes;
    record->last_operation_id = record->operation->id;
    record->operation = NULL;
}

static void expunge_check(VolumeContext *ctx)
{
    if (is_running(ctx, VOLUME_OPERATION_KIND_EXPUNGE) &&
        ctx->record->operation->n_waiting_for == 0) {
        expunge_answer(ctx);
    }
}

static void expunge_volumes(VolumeContext *ctx, const VolumeCommand *command)
{
    VolumeOperation *operation = operation_begin(ctx, command, VOLUME_OPERATION_KIND_EXPUNGE);
    VolumeRecord *record = ctx->record;
    record->vm_expunged = TRUE;
    for (size_t i = record->n_volumes; i > 0; i--) { /* Backwards: a Deleted one leaves the list. */
        volume_doom(ctx, record->volumes[i - 1]);
    }
    for (size_t i = 0; i < record->n_volumes; i++) {
        ARENA_APPEND(ctx->arena, operation->n_waiting_for, operation->waiting_for,
                     record->volumes[i]->uuid);
    }
    volume_delete_due(ctx);
    expunge_check(ctx);
}

static void read_volumes(VolumeContext *ctx, const VolumeCommand *command)
{
    VolumeEvent *event = volume_emit(ctx, command->operation_id);
    event->event_case = VOLUME_EVENT__EVENT_VOLUMES_READ;
    event->volumes_read = ARENA_MSG(ctx->arena, volumes_read);
    if (ctx->record != NULL) {
        event->volumes_read->n_volumes = ctx->record->n_volumes;
        event->volumes_read->volumes = ctx->record->volumes;
    }
}

/* What cannot be changed now: the volumes are being prepared or deleted. */
static Error *busy(VolumeContext *ctx)
{
    if (ctx->record == NULL || ctx->record->operation == NULL) {
        return NULL;
    }
    return error_make(ctx->arena, ERROR_CODE_VOLUME_BUSY,
                      "the volumes of VM %s are being worked on: ask again", ctx->vm_uuid);
}

static void replace_nvram(VolumeContext *ctx, const VolumeCommand *command)
{
    const ReplaceNvram *replace = command->replace_nvram;
    Error *error = busy(ctx);
    const char *retired = "";
    if (error == NULL && (replace->spec == NULL || replace->firmware_class == NULL)) {
        error = error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                           "ReplaceNvram for VM %s lacks its spec or firmware class", ctx->vm_uuid);
    }
    if (error == NULL && ctx->record != NULL && ctx->record->n_volumes >= VOLUMES_MAX) {
        error = volume_too_many(ctx);
    }
    if (error == NULL) {
        VolumeRecord *record = volume_record(ctx);
        record->epoch = MAX(record->epoch, command->epoch);
        record->last_operation_id = command->operation_id;
        retired = nvram_replace(ctx, replace->spec, replace->firmware_class);
    }
    VolumeEvent *event = volume_emit(ctx, command->operation_id);
    event->event_case = VOLUME_EVENT__EVENT_NVRAM_REPLACED;
    event->nvram_replaced = ARENA_MSG(ctx->arena, nvram_replaced);
    event->nvram_replaced->error = error;
    event->nvram_replaced->retained_volume_uuid = (char *)retired;
}

static void choose_volume(VolumeContext *ctx, const VolumeCommand *command)
{
    const char *uuid = command->choose_volume->volume_uuid;
    Error *error = busy(ctx);
    if (error == NULL) {
        VolumeRecord *record = volume_record(ctx);
        record->epoch = MAX(record->epoch, command->epoch);
        error = nvram_choose(ctx, uuid);
    }
    if (error == NULL) {
        ctx->record->last_operation_id = command->operation_id;
    }
    VolumeEvent *event = volume_emit(ctx, command->operation_id);
    event->event_case = VOLUME_EVENT__EVENT_VOLUME_CHOSEN;
    event->volume_chosen = ARENA_MSG(ctx->arena, volume_chosen);
    event->volume_chosen->error = error;
    event->volume_chosen->volume_uuid = (char *)uuid;
}

static void on_command(VolumeContext *ctx, const VolumeCommand *command)
{
    switch (command->command_case) {
    case VOLUME_COMMAND__COMMAND_PREPARE_VOLUMES:
        prepare_volumes(ctx, command);
        return;
    case VOLUME_COMMAND__COMMAND_EXPUNGE_VOLUMES:
        expunge_volumes(ctx, command);
        return;
    case VOLUME_COMMAND__COMMAND_READ_VOLUMES:
        read_volumes(ctx, command);
        return;
    case VOLUME_COMMAND__COMMAND_REPLACE_NVRAM:
        replace_nvram(ctx, command);
        return;
    case VOLUME_COMMAND__COMMAND_CHOOSE_VOLUME:
        choose_volume(ctx, command);
        return;
    case VOLUME_COMMAND__COMMAND__NOT_SET:
        return;
    }
}

/* ---- Reports */

static void stop_waiting(VolumeContext *ctx, const char *volume_uuid)
{
    VolumeOperation *operation = ctx->record->operation;
    if (operation == NULL) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < operation->n_waiting_for; i++) {
        if (strcmp(operation->waiting_for[i], volume_uuid) != 0) {
            operation->waiting_for[kept++] = operation->waiting_for[i];
        }
    }
    operation->n_waiting_for = kept;
}

static void apply_deletion(VolumeContext *ctx, Volume *volume, Error *error)
{
    stop_waiting(ctx, volume->uuid);
    if (error != NULL) {
        volume_delete_failed(ctx, volume, error);
    } else {
        volume_status_set(ctx, volume, VOLUME_STATUS_DELETED);
    }
}

/* What is said of every volume that is Deleting on a host. */
static void fail_deletions(VolumeContext *ctx, const char *host_uuid, Error *error)
{
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        Volume *volume = ctx->record->volumes[i];
        if (volume->status == VOLUME_STATUS_DELETING && strcmp(volume->host_uuid, host_uuid) == 0) {
            apply_deletion(ctx, volume, error);
        }
    }
}

/* A prepare that waited for a deletion goes on; an expunge may be done. */
static void after_deletions(VolumeContext *ctx)
{
    if (is_running(ctx, VOLUME_OPERATION_KIND_PREPARE) &&
        *ctx->record->operation->host_operation_id == '\0') {
        prepare_plan(ctx);
    }
    expunge_check(ctx);
}

static void on_deleted(VolumeContext *ctx, const HostReport *report)
{
    const VolumesDeleted *deleted = report->volumes_deleted;
    if (report->error != NULL) {
        fail_deletions(ctx, report->host_uuid, report->error);
    }
    for (size_t i = 0; i < deleted->n_results; i++) {
        const VolumeResult *result = deleted->results[i];
        Volume *volume = result->volume != NULL ? volume_find(ctx, result->volume->uuid) : NULL;
        if (volume != NULL && volume->status == VOLUME_STATUS_DELETING &&
            strcmp(volume->host_uuid, report->host_uuid) == 0) {
            apply_deletion(ctx, volume, result->error);
        }
    }
    after_deletions(ctx);
}

static void results_tame(VbArena *arena, size_t n_results, VolumeResult **results)
{
    for (size_t i = 0; i < n_results; i++) {
        results[i]->error = error_tame(arena, results[i]->error);
    }
}

/* What a host says is kept, and said again to others: within bounds. */
static const HostReport *report_tame(VbArena *arena, const HostReport *given)
{
    HostReport *report = arena_copy(arena, given);
    report->error = error_tame(arena, report->error);
    if (report->report_case == HOST_REPORT__REPORT_VOLUMES_CREATED) {
        results_tame(arena, report->volumes_created->n_results, report->volumes_created->results);
    } else if (report->report_case == HOST_REPORT__REPORT_VOLUMES_DELETED) {
        results_tame(arena, report->volumes_deleted->n_results, report->volumes_deleted->results);
    }
    return report;
}

static void on_report(VolumeContext *ctx, const HostReport *given)
{
    if (ctx->record == NULL) {
        return;
    }
    const HostReport *report = report_tame(ctx->arena, given);
    switch (report->report_case) {
    case HOST_REPORT__REPORT_VOLUMES_CREATED:
        prepare_on_created(ctx, report);
        return;
    case HOST_REPORT__REPORT_VOLUMES_DELETED:
        on_deleted(ctx, report);
        return;
    case HOST_REPORT__REPORT_DOMAIN_STARTED:
    case HOST_REPORT__REPORT_DOMAIN_STOPPED:
    case HOST_REPORT__REPORT_VM_FORGOTTEN:
    case HOST_REPORT__REPORT_DOMAIN_OBSERVED:
    case HOST_REPORT__REPORT_GUEST_EVENT:
    case HOST_REPORT__REPORT_DEVICE_CHANGED:
    case HOST_REPORT__REPORT_INVENTORY:
    case HOST_REPORT__REPORT__NOT_SET:
        return;
    }
}

/* --- The runtime's own inputs
 * --------------------------------------------------------------------------------- */

static void end_operation(VolumeContext *ctx, Error *error)
{
    if (is_running(ctx, VOLUME_OPERATION_KIND_PREPARE)) {
        prepare_end(ctx, error);
    } else if (is_running(ctx, VOLUME_OPERATION_KIND_EXPUNGE)) {
        expunge_answer(ctx);
    }
}

/* The first cause: a start that waited for a deletion fails for the reason of that deletion. */
static Error *late_cause(VolumeContext *ctx)
{
    const VolumeRecord *record = ctx->record;
    gboolean waits = *record->operation->host_operation_id == '\0';
    for (size_t i = 0; waits && i < record->n_volumes; i++) {
        const Volume *volume = record->volumes[i];
        if (volume->status == VOLUME_STATUS_DELETING && volume->last_error != NULL) {
            return volume->last_error;
        }
    }
    return prepare_too_late(ctx);
}

static void on_deadline(VolumeContext *ctx, const DeadlineElapsed *elapsed)
{
    StateRecord *state = ctx->step->state;
    if (state == NULL || strcmp(elapsed->deadline_id, state->deadline_id) != 0) {
        return;
    }
    ctx->now_ms = MAX(ctx->now_ms, state->deadline_ms);
    VolumeRecord *record = ctx->record;
    if (record->operation != NULL && record->operation->expires_ms <= ctx->now_ms) {
        end_operation(ctx, late_cause(ctx));
    }
    for (size_t i = 0; i < record->n_volumes; i++) {
        Volume *volume = record->volumes[i];
        if (volume->status == VOLUME_STATUS_RETAINED && volume->next_ms <= ctx->now_ms) {
            volume_doom(ctx, volume);
        }
    }
    volume_delete_due(ctx);
}

static void on_undeliverable(VolumeContext *ctx, const Undeliverable *undeliverable)
{
    if (ctx->record == NULL) {
        return;
    }
    if (is_running(ctx, VOLUME_OPERATION_KIND_PREPARE) &&
        strcmp(ctx->record->operation->host_operation_id, undeliverable->operation_id) == 0) {
        prepare_on_undeliverable(ctx, undeliverable);
        return;
    }
    fail_deletions(ctx, undeliverable->host_uuid,
                   error_make(ctx->arena, ERROR_CODE_HOST_UNKNOWN,
                              "host %s has no command topic; the deletion is tried again later",
                              undeliverable->host_uuid));
    after_deletions(ctx);
}

static void on_poisoned(VolumeContext *ctx, const Poisoned *poisoned)
{
    end_operation(ctx, error_make(ctx->arena, ERROR_CODE_INTERNAL,
                                  "a record for the volumes of VM %s could not be handled: %s",
                                  ctx->vm_uuid, poisoned->reason));
}

static void on_runtime(VolumeContext *ctx, const RuntimeInput *input)
{
    switch (input->input_case) {
    case RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED:
        on_deadline(ctx, input->deadline_elapsed);
        return;
    case RUNTIME_INPUT__INPUT_UNDELIVERABLE:
        on_undeliverable(ctx, input->undeliverable);
        return;
    case RUNTIME_INPUT__INPUT_POISONED:
        on_poisoned(ctx, input->poisoned);
        return;
    case RUNTIME_INPUT__INPUT__NOT_SET:
        ctx->fault = TRUE;
        return;
    }
}

/* ---- The step */

static void earlier(StateRecord *state, gint64 at_ms, char *id)
{
    if (at_ms != 0 && (state->deadline_ms == 0 || at_ms < state->deadline_ms)) {
        state->deadline_ms = at_ms;
        state->deadline_id = id;
    }
}

/* The record's one deadline: the earliest of the operation's end, retentions and retries. */
static void deadline_update(VolumeContext *ctx)
{
    StateRecord *state = ctx->step->state;
    state->deadline_ms = 0;
    state->deadline_id = arena_strdup(ctx->arena, "");
    if (ctx->record->operation != NULL) {
        earlier(state, ctx->record->operation->expires_ms, ctx->record->operation->id);
    }
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        Volume *volume = ctx->record->volumes[i];
        if (volume->next_ms != 0) {
            earlier(
                state, volume->next_ms,
                arena_printf(ctx->arena, "%s/%" G_GINT64_FORMAT, volume->uuid, volume->next_ms));
        }
    }
}

static void record_finish(VolumeContext *ctx)
{
    if (ctx->record == NULL) {
        return;
    }
    if (ctx->record->vm_expunged && ctx->record->operation == NULL && ctx->record->n_volumes == 0) {
        ctx->step->state = NULL; /* Nothing of this VM is left anywhere. */
        return;
    }
    deadline_update(ctx);
}

static VbStepResult volume_step(VbStep *step)
{
    VbStepBefore before = step_before(step);
    StateRecord *state = step->state;
    const VbStepInput *input = step->input;
    if (state != NULL && state->body_case != STATE_RECORD__BODY_VOLUMES) {
        return STEP_FAULT;
    }
    VolumeContext ctx = {
        .step = step,
        .arena = step->arena,
        .settings = input->settings,
        .vm_uuid = input->vm_uuid,
        .now_ms = input->time_ms,
        .record = state != NULL ? state->volumes : NULL,
        .version = step_version(step),
    };
    if (input->runtime != NULL) {
        on_runtime(&ctx, input->runtime);
    } else if (input->topic == TOPIC_VOLUME_COMMANDS) {
        on_command(&ctx, (const VolumeCommand *)input->record);
    } else if (input->topic == TOPIC_VOLUME_REPORTS) {
        on_report(&ctx, (const HostReport *)input->record);
    } else {
        return STEP_FAULT;
    }
    record_finish(&ctx);
    step_settle_versions(step, before, TOPIC_VOLUME_EVENTS);
    return ctx.fault ? STEP_FAULT : STEP_OK;
}

static const VbTopic inputs[] = {TOPIC_VOLUME_COMMANDS, TOPIC_VOLUME_REPORTS};

const VbService volume_service = {
    .name = "volume-service",
    .logic_version = LOGIC_VERSION,
    .inputs = inputs,
    .n_inputs = G_N_ELEMENTS(inputs),
    .state_topic = TOPIC_VOLUME_STATE,
    .state_body = STATE_RECORD__BODY_VOLUMES,
    .journal_topic = TOPIC_VOLUME_JOURNAL,
    .step = volume_step,
};
