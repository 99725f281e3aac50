/* The VM's status, its one operation, and what is said about them.
 *
 *                  .---- failed start ----.
 *                  v                      |
 *   Created --start--> Starting --started--> Running --stop----> Stopping ---> Stopped
 *                      ^    |                 | |  ^ \--destroy--> Destroying -> Destroyed
 *   Stopped, Crashed --'    | host silent     | |  '--- did not stop --- Stopping
 *     |        ^            v                 | '-- guest ends --> Stopped, Crashed
 *     |        '--report-- Unknown <----------'
 *     |                     (also from Stopping and Destroying: host silent)
 *     '--destroy--> Destroyed --expunge--> Expunging --> Expunged
 *                       '------recover----> Stopped
 *
 * The whole truth is the table `moves` below; any other move is a fault.
 */
#include "services/vm-service/vm_context.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/base/uuid.h"

#define TO(status) VM_IN(status)

/* Where each status may go. Quarantined is reached from everywhere and leads back to where it came
 * from. */
static const guint32 moves[] = {
    [VM_STATUS_UNSPECIFIED] = TO(CREATED),
    [VM_STATUS_CREATED] = TO(STARTING) | TO(DESTROYED),
    [VM_STATUS_STARTING] = TO(RUNNING) | TO(CREATED) | TO(STOPPED) | TO(CRASHED) | TO(UNKNOWN) |
                           TO(STOPPING) | TO(DESTROYING) | TO(DESTROYED),
    [VM_STATUS_RUNNING] = TO(STOPPING) | TO(DESTROYING) | TO(STOPPED) | TO(CRASHED) |
                          TO(REBOOTING) | TO(MIGRATING) | TO(PAUSED) | TO(UNKNOWN),
    [VM_STATUS_STOPPING] = TO(STOPPED) | TO(RUNNING) | TO(UNKNOWN) | TO(DESTROYING),
    [VM_STATUS_STOPPED] = TO(STARTING) | TO(DESTROYED),
    [VM_STATUS_REBOOTING] =
        TO(RUNNING) | TO(STOPPED) | TO(UNKNOWN) | TO(STOPPING) | TO(DESTROYING) | TO(DESTROYED),
    [VM_STATUS_DESTROYING] = TO(DESTROYED) | TO(UNKNOWN),
    [VM_STATUS_DESTROYED] = TO(STOPPED) | TO(EXPUNGING),
    [VM_STATUS_EXPUNGING] = TO(EXPUNGED),
    [VM_STATUS_EXPUNGED] = 0,
    [VM_STATUS_MIGRATING] =
        TO(RUNNING) | TO(STOPPED) | TO(CRASHED) | TO(UNKNOWN) | TO(STOPPING) | TO(DESTROYING),
    [VM_STATUS_PAUSED] =
        TO(RUNNING) | TO(STOPPING) | TO(DESTROYING) | TO(STOPPED) | TO(CRASHED) | TO(UNKNOWN),
    [VM_STATUS_CRASHED] = TO(STARTING) | TO(DESTROYED),
    [VM_STATUS_UNKNOWN] = TO(RUNNING) | TO(STOPPED) | TO(CRASHED) | TO(STOPPING) | TO(DESTROYING),
    [VM_STATUS_QUARANTINED] = ~0u,
};

VmEvent *vm_emit(VmContext *ctx)
{
    VmEvent *event = ARENA_MSG(ctx->arena, vm_event);
    event->vm_uuid = (char *)ctx->vm_uuid;
    event->time_ms = ctx->now_ms;
    if (ctx->vm != NULL) {
        event->version = ctx->version;
        event->status = ctx->vm->status;
        event->epoch = ctx->vm->epoch;
        event->host_uuid = ctx->vm->host_uuid;
        if (ctx->vm->operation != NULL) {
            event->operation_id = ctx->vm->operation->id;
        }
    }
    step_output(ctx->step, TOPIC_VM_EVENTS, NULL, event);
    return event;
}

