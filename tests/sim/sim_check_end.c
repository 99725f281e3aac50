/* I10: when all is calm, domains, ports and files are what the committed states say.
 *
 * What the design allows, and so does this: whom somebody's by-hand domain stands in the way, or
 * whose host has lost its journal or its commands, may stay Unknown until a person decides. What a
 * host keeps of an expunged VM is only removed if the command to forget it could reach the host, and
 * nobody else's domain of that uuid was there. */
#include <string.h>

#include "common/base/text.h"
#include "tests/sim/sim_check.h"

/* What one host has. */
typedef struct {
    SimCheck *check;
    guint host;
    guint *n_domains;   /* By VM, on all hosts. */
    guint64 *ports;     /* By VM, bits of NIC indexes, on this host. */
    gboolean *in_place; /* By VM: its domain is where and what it must be. */
} Look;

static gboolean may_run(const CheckVm *vm)
{
    return vm->status == VM_STATUS_RUNNING || vm->status == VM_STATUS_PAUSED;
}

static void look_at_domain(void *data, const SimDomain *domain)
{
    Look *look = data;
    SimCheck *check = look->check;
    int index = sim_world_vm_index(check->world, domain->vm_uuid);
    if (index < 0 || !domain->ours) {
        return;
    }
    const CheckVm *vm = &check->vms[index];
    gboolean here = strcmp(vm->host_uuid, check->world->host_uuids[look->host]) == 0;
    look->n_domains[index]++;
    look->in_place[index] = here && domain->epoch == vm->epoch && !domain->starting_up;
    if (sim_judge(SIM_I10, vm->status == VM_STATUS_UNKNOWN) &&
        (!may_run(vm) || !look->in_place[index])) {
        sim_fail(check->sim, "I10", vm->uuid,
                 "it is %s at epoch %" G_GUINT64_FORMAT ", and a domain of epoch %" G_GUINT64_FORMAT
                 " is left on %s%s",
                 ENUM_LABEL(vm_status, vm->status), vm->epoch, domain->epoch,
                 sim_world_name(check->world, check->world->host_uuids[look->host]),
                 domain->starting_up ? ", which never came up" : "");
    }
}

static void look_at_port(void *data, const char *vm_uuid, guint nic_index)
{
    Look *look = data;
    SimCheck *check = look->check;
    int index = sim_world_vm_index(check->world, vm_uuid);
    const CheckVm *vm = index >= 0 ? &check->vms[index] : NULL;
    gboolean here = vm != NULL && strcmp(vm->host_uuid, check->world->host_uuids[look->host]) == 0;
    if (here && nic_index < 64) {
        look->ports[index] |= G_GUINT64_CONSTANT(1) << nic_index;
    }
    gboolean wrong = vm == NULL || !here || !may_run(vm) || nic_index >= 64 ||
                     (vm->vhost_nics >> nic_index & 1) == 0;
    gboolean excused =
        vm != NULL && (vm->status == VM_STATUS_UNKNOWN || check_is_forgetful(vm, (int)look->host));
    if (sim_judge(SIM_I10, wrong && excused) && wrong) {
        sim_fail(check->sim, "I10", vm_uuid, "it is %s, and the port of its NIC %u is left on %s",
                 vm != NULL ? ENUM_LABEL(vm_status, vm->status) : "nobody's", nic_index,
                 sim_world_name(check->world, check->world->host_uuids[look->host]));
    }
}

/* ---- Files */

/* A creation that was refused or cut off on a host which the record does not name may leave its
 * temporary file there: an orphan, and to find those is another matter. So is what a host made that
 * had to begin with its commands anew, without its journal of them: it may refuse what it has made. */
static void look_at_volume_file(const Look *look, const SimFile *file, const char *uuid)
{
    SimCheck *check = look->check;
    const CheckVolume *volume = check_volume_find(check, uuid);
    const char *host_uuid = check->world->host_uuids[look->host];
    const char *host = sim_world_name(check->world, host_uuid);
    g_autofree char *name = g_path_get_basename(file->path);
    gboolean here = volume != NULL && strcmp(volume->host_uuid, host_uuid) == 0;
    gboolean is_left = volume != NULL && (!here || !volume->acknowledged || *name == '.') &&
                       check_is_forgetful(&check->vms[volume->vm], (int)look->host);
    gboolean may_be_orphan =
        volume != NULL && (check->vms[volume->vm].orphans >> look->host & 1) != 0;
    gboolean is_orphan = may_be_orphan && (!here || volume->gone);
    if (!sim_judge(SIM_I10, is_left || is_orphan || (!here && *name == '.'))) {
        return;
    }
    if (*name == '.') {
        if (volume->acknowledged || volume->gone) {
            sim_fail(check->sim, "I10", check->vms[volume->vm].uuid,
                     "the temporary file %s is left on %s", file->path, host);
        }
    } else if (volume == NULL || volume->gone) {
        sim_fail(check->sim, "I10", volume != NULL ? check->vms[volume->vm].uuid : NULL,
                 "%s is left on %s, and no record knows the volume", file->path, host);
    } else if (!here) {
        sim_fail(check->sim, "I10", check->vms[volume->vm].uuid,
                 "%s is left on %s, and its volume is not recorded there", file->path, host);
    }
}

