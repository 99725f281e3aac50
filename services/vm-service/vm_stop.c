/* The stop, the destroy, the first half of a reboot; and domains that end by themselves. */
#include "services/vm-service/vm_saga.h"

#include "common/base/text.h"

/* A destroy or a forced stop takes the place of what runs; that request's answer is PREEMPTED. TRUE
 * when no host can have been asked to start anything. */
static gboolean preempt(VmContext *ctx, OperationKind by)
{
    const Operation *operation = ctx->vm->operation;
    if (operation == NULL) {
        return FALSE;
    }
    gboolean nothing_runs = operation->phase == OPERATION_PHASE_PREPARING_VOLUMES;
    vm_operation_end(ctx, error_make(ctx->arena, ERROR_CODE_PREEMPTED,
                                     "a %s took the place of this request for VM %s",
                                     by == OPERATION_KIND_DESTROY ? "destroy" : "forced stop",
                                     ctx->vm_uuid));
    return nothing_runs;
}

/* Nothing runs on any host, so there is nobody to ask. */
static void stop_at_once(VmContext *ctx, const VmCommand *command, OperationKind kind)
{
    VmStatus end = kind == OPERATION_KIND_DESTROY ? VM_STATUS_DESTROYED : VM_STATUS_STOPPED;
    vm_status_set(ctx, end, CAUSE_REQUEST, NULL);
    vm_reply(ctx, command->request_id, NULL);
}

static void stop_domain(VmContext *ctx, StopMode mode)
{
    Operation *operation = ctx->vm->operation;
    operation->stop_mode = mode;
    vm_operation_phase(ctx, OPERATION_PHASE_STOPPING_DOMAIN,
                       operation->deadline_ms + ctx->settings->allowed_skew_ms);
    /* What is to end for good ends whenever the host hears of it. A reboot is of no use by then. */
    gboolean for_good = mode == STOP_MODE_FORCED && operation->kind != OPERATION_KIND_REBOOT;
    HostCommand *ask =
        vm_ask_host(ctx, operation->host_uuid, for_good ? 0 : vm_host_expiry_ms(operation));
    ask->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    ask->stop_domain = ARENA_MSG(ctx->arena, stop_domain);
    ask->stop_domain->mode = mode;
}

void vm_stop_begin(VmContext *ctx, const VmCommand *command, OperationKind kind, StopMode mode)
{
    VmRecord *vm = ctx->vm;
    if (preempt(ctx, kind) || ((1u << vm->status) & VM_AT_REST) != 0) {
        stop_at_once(ctx, command, kind);
        return;
    }
    vm_operation_begin(ctx, kind, command->request_id, vm->host_uuid,
                       vm_timeout_or(command, ctx->settings->stop_timeout_ms));
    vm_status_set(ctx, kind == OPERATION_KIND_DESTROY ? VM_STATUS_DESTROYING : VM_STATUS_STOPPING,
                  CAUSE_REQUEST, NULL);
    stop_domain(ctx, mode);
}

/* A stop and a start in one request. A timeout that was asked for is shared out evenly. */
void vm_reboot_begin(VmContext *ctx, const VmCommand *command)
{
    gint64 half_ms = command->timeout_ms / 2;
    StopMode mode = command->reboot_vm->mode;
    Operation *operation =
        vm_operation_begin(ctx, OPERATION_KIND_REBOOT, command->request_id, ctx->vm->host_uuid,
                           half_ms != 0 ? half_ms : ctx->settings->stop_timeout_ms);
    operation->start_timeout_ms = half_ms != 0 ? half_ms : ctx->settings->start_timeout_ms;
    vm_status_set(ctx, VM_STATUS_REBOOTING, CAUSE_REQUEST, NULL);
    stop_domain(ctx, mode == STOP_MODE_UNSPECIFIED ? STOP_MODE_GRACEFUL : mode);
}

/* The host could not stop it. When it is certain that the guest still runs, so does the VM; else
 * nobody knows. */
void vm_stop_fail(VmContext *ctx, Error *error)
{
    const Operation *operation = ctx->vm->operation;
    gboolean ran = operation->return_status == VM_STATUS_RUNNING;
    gboolean runs = operation->kind != OPERATION_KIND_DESTROY &&
                    (error->code == ERROR_CODE_GUEST_DID_NOT_STOP ||
                     (error->code == ERROR_CODE_EXPIRED && ran));
    vm_status_set(ctx, runs ? VM_STATUS_RUNNING : VM_STATUS_UNKNOWN, CAUSE_OPERATION_FAILED, error);
    vm_operation_end(ctx, error);
}

