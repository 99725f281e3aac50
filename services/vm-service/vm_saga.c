/* The operations that take several steps, and what drives them on: volume-service, hosts, time.
 *
 *   start     PreparingVolumes --VolumesPrepared--> StartingDomain --DomainStarted--> Running
 *   stop      StoppingDomain --DomainStopped--> Stopped
 *   destroy   StoppingDomain --DomainStopped--> Destroyed          (at rest: at once)
 *   expunge   ExpungingVolumes --VolumesExpunged--> Expunged
 *
 * An answer is matched by operation, host and epoch; what does not match is late and changes
 * nothing. A start that fails deletes nothing: the next one reuses or resumes what is there.
 */
#include "services/vm-service/vm_context.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/message.h"
#include "common/base/model.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "services/vm-service/vm_spec.h"

/* When a host must have seen a command, given the operation's deadline. */
static gint64 host_expiry_ms(const Operation *operation)
{
    return operation->deadline_ms - 2 * DEADLINE_MARGIN_MS;
}

static gint64 timeout_or(const VmCommand *command, gint64 fallback_ms)
{
    return command->timeout_ms != 0 ? command->timeout_ms : fallback_ms;
}

static void host_remember(VmContext *ctx, const char *host_uuid)
{
    VmRecord *vm = ctx->vm;
    for (size_t i = 0; i < vm->n_seen_host_uuids; i++) {
        if (strcmp(vm->seen_host_uuids[i], host_uuid) == 0) {
            return;
        }
    }
    ARENA_APPEND(ctx->arena, vm->n_seen_host_uuids, vm->seen_host_uuids, (char *)host_uuid);
}

/* ---- Start */

/* The build of the last start, while it is still of the class that the configuration asks for. */
static FirmwareRef *pinned_firmware(const VmRecord *vm, const FirmwareClass *wanted)
{
    FirmwareRef *firmware = vm->hardware != NULL ? vm->hardware->firmware : NULL;
    return firmware != NULL && model_is_same_class(firmware->class_, wanted) ? firmware : NULL;
}

static FirmwareClass *wanted_class(VmContext *ctx)
{
    FirmwareClass *class = vm_spec_firmware_class(ctx->arena, ctx->vm->spec);
    FirmwareRef *pinned = pinned_firmware(ctx->vm, class);
    if (pinned != NULL) {
        class->nvram_bytes = pinned->class_->nvram_bytes;
    }
    return class;
}

void vm_start_begin(VmContext *ctx, const VmCommand *command)
{
    VmRecord *vm = ctx->vm;
    const char *host_uuid = command->start_vm->host_uuid;
    if (!uuid_is_valid(host_uuid)) {
        vm_reply(ctx, command->request_id,
                 error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                            "start_vm.host_uuid is no lower-case uuid: name the host on which VM "
                            "%s shall run",
                            ctx->vm_uuid));
        return;
    }
    vm->epoch++;
    vm->nvram_needed = vm_spec_needs_nvram(vm->spec, ctx->settings);
    host_remember(ctx, host_uuid);
    gint64 timeout_ms = timeout_or(command, ctx->settings->start_timeout_ms);
    Operation *operation =
        vm_operation_begin(ctx, OPERATION_KIND_START, command->request_id, host_uuid, timeout_ms);
    vm_status_set(ctx, VM_STATUS_STARTING, CAUSE_REQUEST, NULL);
    vm_operation_phase(ctx, OPERATION_PHASE_PREPARING_VOLUMES, operation->deadline_ms);

    VolumeCommand *ask = vm_ask_volumes(ctx, operation->deadline_ms - DEADLINE_MARGIN_MS);
    PrepareVolumes *prepare = ARENA_MSG(ctx->arena, prepare_volumes);
    prepare->spec = vm->spec;
    prepare->host_uuid = (char *)host_uuid;
    prepare->nvram_needed = vm->nvram_needed;
    prepare->firmware_class = wanted_class(ctx);
    prepare->pinned_firmware = pinned_firmware(vm, prepare->firmware_class);
    ask->command_case = VOLUME_COMMAND__COMMAND_PREPARE_VOLUMES;
    ask->prepare_volumes = prepare;
}

