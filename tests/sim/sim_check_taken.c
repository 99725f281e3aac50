/* I6 at the hosts: a command that comes after its expiry, or after one of a newer epoch, does nothing.
 *
 * When an agent could first read a command is known here; that it did nothing is seen by the report,
 * which must carry an error, and by the domain that must not be made.
 *
 * What the design allows, and so does this:
 *   - A command that was read in time may be done later: the agent died, or stood still.
 *   - A deletion is never too old. Nor is a stop, but of a newer domain: an older one may run on
 *     though a newer start was tried.
 *   - A host may still have work of an earlier life under the same uuid: whose command it is, its id
 *     does not tell.
 *   - A host forgets its epochs with the VM, with its journal of it, and with commands that it had
 *     read when their topic was deleted. */
#include "tests/sim/sim_check.h"

static HostReport__ReportCase answer_case(HostCommand__CommandCase kind)
{
    switch (kind) {
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        return HOST_REPORT__REPORT_VOLUMES_CREATED;
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        return HOST_REPORT__REPORT_DOMAIN_STARTED;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        return HOST_REPORT__REPORT_DOMAIN_STOPPED;
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
        return HOST_REPORT__REPORT_DEVICE_CHANGED;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
    case HOST_COMMAND__COMMAND_FORGET_VM:
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
    case HOST_COMMAND__COMMAND__NOT_SET:
        return HOST_REPORT__REPORT__NOT_SET; /* Never too late, or never done. */
    }
    return HOST_REPORT__REPORT__NOT_SET;
}

/* The two halves of one operation have one id, and what all hosts are asked. A VM that is made again,
 * under the uuid of one that is long gone, has its ids again. */
static char *answer_key(const CheckVm *vm, int host, const char *operation_id, guint64 epoch,
                        HostReport__ReportCase kind)
{
    return g_strdup_printf("%s %d %u %" G_GUINT64_FORMAT " %d", operation_id, host, vm->lives,
                           epoch, (int)kind);
}

/* A host that knows nothing of a VM, or no more, learns no epoch from a deletion or a stop. */
static void epoch_note(guint64 *epoch, const HostCommand *command)
{
    gboolean teaches = command->command_case != HOST_COMMAND__COMMAND_DELETE_VOLUMES &&
                       command->command_case != HOST_COMMAND__COMMAND_STOP_DOMAIN;
    if (command->command_case == HOST_COMMAND__COMMAND_FORGET_VM) {
        *epoch = 0;
    } else if (*epoch > 0 || teaches) {
        *epoch = MAX(*epoch, command->epoch);
    }
}

static gboolean has_forgotten(const CheckVm *vm, int host)
{
    return check_is_forgetful(vm, host) || ((vm->unheard | vm->crossed) >> host & 1) != 0;
}

static CheckTaken why_nothing(SimCheck *check, const CheckVm *vm, const SimHost *host,
                              int host_index, const HostCommand *command)
{
    gint64 late_ms = sim_host_now_ms(host) - command->expires_ms;
    if (command->expires_ms != 0 && late_ms > check->world->settings.allowed_skew_ms) {
        return TAKEN_LATE; /* Whatever the host's clock does from now on. */
    }
    SimDomain domain;
    gboolean is_newer = check_domain_find(check, (guint)host_index, vm, &domain) && domain.ours &&
                        domain.epoch > command->epoch;
    gboolean is_stale = command->command_case == HOST_COMMAND__COMMAND_STOP_DOMAIN
                            ? is_newer
                            : command->epoch < vm->taken_epochs[host_index];
    return is_stale && !has_forgotten(vm, host_index) ? TAKEN_STALE : TAKEN_WELL;
}

void sim_check_taken(SimCheck *check, SimHost *host, const HostCommand *command)
{
    int index = sim_world_vm_index(check->world, command->vm_uuid);
    int host_index = check_host_index(check, sim_host_uuid(host));
    HostReport__ReportCase kind = answer_case(command->command_case);
    if (index < 0 || host_index < 0) {
        return;
    }
    CheckVm *vm = &check->vms[index];
    char *key = answer_key(vm, host_index, command->operation_id, command->epoch, kind);
    if (g_hash_table_contains(check->taken, key)) {
        g_free(key);
        return;
    }
    gboolean is_crossed = (vm->crossed >> host_index & 1) != 0;
    CheckTaken taken = kind == HOST_REPORT__REPORT__NOT_SET || is_crossed
                           ? TAKEN_WELL
                           : why_nothing(check, vm, host, host_index, command);
    g_hash_table_insert(check->taken, key, GINT_TO_POINTER(taken));
    epoch_note(&vm->taken_epochs[host_index], command);
}

CheckTaken check_taken(SimCheck *check, const CheckVm *vm, int host, const char *operation_id,
                       guint64 epoch, HostReport__ReportCase kind)
{
    g_autofree char *key = answer_key(vm, host, operation_id, epoch, kind);
    return GPOINTER_TO_INT(g_hash_table_lookup(check->taken, key));
}

void check_answer(SimCheck *check, const CheckVm *vm, const HostReport *report)
{
    if (report->error != NULL || *report->operation_id == '\0') {
        return;
    }
    int host = check_host_index(check, report->host_uuid);
    CheckTaken taken =
        check_taken(check, vm, host, report->operation_id, report->epoch, report->report_case);
    /* By now it may be forgotten that it was read well, and once more since. */
    if (!sim_judge(SIM_I6, taken == TAKEN_STALE && has_forgotten(vm, host))) {
        return;
    }
    switch (taken) {
    case TAKEN_WELL:
        return;
    case TAKEN_LATE:
        sim_fail(check->sim, "I6", vm->uuid,
                 "operation %s had expired when its host first read it, and was done",
                 report->operation_id);
        return;
    case TAKEN_STALE:
        sim_fail(check->sim, "I6", vm->uuid,
                 "operation %s of epoch %" G_GUINT64_FORMAT
                 " came to its host after one of a newer epoch, and was done",
                 report->operation_id, report->epoch);
        return;
    }
}
