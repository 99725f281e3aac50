/* The agent's decisions; see host_core.h for the picture. No clock, no I/O, no log: what must be
 * done is returned, what was done comes back as an input.
 *
 * Two rules carry the rest. A start that may have run is never run again: it is found running, or
 * taken down and reported as failed. And nothing is said about a domain that is not known: while
 * libvirt does not answer, the VM stays in its phase and silent. */
#include "services/host-agent/host_core.h"

#include "common/base/model.h"

typedef struct {
    VbHostStep *step;
    const VbHostInput *input;
    VbArena *arena;
    HostVm *vm;
} Context;

HostVm *host_vm_new(VbArena *arena, const char *vm_uuid)
{
    HostVm *vm = ARENA_MSG(arena, host_vm);
    vm->vm_uuid = arena_strdup(arena, vm_uuid);
    vm->last_offset = -1;
    vm->phase = HOST_PHASE_IDLE;
    return vm;
}

/* --- Reports */

VbTopic host_report_topic(const HostReport *report)
{
    gboolean volumes = report->report_case == HOST_REPORT__REPORT_VOLUMES_CREATED ||
                       report->report_case == HOST_REPORT__REPORT_VOLUMES_DELETED ||
                       report->report_case == HOST_REPORT__REPORT_INVENTORY;
    return volumes ? TOPIC_VOLUME_REPORTS : TOPIC_VM_REPORTS;
}

static HostReport *report_new(Context *c, guint64 epoch, const char *operation_id)
{
    HostReport *report = ARENA_MSG(c->arena, host_report);
    report->vm_uuid = c->vm->vm_uuid;
    report->host_uuid = arena_strdup(c->arena, c->input->host_uuid);
    report->operation_id = arena_strdup(c->arena, operation_id);
    report->epoch = epoch;
    report->time_ms = c->input->time_ms;
    return report;
}

/* The body that answers a command of this kind, empty: who asked must know by it what failed. */
static void report_set_body(Context *c, HostReport *report, const HostCommand *command)
{
    switch (command->command_case) {
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        report->report_case = HOST_REPORT__REPORT_VOLUMES_CREATED;
        report->volumes_created = ARENA_MSG(c->arena, volumes_created);
        return;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
        report->report_case = HOST_REPORT__REPORT_VOLUMES_DELETED;
        report->volumes_deleted = ARENA_MSG(c->arena, volumes_deleted);
        return;
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
        report->domain_started = ARENA_MSG(c->arena, domain_started);
        return;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
        report->domain_stopped = ARENA_MSG(c->arena, domain_stopped);
        return;
    case HOST_COMMAND__COMMAND_FORGET_VM:
        report->report_case = HOST_REPORT__REPORT_VM_FORGOTTEN;
        report->vm_forgotten = ARENA_MSG(c->arena, vm_forgotten);
        return;
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
        report->report_case = HOST_REPORT__REPORT_DEVICE_CHANGED;
        report->device_changed = ARENA_MSG(c->arena, device_changed);
        return;
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
    case HOST_COMMAND__COMMAND__NOT_SET:
        return; /* No body: it is refused by its error alone. */
    }
}

/* `error` (NULL: done) with the name of the host where it happened. */
static void report_set_error(HostReport *report, Error *error)
{
    report->error = error;
    if (error != NULL && error->host_uuid[0] == '\0') {
        error->host_uuid = report->host_uuid;
    }
}

static void outbox_append(Context *c, HostReport *report)
{
    ARENA_APPEND(c->arena, c->vm->n_outbox, c->vm->outbox, report);
}

static void look(Context *c)
{
    c->vm->phase = HOST_PHASE_LOOKING;
    c->step->effect = EFFECT_LOOK;
}

static void clean_up(Context *c, HostPhase phase)
{
    c->vm->phase = phase;
    c->step->effect = EFFECT_CLEAN_UP;
}

static void become_idle(Context *c)
{
    c->vm->phase = HOST_PHASE_IDLE;
    c->vm->command = NULL;
    c->vm->first_error = NULL;
    /* The domain may have ended, or lost a NIC, while the command was being worked on. The event may
     * also have been about an earlier one and late, so it is not believed but looked after. */
    if (!c->vm->domain_expected) {
        c->vm->stop_seen = STOP_REASON_UNSPECIFIED;
        c->vm->n_removed_nics = 0;
    } else if (c->vm->stop_seen != STOP_REASON_UNSPECIFIED || c->vm->n_removed_nics > 0) {
        look(c);
    }
}

/* Ends the work on vm->command: its report is kept for a repeat and goes out. */
static void answer(Context *c, HostReport *report, Error *error)
{
    report_set_error(report, error);
    c->vm->last_report = report;
    outbox_append(c, report);
    become_idle(c);
}

