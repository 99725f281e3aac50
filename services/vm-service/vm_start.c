/* The start: first the volumes, then the domain. A start that fails deletes nothing: the next one
 * reuses or resumes what is there. */
#include "services/vm-service/vm_saga.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/message.h"
#include "common/base/model.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "services/vm-service/vm_spec.h"

enum {
    RESTARTS_MAX = 8, /* By policy, until it runs: about 20 minutes. */
    RESTART_FIRST_MS = 10 * 1000,
    RESTART_LAST_MS = 5 * 60 * 1000,
    TPM_MARK_BYTES = 16, /* At most, packed. */
};

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

/* From here on every host refuses what belongs to an earlier start. */
static void epoch_begin(VmContext *ctx, const char *host_uuid)
{
    VmRecord *vm = ctx->vm;
    vm->epoch++;
    vm->nvram_needed = vm_spec_needs_nvram(vm->spec, ctx->settings);
    host_remember(ctx, host_uuid);
}

static void prepare_volumes(VmContext *ctx)
{
    VmRecord *vm = ctx->vm;
    Operation *operation = vm->operation;
    vm_operation_phase(ctx, OPERATION_PHASE_PREPARING_VOLUMES, operation->deadline_ms);
    VolumeCommand *ask = vm_ask_volumes(ctx, operation->deadline_ms - DEADLINE_MARGIN_MS);
    PrepareVolumes *prepare = ARENA_MSG(ctx->arena, prepare_volumes);
    prepare->spec = vm->spec;
    prepare->host_uuid = operation->host_uuid;
    prepare->nvram_needed = vm->nvram_needed;
    prepare->firmware_class = wanted_class(ctx);
    prepare->pinned_firmware = pinned_firmware(vm, prepare->firmware_class);
    ask->command_case = VOLUME_COMMAND__COMMAND_PREPARE_VOLUMES;
    ask->prepare_volumes = prepare;
}

void vm_start_begin(VmContext *ctx, const VmCommand *command)
{
    const char *host_uuid = command->start_vm->host_uuid;
    if (!uuid_is_valid(host_uuid)) {
        vm_reply(ctx, command->request_id,
                 error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                            "start_vm.host_uuid is no lower-case uuid: name the host on which VM "
                            "%s shall run",
                            ctx->vm_uuid));
        return;
    }
    epoch_begin(ctx, host_uuid);
    vm_operation_begin(ctx, OPERATION_KIND_START, command->request_id, host_uuid,
                       vm_timeout_or(command, ctx->settings->start_timeout_ms));
    vm_status_set(ctx, VM_STATUS_STARTING, CAUSE_REQUEST, NULL);
    prepare_volumes(ctx);
}

void vm_start_go_on(VmContext *ctx)
{
    Operation *operation = ctx->vm->operation;
    operation->return_status = VM_STATUS_STOPPED;
    operation->deadline_ms = ctx->now_ms + operation->start_timeout_ms;
    epoch_begin(ctx, operation->host_uuid);
    prepare_volumes(ctx);
}

void vm_restart(VmContext *ctx)
{
    VmRecord *vm = ctx->vm;
    const char *host_uuid = vm->host_uuid;
    vm->restarts++;
    epoch_begin(ctx, host_uuid);
    vm_operation_begin(ctx, OPERATION_KIND_START, "", host_uuid, ctx->settings->start_timeout_ms);
    vm_status_set(ctx, VM_STATUS_STARTING, CAUSE_RESTART_POLICY, NULL);
    prepare_volumes(ctx);
}

/* A host that has just booted may have its agent before its switch or its storage. */
static void restart_later(VmContext *ctx)
{
    const VmRecord *vm = ctx->vm;
    if (vm->status != VM_STATUS_STOPPED || vm->restarts == 0 || vm->restarts >= RESTARTS_MAX) {
        return;
    }
    gint64 wait_ms = (gint64)RESTART_FIRST_MS << (vm->restarts - 1);
    ctx->step->state->deadline_ms = ctx->now_ms + MIN(wait_ms, RESTART_LAST_MS);
    ctx->step->state->deadline_id = arena_printf(ctx->arena, "restart/%u", vm->restarts);
}

void vm_restart_due(VmContext *ctx)
{
    if (ctx->vm->spec->restart_policy == RESTART_POLICY_RESTART) {
        vm_restart(ctx);
        return;
    }
    ctx->step->state->deadline_ms = 0;
    ctx->step->state->deadline_id = arena_strdup(ctx->arena, "");
}

