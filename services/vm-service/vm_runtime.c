/* The runtime's own inputs: time has passed, a host does not exist. Poison is vm_quarantine.c's. */
#include "services/vm-service/vm_saga.h"

#include <string.h>

static void silent_host(VmContext *ctx)
{
    Operation *operation = ctx->vm->operation;
    Error *error = error_make(ctx->arena, ERROR_CODE_HOST_SILENT,
                              "host %s did not answer in time; VM %s is Unknown until the host "
                              "reports, or ConfirmHostDown says that it is down and fenced",
                              operation->host_uuid, ctx->vm_uuid);
    vm_status_set(ctx, VM_STATUS_UNKNOWN, CAUSE_HOST_SILENT, error);
    vm_operation_end(ctx, error);
}

/* The request is answered; the deletion goes on, asked for once more. */
static void expunge_again(VmContext *ctx)
{
    Operation *operation = ctx->vm->operation;
    if (*operation->request_id != '\0') {
        vm_reply(ctx, operation->request_id,
                 error_make(ctx->arena, ERROR_CODE_TIMEOUT,
                            "VM %s is not expunged yet; the deletion goes on by itself",
                            ctx->vm_uuid));
        operation->request_id = arena_strdup(ctx->arena, "");
    }
    operation->deadline_ms = ctx->now_ms + ctx->settings->expunge_timeout_ms;
    vm_expunge_ask(ctx);
}

static void on_deadline(VmContext *ctx, const DeadlineElapsed *elapsed)
{
    if (ctx->vm == NULL || strcmp(elapsed->deadline_id, ctx->step->state->deadline_id) != 0) {
        return;
    }
    if (ctx->vm->status == VM_STATUS_EXPUNGED) {
        ctx->step->state = NULL;
        return;
    }
    if (ctx->vm->operation == NULL && ctx->vm->status == VM_STATUS_STOPPED) {
        vm_restart_due(ctx);
        return;
    }
    if (ctx->vm->operation == NULL) {
        ctx->fault = TRUE;
        return;
    }
    switch (ctx->vm->operation->phase) {
    case OPERATION_PHASE_PREPARING_VOLUMES:
        vm_start_fail(ctx, error_make(ctx->arena, ERROR_CODE_TIMEOUT,
                                      "the volumes of VM %s were not ready in time: start it again",
                                      ctx->vm_uuid));
        return;
    case OPERATION_PHASE_STARTING_DOMAIN:
    case OPERATION_PHASE_STOPPING_DOMAIN:
    case OPERATION_PHASE_CHANGING_DEVICE:
        silent_host(ctx);
        return;
    case OPERATION_PHASE_EXPUNGING_VOLUMES:
        expunge_again(ctx);
        return;
    case OPERATION_PHASE_CHANGING_VOLUMES:
        vm_operation_end(ctx,
                         error_make(ctx->arena, ERROR_CODE_TIMEOUT,
                                    "the volumes of VM %s were not changed in time; the change "
                                    "may still come: see ListVolumes",
                                    ctx->vm_uuid));
        return;
    case OPERATION_PHASE_UNSPECIFIED:
        ctx->fault = TRUE;
        return;
    }
}

/* The host has no topic. A start can be refused: nothing was sent. Where a domain was to be stopped
 * or changed, its fate is not known. */
static void on_undeliverable(VmContext *ctx, const Undeliverable *undeliverable)
{
    if (ctx->vm == NULL || !vm_is_operation(ctx, undeliverable->operation_id)) {
        return;
    }
    OperationPhase phase = ctx->vm->operation->phase;
    gboolean starts =
        phase == OPERATION_PHASE_PREPARING_VOLUMES || phase == OPERATION_PHASE_STARTING_DOMAIN;
    Error *error =
        error_make(ctx->arena, ERROR_CODE_HOST_UNKNOWN,
                   "host %s has no command topic, so VM %s was not %s there: see "
                   "`virtbusctl host list`",
                   undeliverable->host_uuid, ctx->vm_uuid, starts ? "started" : "reached");
    switch (phase) {
    case OPERATION_PHASE_PREPARING_VOLUMES:
    case OPERATION_PHASE_STARTING_DOMAIN:
        vm_start_fail(ctx, error);
        return;
    case OPERATION_PHASE_STOPPING_DOMAIN:
    case OPERATION_PHASE_CHANGING_DEVICE:
        vm_stop_fail(ctx, error);
        return;
    case OPERATION_PHASE_UNSPECIFIED:
    case OPERATION_PHASE_EXPUNGING_VOLUMES:
    case OPERATION_PHASE_CHANGING_VOLUMES:
        return; /* These ask no host. */
    }
}

void vm_on_runtime(VmContext *ctx, const RuntimeInput *input)
{
    switch (input->input_case) {
    case RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED:
        on_deadline(ctx, input->deadline_elapsed);
        return;
    case RUNTIME_INPUT__INPUT_UNDELIVERABLE:
        on_undeliverable(ctx, input->undeliverable);
        return;
    case RUNTIME_INPUT__INPUT_POISONED:
        vm_on_poisoned(ctx, input->poisoned);
        return;
    case RUNTIME_INPUT__INPUT__NOT_SET:
        ctx->fault = TRUE;
        return;
    }
}