static HostReport *answer_new(Context *c)
{
    const HostCommand *command = c->vm->command;
    HostReport *report = report_new(c, command->epoch, command->operation_id);
    report_set_body(c, report, command);
    return report;
}

/* Refuses vm->command, of which nothing was begun. */
static void refuse(Context *c, Error *error)
{
    const HostCommand *command = c->vm->command;
    HostReport *report = answer_new(c);
    if (command->command_case == HOST_COMMAND__COMMAND_CREATE_VOLUMES) {
        VolumesCreated *created = report->volumes_created;
        for (size_t i = 0; i < command->create_volumes->n_volumes; i++) {
            ARENA_APPEND(c->arena, created->n_not_made, created->not_made,
                         command->create_volumes->volumes[i]->uuid);
        }
    }
    answer(c, report, error);
}

/* Done or failed, with nothing more to tell. */
static void answer_empty(Context *c, Error *error)
{
    answer(c, answer_new(c), error);
}

/* The VM may be Unknown by now, for an answer that came late: whether its domain runs is told too. */
static void look_if_expected(Context *c)
{
    if (c->vm->domain_expected) {
        look(c);
    }
}

/* What the effect found out, else the empty body of this command. */
static void answer_with_result(Context *c)
{
    const VbEffectResult *result = c->input->result;
    HostReport *report = answer_new(c);
    if (result->report != NULL && result->report->report_case == report->report_case) {
        /* All members of the union are pointers to a message: one stands for all. */
        report->domain_started = result->report->domain_started;
    }
    answer(c, report, result->error);
}

/* --- The domain's traces in the journal */

static gboolean index_is_in(size_t n_indexes, const uint32_t *indexes, uint32_t index)
{
    for (size_t i = 0; i < n_indexes; i++) {
        if (indexes[i] == index) {
            return TRUE;
        }
    }
    return FALSE;
}

static void index_remove(size_t *n_indexes, uint32_t *indexes, uint32_t index)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < *n_indexes; i++) {
        if (indexes[i] != index) {
            indexes[n_kept++] = indexes[i];
        }
    }
    *n_indexes = n_kept;
}

static void index_add(Context *c, size_t *n_indexes, uint32_t **indexes, uint32_t index)
{
    if (index_is_in(*n_indexes, *indexes, index)) {
        return;
    }
    uint32_t *grown = arena_alloc(c->arena, (*n_indexes + 1) * sizeof(*grown));
    for (size_t i = 0; i < *n_indexes; i++) {
        grown[i] = (*indexes)[i];
    }
    grown[(*n_indexes)++] = index;
    *indexes = grown;
}

static void port_expect(Context *c, const NicSpec *nic)
{
    if (nic != NULL && nic->type == NIC_TYPE_VHOST_USER) {
        index_add(c, &c->vm->n_ports, &c->vm->ports, nic->index);
        index_remove(&c->vm->n_loose_ports, c->vm->loose_ports, nic->index);
    }
}

/* What an earlier domain's clean-up could not take away is loose, but for what this one has. */
static void ports_expect(Context *c, const VmSpec *spec)
{
    HostVm *vm = c->vm;
    for (size_t i = 0; i < vm->n_ports; i++) {
        index_add(c, &vm->n_loose_ports, &vm->loose_ports, vm->ports[i]);
    }
    for (size_t i = 0; spec != NULL && i < spec->n_nics; i++) {
        port_expect(c, spec->nics[i]);
    }
}

static void port_left(Context *c, const NicSpec *nic, VbNicLeft left)
{
    HostVm *vm = c->vm;
    if (nic == NULL || nic->type != NIC_TYPE_VHOST_USER || left == NIC_THERE) {
        return;
    }
    if (left == NIC_NOTHING) {
        index_remove(&vm->n_ports, vm->ports, nic->index);
        index_remove(&vm->n_loose_ports, vm->loose_ports, nic->index);
    } else {
        index_add(c, &vm->n_ports, &vm->ports, nic->index);
        index_add(c, &vm->n_loose_ports, &vm->loose_ports, nic->index);
    }
}

static void state_paths_take(Context *c, char *const *paths)
{
    if (paths == NULL) {
        return;
    }
    c->vm->n_state_paths = 0;
    for (; *paths != NULL; paths++) {
        char *path = arena_strdup(c->arena, *paths);
        ARENA_APPEND(c->arena, c->vm->n_state_paths, c->vm->state_paths, path);
    }
}

static void domain_expect(Context *c, guint64 epoch)
{
    c->vm->domain_expected = TRUE;
    c->vm->domain_epoch = epoch;
}

static void domain_gone(Context *c)
{
    c->vm->domain_expected = FALSE;
    c->vm->domain_epoch = 0;
    c->vm->stop_seen = STOP_REASON_UNSPECIFIED;
    c->vm->n_state_paths = 0;
    c->vm->n_loose_ports = 0; /* The next clean-up removes every port. */
    c->vm->n_removed_nics = 0;
    c->vm->removed_late = FALSE;
    c->vm->unsettled = ERROR_CODE_UNSPECIFIED;
}

