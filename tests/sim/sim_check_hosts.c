/* I3, I5 and I6: domains, and what their guests find in their variable stores.
 *
 * What the design allows, and so does this:
 *   - An agent may stand still between its last look at the clock and its call to libvirt, and libvirt
 *     may be slow: a domain may come that much after its start's expiry. So what is compared with the
 *     expiry is when the agent called.
 *   - A power loss under a running guest takes what the guest wrote and nobody synced: the next
 *     guest may find an older value, but none older than one that an agent reported as on disk. The
 *     store may also be torn, if there was anything unsynced.
 *   - A host whose journal somebody destroyed may run a start again that it has read not long ago, and
 *     has not expired. Its report of that leads to an eviction, if nobody wants the domain any more.
 *   - A VM without any disk may be started on another host while an older start of it comes late on
 *     its first host: epochs are each host's own fence, and there is nothing that both could ruin. */
#include <string.h>

#include "common/base/text.h"
#include "services/host-agent/nvram_vars.h"
#include "tests/sim/sim_check.h"

CheckCounter *check_counter(SimCheck *check, guint64 inode)
{
    CheckCounter *counter = g_hash_table_lookup(check->counters, &inode);
    if (counter == NULL) {
        counter = g_new0(CheckCounter, 1);
        g_hash_table_insert(check->counters, g_memdup2(&inode, sizeof(inode)), counter);
    }
    return counter;
}

CheckStart *check_start_find(CheckVm *vm, guint64 epoch)
{
    for (guint i = vm->starts->len; i > 0; i--) {
        CheckStart *start = &g_array_index(vm->starts, CheckStart, i - 1);
        if (start->epoch == epoch) {
            return start;
        }
    }
    return NULL;
}

/* ---- What is excused, and until when */

void check_starts_unsound(CheckVm *vm)
{
    for (guint i = 0; i < vm->starts->len; i++) {
        g_array_index(vm->starts, CheckStart, i).is_sound = FALSE;
    }
}

/* A start looks at its volumes: what was harmed before is whole, or it fails. */
static void volume_is_whole(SimCheck *check, const char *uuid, guint64 inode)
{
    CheckVolume *volume = check_volume_find(check, uuid);
    if (volume != NULL && volume->harmed) {
        volume->harmed = FALSE;
        volume->inode = inode != 0 ? inode : volume->inode;
    }
}

void check_start_is_done(SimCheck *check, CheckVm *vm)
{
    const CheckStart *start = check_start_find(vm, vm->epoch);
    if (start != NULL && start->is_sound) {
        guint64 host = G_GUINT64_CONSTANT(1) << start->host;
        vm->forgetful &= ~host;
        vm->unheard &= ~host;
        volume_is_whole(check, start->nvram_uuid, start->nvram_inode);
        volume_is_whole(check, start->tpm_uuid, 0);
    }
}

void check_forgotten(SimCheck *check, CheckVm *vm, const HostReport *report)
{
    int index = check_host_index(check, report->host_uuid);
    guint64 host = index >= 0 ? G_GUINT64_CONSTANT(1) << index : 0;
    if (report->error == NULL &&
        report->epoch >= vm->epoch) { /* Of this life, and no older one's. */
        vm->forgetful &= ~host;
        vm->unheard &= ~host;
        vm->unforgiven &= ~host;
    } else if (report->error != NULL && report->error->code == ERROR_CODE_FOREIGN_DOMAIN) {
        vm->unforgiven |= host;
    }
}

/* ---- I3: what a domain is made of */

static void check_nvram_fits(SimCheck *check, const CheckVm *vm, const CheckStart *start,
                             const SimFile *file)
{
    VbNvramFacts facts;
    g_autoptr(GError) error = NULL;
    if (!nvram_vars_read(file->bytes, file->size_bytes, &facts, &error)) {
        sim_fail(check->sim, "I3", vm->uuid, "a domain was made on a damaged variable store %s: %s",
                 file->path, error->message);
    } else if (start->secure_boot ? !facts.secure_boot : facts.has_pk) {
        sim_fail(check->sim, "I3", vm->uuid,
                 "a domain with Secure Boot %s was made on %s, whose variables say otherwise",
                 start->secure_boot ? "on" : "off", file->path);
    }
}