static void start_fail(VmContext *ctx, Error *error)
{
    vm_status_set(ctx, ctx->vm->operation->return_status, CAUSE_OPERATION_FAILED, error);
    vm_operation_end(ctx, error);
}

static const Volume *volume_of_type(const VolumesPrepared *prepared, VolumeType type)
{
    for (size_t i = 0; i < prepared->n_volumes; i++) {
        if (prepared->volumes[i]->type == type) {
            return prepared->volumes[i];
        }
    }
    return NULL;
}

/* S14: a start that needs a volume is never sent without it. */
static Error *check_prepared(VmContext *ctx, const VolumesPrepared *prepared)
{
    if (prepared->error != NULL) {
        return prepared->error;
    }
    const char *missing = NULL;
    if (ctx->vm->nvram_needed && volume_of_type(prepared, VOLUME_TYPE_NV_RAM) == NULL) {
        missing = "NvRam";
    } else if (ctx->vm->tpm != NULL && volume_of_type(prepared, VOLUME_TYPE_TPM_STATE) == NULL) {
        missing = "TpmState";
    }
    if (missing != NULL) {
        return error_make(ctx->arena, ERROR_CODE_VOLUME_NOT_FOUND,
                          "VM %s needs a volume of type %s and has none: see ListVolumes",
                          ctx->vm_uuid, missing);
    }
    if (ctx->now_ms >= host_expiry_ms(ctx->vm->operation)) {
        return error_make(ctx->arena, ERROR_CODE_TIMEOUT,
                          "the volumes of VM %s were ready too late for its start: ask again",
                          ctx->vm_uuid);
    }
    return NULL;
}

static void start_domain(VmContext *ctx, const VolumesPrepared *prepared)
{
    VmRecord *vm = ctx->vm;
    Operation *operation = vm->operation;
    gint64 expires_ms = host_expiry_ms(operation);
    vm->host_uuid = operation->host_uuid;
    const Volume *nvram = volume_of_type(prepared, VOLUME_TYPE_NV_RAM);
    const Volume *tpm = volume_of_type(prepared, VOLUME_TYPE_TPM_STATE);
    if (vm->spec->nvram != NULL && nvram != NULL) {
        vm->spec->nvram->volume_uuid = nvram->uuid;
    }
    StartDomain *start = ARENA_MSG(ctx->arena, start_domain);
    start->spec = vm->spec;
    start->n_volumes = prepared->n_volumes;
    start->volumes = prepared->volumes;
    start->nvram_needed = vm->nvram_needed;
    start->hardware = vm->hardware;
    start->firmware_class = wanted_class(ctx);
    if (vm->tpm != NULL) {
        vm->tpm->volume_uuid = tpm->uuid;
        start->tpm_volume_uuid = tpm->uuid;
    }
    /* A host that took the command just before its expiry may work on it for a whole start; only
     * after that, and the clocks' skew, is its silence a fact. */
    vm_operation_phase(ctx, OPERATION_PHASE_STARTING_DOMAIN,
                       expires_ms + ctx->settings->start_timeout_ms +
                           ctx->settings->allowed_skew_ms);
    HostCommand *ask = vm_ask_host(ctx, operation->host_uuid, expires_ms);
    ask->command_case = HOST_COMMAND__COMMAND_START_DOMAIN;
    ask->start_domain = start;
}

static void on_volumes_prepared(VmContext *ctx, const VolumesPrepared *prepared)
{
    if (ctx->vm->operation->phase != OPERATION_PHASE_PREPARING_VOLUMES) {
        return;
    }
    Error *error = check_prepared(ctx, prepared);
    if (error != NULL) {
        start_fail(ctx, error);
        return;
    }
    start_domain(ctx, prepared);
}