static VbLeft clean_up_left(const VbEffectResult *result)
{
    return result->error == NULL ? LEFT_NOTHING : result->left;
}

static void ports_forget(Context *c, VbLeft left)
{
    if (left == LEFT_NOTHING) {
        c->vm->n_ports = 0;
    }
}

/* --- Commands */

static gboolean is_expired(Context *c)
{
    gint64 expires_ms = c->vm->command->expires_ms;
    return expires_ms != 0 && c->input->time_ms >= expires_ms;
}

static void refuse_expired(Context *c)
{
    refuse(c, error_make(c->arena, ERROR_CODE_EXPIRED,
                         "operation %s for VM %s expired %" G_GINT64_FORMAT
                         " ms before this host came to it; nothing was done: ask again",
                         c->vm->command->operation_id, c->vm->vm_uuid,
                         c->input->time_ms - c->vm->command->expires_ms));
    look_if_expected(c);
}

static void work(Context *c, VbEffect effect)
{
    c->vm->phase = HOST_PHASE_WORKING;
    c->step->effect = effect;
}

static void take_up_start(Context *c)
{
    HostVm *vm = c->vm;
    if (vm->domain_expected && vm->domain_epoch >= vm->command->epoch) {
        /* The journal was lost, or this is a second start of one epoch. Also when it has expired:
         * it did start in time. */
        look(c);
    } else if (is_expired(c)) {
        refuse_expired(c);
    } else if (!vm->domain_expected) {
        ports_expect(c, vm->command->start_domain->spec);
        work(c, EFFECT_START);
    } else {
        /* The deployment has written the older domain off. It goes first: two on one NVRAM would
         * ruin it. Working with a domain still expected is what says that this is under way. */
        work(c, EFFECT_CLEAN_UP);
    }
}

static void take_up_stop(Context *c)
{
    if (is_expired(c)) {
        refuse_expired(c); /* Nobody waits for it any more, and the guest was never asked. */
    } else {
        work(c, EFFECT_STOP);
    }
}

/* The effect finds out whether the domain of this epoch is there, so it matters not here whether
 * it is expected: the journal may have been lost. */
static void take_up_device(Context *c)
{
    const HostCommand *command = c->vm->command;
    if (is_expired(c)) {
        refuse_expired(c);
    } else if (command->command_case == HOST_COMMAND__COMMAND_ATTACH_DEVICE) {
        port_expect(c, command->attach_device->nic);
        work(c, EFFECT_ATTACH);
    } else {
        work(c, EFFECT_DETACH);
    }
}

/* Runs vm->command, which is new or was cut off by a crash before it did anything that matters. */
static void take_up(Context *c)
{
    switch (c->vm->command->command_case) {
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        if (is_expired(c)) {
            refuse_expired(c);
        } else {
            work(c, EFFECT_CREATE_VOLUMES);
        }
        return;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
        if (c->vm->domain_expected) {
            look(c); /* It may be using them. */
        } else {
            work(c, EFFECT_DELETE_VOLUMES);
        }
        return;
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        take_up_start(c);
        return;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        take_up_stop(c);
        return;
    case HOST_COMMAND__COMMAND_FORGET_VM:
        work(c, EFFECT_FORGET);
        return;
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
        take_up_device(c);
        return;
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
        answer_empty(c, error_make(c->arena, ERROR_CODE_UNSUPPORTED,
                                   "operation %s for VM %s: this version moves no running VM; stop "
                                   "it first",
                                   c->vm->command->operation_id, c->vm->vm_uuid));
        return;
    case HOST_COMMAND__COMMAND__NOT_SET:
        answer_empty(
            c, error_make(c->arena, ERROR_CODE_UNKNOWN_COMMAND,
                          "operation %s for VM %s: this agent does not know the command; update "
                          "it",
                          c->vm->command->operation_id, c->vm->vm_uuid));
        return;
    }
}

/* The stored report again, unless it is still on its way. */
static void repeat(Context *c)
{
    HostVm *vm = c->vm;
    if (vm->last_report == NULL) {
        return;
    }
    for (size_t i = 0; i < vm->n_outbox; i++) {
        if (g_str_equal(vm->outbox[i]->operation_id, vm->last_report->operation_id)) {
            return;
        }
    }
    outbox_append(c, vm->last_report);
}

/* A deletion was committed for good, at whatever epoch: it is never late. Nor is a stop of the very
 * domain that runs on though a newer start was tried: the VM has left it. */
