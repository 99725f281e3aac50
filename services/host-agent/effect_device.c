/* EFFECT_ATTACH and EFFECT_DETACH: one NIC of a running domain. Each looks first and does what is
 * missing, so that either may run again after a crash: a NIC that is there is attached, one that is
 * gone is detached, and the rest of the work goes on.
 *
 *   attach   port, then device     a failure takes the port away again
 *   detach   device, then port     a guest may refuse; then both stay
 *
 * It never ends a guest to get a device in or out, and touches no domain of another epoch. */
#include "services/host-agent/audit.h"
#include "services/host-agent/effect.h"

#include "common/base/model.h"
#include "common/base/text.h"
#include "common/runtime/kill_point.h"

enum {
    POLL_INTERVAL_MS = 200,
    LET_GO_MS = 60000, /* What a guest gets where the command never expires. */
};

typedef struct {
    VbHost *host;
    VbArena *arena;
    const VbEffectRequest *request;
    const HostVm *vm;
    VbEffectResult *result;
    const NicSpec *nic;
    const VmSpec *spec;
    const Hardware *known;   /* As the VM's record has it. */
    EffectiveNic *effective; /* Attach. */
    char *path;              /* Of its socket; NULL: not vhost-user. */
    VbDomainFacts facts;     /* At the last look. */
    NicType found_type;      /* Of the NIC of this index, where there is one. */
    gboolean keeps_port;     /* The port is another NIC's. */
} Device;

/* --- What is there */

static gboolean fail_kept(const Device *d, GError **error)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_GUEST_KEEPS_DEVICE,
                "the guest of VM %s did not let go of NIC %u in time; it is still there: ask again "
                "when the guest is up, or stop the VM",
                d->vm->vm_uuid, d->nic->index);
    return FALSE;
}

static NicType found_type(const VbDomainFacts *facts, guint32 index)
{
    for (size_t i = 0; facts->nic_types != NULL && i < facts->hardware->n_nics; i++) {
        if (facts->hardware->nics[i]->index == index) {
            return facts->nic_types[i];
        }
    }
    return NIC_TYPE_UNSPECIFIED;
}

/* Our domain, of this epoch; else an error. */
static gboolean look_once(Device *d, VbArena *arena, GError **error)
{
    const char *vm_uuid = d->vm->vm_uuid;
    guint64 epoch = d->vm->command->epoch;
    VbHypervisor *hypervisor = d->host->hypervisor;
    if (!hypervisor->look(hypervisor, arena, vm_uuid, &d->facts, error)) {
        return FALSE;
    }
    d->found_type = found_type(&d->facts, d->nic->index);
    d->result->facts.presence = d->facts.presence;
    d->result->facts.epoch = d->facts.epoch;
    if (d->facts.presence == DOMAIN_FOREIGN) {
        g_set_error(error, VB_ERROR, ERROR_CODE_FOREIGN_DOMAIN,
                    "a domain of uuid %s exists that virtbus did not make: remove it by hand",
                    vm_uuid);
        return FALSE;
    }
    if (d->facts.presence == DOMAIN_OURS && d->facts.epoch > epoch) {
        g_set_error(error, VB_ERROR, ERROR_CODE_STALE_EPOCH,
                    "VM %s runs here at epoch %" G_GUINT64_FORMAT
                    ", the command is of %" G_GUINT64_FORMAT ": it came too late; nothing was done",
                    vm_uuid, d->facts.epoch, epoch);
        return FALSE;
    }
    if (d->facts.presence == DOMAIN_NONE || d->facts.starting_up || d->facts.epoch < epoch) {
        g_set_error(error, VB_ERROR, ERROR_CODE_DOMAIN_NOT_RUNNING,
                    "VM %s does not run on this host at epoch %" G_GUINT64_FORMAT
                    ": UpdateVm changes the NICs of a VM that is stopped",
                    vm_uuid, epoch);
        return FALSE;
    }
    return TRUE;
}

/* An earlier attempt that was cut off may be stuck in QEMU: then its NIC is in the XML and not in
 * the guest. See hypervisor_libvirt.c. */
static gboolean is_settled(const Device *d)
{
    return !d->facts.changing;
}

static gboolean nic_is_there(const Device *d)
{
    return model_nic(d->facts.hardware, d->nic->index) != NULL;
}

static gboolean nic_is_gone(const Device *d)
{
    return !nic_is_there(d);
}

/* What the looks make is thrown away but for the last: this is asked again and again. */
static gboolean look_until(Device *d, gboolean (*condition)(const Device *d), gint64 until_ms,
                           GError **error)
{
    VbHost *host = d->host;
    for (;;) {
        g_autoptr(VbArena) scratch = arena_new();
        if (!look_once(d, scratch, error)) {
            return FALSE;
        }
        if (condition(d)) {
            d->facts.hardware = arena_copy(d->arena, d->facts.hardware);
            return TRUE;
        }
        if (d->request->preempted != NULL && g_atomic_int_get(d->request->preempted) != 0) {
            g_set_error(error, VB_ERROR, ERROR_CODE_PREEMPTED,
                        "NIC %u of VM %s was on its way in or out when a command came that ends "
                        "the VM",
                        d->nic->index, d->vm->vm_uuid);
            return FALSE;
        }
        if (host->now_ms(host->clock) >= until_ms) {
            return fail_kept(d, error);
        }
        host->wait_ms(host->clock, POLL_INTERVAL_MS);
    }
}