/* N4: what was changed is said, and why. */
static void tell_coercions(VmContext *ctx, const Hardware *hardware)
{
    const char *advice =
        vm_spec_is_windows(ctx->vm->spec)
            ? "; the Windows guest needs the virtio network driver (NetKVM) installed"
            : "";
    for (size_t i = 0; i < hardware->n_nics; i++) {
        const EffectiveNic *nic = hardware->nics[i];
        if (!nic->coerced) {
            continue;
        }
        NicCoerced *coerced = ARENA_MSG(ctx->arena, nic_coerced);
        coerced->index = nic->index;
        coerced->asked_model = nic->asked_model;
        coerced->effective_model = nic->effective_model;
        coerced->reason = arena_printf(
            ctx->arena,
            "NIC %u runs as %s instead of %s: a vhost-user socket carries virtio only%s",
            nic->index, ENUM_LABEL(nic_model, nic->effective_model),
            ENUM_LABEL(nic_model, nic->asked_model), advice);
        VmEvent *event = vm_emit(ctx);
        event->event_case = VM_EVENT__EVENT_NIC_COERCED;
        event->nic_coerced = coerced;
    }
}

static void record_hardware(VmContext *ctx, const DomainStarted *started)
{
    VmRecord *vm = ctx->vm;
    FirmwareRef *replaced = started->replaced_firmware;
    if (started->hardware == NULL) {
        return;
    }
    vm->hardware = started->hardware;
    if (vm->tpm != NULL) {
        vm->tpm->host_uuid = vm->host_uuid;
    }
    tell_coercions(ctx, vm->hardware);
    if (replaced != NULL) {
        FirmwareReplaced *told = ARENA_MSG(ctx->arena, firmware_replaced);
        told->before = replaced;
        told->after = vm->hardware->firmware;
        VmEvent *event = vm_emit(ctx);
        event->event_case = VM_EVENT__EVENT_FIRMWARE_REPLACED;
        event->firmware_replaced = told;
    }
}

static gboolean is_same_hardware(const Hardware *a, const Hardware *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    g_autoptr(GBytes) left = message_pack(a);
    g_autoptr(GBytes) right = message_pack(b);
    return g_bytes_equal(left, right);
}

static gboolean is_operation(const VmContext *ctx, OperationKind kind, const char *operation_id)
{
    const Operation *operation = ctx->vm->operation;
    return operation != NULL && operation->kind == kind && strcmp(operation->id, operation_id) == 0;
}

static void on_domain_started(VmContext *ctx, const HostReport *report)
{
    VmRecord *vm = ctx->vm;
    gboolean ours = is_operation(ctx, OPERATION_KIND_START, report->operation_id);
    if (report->error != NULL) {
        if (ours) {
            start_fail(ctx, report->error);
        } else if (vm->status == VM_STATUS_UNKNOWN && vm->operation == NULL) {
            vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_HOST_REPORT, report->error);
        }
        return;
    }
    gboolean unknown = vm->status == VM_STATUS_UNKNOWN && vm->operation == NULL;
    /* Also when a stop has taken the start's place: what the guest has seen must be seen again. A
     * repeat says nothing new. */
    if (ours || unknown || !is_same_hardware(vm->hardware, report->domain_started->hardware)) {
        record_hardware(ctx, report->domain_started);
    }
    if (ours) {
        vm_status_set(ctx, VM_STATUS_RUNNING, CAUSE_OPERATION_DONE, NULL);
        vm_operation_end(ctx, NULL);
    } else if (unknown) {
        vm_status_set(ctx, VM_STATUS_RUNNING, CAUSE_HOST_REPORT, NULL);
    }
}

/* ---- Stop and destroy */

/* A destroy or a forced stop takes the place of what runs; that request's answer is PREEMPTED. TRUE
 * when no host can have been asked to start anything. */
static gboolean preempt(VmContext *ctx, OperationKind by)
{
    const Operation *operation = ctx->vm->operation;
    if (operation == NULL) {
        return FALSE;
    }
    gboolean nothing_runs = operation->kind == OPERATION_KIND_START &&
                            operation->phase == OPERATION_PHASE_PREPARING_VOLUMES;
    vm_operation_end(ctx, error_make(ctx->arena, ERROR_CODE_PREEMPTED,
                                     "a %s took the place of this request for VM %s",
                                     by == OPERATION_KIND_DESTROY ? "destroy" : "forced stop",
                                     ctx->vm_uuid));
    return nothing_runs;
}

