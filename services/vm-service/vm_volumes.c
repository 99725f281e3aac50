/* What vm-service asks of volume-service beside the start, and how its answers are heard. */
#include "services/vm-service/vm_saga.h"

#include "common/base/limits.h"
#include "services/vm-service/vm_spec.h"

/* ---- Expunge */

/* Once begun it never goes back: what is deleted cannot be promised any more. Also sent again when
 * time has passed. */
void vm_expunge_ask(VmContext *ctx)
{
    Operation *operation = ctx->vm->operation;
    vm_operation_phase(ctx, OPERATION_PHASE_EXPUNGING_VOLUMES, operation->deadline_ms);
    VolumeCommand *ask = vm_ask_volumes(ctx, operation->deadline_ms - DEADLINE_MARGIN_MS);
    ask->command_case = VOLUME_COMMAND__COMMAND_EXPUNGE_VOLUMES;
    ask->expunge_volumes = ARENA_MSG(ctx->arena, expunge_volumes);
}

void vm_expunge_begin(VmContext *ctx, const VmCommand *command)
{
    vm_operation_begin(ctx, OPERATION_KIND_EXPUNGE, command->request_id, "",
                       vm_timeout_or(command, ctx->settings->expunge_timeout_ms));
    vm_status_set(ctx, VM_STATUS_EXPUNGING, CAUSE_REQUEST, NULL);
    vm_expunge_ask(ctx);
}

static void forget_on_hosts(VmContext *ctx)
{
    for (size_t i = 0; i < ctx->vm->n_seen_host_uuids; i++) {
        HostCommand *ask = vm_ask_host(ctx, ctx->vm->seen_host_uuids[i], 0);
        ask->command_case = HOST_COMMAND__COMMAND_FORGET_VM;
        ask->forget_vm = ARENA_MSG(ctx->arena, forget_vm);
    }
}

/* What is left of an expunged VM: enough to refuse its uuid and to repeat its last replies. */
static void shrink(VmContext *ctx)
{
    VmRecord *vm = ctx->vm;
    VmSpec *spec = ARENA_MSG(ctx->arena, vm_spec);
    spec->name = vm->spec->name;
    vm->spec = spec;
    vm->hardware = NULL;
    vm->tpm = NULL;
    vm->nvram_needed = FALSE;
    vm->n_seen_host_uuids = 0;
    ctx->step->state->deadline_ms = ctx->now_ms + ctx->settings->expunged_keep_ms;
    ctx->step->state->deadline_id = arena_strdup(ctx->arena, "expunged");
}

static void on_volumes_expunged(VmContext *ctx, const VolumesExpunged *expunged)
{
    if (expunged->left > 0) {
        vm_warn(ctx,
                error_make(ctx->arena, ERROR_CODE_STORAGE_IO,
                           "%u volume(s) of VM %s could not be deleted yet; the deletion is tried "
                           "again until nothing is left",
                           expunged->left, ctx->vm_uuid),
                "");
    }
    forget_on_hosts(ctx);
    vm_status_set(ctx, VM_STATUS_EXPUNGED, CAUSE_OPERATION_DONE, NULL);
    vm_operation_end(ctx, NULL);
    shrink(ctx);
}

/* ---- ResetNvram and AdoptVolume: the VM is at rest and stays so */

void vm_change_volumes_begin(VmContext *ctx, const VmCommand *command)
{
    VmRecord *vm = ctx->vm;
    gboolean reset = command->command_case == VM_COMMAND__COMMAND_RESET_NVRAM;
    if (reset && !vm_spec_needs_nvram(vm->spec, ctx->settings)) {
        vm_reply(ctx, command->request_id,
                 error_make(ctx->arena, ERROR_CODE_UNSUPPORTED,
                            "VM %s needs no variable store, so there is none to reset",
                            ctx->vm_uuid));
        return;
    }
    Operation *operation = vm_operation_begin(
        ctx, reset ? OPERATION_KIND_RESET_NVRAM : OPERATION_KIND_ADOPT_VOLUME, command->request_id,
        "", vm_timeout_or(command, ctx->settings->start_timeout_ms));
    vm_operation_phase(ctx, OPERATION_PHASE_CHANGING_VOLUMES, operation->deadline_ms);
    VolumeCommand *ask = vm_ask_volumes(ctx, operation->deadline_ms - DEADLINE_MARGIN_MS);
    if (reset) {
        ask->command_case = VOLUME_COMMAND__COMMAND_REPLACE_NVRAM;
        ask->replace_nvram = ARENA_MSG(ctx->arena, replace_nvram);
        ask->replace_nvram->spec = vm->spec;
        ask->replace_nvram->firmware_class = vm_spec_firmware_class(ctx->arena, vm->spec);
    } else {
        ask->command_case = VOLUME_COMMAND__COMMAND_CHOOSE_VOLUME;
        ask->choose_volume = ARENA_MSG(ctx->arena, choose_volume);
        ask->choose_volume->volume_uuid = command->adopt_volume->volume_uuid;
    }
}

/* ---- What drives the sagas on */

static void on_volumes_read(VmContext *ctx, const VolumeEvent *event)
{
    Reply *reply = vm_emit_reply(ctx, event->operation_id, NULL);
    reply->n_volumes = event->volumes_read->n_volumes;
    reply->volumes = event->volumes_read->volumes;
}

static void on_volume_changed(VmContext *ctx, const VolumeEvent *event)
{
    if (event->volume_changed->volume == NULL ||
        event->volume_changed->volume->status != VOLUME_STATUS_DELETED) {
        return;
    }
    VmEvent *told = vm_emit(ctx);
    told->event_case = VM_EVENT__EVENT_VOLUME_DELETED;
    told->volume_deleted = ARENA_MSG(ctx->arena, volume_deleted);
    told->volume_deleted->volume = event->volume_changed->volume;
}

/* The answer that the operation in this phase waits for. */
static gboolean is_awaited(const VmContext *ctx, const VolumeEvent *event, OperationPhase phase)
{
    return vm_is_operation(ctx, event->operation_id) && ctx->vm->operation->phase == phase;
}

void vm_on_volume_event(VmContext *ctx, const VolumeEvent *event)
{
    if (event->event_case == VOLUME_EVENT__EVENT_VOLUMES_READ) {
        on_volumes_read(ctx, event); /* Its request waits, also where the record is gone since. */
        return;
    }
    if (ctx->vm == NULL) {
        return;
    }
    switch (event->event_case) {
    case VOLUME_EVENT__EVENT_VOLUMES_PREPARED:
        if (is_awaited(ctx, event, OPERATION_PHASE_PREPARING_VOLUMES)) {
            vm_on_volumes_prepared(ctx, event->volumes_prepared);
        }
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_EXPUNGED:
        if (is_awaited(ctx, event, OPERATION_PHASE_EXPUNGING_VOLUMES)) {
            on_volumes_expunged(ctx, event->volumes_expunged);
        }
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHANGED:
        on_volume_changed(ctx, event);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_WARNING:
        vm_warn(ctx, event->volume_warning->error, event->volume_warning->volume_uuid);
        return;
    case VOLUME_EVENT__EVENT_NVRAM_REPLACED:
        if (is_awaited(ctx, event, OPERATION_PHASE_CHANGING_VOLUMES)) {
            vm_operation_end(ctx, event->nvram_replaced->error);
        }
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHOSEN:
        if (is_awaited(ctx, event, OPERATION_PHASE_CHANGING_VOLUMES)) {
            vm_operation_end(ctx, event->volume_chosen->error);
        }
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_READ:
    case VOLUME_EVENT__EVENT__NOT_SET:
        return;
    }
}
