/* vm-service's core: who may ask what, and when. It knows nothing of storage, libvirt, Kafka or the
 * clock.
 *
 *   input                         goes to
 *   VmCommand   (vm.commands)     the table below, then the handler it names
 *   VolumeEvent (volume.events)   vm_on_volume_event  vm_volumes.c
 *   HostReport  (vm.reports)      vm_on_report        vm_reports.c
 *   RuntimeInput                  vm_on_runtime       vm_runtime.c
 *
 * LEGAL: a command in a status. Every other pair is refused, with the statuses that would do.
 *
 *                      Cre Sta Run Stp Spd Reb Dsg Dst Exg Mig Pau Crs Unk
 *   UpdateVm            x   .   .   .   x   .   .   .   .   .   .   x   .
 *   StartVm             x   .   .   .   x   .   .   .   .   .   .   x   .
 *   StopVm              .   f   x   f   .   f   .   .   .   f   x   .   f     f: forced only
 *   RebootVm            .   .   x   .   .   .   .   .   .   .   .   .   .
 *   DestroyVm           x   x   x   x   x   x   .   .   .   x   x   x   x
 *   RecoverVm           .   .   .   .   .   .   .   x   .   .   .   .   .
 *   ExpungeVm           .   .   .   .   .   .   .   x   .   .   .   .   .
 *   ResetNvram          x   .   .   .   x   .   .   .   .   .   .   x   .
 *   AdoptVolume         x   .   .   .   x   .   .   .   .   .   .   x   .
 *   ConfirmHostDown     .   .   .   .   .   .   .   .   .   .   .   .   x
 *   Attach/DetachNic    .   .   x   .   .   .   .   .   .   .   .   .   .
 *   MigrateVm           .   .   x   .   .   .   .   .   .   .   .   .   .
 *
 * CreateVm needs that there is no record. GetVm and ListVolumes are legal in every status.
 * Quarantined allows ReleaseQuarantine beside them; Expunged nothing else.
 * tests/unit/test_legality.c reads this table and asks the core.
 */
#include "services/vm-service/vm_core.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "services/vm-service/vm_saga.h"
#include "services/vm-service/vm_spec.h"

enum { LOGIC_VERSION = 4, SENDER_MAX_BYTES = 255 };

#define IN_TRANSIT (VM_IN(STARTING) | VM_IN(STOPPING) | VM_IN(REBOOTING) | VM_IN(MIGRATING))

typedef void (*CommandHandler)(VmContext *ctx, const VmCommand *command);

static void create_vm(VmContext *ctx, const VmCommand *command);
static void update_vm(VmContext *ctx, const VmCommand *command);
static void stop_vm(VmContext *ctx, const VmCommand *command);
static void destroy_vm(VmContext *ctx, const VmCommand *command);
static void recover_vm(VmContext *ctx, const VmCommand *command);
static void confirm_host_down(VmContext *ctx, const VmCommand *command);
static void get_vm(VmContext *ctx, const VmCommand *command);
static void list_volumes(VmContext *ctx, const VmCommand *command);

typedef struct {
    VmCommand__CommandCase kind;
    const char *name;
    guint32 legal;
    CommandHandler handler; /* NULL: this version refuses the command. */
} Row;