static gboolean is_stale(const HostVm *vm, const HostCommand *command)
{
    gboolean stops_expected = command->command_case == HOST_COMMAND__COMMAND_STOP_DOMAIN &&
                              vm->domain_expected && command->epoch >= vm->domain_epoch;
    return command->epoch < vm->epoch && !stops_expected &&
           command->command_case != HOST_COMMAND__COMMAND_DELETE_VOLUMES;
}

/* Neither a deletion nor a stop brings a forgotten VM back, nor one of which nothing is kept any more:
 * a failed deletion is tried again long after the VM was expunged, and a host that was away for as
 * long has its domain stopped then. */
static gboolean stays_forgotten(const HostVm *vm, const HostCommand *command)
{
    gboolean is_unknown = vm->last_offset < 0 && vm->epoch == 0 && !vm->domain_expected;
    return (vm->forgotten || is_unknown) &&
           (command->command_case == HOST_COMMAND__COMMAND_DELETE_VOLUMES ||
            command->command_case == HOST_COMMAND__COMMAND_STOP_DOMAIN);
}

static void step_command(Context *c)
{
    HostVm *vm = c->vm;
    const HostCommand *command = c->input->command;
    if (c->input->offset == vm->last_offset) {
        repeat(c);
    }
    if (c->input->offset <= vm->last_offset || vm->phase != HOST_PHASE_IDLE) {
        return;
    }
    if (vm->forgotten && !vm->domain_expected) {
        vm->epoch = 0; /* Of a life that has ended. Its uuid is in use again, and its epochs too. */
    }
    vm->forgotten = stays_forgotten(vm, command);
    vm->last_offset = c->input->offset;
    vm->last_report = NULL;
    vm->command = arena_copy(c->arena, command);
    if (is_stale(vm, command)) {
        refuse(c, error_make(c->arena, ERROR_CODE_STALE_EPOCH,
                             "operation %s for VM %s has epoch %" G_GUINT64_FORMAT
                             ", this host has seen %" G_GUINT64_FORMAT
                             ": it came too late; nothing was done",
                             command->operation_id, vm->vm_uuid, command->epoch, vm->epoch));
        return;
    }
    vm->epoch = MAX(vm->epoch, command->epoch);
    take_up(c);
}

/* --- The end of effects */

/* A domain of a newer epoch runs than the command's: a lost journal knew it. It stays. */
static void found_newer(Context *c, guint64 epoch, Error *error)
{
    domain_expect(c, epoch);
    c->vm->epoch = MAX(c->vm->epoch, epoch);
    answer_empty(c, error);
    look(c);
}

static void done_start(Context *c)
{
    HostVm *vm = c->vm;
    const VbEffectResult *result = c->input->result;
    if (result->error == NULL) {
        state_paths_take(c, result->state_paths);
        domain_expect(c, vm->command->epoch);
        answer_with_result(c);
        return;
    }
    if (result->error->code == ERROR_CODE_STALE_EPOCH) {
        found_newer(c, result->facts.epoch, result->error);
        return;
    }
    state_paths_take(c, result->state_paths);
    vm->first_error = result->error;
    if (!result->nothing_created) {
        domain_expect(c, vm->command->epoch);
    }
    clean_up(c, HOST_PHASE_UNDOING);
}

/* A domain of an older epoch was taken down so that the start can go on. */
static void done_clearing(Context *c)
{
    VbLeft left = clean_up_left(c->input->result);
    if (left <= LEFT_FILES) {
        answer_empty(c, c->input->result->error);
        look(c); /* What runs on, if anything does, is one that the VM has left: that is told. */
        return;
    }
    domain_gone(c);
    ports_forget(c, left);
    take_up(c);
}

static void done_forget(Context *c)
{
    Error *error = c->input->result->error;
    if (error == NULL) {
        domain_gone(c);
        c->vm->n_ports = 0;
        c->vm->forgotten = TRUE;
        answer_empty(c, NULL);
    } else if (error->code == ERROR_CODE_STALE_EPOCH || error->code == ERROR_CODE_FOREIGN_DOMAIN) {
        answer_empty(c, error);
        look(c);
    } /* Else libvirt, OVS or a file system is away: it is tried again at the next look. */
}

static void done_stop(Context *c)
{
    const VbEffectResult *result = c->input->result;
    if (result->error == NULL) {
        c->vm->stop_seen = result->stop_reason;
        clean_up(c, HOST_PHASE_STOPPED_CLEANUP);
        return;
    }
    if (result->error->code == ERROR_CODE_HYPERVISOR_UNAVAILABLE) {
        return; /* Whether it runs is not known: at the next look it is done again. */
    }
    /* It may be there. Who asked does not know now, and is told at this epoch what the look finds:
     * a domain of an earlier one, which the VM has left, goes. */
    domain_expect(c, c->vm->command->epoch);
    answer_empty(c, result->error);
    look(c);
}