/* However long libvirt is at work on the domain. */
static gboolean look(Device *d, GError **error)
{
    return look_until(d, is_settled, G_MAXINT64, error);
}

static gboolean is_expired(const Device *d)
{
    gint64 expires_ms = d->vm->command->expires_ms;
    return expires_ms != 0 && d->host->now_ms(d->host->clock) >= expires_ms;
}

/* What libvirt's call said. One that was preempted has ended the domain; `error` is not NULL. */
static gboolean said(Device *d, gboolean ok, GError **error)
{
    if (!ok && g_error_matches(*error, VB_ERROR, ERROR_CODE_PREEMPTED)) {
        d->result->stop_reason = STOP_REASON_REQUESTED;
        audit_add(d->host, d->vm, AUDIT_DOMAIN_DESTROYED, NULL);
    }
    return ok;
}

/* --- The port */

/* Both, whatever becomes of the other. What OVS does not take away now is tried again later, so it
 * is no error of the command's. */
static void remove_port(Device *d)
{
    g_autoptr(GError) port_error = NULL;
    g_autoptr(GError) socket_error = NULL;
    d->result->nic = NIC_NOTHING;
    if (d->path == NULL) {
        return;
    }
    if (!port_unplug(d->host, d->vm, d->nic->index, &port_error)) {
        g_warning("VM %s: %s; it is tried again", d->vm->vm_uuid, port_error->message);
        d->result->nic = NIC_PORT;
    }
    if (!socket_remove(d->host, d->path, &socket_error)) {
        g_warning("VM %s: %s", d->vm->vm_uuid, socket_error->message);
    }
}

static gboolean add_port(Device *d, GError **error)
{
    return d->path == NULL || (port_check(d->host, d->vm->vm_uuid, error) &&
                               socket_folder_keep(d->host, d->arena, d->vm->vm_uuid, error) &&
                               socket_remove(d->host, d->path, error) &&
                               port_plug(d->host, d->vm, d->nic, d->effective, d->path, error));
}

/* --- The report */

static void report(Device *d)
{
    HostReport *report = ARENA_MSG(d->arena, host_report);
    DeviceChanged *changed = ARENA_MSG(d->arena, device_changed);
    changed->hardware = d->facts.hardware;
    hardware_complete(d->arena, d->known, d->nic->index, d->effective, changed->hardware);
    if (d->effective != NULL) {
        changed->attached = arena_copy(d->arena, d->nic);
    } else {
        changed->detached = arena_copy(d->arena, d->nic);
    }
    report->report_case = HOST_REPORT__REPORT_DEVICE_CHANGED;
    report->device_changed = changed;
    d->result->report = report;
    audit_add_nic(d->host, d->vm, d->effective != NULL ? AUDIT_NIC_ATTACHED : AUDIT_NIC_DETACHED,
                  d->nic->index);
}

static gboolean command_read(Device *d, const NicSpec *nic, const VmSpec *spec,
                             const Hardware *known, GError **error)
{
    d->nic = nic;
    d->spec = spec;
    d->known = known;
    if (nic == NULL || spec == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "operation %s for VM %s carries no NIC or no specification",
                    d->vm->command->operation_id, d->vm->vm_uuid);
        return FALSE;
    }
    if (nic->type == NIC_TYPE_VHOST_USER) {
        d->path = socket_path(d->host, d->arena, d->vm->vm_uuid, nic->index, error);
        return d->path != NULL;
    }
    return TRUE;
}

/* --- Attach */

/* Refused before anything is made. The <interface>; free with g_free. */
static char *plan_attach(Device *d, GError **error)
{
    const char *vm_uuid = d->vm->vm_uuid;
    if (is_expired(d)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INTERRUPTED,
                    "operation %s had not attached NIC %u to VM %s when it expired; nothing of it "
                    "is left: ask again",
                    d->vm->command->operation_id, d->nic->index, vm_uuid);
        return NULL;
    }
    if (d->path != NULL && !d->facts.hardware->shared_memory) {
        g_set_error(error, VB_ERROR, ERROR_CODE_UNSUPPORTED,
                    "VM %s was started without shared memory, and a vhost-user NIC would be silent "
                    "in it: stop it, add NIC %u with UpdateVm, start it",
                    vm_uuid, d->nic->index);
        return NULL;
    }
    VbNicPlan plan = {.vm_uuid = vm_uuid,
                      .nic = d->nic,
                      .effective = d->effective,
                      .socket_path = d->path,
                      .place = domain_xml_free_place(d->arena, d->facts.hardware)};
    if (plan.place == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_UNSUPPORTED,
                    "VM %s has no free slot for NIC %u while it runs: stop it, add the NIC with "
                    "UpdateVm, start it; each start makes room for more",
                    vm_uuid, d->nic->index);
        return NULL;
    }
    return domain_xml_build_nic(&plan, error);
}