static void check_nvram(SimCheck *check, const CheckVm *vm, const CheckStart *start,
                        const SimDomain *domain)
{
    const CheckVolume *volume = check_volume_find(check, start->nvram_uuid);
    SimFile file;
    /* Without file and journal, a creation that has not expired makes it anew. */
    gboolean is_doubly_harmed =
        volume != NULL && volume->harmed && check_is_forgetful(vm, (int)start->host);
    gboolean is_over = volume == NULL || volume->gone || volume->doomed;
    if (!sim_judge(SIM_I3, is_over && check_is_forgetful(vm, (int)start->host))) {
        return;
    }
    if (is_over || !volume->acknowledged) {
        sim_fail(check->sim, "I3", vm->uuid, "a domain was made with volume %s, which is not Ready",
                 start->nvram_uuid);
    } else if (domain->nvram_path == NULL || g_strcmp0(domain->nvram_path, volume->path) != 0) {
        sim_fail(check->sim, "I3", vm->uuid, "a domain was made on %s, its variable store is %s",
                 domain->nvram_path != NULL ? domain->nvram_path : "nothing", volume->path);
    } else if (!check_volume_file(check, volume, &file)) {
        sim_fail(check->sim, "I3", vm->uuid, "a domain was made without its variable store %s",
                 volume->path);
    } else if (file.inode != domain->nvram_inode ||
               (file.inode != volume->inode && volume->inode != 0 && !is_doubly_harmed)) {
        sim_fail(check->sim, "I5", vm->uuid, "a domain was made on another file named %s",
                 volume->path);
    } else if (file.size_bytes != volume->size_bytes) {
        sim_fail(check->sim, "I3", vm->uuid, "a domain was made on %s of %zu bytes", volume->path,
                 file.size_bytes);
    } else {
        check_nvram_fits(check, vm, start, &file);
    }
}

static void check_tpm(SimCheck *check, SimHost *host, const CheckVm *vm, const CheckStart *start)
{
    const CheckVolume *volume = check_volume_find(check, start->tpm_uuid);
    SimFile file;
    if (!start->tpm_expected || volume == NULL || volume->path == NULL) {
        return;
    }
    g_autofree char *path = g_strdup_printf("%s/tpm2/tpm2-00.permall", volume->path);
    sim_judge(SIM_I3, FALSE);
    if (!sim_host_find_file(host, path, &file) || file.size_bytes == 0) {
        sim_fail(check->sim, "I3", vm->uuid, "a domain was made without its TPM's state %s", path);
    }
}

/* What comes between the agent's last look at its clock and its call is not the agent's doing; the
 * call itself must not be late. */
static void check_expiry(SimCheck *check, const CheckVm *vm, const CheckStart *start,
                         const SimDomain *domain)
{
    gint64 late_ms = domain->asked_ms - start->expires_ms;
    sim_judge(SIM_I6, FALSE);
    if (check_taken(check, vm, (int)start->host, start->operation_id, start->epoch,
                    HOST_REPORT__REPORT_DOMAIN_STARTED) != TAKEN_WELL) {
        sim_fail(check->sim, "I6", vm->uuid,
                 "a domain of epoch %" G_GUINT64_FORMAT
                 " was made, though its host read that start too late",
                 start->epoch);
    }
    sim_judge(SIM_I3, FALSE);
    if (late_ms >= 0) {
        sim_fail(check->sim, "I3", vm->uuid,
                 "a domain was asked for %" G_GINT64_FORMAT " ms after its start had expired",
                 late_ms);
    }
}

/* ---- I6: one at a time, and none that is older */

static void check_epoch(SimCheck *check, CheckVm *vm, guint host, const SimDomain *domain)
{
    gboolean has_disk = domain->nvram_inode != 0 || domain->root_inode != 0;
    guint64 newest = has_disk ? MAX(vm->newest_epoch, vm->epochs_on[host]) : vm->epochs_on[host];
    gboolean wrong = domain->epoch <= newest;
    if (sim_judge(SIM_I6, wrong && check_is_forgetful(vm, (int)host)) && wrong) {
        sim_fail(check->sim, "I6", vm->uuid,
                 "a domain of epoch %" G_GUINT64_FORMAT " was made after one of %" G_GUINT64_FORMAT,
                 domain->epoch, newest);
    }
    vm->epochs_on[host] = MAX(vm->epochs_on[host], domain->epoch);
    vm->newest_epoch = has_disk ? MAX(vm->newest_epoch, domain->epoch) : vm->newest_epoch;
}

static gboolean share(guint64 a, guint64 b)
{
    return a != 0 && a == b;
}