static const Row rows[] = {
    {VM_COMMAND__COMMAND_UPDATE_VM, "UpdateVm", VM_AT_REST, update_vm},
    {VM_COMMAND__COMMAND_START_VM, "StartVm", VM_AT_REST, vm_start_begin},
    {VM_COMMAND__COMMAND_STOP_VM, "StopVm",
     VM_IN(RUNNING) | VM_IN(PAUSED) | VM_IN(UNKNOWN) | IN_TRANSIT, stop_vm},
    {VM_COMMAND__COMMAND_REBOOT_VM, "RebootVm", VM_IN(RUNNING), vm_reboot_begin},
    {VM_COMMAND__COMMAND_DESTROY_VM, "DestroyVm",
     VM_AT_REST | VM_IN(RUNNING) | VM_IN(PAUSED) | VM_IN(UNKNOWN) | IN_TRANSIT, destroy_vm},
    {VM_COMMAND__COMMAND_RECOVER_VM, "RecoverVm", VM_IN(DESTROYED), recover_vm},
    {VM_COMMAND__COMMAND_EXPUNGE_VM, "ExpungeVm", VM_IN(DESTROYED), vm_expunge_begin},
    {VM_COMMAND__COMMAND_RESET_NVRAM, "ResetNvram", VM_AT_REST, vm_change_volumes_begin},
    {VM_COMMAND__COMMAND_ADOPT_VOLUME, "AdoptVolume", VM_AT_REST, vm_change_volumes_begin},
    {VM_COMMAND__COMMAND_CONFIRM_HOST_DOWN, "ConfirmHostDown", VM_IN(UNKNOWN), confirm_host_down},
    {VM_COMMAND__COMMAND_RELEASE_QUARANTINE, "ReleaseQuarantine", VM_IN(QUARANTINED), vm_release},
    {VM_COMMAND__COMMAND_ATTACH_NIC, "AttachNic", VM_IN(RUNNING), vm_attach_nic_begin},
    {VM_COMMAND__COMMAND_DETACH_NIC, "DetachNic", VM_IN(RUNNING), vm_detach_nic_begin},
    {VM_COMMAND__COMMAND_MIGRATE_VM, "MigrateVm", VM_IN(RUNNING), NULL},
};

static const Row *row_find(VmCommand__CommandCase kind)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].kind == kind) {
            return &rows[i];
        }
    }
    return NULL;
}

static Error *illegal_status(VmContext *ctx, const Row *row)
{
    g_autoptr(GString) legal = g_string_new(NULL);
    for (int status = VM_STATUS_CREATED; status <= VM_STATUS_QUARANTINED; status++) {
        if ((row->legal & (1u << status)) != 0) {
            g_string_append_printf(legal, "%s%s", legal->len > 0 ? ", " : "",
                                   ENUM_LABEL(vm_status, status));
        }
    }
    VmStatus status = ctx->vm->status;
    ErrorCode code = status == VM_STATUS_QUARANTINED ? ERROR_CODE_QUARANTINED
                     : ctx->vm->operation != NULL    ? ERROR_CODE_BUSY
                                                     : ERROR_CODE_ILLEGAL_STATUS;
    return error_make(ctx->arena, code, "VM %s is %s; %s is legal in: %s", ctx->vm_uuid,
                      ENUM_LABEL(vm_status, status), row->name, legal->str);
}

/* A request seen before: its reply again, or silence while it runs. FALSE: it is new. */
static gboolean answer_repeat(VmContext *ctx, const char *request_id)
{
    VmRecord *vm = ctx->vm;
    if (vm->operation != NULL && strcmp(vm->operation->request_id, request_id) == 0) {
        return TRUE;
    }
    for (size_t i = 0; i < vm->n_outcomes; i++) {
        if (strcmp(vm->outcomes[i]->request_id, request_id) == 0) {
            vm_emit_reply(ctx, request_id, vm->outcomes[i]->error)->repeated = TRUE;
            return TRUE;
        }
    }
    return FALSE;
}

static Error *check_timeout(VmContext *ctx, const VmCommand *command)
{
    gint64 timeout_ms = command->timeout_ms;
    /* A reboot is two operations in one. */
    gint64 least_ms = command->command_case == VM_COMMAND__COMMAND_REBOOT_VM ? 2 * TIMEOUT_MIN_MS
                                                                             : TIMEOUT_MIN_MS;
    if (timeout_ms == 0 || (timeout_ms >= least_ms && timeout_ms <= TIMEOUT_MAX_MS)) {
        return NULL;
    }
    return error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                      "timeout_ms is %" G_GINT64_FORMAT ": 0, or %" G_GINT64_FORMAT
                      " to %d, is allowed",
                      timeout_ms, least_ms, TIMEOUT_MAX_MS);
}

static Error *check_sender(VmContext *ctx, const VmCommand *command)
{
    size_t bytes = strlen(command->sender);
    if (bytes <= SENDER_MAX_BYTES) {
        return NULL;
    }
    return error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                      "sender has %zu bytes, at most %d are allowed", bytes, SENDER_MAX_BYTES);
}