/* An attach that a forced stop cut short may have left its NIC in a guest that runs on, and no record
 * knows it. */
static gboolean check_same(Device *d, GError **error)
{
    const EffectiveNic *found = model_nic(d->facts.hardware, d->nic->index);
    const EffectiveNic *asked = d->effective;
    if (d->found_type == d->nic->type && found->effective_model == asked->effective_model &&
        g_ascii_strcasecmp(found->mac, asked->mac) == 0) {
        return TRUE;
    }
    d->keeps_port = d->found_type == NIC_TYPE_VHOST_USER;
    g_set_error(
        error, VB_ERROR, ERROR_CODE_UNSUPPORTED,
        "VM %s runs with another NIC %u (%s, %s, %s) than is asked for (%s, %s, %s): detach "
        "it first, or stop and start the VM",
        d->vm->vm_uuid, d->nic->index, ENUM_LABEL(nic_type, d->found_type),
        ENUM_LABEL(nic_model, found->effective_model), found->mac,
        ENUM_LABEL(nic_type, d->nic->type), ENUM_LABEL(nic_model, asked->effective_model),
        asked->mac);
    return FALSE;
}

static gboolean attach_missing(Device *d, GError **error)
{
    g_autofree char *xml = plan_attach(d, error);
    VbHypervisor *hypervisor = d->host->hypervisor;
    if (xml == NULL || !add_port(d, error)) {
        return FALSE;
    }
    KILL_POINT("attach-port-plugged");
    gboolean attached =
        hypervisor->attach_device(hypervisor, d->vm->vm_uuid, xml, d->request->preempted, error);
    return said(d, attached, error) && look(d, error);
}

static gboolean attach(Device *d, GError **error)
{
    d->effective = nic_resolve(d->arena, d->vm->vm_uuid, d->spec, d->nic,
                               model_nic(d->known, d->nic->index), d->host->config->max_queues);
    if (!look(d, error)) {
        return FALSE;
    }
    if (nic_is_there(d)) {
        return check_same(d, error);
    }
    if (!attach_missing(d, error)) {
        return FALSE;
    }
    if (!nic_is_there(d)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR,
                    "libvirt attached NIC %u to VM %s and does not show it: see the log of domain "
                    "vb-%s",
                    d->nic->index, d->vm->vm_uuid, d->vm->vm_uuid);
    }
    return nic_is_there(d);
}

/* libvirt away: the device may be in, only libvirt can tell. A newer domain: the port, if there is
 * one, is its own. Preempted: what follows clears everything away. */
static gboolean is_to_undo(int code)
{
    return code != ERROR_CODE_HYPERVISOR_UNAVAILABLE && code != ERROR_CODE_STALE_EPOCH &&
           code != ERROR_CODE_PREEMPTED;
}

void effect_attach(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                   VbEffectResult *ret_result)
{
    const AttachDevice *command = request->vm->command->attach_device;
    Device d = {
        .host = host, .arena = arena, .request = request, .vm = request->vm, .result = ret_result};
    g_autoptr(GError) error = NULL;
    if (!command_read(&d, command->nic, command->spec, command->hardware, &error)) {
        ret_result->nic = NIC_NOTHING;
    } else if (attach(&d, &error)) {
        report(&d);
    } else if (is_to_undo(error->code) && !d.keeps_port) {
        remove_port(&d);
    }
    if (error != NULL) {
        ret_result->error = error_from_gerror(arena, error);
    }
}

/* --- Detach */

static gboolean detach(Device *d, GError **error)
{
    VbHypervisor *hypervisor = d->host->hypervisor;
    gint64 until_ms = d->vm->command->expires_ms;
    if (until_ms == 0) {
        until_ms = d->host->now_ms(d->host->clock) + LET_GO_MS;
    }
    if (!look(d, error)) {
        return FALSE;
    }
    if (!nic_is_there(d)) {
        return TRUE;
    }
    if (is_expired(d)) {
        return fail_kept(d, error);
    }
    /* libvirt's call only asks the guest. */
    const char *alias = domain_xml_nic_alias(d->arena, d->nic->index);
    return said(d,
                hypervisor->detach_device(hypervisor, d->vm->vm_uuid, alias, d->request->preempted,
                                          error),
                error) &&
           look_until(d, nic_is_gone, until_ms, error);
}

void effect_detach(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                   VbEffectResult *ret_result)
{
    const DetachDevice *command = request->vm->command->detach_device;
    Device d = {
        .host = host, .arena = arena, .request = request, .vm = request->vm, .result = ret_result};
    g_autoptr(GError) error = NULL;
    if (command_read(&d, command->nic, command->spec, command->hardware, &error) &&
        detach(&d, &error)) {
        KILL_POINT("device-detached");
        report(&d);
        remove_port(&d);
    }
    if (error != NULL) {
        ret_result->error = error_from_gerror(arena, error);
    }
}
