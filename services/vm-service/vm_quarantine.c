/* A record that no step can handle puts its VM aside: every command is refused until an operator
 * releases it. What its domain does meanwhile is followed, not acted on. */
#include "services/vm-service/vm_saga.h"

void vm_on_poisoned(VmContext *ctx, const Poisoned *poisoned)
{
    if (ctx->vm == NULL || ctx->vm->status == VM_STATUS_QUARANTINED ||
        ctx->vm->status == VM_STATUS_EXPUNGED) {
        return;
    }
    Error *error = error_make(ctx->arena, ERROR_CODE_QUARANTINED,
                              "a record of VM %s could not be handled: %s-%d@%" G_GINT64_FORMAT
                              ", %s; see the DLQ, then ReleaseQuarantine",
                              ctx->vm_uuid, poisoned->topic, poisoned->partition, poisoned->offset,
                              poisoned->reason);
    const Operation *operation = ctx->vm->operation;
    /* While volumes are prepared no host was asked for anything: where the operation came from is
     * where the VM is. */
    gboolean at_rest = operation != NULL && operation->phase == OPERATION_PHASE_PREPARING_VOLUMES;
    ctx->vm->status_before_quarantine = at_rest ? operation->return_status : ctx->vm->status;
    vm_status_set(ctx, VM_STATUS_QUARANTINED, CAUSE_POISON, error);
    if (ctx->vm->operation != NULL) {
        vm_operation_end(ctx, error);
    }
}

/* What happens to its domain meanwhile decides where a release leads to. */
void vm_note_while_quarantined(VmRecord *vm, const HostReport *report)
{
    gboolean gone =
        (report->report_case == HOST_REPORT__REPORT_DOMAIN_STOPPED &&
         vm_report_says_gone(report)) ||
        (report->report_case == HOST_REPORT__REPORT_DOMAIN_STARTED && report->error != NULL) ||
        (report->report_case == HOST_REPORT__REPORT_DOMAIN_OBSERVED && report->error == NULL &&
         !report->domain_observed->running);
    if (!vm_status_may_run(vm->status_before_quarantine)) {
        return;
    }
    if (gone) {
        vm->status_before_quarantine = VM_STATUS_STOPPED;
    } else if (vm_report_says_running(report)) {
        vm->status_before_quarantine = VM_STATUS_RUNNING;
    }
}

/* Back to where the VM was. An operation was ended by the quarantine, and with it what was known. */
void vm_release(VmContext *ctx, const VmCommand *command)
{
    VmStatus before = ctx->vm->status_before_quarantine;
    ctx->vm->status_before_quarantine = VM_STATUS_UNSPECIFIED;
    if (before == VM_STATUS_EXPUNGING) {
        vm_operation_begin(ctx, OPERATION_KIND_EXPUNGE, command->request_id, "",
                           vm_timeout_or(command, ctx->settings->expunge_timeout_ms));
        vm_status_set(ctx, before, CAUSE_RELEASED, NULL);
        vm_expunge_ask(ctx);
        return;
    }
    gboolean known =
        !vm_status_may_run(before) || before == VM_STATUS_RUNNING || before == VM_STATUS_PAUSED;
    vm_status_set(ctx, known ? before : VM_STATUS_UNKNOWN, CAUSE_RELEASED, NULL);
    vm_reply(ctx, command->request_id, NULL);
}