static gboolean is_at_rest(VmStatus status)
{
    return status == VM_STATUS_CREATED || status == VM_STATUS_STOPPED ||
           status == VM_STATUS_CRASHED;
}

/* Nothing runs on any host, so there is nobody to ask. */
static void stop_at_once(VmContext *ctx, const VmCommand *command, OperationKind kind)
{
    VmStatus end = kind == OPERATION_KIND_DESTROY ? VM_STATUS_DESTROYED : VM_STATUS_STOPPED;
    vm_status_set(ctx, end, CAUSE_REQUEST, NULL);
    vm_reply(ctx, command->request_id, NULL);
}

void vm_stop_begin(VmContext *ctx, const VmCommand *command, OperationKind kind, StopMode mode)
{
    VmRecord *vm = ctx->vm;
    if (preempt(ctx, kind) || is_at_rest(vm->status)) {
        stop_at_once(ctx, command, kind);
        return;
    }
    gint64 timeout_ms = timeout_or(command, ctx->settings->stop_timeout_ms);
    Operation *operation =
        vm_operation_begin(ctx, kind, command->request_id, vm->host_uuid, timeout_ms);
    operation->stop_mode = mode;
    vm_status_set(ctx, kind == OPERATION_KIND_DESTROY ? VM_STATUS_DESTROYING : VM_STATUS_STOPPING,
                  CAUSE_REQUEST, NULL);
    vm_operation_phase(ctx, OPERATION_PHASE_STOPPING_DOMAIN,
                       operation->deadline_ms + ctx->settings->allowed_skew_ms);
    HostCommand *ask = vm_ask_host(ctx, vm->host_uuid, host_expiry_ms(operation));
    ask->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    ask->stop_domain = ARENA_MSG(ctx->arena, stop_domain);
    ask->stop_domain->mode = mode;
}

/* The host could not stop it. When it is certain that the guest still runs, so does the VM; else
 * nobody knows. */
static void stop_fail(VmContext *ctx, Error *error)
{
    const Operation *operation = ctx->vm->operation;
    gboolean ran = operation->return_status == VM_STATUS_RUNNING;
    gboolean runs =
        operation->kind == OPERATION_KIND_STOP && (error->code == ERROR_CODE_GUEST_DID_NOT_STOP ||
                                                   (error->code == ERROR_CODE_EXPIRED && ran));
    vm_status_set(ctx, runs ? VM_STATUS_RUNNING : VM_STATUS_UNKNOWN, CAUSE_OPERATION_FAILED, error);
    vm_operation_end(ctx, error);
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
    case STOP_REASON_UNSPECIFIED:
    case STOP_REASON_REQUESTED:
    case STOP_REASON_OUTSIDE:
    case STOP_REASON_NOT_RUNNING:
        vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_HOST_REPORT, NULL);
        return;
    }
}

/* STORAGE_IO: the domain is gone, but its variables could not be synced. That is told to whoever
 * asked, as a warning too; it does not make the domain run. */
static gboolean is_gone(const HostReport *report)
{
    return report->error == NULL || report->error->code == ERROR_CODE_STORAGE_IO;
}

static void on_domain_stopped(VmContext *ctx, const HostReport *report)
{
    Operation *operation = ctx->vm->operation;
    if (!is_gone(report)) {
        if (operation != NULL && operation->phase == OPERATION_PHASE_STOPPING_DOMAIN &&
            strcmp(operation->id, report->operation_id) == 0) {
            stop_fail(ctx, report->error);
        }
        return;
    }
    if (report->error != NULL) {
        vm_warn(ctx, report->error, "");
    }
    if (operation == NULL) {
        stopped_by_itself(ctx, report->domain_stopped->reason);
    } else if (operation->phase == OPERATION_PHASE_STOPPING_DOMAIN) {
        /* Of this epoch and gone: whoever's stop it was, it is what this operation wants. */
        gboolean destroy = operation->kind == OPERATION_KIND_DESTROY;
        vm_status_set(ctx, destroy ? VM_STATUS_DESTROYED : VM_STATUS_STOPPED, CAUSE_OPERATION_DONE,
                      report->error);
        vm_operation_end(ctx, report->error);
    } else if (operation->phase == OPERATION_PHASE_STARTING_DOMAIN) {
        start_fail(ctx, error_make(ctx->arena, ERROR_CODE_INTERRUPTED,
                                   "the domain of VM %s ended while it was being started",
                                   ctx->vm_uuid));
    }
}

