/* What hosts report, and the domains that should not be. */
#include "services/vm-service/vm_saga.h"

#include <string.h>

#include "common/base/uuid.h"

/* Another host or another epoch speaks of a domain that is not this one. */
static gboolean is_about_current(const VmRecord *vm, const HostReport *report)
{
    return strcmp(report->host_uuid, vm->host_uuid) == 0 && report->epoch == vm->epoch;
}

gboolean vm_report_says_running(const HostReport *report)
{
    return report->error == NULL && (report->report_case == HOST_REPORT__REPORT_DOMAIN_STARTED ||
                                     report->report_case == HOST_REPORT__REPORT_DEVICE_CHANGED ||
                                     (report->report_case == HOST_REPORT__REPORT_DOMAIN_OBSERVED &&
                                      report->domain_observed->running));
}

/* A domain runs that the record does not account for: its host was confirmed down, or its start was
 * given up, and it is back. I6: it must not run beside the next one. */
static gboolean is_stray(const VmRecord *vm, const HostReport *report)
{
    VmStatus status =
        vm->status == VM_STATUS_QUARANTINED ? vm->status_before_quarantine : vm->status;
    return vm_report_says_running(report) &&
           !(is_about_current(vm, report) && vm_status_may_run(status));
}

static void evict(VmContext *ctx, const HostReport *report)
{
    HostCommand *ask = vm_ask_host(ctx, report->host_uuid, 0);
    char *name =
        arena_printf(ctx->arena, "evict/%s/%" G_GUINT64_FORMAT, report->host_uuid, report->epoch);
    ask->operation_id = uuid_derive(ctx->arena, ctx->vm_uuid, name);
    ask->epoch = report->epoch;
    if (ctx->vm->status == VM_STATUS_EXPUNGED) {
        /* The host knows it again, and nobody would ever tell it to forget. */
        ask->command_case = HOST_COMMAND__COMMAND_FORGET_VM;
        ask->forget_vm = ARENA_MSG(ctx->arena, forget_vm);
    } else {
        ask->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
        ask->stop_domain = ARENA_MSG(ctx->arena, stop_domain);
        ask->stop_domain->mode = STOP_MODE_FORCED;
    }
    vm_warn(ctx,
            error_make(ctx->arena, ERROR_CODE_STALE_EPOCH,
                       "host %s still runs VM %s of epoch %" G_GUINT64_FORMAT
                       ", which the VM has left; it is stopped there by force",
                       report->host_uuid, ctx->vm_uuid, report->epoch),
            "");
}

/* An answer without a body: the host does not know the command, or could not even begin. */
static void on_failure(VmContext *ctx, const HostReport *report)
{
    if (report->error == NULL || !vm_is_operation(ctx, report->operation_id)) {
        return;
    }
    switch (ctx->vm->operation->phase) {
    case OPERATION_PHASE_STARTING_DOMAIN:
        vm_start_fail(ctx, report->error);
        return;
    case OPERATION_PHASE_STOPPING_DOMAIN:
        vm_stop_fail(ctx, report->error);
        return;
    case OPERATION_PHASE_CHANGING_DEVICE:
        vm_operation_end(ctx, report->error);
        return;
    case OPERATION_PHASE_UNSPECIFIED:
    case OPERATION_PHASE_PREPARING_VOLUMES:
    case OPERATION_PHASE_EXPUNGING_VOLUMES:
    case OPERATION_PHASE_CHANGING_VOLUMES:
        return; /* These ask no host. */
    }
}

/* A guest that powers off by itself is not to be started again, should nobody see its end. What a
 * reboot asked of it is another matter. */
static void on_guest_event(VmContext *ctx, const HostReport *report)
{
    VmRecord *vm = ctx->vm;
    gboolean ends =
        report->guest_event->type == GUEST_EVENT_TYPE_SHUTDOWN && vm->status != VM_STATUS_REBOOTING;
    vm->runs_wanted = vm->runs_wanted && !ends;
    VmEvent *event = vm_emit(ctx);
    event->event_case = VM_EVENT__EVENT_GUEST_EVENT;
    event->guest_event = report->guest_event;
}

void vm_on_report(VmContext *ctx, const HostReport *given)
{
    if (ctx->vm == NULL) {
        return;
    }
    HostReport own = *given;
    const HostReport *report = &own;
    own.error = error_tame(ctx->arena, given->error); /* It will be kept, and repeated. */
    if (is_stray(ctx->vm, report)) {
        evict(ctx, report);
        return;
    }
    if (!is_about_current(ctx->vm, report)) {
        return;
    }
    if (ctx->vm->status == VM_STATUS_QUARANTINED) {
        vm_note_while_quarantined(ctx->vm, report);
    }
    switch (report->report_case) {
    case HOST_REPORT__REPORT_DOMAIN_STARTED:
        vm_on_domain_started(ctx, report);
        return;
    case HOST_REPORT__REPORT_DOMAIN_STOPPED:
        vm_on_domain_stopped(ctx, report);
        return;
    case HOST_REPORT__REPORT_DOMAIN_OBSERVED:
        vm_on_domain_observed(ctx, report);
        return;
    case HOST_REPORT__REPORT_GUEST_EVENT:
        on_guest_event(ctx, report);
        return;
    case HOST_REPORT__REPORT_DEVICE_CHANGED:
        vm_on_device_changed(ctx, report);
        return;
    case HOST_REPORT__REPORT_VOLUMES_CREATED:
    case HOST_REPORT__REPORT_VOLUMES_DELETED:
    case HOST_REPORT__REPORT_VM_FORGOTTEN:
    case HOST_REPORT__REPORT_INVENTORY:
        return;
    case HOST_REPORT__REPORT__NOT_SET:
        on_failure(ctx, report);
        return;
    }
}