/* A read never changes the record: not even its refusal is kept. */
static gboolean is_read(VmCommand__CommandCase kind)
{
    return kind == VM_COMMAND__COMMAND_GET_VM || kind == VM_COMMAND__COMMAND_LIST_VOLUMES;
}

static void on_command(VmContext *ctx, const VmCommand *command)
{
    VmCommand__CommandCase kind = command->command_case;
    const char *request_id = command->request_id;
    if (ctx->vm != NULL && answer_repeat(ctx, request_id)) {
        return;
    }
    Error *bad = check_timeout(ctx, command);
    bad = bad != NULL ? bad : check_sender(ctx, command);
    if (bad != NULL && is_read(kind)) {
        vm_emit_reply(ctx, request_id, bad);
        return;
    }
    if (bad != NULL) {
        vm_reply(ctx, request_id, bad);
        return;
    }
    if (kind == VM_COMMAND__COMMAND_CREATE_VM) {
        create_vm(ctx, command);
        return;
    }
    if (kind != VM_COMMAND__COMMAND__NOT_SET && ctx->vm == NULL) {
        vm_reply(ctx, request_id,
                 error_make(ctx->arena, ERROR_CODE_VM_NOT_FOUND,
                            "there is no VM %s: check the uuid, or create it", ctx->vm_uuid));
        return;
    }
    if (kind == VM_COMMAND__COMMAND_GET_VM) {
        get_vm(ctx, command);
        return;
    }
    if (kind == VM_COMMAND__COMMAND_LIST_VOLUMES) {
        list_volumes(ctx, command);
        return;
    }
    const Row *row = row_find(kind);
    if (row == NULL) {
        vm_reply(ctx, request_id,
                 error_make(ctx->arena, ERROR_CODE_UNKNOWN_COMMAND,
                            "the request holds no command that this version knows: update "
                            "virtbus, or mend the producer"));
        return;
    }
    if ((row->legal & (1u << ctx->vm->status)) == 0) {
        vm_reply(ctx, request_id, illegal_status(ctx, row));
        return;
    }
    if (ctx->vm->operation != NULL && kind != VM_COMMAND__COMMAND_STOP_VM &&
        kind != VM_COMMAND__COMMAND_DESTROY_VM) {
        vm_reply(ctx, request_id,
                 error_make(ctx->arena, ERROR_CODE_BUSY,
                            "VM %s is %s, and its %s runs: wait for the reply", ctx->vm_uuid,
                            ENUM_LABEL(vm_status, ctx->vm->status),
                            ENUM_LABEL(operation_kind, ctx->vm->operation->kind)));
        return;
    }
    if (row->handler == NULL) {
        vm_reply(ctx, request_id,
                 error_make(ctx->arena, ERROR_CODE_UNSUPPORTED,
                            "%s is not supported by this version; VM %s is unchanged", row->name,
                            ctx->vm_uuid));
        return;
    }
    row->handler(ctx, command);
}

/* A TPM keeps its identity and its volume as long as the VM exists, also when it is taken out for a
 * while: its entity is derived, and its volume found by type. */
static void spec_take(VmContext *ctx, VmRecord *vm, VmSpec *spec)
{
    vm->spec = spec;
    vm->nvram_needed = vm_spec_needs_nvram(spec, ctx->settings);
    if (spec->tpm == NULL) {
        vm->tpm = NULL;
        return;
    }
    if (vm->tpm == NULL) {
        vm->tpm = ARENA_MSG(ctx->arena, tpm_device);
        vm->tpm->uuid = uuid_derive(ctx->arena, ctx->vm_uuid, "tpm");
        vm->tpm->version = TPM_VERSION_2_0;
    }
    vm->tpm->model = spec->tpm->model == TPM_MODEL_TIS ? TPM_MODEL_TIS : TPM_MODEL_CRB;
}