static void on_domain_observed(VmContext *ctx, const HostReport *report)
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

/* ---- Expunge */

/* Once begun it never goes back: what is deleted cannot be promised any more. Also sent again when
 * time has passed. */
static void ask_expunge(VmContext *ctx)
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
                       timeout_or(command, ctx->settings->expunge_timeout_ms));
    vm_status_set(ctx, VM_STATUS_EXPUNGING, CAUSE_REQUEST, NULL);
    ask_expunge(ctx);
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
        "", timeout_or(command, ctx->settings->start_timeout_ms));
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
    ctx->version = ctx->step->state->version; /* A read: nothing changes. */
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
    ctx->version = ctx->step->state->version; /* Passed on: nothing changes here. */
    VmEvent *told = vm_emit(ctx);
    told->event_case = VM_EVENT__EVENT_VOLUME_DELETED;
    told->volume_deleted = ARENA_MSG(ctx->arena, volume_deleted);
    told->volume_deleted->volume = event->volume_changed->volume;
}

void vm_on_volume_event(VmContext *ctx, const VolumeEvent *event)
{
    if (ctx->vm == NULL) {
        return;
    }
    switch (event->event_case) {
    case VOLUME_EVENT__EVENT_VOLUMES_PREPARED:
        if (is_operation(ctx, OPERATION_KIND_START, event->operation_id)) {
            on_volumes_prepared(ctx, event->volumes_prepared);
        }
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_EXPUNGED:
        if (is_operation(ctx, OPERATION_KIND_EXPUNGE, event->operation_id)) {
            on_volumes_expunged(ctx, event->volumes_expunged);
        }
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_READ:
        on_volumes_read(ctx, event);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHANGED:
        on_volume_changed(ctx, event);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_WARNING:
        ctx->version = ctx->step->state->version;
        vm_warn(ctx, event->volume_warning->error, event->volume_warning->volume_uuid);
        return;
    case VOLUME_EVENT__EVENT_NVRAM_REPLACED:
        if (is_operation(ctx, OPERATION_KIND_RESET_NVRAM, event->operation_id)) {
            vm_operation_end(ctx, event->nvram_replaced->error);
        }
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHOSEN:
        if (is_operation(ctx, OPERATION_KIND_ADOPT_VOLUME, event->operation_id)) {
            vm_operation_end(ctx, event->volume_chosen->error);
        }
        return;
    case VOLUME_EVENT__EVENT__NOT_SET:
        return;
    }
}

/* ---- Domains that should not be */

/* Another host or another epoch speaks of a domain that is not this one. */
static gboolean is_about_current(const VmRecord *vm, const HostReport *report)
{
    return strcmp(report->host_uuid, vm->host_uuid) == 0 && report->epoch == vm->epoch;
}

static gboolean says_running(const HostReport *report)
{
    return report->error == NULL && (report->report_case == HOST_REPORT__REPORT_DOMAIN_STARTED ||
                                     (report->report_case == HOST_REPORT__REPORT_DOMAIN_OBSERVED &&
                                      report->domain_observed->running));
}

static gboolean may_run(VmStatus status)
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

/* A domain runs that the record does not account for: its host was confirmed down, or its start was
 * given up, and it is back. I6: it must not run beside the next one. */
static gboolean is_stray(const VmRecord *vm, const HostReport *report)
{
    return says_running(report) && !(is_about_current(vm, report) && may_run(vm->status));
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
    gboolean gone =
        (report->report_case == HOST_REPORT__REPORT_DOMAIN_STOPPED && is_gone(report)) ||
        (report->report_case == HOST_REPORT__REPORT_DOMAIN_OBSERVED && report->error == NULL &&
         !report->domain_observed->running);
    if (gone && may_run(vm->status_before_quarantine)) {
        vm->status_before_quarantine = VM_STATUS_STOPPED;
    }
}