static void done_device(Context *c, const NicSpec *nic)
{
    HostVm *vm = c->vm;
    const VbEffectResult *result = c->input->result;
    int code = result->error != NULL ? (int)result->error->code : ERROR_CODE_UNSPECIFIED;
    if (code == ERROR_CODE_HYPERVISOR_UNAVAILABLE) {
        return; /* Whether the NIC is there is not known: at the next look it is done again. */
    }
    port_left(c, nic, result->nic);
    if (result->stop_reason != STOP_REASON_UNSPECIFIED) {
        vm->stop_seen = result->stop_reason;
    }
    if (code == ERROR_CODE_STALE_EPOCH) {
        found_newer(c, result->facts.epoch, result->error);
        return;
    }
    if (code == ERROR_CODE_UNSPECIFIED) {
        domain_expect(c, vm->command->epoch);
        /* What this detach was about is told by its answer. */
        if (vm->command->command_case == HOST_COMMAND__COMMAND_DETACH_DEVICE) {
            index_remove(&vm->n_removed_nics, vm->removed_nics, nic->index);
        }
    }
    answer_with_result(c);
    if (code != ERROR_CODE_UNSPECIFIED) {
        look_if_expected(c);
    }
}

/* Working without a command: ports that an earlier attach or detach could not take away. */
static void done_unplug(Context *c)
{
    HostVm *vm = c->vm;
    if (c->input->result->error == NULL) {
        for (size_t i = 0; i < vm->n_loose_ports; i++) {
            index_remove(&vm->n_ports, vm->ports, vm->loose_ports[i]);
        }
        vm->n_loose_ports = 0;
    }
    become_idle(c);
}

static void done_work(Context *c)
{
    if (c->vm->command == NULL) {
        done_unplug(c);
        return;
    }
    switch (c->vm->command->command_case) {
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        answer_with_result(c);
        return;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
        answer_with_result(c);
        if (c->vm->domain_expected) {
            look(c); /* It was found gone, and its end is not told yet. */
        }
        return;
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        if (c->vm->domain_expected) {
            done_clearing(c);
        } else {
            done_start(c);
        }
        return;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        done_stop(c);
        return;
    case HOST_COMMAND__COMMAND_FORGET_VM:
        done_forget(c);
        return;
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
        done_device(c, c->vm->command->attach_device->nic);
        return;
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
        done_device(c, c->vm->command->detach_device->nic);
        return;
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
    case HOST_COMMAND__COMMAND__NOT_SET:
        return; /* Never worked on: refused when they come. */
    }
}

static void done_undoing(Context *c)
{
    VbLeft left = clean_up_left(c->input->result);
    if (left == LEFT_DOMAIN && c->vm->domain_expected) {
        return; /* To report a failed start would free the VM for another host. */
    }
    domain_gone(c);
    ports_forget(c, left);
    answer_empty(c, c->vm->first_error);
}

/* The end of the domain, with its reason; NULL: nobody is to be told, or was told before. */
static HostReport *stopped_report(Context *c, gboolean told)
{
    HostVm *vm = c->vm;
    HostReport *report = NULL;
    if (vm->command != NULL) {
        report = answer_new(c);
    } else if (vm->domain_expected && !told) {
        report = report_new(c, vm->domain_epoch, "");
        report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
        report->domain_stopped = ARENA_MSG(c->arena, domain_stopped);
    }
    if (report != NULL) {
        report->domain_stopped->reason = vm->stop_seen;
    }
    vm->stop_seen = STOP_REASON_UNSPECIFIED;
    return report;
}

static void done_stopped_cleanup(Context *c)
{
    HostVm *vm = c->vm;
    Error *error = c->input->result->error;
    VbLeft left = clean_up_left(c->input->result);
    if (left == LEFT_DOMAIN) {
        return;
    }
    HostReport *report = stopped_report(c, left == LEFT_FILES && vm->unsettled == error->code);
    if (left == LEFT_FILES) {
        /* The domain stays expected: the next look tries again, and tells when it is done. */
        if (vm->command != NULL) {
            domain_expect(c, vm->command->epoch);
        }
        vm->unsettled = vm->domain_expected ? error->code : ERROR_CODE_UNSPECIFIED;
    } else {
        error = NULL;
        domain_gone(c);
    }
    ports_forget(c, left);
    if (vm->command != NULL) {
        answer(c, report, error);
        return;
    }
    if (report != NULL) {
        report_set_error(report, error);
        outbox_append(c, report);
    }
    become_idle(c);
}

/* --- Looking */

static void observe(Context *c, gboolean running, Error *error)
{
    HostReport *report = report_new(c, c->vm->domain_epoch, "");
    report->report_case = HOST_REPORT__REPORT_DOMAIN_OBSERVED;
    report->domain_observed = ARENA_MSG(c->arena, domain_observed);
    report->domain_observed->running = running;
    report_set_error(report, error);
    outbox_append(c, report);
}

