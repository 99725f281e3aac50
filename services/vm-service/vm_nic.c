/* NICs that come and go while the VM runs. The record's configuration follows what the host says it
 * has done, also when nobody waits for it any more: a NIC in a running domain is part of it. */
#include "services/vm-service/vm_saga.h"

#include <string.h>

#include "common/base/model.h"
#include "services/vm-service/vm_spec.h"

/* The NIC's place in the configuration; n_nics: it is not there. */
static size_t nic_find(const VmSpec *spec, guint32 index)
{
    size_t i = 0;
    while (i < spec->n_nics && spec->nics[i]->index != index) {
        i++;
    }
    return i;
}

static void nic_remove(VmSpec *spec, guint32 index)
{
    size_t i = nic_find(spec, index);
    if (i == spec->n_nics) {
        return;
    }
    spec->n_nics--;
    for (; i < spec->n_nics; i++) {
        spec->nics[i] = spec->nics[i + 1];
    }
}

/* The record's configuration with one NIC more: the rules are those of the whole. NULL and an error. */
static VmSpec *spec_with(VmContext *ctx, NicSpec *nic, Error **ret_error)
{
    const VmSpec *before = ctx->vm->spec;
    VmSpec *with = arena_copy(ctx->arena, before);
    ARENA_APPEND(ctx->arena, with->n_nics, with->nics, nic);
    return vm_spec_resolve(ctx->arena, ctx->vm_uuid, with, before, ctx->settings, ret_error);
}

/* What a host says is no reason to take up what nobody may ask for. FALSE: it is there already, or
 * cannot be. */
static gboolean nic_add(VmContext *ctx, NicSpec *nic)
{
    Error *error = NULL;
    if (nic_find(ctx->vm->spec, nic->index) < ctx->vm->spec->n_nics) {
        return FALSE;
    }
    VmSpec *spec = spec_with(ctx, nic, &error);
    if (spec == NULL) {
        vm_warn(ctx,
                error_make(ctx->arena, error->code,
                           "host %s says that NIC %u is in VM %s, whose configuration cannot have "
                           "it: %s",
                           ctx->vm->host_uuid, nic->index, ctx->vm_uuid, error->message),
                "");
        return FALSE;
    }
    ctx->vm->spec = spec;
    return TRUE;
}

static HostCommand *change_begin(VmContext *ctx, const VmCommand *command, OperationKind kind,
                                 NicSpec *nic)
{
    Operation *operation =
        vm_operation_begin(ctx, kind, command->request_id, ctx->vm->host_uuid,
                           vm_timeout_or(command, ctx->settings->start_timeout_ms));
    operation->nic = nic;
    vm_operation_phase(ctx, OPERATION_PHASE_CHANGING_DEVICE,
                       operation->deadline_ms + ctx->settings->allowed_skew_ms);
    return vm_ask_host(ctx, operation->host_uuid, vm_host_expiry_ms(operation));
}

void vm_attach_nic_begin(VmContext *ctx, const VmCommand *command)
{
    VmRecord *vm = ctx->vm;
    NicSpec *nic = command->attach_nic->nic;
    Error *error = NULL;
    VmSpec *spec = NULL;
    if (nic == NULL) {
        error = error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT, "attach_nic.nic is missing");
    } else {
        spec = spec_with(ctx, nic, &error);
        if (spec == NULL) {
            error = error_make(ctx->arena, error->code, "attach_nic.nic: %s", error->message);
        }
    }
    if (spec == NULL) {
        vm_reply(ctx, command->request_id, error);
        return;
    }
    AttachDevice *attach = ARENA_MSG(ctx->arena, attach_device);
    attach->nic = nic;
    attach->spec = spec;
    attach->hardware = vm->hardware;
    HostCommand *ask = change_begin(ctx, command, OPERATION_KIND_ATTACH_NIC, nic);
    ask->command_case = HOST_COMMAND__COMMAND_ATTACH_DEVICE;
    ask->attach_device = attach;
}

void vm_detach_nic_begin(VmContext *ctx, const VmCommand *command)
{
    VmRecord *vm = ctx->vm;
    guint32 index = command->detach_nic->index;
    size_t i = nic_find(vm->spec, index);
    if (i == vm->spec->n_nics) {
        vm_reply(ctx, command->request_id,
                 error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                            "detach_nic.index is %u: VM %s has no such NIC, see GetVm", index,
                            ctx->vm_uuid));
        return;
    }
    DetachDevice *detach = ARENA_MSG(ctx->arena, detach_device);
    detach->nic = vm->spec->nics[i];
    detach->spec = arena_copy(ctx->arena, vm->spec);
    nic_remove(detach->spec, index);
    detach->hardware = vm->hardware;
    HostCommand *ask = change_begin(ctx, command, OPERATION_KIND_DETACH_NIC, detach->nic);
    ask->command_case = HOST_COMMAND__COMMAND_DETACH_DEVICE;
    ask->detach_device = detach;
}

/* The host knows no more than that the guest has let go of it. */
static void hardware_lose_nic(Hardware *hardware, guint32 index)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < hardware->n_nics; i++) {
        if (hardware->nics[i]->index != index) {
            hardware->nics[n_kept++] = hardware->nics[i];
        }
    }
    hardware->n_nics = n_kept;
}

static void take_change(VmContext *ctx, const DeviceChanged *changed)
{
    VmRecord *vm = ctx->vm;
    if (changed->hardware != NULL) {
        vm_hardware_take(ctx, changed->hardware);
    } else if (changed->detached != NULL && vm->hardware != NULL) {
        hardware_lose_nic(vm->hardware, changed->detached->index);
    }
    if (changed->detached != NULL) {
        nic_remove(vm->spec, changed->detached->index);
    }
    if (changed->attached == NULL || !nic_add(ctx, changed->attached)) {
        return;
    }
    const EffectiveNic *nic = model_nic(vm->hardware, changed->attached->index);
    if (nic != NULL) {
        vm_tell_coercion(ctx, nic);
    }
}

void vm_on_device_changed(VmContext *ctx, const HostReport *report)
{
    VmRecord *vm = ctx->vm;
    gboolean ours = vm_is_operation(ctx, report->operation_id) &&
                    vm->operation->phase == OPERATION_PHASE_CHANGING_DEVICE;
    if (report->error == NULL && vm_status_may_run(vm->status)) {
        take_change(ctx, report->device_changed);
        if (vm->status == VM_STATUS_UNKNOWN && vm->operation == NULL) {
            vm_status_set(ctx, VM_STATUS_RUNNING, CAUSE_HOST_REPORT, NULL);
        }
    }
    if (ours) {
        vm_operation_end(ctx, report->error);
    }
}