static void check_pair(SimCheck *check, const SimDomain *one, const SimDomain *other)
{
    if (sim_judge(SIM_I6, one->unattended || other->unattended) &&
        (share(one->nvram_inode, other->nvram_inode) ||
         share(one->root_inode, other->root_inode))) {
        sim_fail(check->sim, "I6", one->vm_uuid, "two domains run on one file: on %s and on %s",
                 sim_world_name(check->world, one->host_uuid),
                 sim_world_name(check->world, other->host_uuid));
    }
}

static void domain_gather(void *data, const SimDomain *domain)
{
    GArray *all = data;
    if (domain->ours) {
        g_array_append_val(all, *domain);
    }
}

void check_domains(SimCheck *check, const CheckVm *vm)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(SimDomain));
    for (guint i = 0; i < check->world->plan->n_hosts; i++) {
        sim_host_each_domain(check->world->hosts[i], domain_gather, all);
    }
    for (guint i = 0; i < all->len; i++) {
        const SimDomain *one = &g_array_index(all, SimDomain, i);
        for (guint k = 0; k < i; k++) {
            const SimDomain *other = &g_array_index(all, SimDomain, k);
            if (vm == NULL || strcmp(one->vm_uuid, vm->uuid) == 0 ||
                strcmp(other->vm_uuid, vm->uuid) == 0) {
                check_pair(check, one, other);
            }
        }
    }
}

/* A VM of which nothing may run, by its committed status. */
static gboolean is_at_rest(VmStatus status)
{
    return status == VM_STATUS_CREATED || status == VM_STATUS_STOPPED ||
           status == VM_STATUS_CRASHED || status == VM_STATUS_DESTROYED ||
           status == VM_STATUS_EXPUNGING || status == VM_STATUS_EXPUNGED;
}

void check_nothing_runs(SimCheck *check, const CheckVm *vm)
{
    for (guint i = 0; i < check->world->plan->n_hosts; i++) {
        SimDomain domain;
        if (!check_domain_find(check, i, vm, &domain) || !domain.ours) {
            continue;
        }
        gboolean wrong = is_at_rest(vm->status);
        gboolean excused =
            domain.unattended || check_is_forgetful(vm, (int)i) || (vm->crossed >> i & 1) != 0;
        if (sim_judge(SIM_I6, wrong && excused) && wrong) {
            sim_fail(check->sim, "I6", vm->uuid,
                     "it is %s, and its domain of epoch %" G_GUINT64_FORMAT " is there on %s%s",
                     ENUM_LABEL(vm_status, vm->status), domain.epoch,
                     sim_world_name(check->world, check->world->host_uuids[i]),
                     domain.starting_up ? ", starting up" : "");
        }
    }
}

void sim_check_domain_created(SimCheck *check, SimHost *host, const SimDomain *domain)
{
    int index = sim_world_vm_index(check->world, domain->vm_uuid);
    int host_index = check_host_index(check, sim_host_uuid(host));
    if (index < 0 || host_index < 0) {
        return;
    }
    CheckVm *vm = &check->vms[index];
    sim_world_touch(check->world, vm->uuid);
    check_domains(check, vm);
    check_nothing_runs(check, vm);
    if (!domain->ours) {
        return;
    }
    CheckStart *start = check_start_find(vm, domain->epoch);
    sim_judge(SIM_I3, FALSE);
    if (start == NULL || start->host != (guint)host_index) {
        sim_fail(check->sim, "I3", vm->uuid,
                 "a domain of epoch %" G_GUINT64_FORMAT " was made, which nobody asked for here",
                 domain->epoch);
        return;
    }
    start->made = TRUE;
    start->is_sound = TRUE;
    start->nvram_inode = domain->nvram_inode;
    if (domain->unattended) {
        sim_judge(SIM_I3, TRUE);
        return;
    }
    check_epoch(check, vm, (guint)host_index, domain);
    check_expiry(check, vm, start, domain);
    check_tpm(check, host, vm, start);
    if (start->nvram_needed) {
        check_nvram(check, vm, start, domain);
    } else if (domain->nvram_inode != 0) {
        sim_fail(check->sim, "I3", vm->uuid,
                 "a domain was made with a variable store that its "
                 "start does not name");
    }
}

void sim_check_domain_ended(SimCheck *check, SimHost *host, const SimDomain *domain)
{
    int index = sim_world_vm_index(check->world, domain->vm_uuid);
    int host_index = check_host_index(check, sim_host_uuid(host));
    if (index < 0 || host_index < 0) {
        return;
    }
    CheckVm *vm = &check->vms[index];
    CheckStart *start = domain->ours ? check_start_find(vm, domain->epoch) : NULL;
    sim_world_touch(check->world, vm->uuid);
    if (start != NULL && domain->nvram_inode != 0) {
        start->ended = TRUE;
        start->counter_at_end = check_counter(check, domain->nvram_inode)->last;
    }
}