static void create_vm(VmContext *ctx, const VmCommand *command)
{
    if (ctx->vm != NULL) {
        vm_reply(ctx, command->request_id,
                 error_make(ctx->arena, ERROR_CODE_VM_EXISTS,
                            "VM %s exists and is %s: use another uuid", ctx->vm_uuid,
                            ENUM_LABEL(vm_status, ctx->vm->status)));
        return;
    }
    Error *error = NULL;
    VmSpec *spec = vm_spec_resolve(ctx->arena, ctx->vm_uuid, command->create_vm->spec, NULL,
                                   ctx->settings, &error);
    if (spec == NULL) {
        vm_reply(ctx, command->request_id, error);
        return;
    }
    VmRecord *vm = ARENA_MSG(ctx->arena, vm_record);
    vm->created_ms = ctx->now_ms;
    spec_take(ctx, vm, spec);
    StateRecord *state = ARENA_MSG(ctx->arena, state_record);
    state->body_case = STATE_RECORD__BODY_VM;
    state->vm = vm;
    ctx->step->state = state;
    ctx->vm = vm;
    vm_status_set(ctx, VM_STATUS_CREATED, CAUSE_REQUEST, NULL);
    vm_reply(ctx, command->request_id, NULL);
}

/* Volumes that are made do not move. Whether a disk still fits the volume of its index is
 * volume-service's to judge, at the next start. */
static Error *check_storage_stays(VmContext *ctx, const VmSpec *spec)
{
    const StorageRef *before = ctx->vm->spec->storage;
    if (ctx->vm->epoch == 0 || vm_spec_is_same_storage(spec->storage, before)) {
        return NULL;
    }
    return error_make(ctx->arena, ERROR_CODE_UNSUPPORTED,
                      "VM %s has been started, so its volumes are on storage %s: they cannot "
                      "move to another one",
                      ctx->vm_uuid, before != NULL ? before->name : "-");
}

static Error *check_version(VmContext *ctx, const UpdateVm *update)
{
    guint64 version = ctx->step->state->version;
    if (update->expected_version == 0 || update->expected_version == version) {
        return NULL;
    }
    return error_make(ctx->arena, ERROR_CODE_VERSION_CONFLICT,
                      "VM %s has version %" G_GUINT64_FORMAT " and not %" G_GUINT64_FORMAT
                      ": it has changed since it was read; read it again",
                      ctx->vm_uuid, version, update->expected_version);
}

/* The whole configuration anew. Volumes, pinned hardware and the variable store stay what they are. */
static void update_vm(VmContext *ctx, const VmCommand *command)
{
    VmRecord *vm = ctx->vm;
    Error *error = check_version(ctx, command->update_vm);
    VmSpec *spec = error == NULL
                       ? vm_spec_resolve(ctx->arena, ctx->vm_uuid, command->update_vm->spec,
                                         vm->spec, ctx->settings, &error)
                       : NULL;
    if (error == NULL) {
        error = check_storage_stays(ctx, spec);
    }
    if (error == NULL) {
        spec_take(ctx, vm, spec);
    }
    vm_reply(ctx, command->request_id, error);
}

static void stop_vm(VmContext *ctx, const VmCommand *command)
{
    StopMode mode = command->stop_vm->mode;
    if (mode == STOP_MODE_UNSPECIFIED) {
        mode = STOP_MODE_GRACEFUL;
    }
    VmStatus status = ctx->vm->status;
    gboolean calm =
        (status == VM_STATUS_RUNNING || status == VM_STATUS_PAUSED) && ctx->vm->operation == NULL;
    if (!calm && mode != STOP_MODE_FORCED) {
        vm_reply(
            ctx, command->request_id,
            error_make(ctx->arena,
                       ctx->vm->operation != NULL ? ERROR_CODE_BUSY : ERROR_CODE_ILLEGAL_STATUS,
                       "VM %s is %s; only a forced stop is legal there", ctx->vm_uuid,
                       ENUM_LABEL(vm_status, status)));
        return;
    }
    vm_stop_begin(ctx, command, OPERATION_KIND_STOP, mode);
}

static void destroy_vm(VmContext *ctx, const VmCommand *command)
{
    vm_stop_begin(ctx, command, OPERATION_KIND_DESTROY, STOP_MODE_FORCED);
}

