/* What committed records say: states, commands to hosts, events, reports; and what no such record may
 * say, whatever the world is like. */
#include <string.h>

#include "common/base/limits.h"
#include "common/base/text.h"
#include "tests/sim/sim_broker.h"
#include "tests/sim/sim_check.h"

static void state_keep(CheckVm *vm, int service, const VbBusRecord *record)
{
    g_clear_pointer(&vm->states[service], g_bytes_unref);
    if (record->value != NULL) {
        vm->states[service] = g_bytes_new(record->value, record->value_bytes);
    }
}

static const StateRecord *state_unpack(SimCheck *check, const CheckVm *vm,
                                       const VbBusRecord *record)
{
    const StateRecord *state =
        record->value == NULL
            ? NULL
            : check_unpack(check, &state_record__descriptor, record->value, record->value_bytes);
    if (record->value != NULL && state == NULL) {
        sim_fail(check->sim, "I7", vm->uuid, "a committed state of %s is not readable",
                 topic_info(record->topic)->suffix);
    }
    return state;
}

/* ---- vm.state */

static gboolean is_transitional(VmStatus status)
{
    return status == VM_STATUS_STARTING || status == VM_STATUS_STOPPING ||
           status == VM_STATUS_REBOOTING || status == VM_STATUS_DESTROYING ||
           status == VM_STATUS_EXPUNGING || status == VM_STATUS_MIGRATING;
}

/* I8: what is under way has an operation, and a deadline that ends it. */
static void check_under_way(SimCheck *check, const CheckVm *vm, const StateRecord *state)
{
    const VmRecord *record = state->vm;
    const Operation *operation = record->operation;
    /* A change of volumes or of a NIC is an operation too, but the VM rests or runs meanwhile. */
    gboolean changes = operation != NULL && (operation->phase == OPERATION_PHASE_CHANGING_VOLUMES ||
                                             (operation->phase == OPERATION_PHASE_CHANGING_DEVICE &&
                                              record->status == VM_STATUS_RUNNING));
    gboolean moves = changes || is_transitional(record->status);
    sim_judge(SIM_I8, FALSE);
    if (moves != (operation != NULL) || (moves && state->deadline_ms == 0)) {
        sim_fail(check->sim, "I8", vm->uuid, "it is %s with %s operation and %s deadline",
                 ENUM_LABEL(vm_status, record->status), operation != NULL ? "an" : "no",
                 state->deadline_ms != 0 ? "a" : "no");
    }
    if (record->n_outcomes > OUTCOMES_KEPT) {
        sim_fail(check->sim, "I8", vm->uuid, "its record keeps %zu outcomes", record->n_outcomes);
    }
}

static void status_note(SimCheck *check, CheckVm *vm, VmStatus status)
{
    if (status == vm->status) {
        return;
    }
    if (status == VM_STATUS_UNKNOWN) {
        sim_mark(MARK_VM_UNKNOWN);
    }
    vm->status = status;
    vm->status_since_ms = sim_now_ms(check->sim);
}