static void looked_foreign(Context *c)
{
    HostVm *vm = c->vm;
    Error *error = error_make(c->arena, ERROR_CODE_FOREIGN_DOMAIN,
                              "a domain with the uuid of VM %s runs that virtbus did not make; it "
                              "is left alone: remove it by hand",
                              vm->vm_uuid);
    vm->stop_seen = STOP_REASON_UNSPECIFIED;
    vm->n_removed_nics = 0;
    if (vm->command != NULL) {
        answer_empty(c, error);
        look_if_expected(c);
        return;
    }
    if (vm->domain_expected) {
        /* Still expected: whether its NVRAM is in use is not known until the other one is gone. */
        if (vm->unsettled != error->code) {
            observe(c, FALSE, error);
        }
        vm->unsettled = error->code;
    }
    become_idle(c);
}

/* A start was cut off: it is found running, or taken down. */
static void looked_after_start(Context *c, gboolean up)
{
    HostVm *vm = c->vm;
    const VbDomainFacts *facts = &c->input->result->facts;
    if (up && facts->epoch == vm->command->epoch) {
        domain_expect(c, facts->epoch);
        HostReport *report = answer_new(c);
        report->domain_started->hardware = facts->hardware;
        report->domain_started->replaced_firmware = c->input->result->replaced_firmware;
        answer(c, report, NULL);
        return;
    }
    if (facts->presence == DOMAIN_OURS && facts->epoch > vm->command->epoch) {
        found_newer(c, facts->epoch,
                    error_make(c->arena, ERROR_CODE_STALE_EPOCH,
                               "VM %s runs here at epoch %" G_GUINT64_FORMAT
                               ", operation %s is of %" G_GUINT64_FORMAT
                               ": it came too late; nothing was done",
                               vm->vm_uuid, facts->epoch, vm->command->operation_id,
                               vm->command->epoch));
        return;
    }
    if (facts->presence == DOMAIN_OURS) {
        domain_expect(c, facts->epoch);
    } else {
        domain_gone(c);
    }
    vm->first_error =
        error_make(c->arena, ERROR_CODE_INTERRUPTED,
                   "operation %s was starting VM %s when the agent or libvirt died; what it had "
                   "made was taken down: start it again",
                   vm->command->operation_id, vm->vm_uuid);
    clean_up(c, HOST_PHASE_UNDOING);
}

/* A deletion waits for its domain's end; whether it has come is known now. */
static void looked_before_deletion(Context *c)
{
    const DeleteVolumes *command = c->vm->command->delete_volumes;
    if (c->input->result->facts.presence != DOMAIN_OURS) {
        work(c, EFFECT_DELETE_VOLUMES);
        return;
    }
    HostReport *report = answer_new(c);
    Error *error = error_make(c->arena, ERROR_CODE_VOLUME_BUSY,
                              "VM %s still runs on this host; its volumes stay: stop it, then ask "
                              "again",
                              c->vm->vm_uuid);
    for (size_t i = 0; i < command->n_volumes; i++) {
        VolumeResult *result = ARENA_MSG(c->arena, volume_result);
        result->volume = command->volumes[i];
        result->error = error;
        ARENA_APPEND(c->arena, report->volumes_deleted->n_results, report->volumes_deleted->results,
                     result);
    }
    answer(c, report, error);
}

/* Tells of a NIC that the guest has let go of by itself. */
static void tell_removed(Context *c, uint32_t index)
{
    HostReport *report = report_new(c, c->vm->domain_epoch, "");
    report->report_case = HOST_REPORT__REPORT_DEVICE_CHANGED;
    report->device_changed = ARENA_MSG(c->arena, device_changed);
    report->device_changed->detached = ARENA_MSG(c->arena, nic_spec);
    report->device_changed->detached->index = index;
    outbox_append(c, report);
    if (index_is_in(c->vm->n_ports, c->vm->ports, index)) {
        index_add(c, &c->vm->n_loose_ports, &c->vm->loose_ports, index);
    }
}

/* Of the NICs that are said to be gone, those that are. One that is there has come back since. */
static void looked_after_removed(Context *c)
{
    HostVm *vm = c->vm;
    const Hardware *hardware = c->input->result->facts.hardware;
    for (size_t i = 0; i < vm->n_removed_nics; i++) {
        if (model_nic(hardware, vm->removed_nics[i]) == NULL) {
            tell_removed(c, vm->removed_nics[i]);
        }
    }
    vm->n_removed_nics = 0;
}