static void outcome_keep(VmContext *ctx, const Reply *reply)
{
    VmRecord *vm = ctx->vm;
    if (vm->n_outcomes == OUTCOMES_KEPT) {
        vm->n_outcomes--;
        vm->outcomes++;
    }
    Outcome *outcome = ARENA_MSG(ctx->arena, outcome);
    outcome->request_id = reply->request_id;
    outcome->error = reply->error;
    ARENA_APPEND(ctx->arena, vm->n_outcomes, vm->outcomes, outcome);
}

Reply *vm_emit_reply(VmContext *ctx, const char *request_id, Error *error)
{
    Reply *reply = ARENA_MSG(ctx->arena, reply);
    reply->request_id = (char *)request_id;
    reply->error = error;
    VmEvent *event = vm_emit(ctx);
    event->event_case = VM_EVENT__EVENT_REPLY;
    event->reply = reply;
    return reply;
}

void vm_reply(VmContext *ctx, const char *request_id, Error *error)
{
    Reply *reply = vm_emit_reply(ctx, request_id, error);
    if (ctx->vm != NULL) {
        outcome_keep(ctx, reply);
    }
}

static void deadline_clear(VmContext *ctx)
{
    ctx->step->state->deadline_ms = 0;
    ctx->step->state->deadline_id = arena_strdup(ctx->arena, "");
}

/* What a restart policy looks at: see VmRecord.runs_wanted. */
static void runs_wanted_set(VmRecord *vm, VmStatus to)
{
    switch (to) {
    case VM_STATUS_STARTING:
    case VM_STATUS_REBOOTING:
        vm->runs_wanted = TRUE;
        return;
    case VM_STATUS_CREATED:
    case VM_STATUS_STOPPING:
    case VM_STATUS_STOPPED:
    case VM_STATUS_CRASHED:
    case VM_STATUS_DESTROYING:
    case VM_STATUS_DESTROYED:
    case VM_STATUS_EXPUNGING:
    case VM_STATUS_EXPUNGED:
        vm->runs_wanted = FALSE;
        return;
    case VM_STATUS_UNSPECIFIED:
    case VM_STATUS_RUNNING:
        vm->restarts = 0;
        return; /* It may be that a stop has failed: then it is not wanted to run. */
    case VM_STATUS_MIGRATING:
    case VM_STATUS_PAUSED:
    case VM_STATUS_UNKNOWN:
    case VM_STATUS_QUARANTINED:
        return;
    }
}

void vm_status_set(VmContext *ctx, VmStatus to, Cause cause, Error *error)
{
    VmRecord *vm = ctx->vm;
    VmStatus from = vm->status;
    if (from == to) {
        return;
    }
    gboolean legal = to == VM_STATUS_QUARANTINED || (moves[from] & (1u << to)) != 0;
    if (!legal) {
        ctx->fault = TRUE;
        return;
    }
    vm->status = to;
    runs_wanted_set(vm, to);
    if (vm->operation == NULL) {
        deadline_clear(ctx); /* No restart outlives the status that it was meant for. */
    }
    vm->changed_ms = ctx->now_ms;
    vm->last_error = error;
    StatusChanged *changed = ARENA_MSG(ctx->arena, status_changed);
    changed->from = from;
    changed->to = to;
    changed->cause = cause;
    changed->error = error;
    VmEvent *event = vm_emit(ctx);
    event->event_case = VM_EVENT__EVENT_STATUS_CHANGED;
    event->status_changed = changed;
}

Operation *vm_operation_begin(VmContext *ctx, OperationKind kind, const char *request_id,
                              const char *host_uuid, gint64 timeout_ms)
{
    Operation *operation = ARENA_MSG(ctx->arena, operation);
    char *name = arena_printf(ctx->arena, "operation/%" G_GUINT64_FORMAT, ctx->version);
    operation->id = uuid_derive(ctx->arena, ctx->vm_uuid, name);
    operation->kind = kind;
    operation->request_id = (char *)request_id;
    operation->host_uuid = (char *)host_uuid;
    operation->deadline_ms = ctx->now_ms + timeout_ms;
    operation->return_status = ctx->vm->status;
    ctx->vm->operation = operation;
    return operation;
}