static gboolean names_tpm(const Hardware *hardware)
{
    for (size_t i = 0; hardware != NULL && i < hardware->n_addresses; i++) {
        if (strcmp(hardware->addresses[i]->device, "tpm/0") == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean has_unread(const SimCheck *check, const CheckVm *vm, guint host)
{
    SimBroker *broker = check->world->broker;
    const char *host_uuid = check->world->host_uuids[host];
    gint64 offset = MAX(sim_broker_host_offset(broker, host_uuid), 0);
    const VbBusRecord *record;
    while ((record = sim_broker_read(broker, TOPIC_HOST_COMMANDS, host_uuid, 0, &offset)) != NULL) {
        if (record->key_bytes == strlen(vm->uuid) &&
            memcmp(record->key, vm->uuid, record->key_bytes) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Hosts that have not done all that was asked of them in the life that ends. A record is to be kept
 * for longer than that takes (expunged.keep); here it may be a minute, and a clock may leap. */
static guint64 unfinished_hosts(const SimCheck *check, const CheckVm *vm)
{
    guint64 hosts = 0;
    for (guint i = 0; i < check->world->plan->n_hosts; i++) {
        gboolean is_left = has_unread(check, vm, i);
        for (guint j = 0; j < vm->volumes->len; j++) {
            const CheckVolume *volume = g_ptr_array_index(vm->volumes, j);
            is_left = is_left || strcmp(volume->host_uuid, check->world->host_uuids[i]) == 0;
        }
        hosts |= (guint64)is_left << i;
    }
    return hosts;
}

static void vm_forget(SimCheck *check, CheckVm *vm)
{
    vm->crossed |= unfinished_hosts(check, vm);
    memset(vm->epochs_on, 0, check->world->plan->n_hosts * sizeof(*vm->epochs_on));
    memset(vm->taken_epochs, 0, check->world->plan->n_hosts * sizeof(*vm->taken_epochs));
    vm->exists = FALSE;
    vm->status = VM_STATUS_UNSPECIFIED;
    vm->epoch = 0;
    vm->version = 0;
    vm->host_uuid[0] = '\0';
    vm->ran_on[0] = '\0';
    vm->has_operation = FALSE;
    vm->deadline_ms = 0;
    vm->tpm_started = FALSE;
    vm->vhost_nics = 0;
    vm->newest_epoch = 0;
    vm->lives++;
    g_array_set_size(vm->starts, 0);
}

static void vm_take(SimCheck *check, CheckVm *vm, const StateRecord *state)
{
    const VmRecord *record = state->vm;
    if (vm->exists && sim_judge(SIM_I7, FALSE) && state->version <= vm->version) {
        sim_fail(check->sim, "I7", vm->uuid,
                 "its version was %" G_GUINT64_FORMAT " and is %" G_GUINT64_FORMAT, vm->version,
                 state->version);
    }
    if (vm->exists && sim_judge(SIM_I6, FALSE) && record->epoch < vm->epoch) {
        sim_fail(check->sim, "I6", vm->uuid,
                 "its epoch was %" G_GUINT64_FORMAT " and is %" G_GUINT64_FORMAT, vm->epoch,
                 record->epoch);
    }
    check_under_way(check, vm, state);
    if (record->status == VM_STATUS_RUNNING) {
        if (*vm->ran_on != '\0' && strcmp(vm->ran_on, record->host_uuid) != 0) {
            sim_mark(MARK_STARTED_ELSEWHERE);
        }
        g_strlcpy(vm->ran_on, record->host_uuid, sizeof(vm->ran_on));
    }
    vm->exists = TRUE;
    vm->epoch = record->epoch;
    vm->version = state->version;
    g_strlcpy(vm->host_uuid, record->host_uuid, sizeof(vm->host_uuid));
    vm->has_operation = record->operation != NULL;
    vm->deadline_ms = state->deadline_ms;
    vm->tpm_started = names_tpm(record->hardware);
    vm->vhost_nics = 0;
    for (size_t i = 0; i < record->spec->n_nics; i++) {
        const NicSpec *nic = record->spec->nics[i];
        if (nic->type == NIC_TYPE_VHOST_USER && nic->index < 64) {
            vm->vhost_nics |= G_GUINT64_CONSTANT(1) << nic->index;
        }
    }
    status_note(check, vm, record->status);
    if (record->status == VM_STATUS_RUNNING && record->operation == NULL) {
        check_start_is_done(check, vm);
    }
    check_nothing_runs(check, vm);
}

void check_vm_state(SimCheck *check, CheckVm *vm, const VbBusRecord *record)
{
    state_keep(vm, SERVICE_VM, record);
    const StateRecord *state = state_unpack(check, vm, record);
    if (record->value == NULL) {
        vm_forget(check, vm);
    } else if (state != NULL && state->vm != NULL && state->body_case == STATE_RECORD__BODY_VM) {
        vm_take(check, vm, state);
    }
}

/* ---- volume.state */

static gboolean is_live(const Volume *volume)
{
    return volume->type == VOLUME_TYPE_NV_RAM &&
           (volume->status == VOLUME_STATUS_NOT_INSTANTIATED ||
            volume->status == VOLUME_STATUS_CREATING || volume->status == VOLUME_STATUS_READY);
}

void check_volume_state(SimCheck *check, CheckVm *vm, const VbBusRecord *record)
{
    state_keep(vm, SERVICE_VOLUME, record);
    const StateRecord *state = state_unpack(check, vm, record);
    const VolumeRecord *volumes = state != NULL ? state->volumes : NULL;
    guint n_live = 0;
    guint n_stores = 0;
    vm->volumes_deadline_ms = 0;
    if (state != NULL && state->body_case != STATE_RECORD__BODY_VOLUMES) {
        sim_fail(check->sim, "I7", vm->uuid, "its volumes' record holds no volumes");
        return;
    }
    for (size_t i = 0; volumes != NULL && i < volumes->n_volumes; i++) {
        n_live += is_live(volumes->volumes[i]);
        n_stores += volumes->volumes[i]->type == VOLUME_TYPE_NV_RAM;
    }
    if (n_stores > 0 && sim_judge(SIM_I2, FALSE) && n_live > 1) {
        sim_fail(check->sim, "I2", vm->uuid, "it has %u live variable stores", n_live);
    }
    if (volumes != NULL && volumes->operation != NULL) {
        vm->volumes_deadline_ms = state->deadline_ms;
        sim_judge(SIM_I8, FALSE);
        if (state->deadline_ms == 0) {
            sim_fail(check->sim, "I8", vm->uuid, "its volumes' operation has no deadline");
        }
    }
    check_volumes_take(check, vm, volumes, state != NULL ? state->step_ms : 0);
}

/* ---- host.*.commands */

static void start_note(CheckVm *vm, const StartDomain *start, CheckStart *ret_start)
{
    ret_start->nvram_needed = start->nvram_needed;
    ret_start->secure_boot = start->firmware_class != NULL && start->firmware_class->secure_boot;
    ret_start->tpm_expected = vm->tpm_started && *start->tpm_volume_uuid != '\0';
    g_strlcpy(ret_start->tpm_uuid, start->tpm_volume_uuid, UUID_TEXT_BYTES);
    for (size_t i = 0; i < start->n_volumes; i++) {
        const Volume *volume = start->volumes[i];
        if (volume->type == VOLUME_TYPE_NV_RAM) {
            g_strlcpy(ret_start->nvram_uuid, volume->uuid, UUID_TEXT_BYTES);
        } else if (volume->type == VOLUME_TYPE_ROOT) {
            g_strlcpy(ret_start->root_uuid, volume->uuid, UUID_TEXT_BYTES);
        }
    }
}

/* I3: it carries exactly the variable store that it needs, Ready; its epoch is new. */
static void check_start(SimCheck *check, CheckVm *vm, guint host, const HostCommand *command)
{
    const StartDomain *start = command->start_domain;
    guint n_nvram = 0;
    for (size_t i = 0; i < start->n_volumes; i++) {
        const Volume *volume = start->volumes[i];
        n_nvram += volume->type == VOLUME_TYPE_NV_RAM;
        if (volume->status != VOLUME_STATUS_READY) {
            sim_fail(check->sim, "I3", vm->uuid, "StartDomain names volume %s, which is %s",
                     volume->uuid, ENUM_LABEL(volume_status, volume->status));
        }
    }
    sim_judge(SIM_I3, FALSE);
    if (n_nvram != (start->nvram_needed ? 1 : 0)) {
        sim_fail(check->sim, "I3", vm->uuid, "StartDomain has %u variable stores", n_nvram);
    }
    if (command->epoch > vm->epoch || command->expires_ms == 0) {
        sim_fail(check->sim, "I3", vm->uuid,
                 "StartDomain has epoch %" G_GUINT64_FORMAT ", its VM %" G_GUINT64_FORMAT
                 ", and expires at %" G_GINT64_FORMAT,
                 command->epoch, vm->epoch, command->expires_ms);
    }
    sim_judge(SIM_I6, FALSE);
    if (check_start_find(vm, command->epoch) != NULL) {
        sim_fail(check->sim, "I6", vm->uuid,
                 "a second StartDomain of epoch %" G_GUINT64_FORMAT " was committed",
                 command->epoch);
        return;
    }
    CheckStart note = {.epoch = command->epoch, .host = host, .expires_ms = command->expires_ms};
    g_strlcpy(note.operation_id, command->operation_id, UUID_TEXT_BYTES);
    start_note(vm, start, &note);
    g_array_append_val(vm->starts, note);
}

/* I4: the deletion is committed before, or with this very command. */
static void check_deletion(SimCheck *check, const CheckVm *vm, const DeleteVolumes *delete)
{
    for (size_t i = 0; i < delete->n_volumes; i++) {
        const CheckVolume *volume = check_volume_find(check, delete->volumes[i]->uuid);
        sim_judge(SIM_I4, FALSE);
        if (volume == NULL || (volume->acknowledged && !volume->doomed)) {
            sim_fail(check->sim, "I4", vm->uuid,
                     "DeleteVolumes names volume %s, whose deletion is not committed",
                     delete->volumes[i]->uuid);
        }
    }
}

/* I5: content is made once. One that becomes Ready with this very transaction may have been asked for
 * again a step before. */
static void check_creation(SimCheck *check, const CheckVm *vm, const CreateVolumes *create)
{
    for (size_t i = 0; i < create->n_volumes; i++) {
        const CheckVolume *volume = check_volume_find(check, create->volumes[i]->uuid);
        if (volume != NULL && sim_judge(SIM_I5, FALSE) && volume->acknowledged && !volume->gone &&
            volume->acknowledged_in != check->n_judged) {
            sim_fail(check->sim, "I5", vm->uuid, "volume %s was Ready once and is made anew",
                     volume->uuid);
        }
    }
}

void check_host_command(SimCheck *check, CheckVm *vm, const char *host_uuid,
                        const VbBusRecord *record)
{
    const HostCommand *command =
        check_unpack(check, &host_command__descriptor, record->value, record->value_bytes);
    int host = check_host_index(check, host_uuid);
    if (command == NULL || host < 0) {
        return;
    }
    switch (command->command_case) {
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        check_start(check, vm, (guint)host, command);
        return;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
        check_deletion(check, vm, command->delete_volumes);
        return;
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        check_creation(check, vm, command->create_volumes);
        return;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
    case HOST_COMMAND__COMMAND_FORGET_VM:
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
    case HOST_COMMAND__COMMAND__NOT_SET:
        return;
    }
}

/* ---- vm.events */

static void mark_change(const StatusChanged *changed)
{
    switch (changed->cause) {
    case CAUSE_GUEST_CRASH:
        sim_mark(MARK_GUEST_CRASHED);
        return;
    case CAUSE_RESTART_POLICY:
        sim_mark(MARK_RESTARTED_BY_POLICY);
        return;
    case CAUSE_HOST_CONFIRMED_DOWN:
        sim_mark(MARK_HOST_CONFIRMED_DOWN);
        return;
    case CAUSE_HOST_REPORT:
        if (changed->from == VM_STATUS_UNKNOWN) {
            sim_mark(MARK_UNKNOWN_HEALED);
        }
        return;
    case CAUSE_UNSPECIFIED:
    case CAUSE_REQUEST:
    case CAUSE_OPERATION_DONE:
    case CAUSE_OPERATION_FAILED:
    case CAUSE_GUEST_SHUTDOWN:
    case CAUSE_HOST_SILENT:
    case CAUSE_POISON:
    case CAUSE_RELEASED:
        return;
    }
}

/* I6: a start begins only where nothing may run. */
static void check_start_begins(SimCheck *check, const CheckVm *vm, const StatusChanged *changed)
{
    if (changed->to == VM_STATUS_STARTING && sim_judge(SIM_I6, FALSE) &&
        changed->from != VM_STATUS_CREATED && changed->from != VM_STATUS_STOPPED &&
        changed->from != VM_STATUS_CRASHED) {
        sim_fail(check->sim, "I6", vm->uuid, "it is started from %s",
                 ENUM_LABEL(vm_status, changed->from));
    }
}

/* I3: a host is not given up while it may still be at its start. */
static void check_given_up(SimCheck *check, CheckVm *vm, const VmEvent *event)
{
    const StatusChanged *changed = event->status_changed;
    const CheckStart *start = check_start_find(vm, event->epoch);
    const Settings *settings = &check->world->settings;
    if (changed->from != VM_STATUS_STARTING || changed->cause != CAUSE_HOST_SILENT ||
        start == NULL) {
        return;
    }
    sim_judge(SIM_I3, FALSE);
    if (event->time_ms <
        start->expires_ms + settings->start_timeout_ms + settings->allowed_skew_ms) {
        sim_fail(check->sim, "I3", vm->uuid,
                 "its host is given up %" G_GINT64_FORMAT " ms after its start has expired, and "
                 "may still be at it",
                 event->time_ms - start->expires_ms);
    }
}

void check_vm_event(SimCheck *check, CheckVm *vm, const VbBusRecord *record)
{
    const VmEvent *event =
        check_unpack(check, &vm_event__descriptor, record->value, record->value_bytes);
    if (event == NULL) {
        return;
    }
    if (event->event_case == VM_EVENT__EVENT_REPLY) {
        check_reply(check, vm, event);
    } else if (event->event_case == VM_EVENT__EVENT_STATUS_CHANGED) {
        check_start_begins(check, vm, event->status_changed);
        check_given_up(check, vm, event);
        mark_change(event->status_changed);
    }
}

/* ---- volume.events */

void check_volume_event(SimCheck *check, const VbBusRecord *record)
{
    const VolumeEvent *event =
        check_unpack(check, &volume_event__descriptor, record->value, record->value_bytes);
    if (event != NULL && event->event_case == VOLUME_EVENT__EVENT_VOLUME_CHOSEN &&
        event->volume_chosen->error == NULL) {
        sim_mark(MARK_NVRAM_ADOPTED);
    }
}

void check_volume_end(SimCheck *check, const VbBusRecord *record)
{
    const VolumeEvent *event =
        check_unpack(check, &volume_event__descriptor, record->value, record->value_bytes);
    int index = event != NULL ? sim_world_vm_index(check->world, event->vm_uuid) : -1;
    if (index >= 0 && event->event_case == VOLUME_EVENT__EVENT_VOLUME_CHANGED &&
        event->volume_changed->volume->status == VOLUME_STATUS_DELETED) {
        check_volume_deleted(check, &check->vms[index], event->volume_changed->volume->uuid);
    }
}

/* ---- vm.reports, volume.reports */

static void mark_report(const HostReport *report)
{
    int code = report->error != NULL ? (int)report->error->code : ERROR_CODE_UNSPECIFIED;
    gboolean starts = report->report_case == HOST_REPORT__REPORT_DOMAIN_STARTED;
    if (code == ERROR_CODE_STALE_EPOCH) {
        sim_mark(MARK_STALE_EPOCH);
    } else if (code == ERROR_CODE_EXPIRED && starts) {
        sim_mark(MARK_START_EXPIRED);
    } else if (code == ERROR_CODE_INTERRUPTED && starts) {
        sim_mark(MARK_START_CUT_OFF);
    }
}

/* A report of a command that was answered before, from the journal or the outbox. */
static void mark_repeat(SimCheck *check, const HostReport *report)
{
    if (*report->operation_id == '\0') {
        return;
    }
    /* The services ask with different ids for the two halves of one operation. */
    char *key = g_strdup_printf("%s %" G_GUINT64_FORMAT " %d", report->operation_id, report->epoch,
                                (int)report->report_case);
    if (!g_hash_table_add(check->answered, key)) {
        sim_mark(MARK_REPORT_REPEATED);
    }
}

static void mark_created(const VolumesCreated *created)
{
    for (size_t i = 0; i < created->n_results; i++) {
        const VolumeResult *result = created->results[i];
        if (result->reused && result->volume != NULL &&
            result->volume->type == VOLUME_TYPE_NV_RAM) {
            sim_mark(MARK_NVRAM_RESUMED);
        }
    }
}

void check_report(SimCheck *check, CheckVm *vm, const VbBusRecord *record)
{
    const HostReport *report =
        check_unpack(check, &host_report__descriptor, record->value, record->value_bytes);
    if (report == NULL) {
        return;
    }
    check_answer(check, vm, report);
    mark_report(report);
    mark_repeat(check, report);
    if (report->report_case == HOST_REPORT__REPORT_VM_FORGOTTEN) {
        check_forgotten(check, vm, report);
    }
    if (report->report_case == HOST_REPORT__REPORT_VOLUMES_CREATED) {
        mark_created(report->volumes_created);
    }
    if (report->report_case == HOST_REPORT__REPORT_DOMAIN_STOPPED && report->error == NULL) {
        check_domain_synced(check, vm, report);
    }
}