/* Nobody saw it end: the host was away, and is back without it. */
static void found_gone(VmContext *ctx)
{
    gboolean restart =
        ctx->vm->runs_wanted && ctx->vm->spec->restart_policy == RESTART_POLICY_RESTART;
    vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_HOST_REPORT, NULL);
    if (restart) {
        vm_restart(ctx);
    }
}

static void stopped_by_itself(VmContext *ctx, StopReason reason)
{
    VmStatus status = ctx->vm->status;
    if (status != VM_STATUS_RUNNING && status != VM_STATUS_PAUSED && status != VM_STATUS_UNKNOWN) {
        return;
    }
    switch (reason) {
    case STOP_REASON_CRASHED:
        vm_status_set(ctx, VM_STATUS_CRASHED, CAUSE_GUEST_CRASH, NULL);
        return;
    case STOP_REASON_GUEST_SHUTDOWN:
        vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_GUEST_SHUTDOWN, NULL);
        return;
    case STOP_REASON_NOT_RUNNING:
        found_gone(ctx);
        return;
    case STOP_REASON_UNSPECIFIED:
    case STOP_REASON_REQUESTED:
    case STOP_REASON_OUTSIDE:
        vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_HOST_REPORT, NULL);
        return;
    }
}

/* STORAGE_IO: the domain is gone, but its variables could not be synced. That is told to whoever
 * asked, as a warning too; it does not make the domain run. */
gboolean vm_report_says_gone(const HostReport *report)
{
    return report->error == NULL || report->error->code == ERROR_CODE_STORAGE_IO;
}

/* Of this epoch and gone: whoever's stop it was, it is what this operation wanted. */
static void domain_is_gone(VmContext *ctx, Error *error)
{
    OperationKind kind = ctx->vm->operation->kind;
    if (kind == OPERATION_KIND_REBOOT && error == NULL) {
        vm_start_go_on(ctx);
        return;
    }
    vm_status_set(ctx, kind == OPERATION_KIND_DESTROY ? VM_STATUS_DESTROYED : VM_STATUS_STOPPED,
                  error == NULL || kind != OPERATION_KIND_REBOOT ? CAUSE_OPERATION_DONE
                                                                 : CAUSE_OPERATION_FAILED,
                  error);
    vm_operation_end(ctx, error);
}

/* The domain ended under an operation that wants it to run. */
static Error *ended_under(VmContext *ctx)
{
    return error_make(ctx->arena, ERROR_CODE_INTERRUPTED,
                      "the domain of VM %s ended while its %s was under way", ctx->vm_uuid,
                      ENUM_LABEL(operation_kind, ctx->vm->operation->kind));
}

void vm_on_domain_stopped(VmContext *ctx, const HostReport *report)
{
    Operation *operation = ctx->vm->operation;
    OperationPhase phase = operation != NULL ? operation->phase : OPERATION_PHASE_UNSPECIFIED;
    if (!vm_report_says_gone(report)) {
        if (phase == OPERATION_PHASE_STOPPING_DOMAIN &&
            vm_is_operation(ctx, report->operation_id)) {
            vm_stop_fail(ctx, report->error);
        }
        return;
    }
    if (report->error != NULL) {
        vm_warn(ctx, report->error, "");
    }
    if (operation == NULL) {
        stopped_by_itself(ctx, report->domain_stopped->reason);
    } else if (phase == OPERATION_PHASE_STOPPING_DOMAIN) {
        domain_is_gone(ctx, report->error);
    } else if (phase == OPERATION_PHASE_STARTING_DOMAIN) {
        vm_start_fail(ctx, ended_under(ctx));
    } else if (phase == OPERATION_PHASE_CHANGING_DEVICE) {
        vm_operation_end(ctx, ended_under(ctx));
        stopped_by_itself(ctx, report->domain_stopped->reason);
    }
}

void vm_on_domain_observed(VmContext *ctx, const HostReport *report)
{
    VmRecord *vm = ctx->vm;
    if (vm->operation != NULL) {
        return; /* Its own answer says more. */
    }
    if (report->error != NULL) {
        /* Something else has its uuid there: whether its NVRAM is in use is not known. */
        if (vm->status == VM_STATUS_RUNNING || vm->status == VM_STATUS_PAUSED) {
            vm_status_set(ctx, VM_STATUS_UNKNOWN, CAUSE_HOST_REPORT, report->error);
        }
    } else if (!report->domain_observed->running) {
        stopped_by_itself(ctx, STOP_REASON_NOT_RUNNING);
    } else if (vm->status == VM_STATUS_UNKNOWN) {
        vm_status_set(ctx, VM_STATUS_RUNNING, CAUSE_HOST_REPORT, NULL);
    }
}