void vm_start_fail(VmContext *ctx, Error *error)
{
    gboolean by_policy = *ctx->vm->operation->request_id == '\0';
    vm_status_set(ctx, ctx->vm->operation->return_status, CAUSE_OPERATION_FAILED, error);
    vm_operation_end(ctx, error);
    if (by_policy) {
        restart_later(ctx);
    }
}

/* NULL: there is none. */
static const Volume *volume_of_type(const VolumesPrepared *prepared, VolumeType type)
{
    for (size_t i = 0; i < prepared->n_volumes; i++) {
        if (prepared->volumes[i]->type == type) {
            return prepared->volumes[i];
        }
    }
    return NULL;
}

static guint count_of_type(const VolumesPrepared *prepared, VolumeType type)
{
    guint n = 0;
    for (size_t i = 0; i < prepared->n_volumes; i++) {
        n += prepared->volumes[i]->type == type;
    }
    return n;
}

/* S14, I3: a start that needs a volume is never sent without it, nor with one that is not whole, nor
 * with a variable store that is not its own. */
static Error *check_volumes(VmContext *ctx, const VolumesPrepared *prepared)
{
    const char *missing = NULL;
    guint n_nvram = count_of_type(prepared, VOLUME_TYPE_NV_RAM);
    if (ctx->vm->nvram_needed && n_nvram == 0) {
        missing = "NvRam";
    } else if (ctx->vm->tpm != NULL && volume_of_type(prepared, VOLUME_TYPE_TPM_STATE) == NULL) {
        missing = "TpmState";
    }
    if (missing != NULL) {
        return error_make(ctx->arena, ERROR_CODE_VOLUME_NOT_FOUND,
                          "VM %s needs a volume of type %s and has none: see ListVolumes",
                          ctx->vm_uuid, missing);
    }
    if (n_nvram != (ctx->vm->nvram_needed ? 1 : 0)) {
        return error_make(ctx->arena, ERROR_CODE_NVRAM_AMBIGUOUS,
                          "VM %s needs %s variable store and was given %u: see ListVolumes",
                          ctx->vm_uuid, ctx->vm->nvram_needed ? "one" : "no", n_nvram);
    }
    for (size_t i = 0; i < prepared->n_volumes; i++) {
        const Volume *volume = prepared->volumes[i];
        if (volume->status != VOLUME_STATUS_READY) {
            return error_make(ctx->arena, ERROR_CODE_VOLUME_BUSY,
                              "volume %s of VM %s is %s and not Ready: see ListVolumes",
                              volume->uuid, ctx->vm_uuid,
                              ENUM_LABEL(volume_status, volume->status));
        }
    }
    return NULL;
}

static Error *check_prepared(VmContext *ctx, const VolumesPrepared *prepared)
{
    Error *error = prepared->error != NULL ? prepared->error : check_volumes(ctx, prepared);
    if (error == NULL && ctx->now_ms >= vm_host_expiry_ms(ctx->vm->operation)) {
        error = error_make(ctx->arena, ERROR_CODE_TIMEOUT,
                           "the volumes of VM %s were ready too late for its start: start it again",
                           ctx->vm_uuid);
    }
    return error;
}