/* The expected domain runs, or one runs of which a lost journal knew. */
static void looked_running(Context *c)
{
    HostVm *vm = c->vm;
    domain_expect(c, c->input->result->facts.epoch);
    vm->unsettled = ERROR_CODE_UNSPECIFIED;
    if (vm->stop_seen != STOP_REASON_UNSPECIFIED || vm->removed_late) {
        /* The event was about an earlier domain, or it came after this look. Look once more. */
        vm->stop_seen = STOP_REASON_UNSPECIFIED;
        vm->removed_late = FALSE;
        look(c);
        return;
    }
    gboolean removed = vm->n_removed_nics > 0;
    observe(c, TRUE, NULL);
    looked_after_removed(c);
    become_idle(c);
    if (removed && vm->n_loose_ports > 0) {
        work(c, EFFECT_UNPLUG);
    }
}

static void done_looking(Context *c)
{
    HostVm *vm = c->vm;
    const VbEffectResult *result = c->input->result;
    const VbDomainFacts *facts = &result->facts;
    if (result->error != NULL) {
        return;
    }
    if (facts->presence == DOMAIN_FOREIGN) {
        looked_foreign(c);
        return;
    }
    gboolean up = facts->presence == DOMAIN_OURS && !facts->starting_up;
    if (up) {
        state_paths_take(c, result->state_paths);
    }
    if (vm->command != NULL) {
        if (vm->command->command_case == HOST_COMMAND__COMMAND_DELETE_VOLUMES) {
            looked_before_deletion(c);
        } else {
            looked_after_start(c, up);
        }
        return;
    }
    guint64 least_epoch = vm->domain_expected ? vm->domain_epoch : vm->epoch;
    if (facts->presence == DOMAIN_OURS) {
        vm->epoch = MAX(vm->epoch, facts->epoch);
    }
    if (up && facts->epoch >= least_epoch) {
        looked_running(c);
        return;
    }
    if (vm->domain_expected || facts->presence == DOMAIN_OURS || vm->n_ports > 0) {
        if (vm->stop_seen == STOP_REASON_UNSPECIFIED) {
            vm->stop_seen = STOP_REASON_NOT_RUNNING;
        }
        clean_up(c, HOST_PHASE_STOPPED_CLEANUP);
        return;
    }
    become_idle(c);
}

static void step_done(Context *c)
{
    switch (c->vm->phase) {
    case HOST_PHASE_LOOKING:
        done_looking(c);
        return;
    case HOST_PHASE_WORKING:
        done_work(c);
        return;
    case HOST_PHASE_UNDOING:
        done_undoing(c);
        return;
    case HOST_PHASE_STOPPED_CLEANUP:
        done_stopped_cleanup(c);
        return;
    case HOST_PHASE_UNSPECIFIED:
    case HOST_PHASE_IDLE:
        return; /* Nothing was asked for. */
    }
}

/* A creation that a crash cut off is found after its expiry. */
static void refuse_cut_off(Context *c)
{
    answer_empty(c, error_make(c->arena, ERROR_CODE_INTERRUPTED,
                               "operation %s was making volumes of VM %s when the agent died, and "
                               "has expired; what it had made may be there: ask again",
                               c->vm->command->operation_id, c->vm->vm_uuid));
}

/* Finds out what became of the work that was cut off. */
static void resume_work(Context *c)
{
    const HostCommand *command = c->vm->command;
    if (command == NULL) {
        look(c); /* The domain may have gone meanwhile. What is loose is tried again later. */
        return;
    }
    switch (command->command_case) {
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        look(c);
        return;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        work(c, EFFECT_STOP); /* Also when expired, to look: the guest was asked and may be gone. */
        return;
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
        work(c, EFFECT_ATTACH); /* Also when expired: it may have come in, or left its port. */
        return;
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
        work(c, EFFECT_DETACH); /* Likewise. */
        return;
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        if (is_expired(c)) {
            refuse_cut_off(c);
            return;
        }
        break;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
    case HOST_COMMAND__COMMAND_FORGET_VM:
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
    case HOST_COMMAND__COMMAND__NOT_SET:
        break;
    }
    take_up(c); /* Each of these may run again. */
}

static void step_look(Context *c)
{
    HostVm *vm = c->vm;
    gboolean again = c->input->kind == HOST_INPUT_AGAIN;
    switch (vm->phase) {
    case HOST_PHASE_UNSPECIFIED:
    case HOST_PHASE_IDLE:
    case HOST_PHASE_LOOKING:
        if (!again) {
            vm->unsettled = ERROR_CODE_UNSPECIFIED; /* Told once more. */
        } else if (vm->phase == HOST_PHASE_IDLE && vm->n_loose_ports > 0 &&
                   vm->unsettled == ERROR_CODE_UNSPECIFIED) {
            work(c, EFFECT_UNPLUG);
            return;
        }
        look(c);
        return;
    case HOST_PHASE_WORKING:
        resume_work(c);
        return;
    case HOST_PHASE_UNDOING:
    case HOST_PHASE_STOPPED_CLEANUP:
        clean_up(c, vm->phase);
        return;
    }
}

