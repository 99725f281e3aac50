/* What hosts report, and the domains that should not be. */
#include "services/vm-service/vm_saga.h"

#include <string.h>

#include "common/base/uuid.h"

/* Another host or another epoch speaks of a domain that is not this one. */
static gboolean is_about_current(const VmRecord *vm, const HostReport *report)
{
    return strcmp(report->host_uuid, vm->host_uuid) == 0 && report->epoch == vm->epoch;
}

static gboolean says_running(const HostReport *report)
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
    return says_running(report) && !(is_about_current(vm, report) && vm_status_may_run(vm->status));
}

static void evict(VmContext *ctx, const HostReport *report)
{
    ctx->version = ctx->step->state->version; /* The record stays as it is. */
    HostCommand *ask = vm_ask_host(ctx, report->host_uuid, 0);
    char *name =
        arena_printf(ctx->arena, "evict/%s/%" G_GUINT64_FORMAT, report->host_uuid, report->epoch);
    ask->operation_id = uuid_derive(ctx->arena, ctx->vm_uuid, name);
    ask->epoch = report->epoch;
    ask->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    ask->stop_domain = ARENA_MSG(ctx->arena, stop_domain);
    ask->stop_domain->mode = STOP_MODE_FORCED;
    vm_warn(ctx,
            error_make(ctx->arena, ERROR_CODE_STALE_EPOCH,
                       "host %s still runs VM %s of epoch %" G_GUINT64_FORMAT
                       ", which the VM has left; it is stopped there by force",
                       report->host_uuid, ctx->vm_uuid, report->epoch),
            "");
}

/* What happens to its domain meanwhile decides where a release leads to. */
static void note_while_quarantined(VmRecord *vm, const HostReport *report)
{
    gboolean gone = (report->report_case == HOST_REPORT__REPORT_DOMAIN_STOPPED &&
                     vm_report_says_gone(report)) ||
                    (report->report_case == HOST_REPORT__REPORT_DOMAIN_OBSERVED &&
                     report->error == NULL && !report->domain_observed->running);
    if (gone && vm_status_may_run(vm->status_before_quarantine)) {
        vm->status_before_quarantine = VM_STATUS_STOPPED;
    }
}

static void on_guest_event(VmContext *ctx, const HostReport *report)
{
    ctx->version = ctx->step->state->version;
    VmEvent *event = vm_emit(ctx);
    event->event_case = VM_EVENT__EVENT_GUEST_EVENT;
    event->guest_event = report->guest_event;
}

void vm_on_report(VmContext *ctx, const HostReport *report)
{
    if (ctx->vm == NULL) {
        return;
    }
    if (is_stray(ctx->vm, report)) {
        evict(ctx, report);
        return;
    }
    if (!is_about_current(ctx->vm, report)) {
        return;
    }
    if (ctx->vm->status == VM_STATUS_QUARANTINED) {
        note_while_quarantined(ctx->vm, report);
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
    case HOST_REPORT__REPORT__NOT_SET:
        return;
    }
}