void vm_operation_phase(VmContext *ctx, OperationPhase phase, gint64 deadline_ms)
{
    Operation *operation = ctx->vm->operation;
    operation->phase = phase;
    ctx->step->state->deadline_ms = deadline_ms;
    ctx->step->state->deadline_id =
        arena_printf(ctx->arena, "%s/%s", operation->id, ENUM_LABEL(operation_phase, phase));
    Progress *progress = ARENA_MSG(ctx->arena, progress);
    progress->kind = operation->kind;
    progress->phase = phase;
    VmEvent *event = vm_emit(ctx);
    event->event_case = VM_EVENT__EVENT_PROGRESS;
    event->progress = progress;
}

void vm_operation_end(VmContext *ctx, Error *error)
{
    Operation *operation = ctx->vm->operation;
    if (*operation->request_id != '\0') {
        vm_reply(ctx, operation->request_id, error);
    }
    ctx->vm->operation = NULL;
    deadline_clear(ctx);
}

gboolean vm_is_operation(const VmContext *ctx, const char *operation_id)
{
    const Operation *operation = ctx->vm->operation;
    return operation != NULL && strcmp(operation->id, operation_id) == 0;
}

gint64 vm_timeout_or(const VmCommand *command, gint64 fallback_ms)
{
    return command->timeout_ms != 0 ? command->timeout_ms : fallback_ms;
}

gint64 vm_host_expiry_ms(const Operation *operation)
{
    return operation->deadline_ms - 2 * DEADLINE_MARGIN_MS;
}

gboolean vm_status_may_run(VmStatus status)
{
    switch (status) {
    case VM_STATUS_STARTING:
    case VM_STATUS_RUNNING:
    case VM_STATUS_STOPPING:
    case VM_STATUS_REBOOTING:
    case VM_STATUS_DESTROYING:
    case VM_STATUS_MIGRATING:
    case VM_STATUS_PAUSED:
    case VM_STATUS_UNKNOWN:
    case VM_STATUS_QUARANTINED:
        return TRUE;
    case VM_STATUS_UNSPECIFIED:
    case VM_STATUS_CREATED:
    case VM_STATUS_STOPPED:
    case VM_STATUS_DESTROYED:
    case VM_STATUS_EXPUNGING:
    case VM_STATUS_EXPUNGED:
    case VM_STATUS_CRASHED:
        return FALSE;
    }
    return FALSE;
}

void vm_warn(VmContext *ctx, Error *error, const char *volume_uuid)
{
    Warning *warning = ARENA_MSG(ctx->arena, warning);
    warning->error = error;
    warning->volume_uuid = (char *)volume_uuid;
    VmEvent *event = vm_emit(ctx);
    event->event_case = VM_EVENT__EVENT_WARNING;
    event->warning = warning;
}

VolumeCommand *vm_ask_volumes(VmContext *ctx, gint64 expires_ms)
{
    VolumeCommand *command = ARENA_MSG(ctx->arena, volume_command);
    command->vm_uuid = (char *)ctx->vm_uuid;
    command->operation_id = ctx->vm->operation != NULL ? ctx->vm->operation->id : (char *)"";
    command->epoch = ctx->vm->epoch;
    command->expires_ms = expires_ms;
    step_output(ctx->step, TOPIC_VOLUME_COMMANDS, NULL, command);
    return command;
}

HostCommand *vm_ask_host(VmContext *ctx, const char *host_uuid, gint64 expires_ms)
{
    HostCommand *command = ARENA_MSG(ctx->arena, host_command);
    command->vm_uuid = (char *)ctx->vm_uuid;
    command->operation_id = ctx->vm->operation != NULL ? ctx->vm->operation->id : (char *)"";
    command->epoch = ctx->vm->epoch;
    command->expires_ms = expires_ms;
    step_output(ctx->step, TOPIC_HOST_COMMANDS, host_uuid, command);
    return command;
}