/* Back to where the VM was. An operation was ended by the quarantine, and with it what was known. */
void vm_release(VmContext *ctx, const VmCommand *command)
{
    VmStatus before = ctx->vm->status_before_quarantine;
    ctx->vm->status_before_quarantine = VM_STATUS_UNSPECIFIED;
    if (before == VM_STATUS_EXPUNGING) {
        vm_operation_begin(ctx, OPERATION_KIND_EXPUNGE, command->request_id, "",
                           timeout_or(command, ctx->settings->expunge_timeout_ms));
        vm_status_set(ctx, before, CAUSE_RELEASED, NULL);
        ask_expunge(ctx);
        return;
    }
    gboolean known = !may_run(before) || before == VM_STATUS_RUNNING || before == VM_STATUS_PAUSED;
    vm_status_set(ctx, known ? before : VM_STATUS_UNKNOWN, CAUSE_RELEASED, NULL);
    vm_reply(ctx, command->request_id, NULL);
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
        on_domain_started(ctx, report);
        return;
    case HOST_REPORT__REPORT_DOMAIN_STOPPED:
        on_domain_stopped(ctx, report);
        return;
    case HOST_REPORT__REPORT_DOMAIN_OBSERVED:
        on_domain_observed(ctx, report);
        return;
    case HOST_REPORT__REPORT_GUEST_EVENT:
        on_guest_event(ctx, report);
        return;
    case HOST_REPORT__REPORT_VOLUMES_CREATED:
    case HOST_REPORT__REPORT_VOLUMES_DELETED:
    case HOST_REPORT__REPORT_VM_FORGOTTEN:
    case HOST_REPORT__REPORT_DEVICE_CHANGED:
    case HOST_REPORT__REPORT_INVENTORY:
    case HOST_REPORT__REPORT__NOT_SET:
        return;
    }
}

/* ---- The runtime's own inputs */

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
    ask_expunge(ctx);
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
    if (ctx->vm->operation == NULL) {
        ctx->fault = TRUE;
        return;
    }
    switch (ctx->vm->operation->phase) {
    case OPERATION_PHASE_PREPARING_VOLUMES:
        start_fail(ctx, error_make(ctx->arena, ERROR_CODE_TIMEOUT,
                                   "the volumes of VM %s were not ready in time: ask again",
                                   ctx->vm_uuid));
        return;
    case OPERATION_PHASE_STARTING_DOMAIN:
    case OPERATION_PHASE_STOPPING_DOMAIN:
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
    case OPERATION_PHASE_CHANGING_DEVICE:
        ctx->fault = TRUE;
        return;
    }
}

/* The host has no topic. A start can be refused: nothing was sent. A stop cannot: the domain's fate
 * is not known. */
static void on_undeliverable(VmContext *ctx, const Undeliverable *undeliverable)
{
    Operation *operation = ctx->vm != NULL ? ctx->vm->operation : NULL;
    if (operation == NULL || strcmp(operation->id, undeliverable->operation_id) != 0) {
        return;
    }
    Error *error = error_make(ctx->arena, ERROR_CODE_HOST_UNKNOWN,
                              "host %s has no command topic: see `virtbusctl host list`",
                              undeliverable->host_uuid);
    if (operation->kind == OPERATION_KIND_START) {
        start_fail(ctx, error);
    } else {
        stop_fail(ctx, error);
    }
}

static void on_poisoned(VmContext *ctx, const Poisoned *poisoned)
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
    ctx->vm->status_before_quarantine = ctx->vm->status;
    vm_status_set(ctx, VM_STATUS_QUARANTINED, CAUSE_POISON, error);
    if (ctx->vm->operation != NULL) {
        vm_operation_end(ctx, error);
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
        on_poisoned(ctx, input->poisoned);
        return;
    case RUNTIME_INPUT__INPUT__NOT_SET:
        ctx->fault = TRUE;
        return;
    }
}