/* --- What the domain says by itself */

static void step_stopped(Context *c)
{
    switch (c->vm->phase) {
    case HOST_PHASE_UNSPECIFIED:
    case HOST_PHASE_IDLE:
        if (c->vm->domain_expected) {
            c->vm->stop_seen = c->input->reason;
            look(c); /* The event may be a late one about an earlier domain. */
        }
        return;
    case HOST_PHASE_LOOKING:
    case HOST_PHASE_WORKING:
        /* That we ended it ourselves is a better reason than that somebody did. */
        if (c->vm->stop_seen != STOP_REASON_REQUESTED) {
            c->vm->stop_seen = c->input->reason;
        }
        return;
    case HOST_PHASE_UNDOING:
    case HOST_PHASE_STOPPED_CLEANUP:
        return;
    }
}

static void step_device_removed(Context *c)
{
    HostVm *vm = c->vm;
    if (!vm->domain_expected) {
        return;
    }
    index_add(c, &vm->n_removed_nics, &vm->removed_nics, c->input->nic_index);
    vm->removed_late = vm->removed_late || vm->phase == HOST_PHASE_LOOKING;
    if (vm->phase == HOST_PHASE_IDLE) {
        look(c); /* The event may be a late one, about a NIC that is there again. */
    }
}

static void step_guest_event(Context *c, GuestEventType type)
{
    /* While the domain is taken down, what it says is our own doing. */
    gboolean ending =
        c->vm->phase == HOST_PHASE_UNDOING || c->vm->phase == HOST_PHASE_STOPPED_CLEANUP;
    if (!c->vm->domain_expected || ending || c->vm->n_outbox >= HOST_OUTBOX_MAX_GUEST_EVENTS) {
        return;
    }
    HostReport *report = report_new(c, c->vm->domain_epoch, "");
    report->report_case = HOST_REPORT__REPORT_GUEST_EVENT;
    report->guest_event = ARENA_MSG(c->arena, guest_event);
    report->guest_event->type = type;
    outbox_append(c, report);
}

static void step_domain_event(Context *c)
{
    switch (c->input->event) {
    case DOMAIN_EVENT_STOPPED:
        step_stopped(c);
        return;
    case DOMAIN_EVENT_REBOOT:
        step_guest_event(c, GUEST_EVENT_TYPE_REBOOT);
        return;
    case DOMAIN_EVENT_SHUTDOWN:
        step_guest_event(c, GUEST_EVENT_TYPE_SHUTDOWN);
        return;
    case DOMAIN_EVENT_PANIC:
        step_guest_event(c, GUEST_EVENT_TYPE_PANIC);
        return;
    case DOMAIN_EVENT_DEVICE_REMOVED:
        step_device_removed(c);
        return;
    case DOMAIN_EVENT_STARTED:
    case DOMAIN_EVENT_RECONNECTED:
        return; /* The shell makes them a look: at this VM, at every one. */
    }
}

static void step_acknowledged(Context *c)
{
    HostVm *vm = c->vm;
    if (vm->n_outbox == 0) {
        return;
    }
    vm->n_outbox--;
    for (size_t i = 0; i < vm->n_outbox; i++) {
        vm->outbox[i] = vm->outbox[i + 1];
    }
}

gboolean host_vm_wants_look(const HostVm *vm)
{
    return vm->phase != HOST_PHASE_IDLE || vm->unsettled != ERROR_CODE_UNSPECIFIED ||
           vm->n_loose_ports > 0 || (vm->n_ports > 0 && !vm->domain_expected);
}

gboolean host_command_preempts(const HostCommand *command, guint64 epoch)
{
    gboolean ends = command->command_case == HOST_COMMAND__COMMAND_FORGET_VM ||
                    (command->command_case == HOST_COMMAND__COMMAND_STOP_DOMAIN &&
                     command->stop_domain->mode == STOP_MODE_FORCED);
    return ends && command->epoch >= epoch;
}

void host_step(VbHostStep *step, const VbHostInput *input)
{
    Context context = {.step = step, .input = input, .arena = step->arena, .vm = step->vm};
    step->effect = EFFECT_NONE;
    switch (input->kind) {
    case HOST_INPUT_COMMAND:
        step_command(&context);
        return;
    case HOST_INPUT_DONE:
        step_done(&context);
        return;
    case HOST_INPUT_DOMAIN_EVENT:
        step_domain_event(&context);
        return;
    case HOST_INPUT_LOOK:
    case HOST_INPUT_AGAIN:
        step_look(&context);
        return;
    case HOST_INPUT_ACKNOWLEDGED:
        step_acknowledged(&context);
        return;
    case HOST_INPUT_TOPIC_REPLACED:
        step->vm->last_offset = -1;
        return;
    }
}