/* Journals and logs go with an expunged VM. */
static void look_at_file(void *data, const SimFile *file)
{
    const Look *look = data;
    SimCheck *check = look->check;
    char uuid[UUID_TEXT_BYTES];
    if (check_path_volume(file->path, uuid)) {
        look_at_volume_file(look, file, uuid);
        return;
    }
    for (guint i = 0; i < check->world->plan->n_vms; i++) {
        const CheckVm *vm = &check->vms[i];
        gboolean expunged = vm->status == VM_STATUS_EXPUNGED || !vm->exists;
        guint64 excuses = vm->unheard | vm->forgetful | vm->unforgiven | vm->crossed;
        gboolean excused = (excuses >> look->host & 1) != 0;
        if (strstr(file->path, vm->uuid) == NULL) {
            continue;
        }
        if (sim_judge(SIM_I10, expunged && (excused || vm->volumes->len > 0)) && expunged) {
            sim_fail(check->sim, "I10", vm->uuid, "it is expunged, and %s is left on %s",
                     file->path,
                     sim_world_name(check->world, check->world->host_uuids[look->host]));
        }
    }
}

/* ---- Both */

static void look_for_ports(const Look *look)
{
    SimCheck *check = look->check;
    for (guint i = 0; i < check->world->plan->n_vms; i++) {
        const CheckVm *vm = &check->vms[i];
        if (look->in_place[i] && vm->status == VM_STATUS_RUNNING &&
            check_host_index(check, vm->host_uuid) == (int)look->host &&
            (vm->vhost_nics & ~look->ports[i]) != 0) {
            sim_fail(check->sim, "I10", vm->uuid,
                     "it is Running, and a port of its vhost-user NICs is not there");
        }
    }
}

/* What an expunge could not delete yet is at least doomed. */
static void check_expunged(SimCheck *check, const CheckVm *vm)
{
    gboolean expunged = vm->status == VM_STATUS_EXPUNGED || !vm->exists;
    for (guint i = 0; expunged && i < vm->volumes->len; i++) {
        const CheckVolume *volume = g_ptr_array_index(vm->volumes, i);
        sim_judge(SIM_I10, FALSE);
        if (volume->status != VOLUME_STATUS_DELETING) {
            sim_fail(check->sim, "I10", vm->uuid, "it is expunged, and its volume %s is %s",
                     volume->uuid, ENUM_LABEL(volume_status, volume->status));
        }
    }
}

static void check_vm_end(SimCheck *check, const CheckVm *vm, const Look *look)
{
    /* An end that no agent saw, and no journal tells of, is not known to anybody. */
    gboolean excused = look->n_domains[vm->index] == 0 &&
                       check_is_forgetful(vm, check_host_index(check, vm->host_uuid));
    if (may_run(vm) && sim_judge(SIM_I10, excused) &&
        (look->n_domains[vm->index] != 1 || !look->in_place[vm->index])) {
        sim_fail(check->sim, "I10", vm->uuid, "it is %s on %s, and %u domains of it are there",
                 ENUM_LABEL(vm_status, vm->status), sim_world_name(check->world, vm->host_uuid),
                 look->n_domains[vm->index]);
    }
    gboolean is_unknown = vm->status == VM_STATUS_UNKNOWN;
    if (sim_judge(SIM_I8, is_unknown && !vm->has_operation && check_is_excused(check, vm)) &&
        (vm->has_operation || is_unknown)) {
        sim_fail(check->sim, "I8", vm->uuid, "it is still %s%s", ENUM_LABEL(vm_status, vm->status),
                 vm->has_operation ? ", with an operation" : "");
    }
}

/* What nobody needs any more does not stay for ever. */
static void check_retention(SimCheck *check, const CheckVm *vm)
{
    enum { LATE_MS = 60 * 1000 }; /* Far longer than a deadline is ever late in calm. */
    gint64 since_ms = MAX(check->calm_ms, 0);
    gint64 retain_ms = check->world->settings.nvram_retain_ms;
    for (guint i = 0; i < vm->volumes->len; i++) {
        const CheckVolume *volume = g_ptr_array_index(vm->volumes, i);
        gint64 end_ms = MAX(volume->retained_ms + retain_ms, since_ms) + LATE_MS;
        if (volume->status == VOLUME_STATUS_RETAINED && sim_judge(SIM_I10, FALSE) &&
            sim_now_ms(check->sim) > end_ms) {
            sim_fail(check->sim, "I10", vm->uuid,
                     "volume %s is Retained, and its retention has ended long ago", volume->uuid);
        }
    }
}

void check_end(SimCheck *check)
{
    SimWorld *world = check->world;
    guint n = world->plan->n_vms;
    g_autofree guint *n_domains = g_new0(guint, n);
    g_autofree gboolean *in_place = g_new0(gboolean, n);
    g_autofree guint64 *ports = g_new0(guint64, n);
    Look look = {.check = check, .n_domains = n_domains, .in_place = in_place, .ports = ports};
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        look.host = i;
        memset(ports, 0, n * sizeof(*ports));
        sim_host_each_domain(world->hosts[i], look_at_domain, &look);
        sim_host_each_port(world->hosts[i], look_at_port, &look);
        sim_host_each_file(world->hosts[i], "", look_at_file, &look);
        look_for_ports(&look);
    }
    for (guint i = 0; i < n; i++) {
        check_expunged(check, &check->vms[i]);
        check_vm_end(check, &check->vms[i], &look);
        check_retention(check, &check->vms[i]);
    }
}