static void start_domain(VmContext *ctx, const VolumesPrepared *prepared)
{
    VmRecord *vm = ctx->vm;
    Operation *operation = vm->operation;
    gint64 expires_ms = vm_host_expiry_ms(operation);
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

void vm_on_volumes_prepared(VmContext *ctx, const VolumesPrepared *prepared)
{
    Error *error = check_prepared(ctx, prepared);
    if (error != NULL) {
        vm_start_fail(ctx, error);
        return;
    }
    start_domain(ctx, prepared);
}

void vm_tell_coercion(VmContext *ctx, const EffectiveNic *nic)
{
    if (!nic->coerced) {
        return;
    }
    const char *advice =
        vm_spec_is_windows(ctx->vm->spec)
            ? "; the Windows guest needs the virtio network driver (NetKVM) installed"
            : "";
    NicCoerced *coerced = ARENA_MSG(ctx->arena, nic_coerced);
    coerced->index = nic->index;
    coerced->asked_model = nic->asked_model;
    coerced->effective_model = nic->effective_model;
    coerced->reason = arena_printf(
        ctx->arena, "NIC %u runs as %s instead of %s: a vhost-user socket carries virtio only%s",
        nic->index, ENUM_LABEL(nic_model, nic->effective_model),
        ENUM_LABEL(nic_model, nic->asked_model), advice);
    VmEvent *event = vm_emit(ctx);
    event->event_case = VM_EVENT__EVENT_NIC_COERCED;
    event->nic_coerced = coerced;
}

/* What is kept of it. Without the devices' addresses the guest may see them at other places after the
 * next start; what the others say must not be lost: an empty state of a TPM that has started is an
 * error, and a NIC keeps its MAC. One that is too large even so is no host's honest word. */
static Hardware *hardware_bounded(VmContext *ctx, Hardware *hardware)
{
    if (hardware == NULL || hardware__get_packed_size(hardware) <= HARDWARE_MAX_BYTES) {
        return hardware;
    }
    Hardware *kept = ARENA_MSG(ctx->arena, hardware);
    *kept = *hardware;
    kept->n_addresses = 0;
    kept->addresses = NULL;
    if (hardware__get_packed_size(kept) + TPM_MARK_BYTES > HARDWARE_MAX_BYTES) {
        kept = ARENA_MSG(ctx->arena, hardware);
    }
    if (model_tpm_has_started(hardware)) {
        model_tpm_mark(ctx->arena, kept);
    }
    return kept;
}

void vm_hardware_take(VmContext *ctx, Hardware *hardware)
{
    ctx->vm->hardware = hardware_bounded(ctx, hardware);
    if (ctx->vm->hardware != hardware) {
        vm_warn(ctx,
                error_make(ctx->arena, ERROR_CODE_TOO_LARGE,
                           "host %s describes the hardware of VM %s in %zu bytes, at most %d are "
                           "kept: the next start will not find its devices' addresses again",
                           ctx->vm->host_uuid, ctx->vm_uuid, hardware__get_packed_size(hardware),
                           HARDWARE_MAX_BYTES),
                "");
    }
}

static void record_hardware(VmContext *ctx, const DomainStarted *started)
{
    VmRecord *vm = ctx->vm;
    FirmwareRef *replaced = started->replaced_firmware;
    if (started->hardware == NULL) {
        return;
    }
    vm_hardware_take(ctx, started->hardware);
    if (vm->tpm != NULL) {
        vm->tpm->host_uuid = vm->host_uuid;
    }
    for (size_t i = 0; i < vm->hardware->n_nics; i++) {
        vm_tell_coercion(ctx, vm->hardware->nics[i]);
    }
    if (replaced != NULL) {
        FirmwareReplaced *told = ARENA_MSG(ctx->arena, firmware_replaced);
        told->before = replaced;
        told->after = started->hardware->firmware;
        VmEvent *event = vm_emit(ctx);
        event->event_case = VM_EVENT__EVENT_FIRMWARE_REPLACED;
        event->firmware_replaced = told;
    }
}

static gboolean is_same_hardware(const Hardware *a, const Hardware *b)
{
    g_autoptr(GBytes) packed = message_pack(a);
    return message_is_packed(b, packed);
}

void vm_on_domain_started(VmContext *ctx, const HostReport *report)
{
    VmRecord *vm = ctx->vm;
    gboolean ours = vm_is_operation(ctx, report->operation_id) &&
                    vm->operation->phase == OPERATION_PHASE_STARTING_DOMAIN;
    if (report->error != NULL) {
        if (ours) {
            vm_start_fail(ctx, report->error);
        } else if (vm->status == VM_STATUS_UNKNOWN && vm->operation == NULL) {
            vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_HOST_REPORT, report->error);
        }
        return;
    }
    gboolean unknown = vm->status == VM_STATUS_UNKNOWN && vm->operation == NULL;
    const Hardware *told = hardware_bounded(ctx, report->domain_started->hardware);
    /* Also when a stop has taken the start's place: what the guest has seen must be seen again. A
     * repeat says nothing new. */
    if (ours || unknown || !is_same_hardware(vm->hardware, told)) {
        record_hardware(ctx, report->domain_started);
    }
    if (ours) {
        vm_status_set(ctx, VM_STATUS_RUNNING, CAUSE_OPERATION_DONE, NULL);
        vm_operation_end(ctx, NULL);
    } else if (unknown) {
        vm_status_set(ctx, VM_STATUS_RUNNING, CAUSE_HOST_REPORT, NULL);
    }
}