static void recover_vm(VmContext *ctx, const VmCommand *command)
{
    vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_REQUEST, NULL);
    vm_reply(ctx, command->request_id, NULL);
}

/* The one way out of Unknown that no host takes part in: the operator answers for the fencing. Should
 * the host come back with the domain after all, it is stopped there (vm_reports.c). */
static void confirm_host_down(VmContext *ctx, const VmCommand *command)
{
    const char *host_uuid = command->confirm_host_down->host_uuid;
    if (strcmp(host_uuid, ctx->vm->host_uuid) != 0) {
        vm_reply(ctx, command->request_id,
                 error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                            "VM %s is on host %s, not on %s: confirm for that host", ctx->vm_uuid,
                            ctx->vm->host_uuid, host_uuid));
        return;
    }
    vm_status_set(ctx, VM_STATUS_STOPPED, CAUSE_HOST_CONFIRMED_DOWN, NULL);
    vm_reply(ctx, command->request_id, NULL);
}

/* Reads change nothing, so their replies are not kept. */
static void get_vm(VmContext *ctx, const VmCommand *command)
{
    vm_emit_reply(ctx, command->request_id, NULL)->vm = ctx->vm;
}

/* Passed on: volume-service owns the answer, and vm_on_volume_event turns it into the reply. */
static void list_volumes(VmContext *ctx, const VmCommand *command)
{
    VolumeCommand *ask = vm_ask_volumes(ctx, 0);
    ask->operation_id = command->request_id;
    ask->command_case = VOLUME_COMMAND__COMMAND_READ_VOLUMES;
    ask->read_volumes = ARENA_MSG(ctx->arena, read_volumes);
}

static VmContext context_open(VbStep *step)
{
    VmRecord *vm = step->state != NULL && step->state->body_case == STATE_RECORD__BODY_VM
                       ? step->state->vm
                       : NULL;
    return (VmContext){
        .step = step,
        .arena = step->arena,
        .settings = step->input->settings,
        .vm_uuid = step->input->vm_uuid,
        .now_ms = step->input->time_ms,
        .vm = vm,
        .version = step_version(step),
        .fault = step->state != NULL && vm == NULL,
    };
}

static VbStepResult vm_step(VbStep *step)
{
    VbStepBefore before = step_before(step);
    VmContext ctx = context_open(step);
    const VbStepInput *input = step->input;
    if (ctx.fault) {
        return STEP_FAULT;
    }
    if (input->runtime != NULL) {
        vm_on_runtime(&ctx, input->runtime);
    } else if (input->topic == TOPIC_VM_COMMANDS) {
        on_command(&ctx, (const VmCommand *)input->record);
    } else if (input->topic == TOPIC_VOLUME_EVENTS) {
        vm_on_volume_event(&ctx, (const VolumeEvent *)input->record);
    } else if (input->topic == TOPIC_VM_REPORTS) {
        vm_on_report(&ctx, (const HostReport *)input->record);
    } else {
        return STEP_FAULT;
    }
    step_settle_versions(step, before, TOPIC_VM_EVENTS);
    return ctx.fault ? STEP_FAULT : STEP_OK;
}

static void vm_refuse(VbStep *step, const char *request_id, const Error *error)
{
    VmContext ctx = context_open(step);
    ctx.version = step->state != NULL ? step->state->version : 0;
    vm_emit_reply(&ctx, request_id, (Error *)error);
}

static const VbTopic inputs[] = {TOPIC_VM_COMMANDS, TOPIC_VM_REPORTS, TOPIC_VOLUME_EVENTS};

const VbService vm_service = {
    .name = "vm-service",
    .logic_version = LOGIC_VERSION,
    .inputs = inputs,
    .n_inputs = G_N_ELEMENTS(inputs),
    .state_topic = TOPIC_VM_STATE,
    .state_body = STATE_RECORD__BODY_VM,
    .journal_topic = TOPIC_VM_JOURNAL,
    .step = vm_step,
    .refuse = vm_refuse,
};