/* ---- I5: what guests find */

void sim_check_guest_booted(SimCheck *check, SimHost *host, const SimDomain *domain,
                            guint64 counter_found)
{
    if (domain->nvram_inode == 0) {
        return;
    }
    CheckCounter *counter = check_counter(check, domain->nvram_inode);
    gboolean wrong = counter_found != counter->last;
    if (sim_judge(SIM_I5, wrong && counter->excused) && wrong) {
        sim_fail(check->sim, "I5", domain->vm_uuid,
                 "a guest on %s finds %" G_GUINT64_FORMAT " in its variables, the last one left "
                 "%" G_GUINT64_FORMAT,
                 sim_world_name(check->world, sim_host_uuid(host)), counter_found, counter->last);
    }
    if (counter_found > 0) {
        sim_mark(MARK_NVRAM_REUSED);
    }
    /* From here on it is known again what is there. */
    counter->excused = FALSE;
    counter->synced = MIN(counter->synced, counter_found);
    counter->last = counter_found + 1;
}

void sim_check_guest_wrote(SimCheck *check, SimHost *host, const SimDomain *domain, guint64 value)
{
    (void)host;
    if (domain->nvram_inode != 0) {
        check_counter(check, domain->nvram_inode)->last = value;
    }
}

/* An agent that has lost its journal does not know what to sync. */
void check_domain_synced(SimCheck *check, CheckVm *vm, const HostReport *report)
{
    CheckStart *start = check_start_find(vm, report->epoch);
    if (start == NULL || !start->ended || check_is_forgetful(vm, (int)start->host)) {
        return;
    }
    CheckCounter *counter = check_counter(check, start->nvram_inode);
    counter->synced = MAX(counter->synced, start->counter_at_end);
}

/* ---- Power */

/* What is on disk now is what the next guest finds. */
static void counter_settle(SimCheck *check, const CheckVm *vm, const CheckVolume *volume)
{
    CheckCounter *counter = check_counter(check, volume->inode);
    guint64 unsynced = counter->last - counter->synced;
    guint64 found = 0;
    SimFile file;
    if (!sim_judge(SIM_I5, counter->excused || volume->harmed) ||
        !check_volume_file(check, volume, &file)) {
        return; /* That it is there at all is check_volume_files' matter. */
    }
    if (!sim_nvram_counter(file.bytes, file.size_bytes, &found)) {
        if (unsynced == 0) {
            sim_fail(check->sim, "I5", vm->uuid, "a power loss damaged %s, which was synced",
                     file.path);
        }
        counter->excused = TRUE; /* Torn: no guest starts on it. */
        return;
    }
    if (found < counter->synced || found > counter->last) {
        sim_fail(check->sim, "I5", vm->uuid,
                 "a power loss left %" G_GUINT64_FORMAT " in %s: %" G_GUINT64_FORMAT
                 " was synced, %" G_GUINT64_FORMAT " written",
                 found, file.path, counter->synced, counter->last);
    }
    counter->last = found;
}

static void starts_settle(SimCheck *check, CheckVm *vm, guint host)
{
    for (guint i = 0; i < vm->starts->len; i++) {
        CheckStart *start = &g_array_index(vm->starts, CheckStart, i);
        if (start->made && start->host == host && start->nvram_inode != 0) {
            guint64 last = check_counter(check, start->nvram_inode)->last;
            start->counter_at_end = start->ended ? MIN(start->counter_at_end, last) : last;
            start->ended = TRUE;
        }
    }
}

void sim_check_power_lost(SimCheck *check, SimHost *host)
{
    int index = check_host_index(check, sim_host_uuid(host));
    for (guint i = 0; index >= 0 && i < check->world->plan->n_vms; i++) {
        CheckVm *vm = &check->vms[i];
        sim_world_touch(check->world, vm->uuid);
        for (guint k = 0; k < vm->volumes->len; k++) {
            CheckVolume *volume = g_ptr_array_index(vm->volumes, k);
            if (strcmp(volume->host_uuid, sim_host_uuid(host)) != 0 || !volume->acknowledged ||
                volume->doomed) {
                continue;
            }
            volume->tpm_at_risk = !volume->tpm_durable;
            if (volume->type == VOLUME_TYPE_NV_RAM) {
                counter_settle(check, vm, volume);
            }
        }
        starts_settle(check, vm, (guint)index);
    }
}
