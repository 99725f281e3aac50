/* EFFECT_START, in one line from top to bottom: work out, look, verify, write the XML, plug, create,
 * report. Everything that can be refused is refused before anything is made. It undoes nothing: the
 * core asks for EFFECT_CLEAN_UP after a failure. */
#include "services/host-agent/audit.h"
#include "services/host-agent/effect.h"

#include <errno.h>
#include <string.h>

#include "common/runtime/kill_point.h"

enum { CREATE_TIMEOUT_MS = 120000 }; /* Of a start that never expires. */

typedef struct {
    VbHost *host;
    VbArena *arena;
    const HostVm *vm;
    VbEffectResult *result;
    VbStartPlan plan;
    const char *domain_type;
    FirmwareRef *firmware; /* NULL: Legacy BIOS. */
    const FirmwareRef *pinned;
    gboolean firmware_replaced;
    char *nvram_path;
    gboolean running; /* An earlier attempt of the same operation has made it. */
} Start;

static gboolean find_domain(Start *s, GError **error)
{
    VbDomainFacts facts;
    const char *vm_uuid = s->vm->vm_uuid;
    guint64 epoch = s->vm->command->epoch;
    VbHypervisor *hypervisor = s->host->hypervisor;
    if (!hypervisor->look(hypervisor, s->arena, vm_uuid, &facts, error)) {
        return FALSE;
    }
    switch (facts.presence) {
    case DOMAIN_NONE:
        return TRUE;
    case DOMAIN_FOREIGN:
        g_set_error(error, VB_ERROR, ERROR_CODE_FOREIGN_DOMAIN,
                    "a domain of uuid %s exists that virtbus did not make: remove it by hand",
                    vm_uuid);
        return FALSE;
    case DOMAIN_OURS:
        break;
    }
    s->result->facts = facts;
    s->result->nothing_created = facts.epoch > epoch;
    if (facts.epoch > epoch) {
        g_set_error(error, VB_ERROR, ERROR_CODE_STALE_EPOCH,
                    "VM %s runs here at epoch %" G_GUINT64_FORMAT
                    ", the command is of %" G_GUINT64_FORMAT ": it came too late; nothing was done",
                    vm_uuid, facts.epoch, epoch);
    } else if (facts.starting_up) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INTERRUPTED,
                    "an earlier start of VM %s was cut off when libvirt died; it is taken down: "
                    "ask again",
                    vm_uuid);
    } else if (facts.epoch < epoch) {
        g_set_error(error, VB_ERROR, ERROR_CODE_ILLEGAL_STATUS,
                    "VM %s still runs here since epoch %" G_GUINT64_FORMAT
                    "; it is taken down: ask "
                    "again",
                    vm_uuid, facts.epoch);
    } else {
        s->running = TRUE;
    }
    return s->running;
}

static gboolean choose_domain_type(Start *s, GError **error)
{
    const char *const *types = s->host->hypervisor->domain_types(s->host->hypervisor);
    const char *wanted = s->plan.start->spec->domain_type;
    s->domain_type = wanted[0] != '\0' ? wanted : types[0];
    if (wanted[0] == '\0' || g_strv_contains(types, wanted)) {
        return TRUE;
    }
    g_autofree char *offered = g_strjoinv(", ", (char **)types);
    g_set_error(error, VB_ERROR, ERROR_CODE_UNSUPPORTED,
                "VM %s asks for domain type %s, this host offers %s: leave it empty, or choose "
                "another host",
                s->vm->vm_uuid, wanted, offered);
    return FALSE;
}

static gboolean resolve_firmware(Start *s, GError **error)
{
    if (s->plan.class_ == NULL) {
        return TRUE;
    }
    s->firmware =
        start_plan_firmware(s->host, s->arena, &s->plan, &s->pinned, &s->firmware_replaced, error);
    return s->firmware != NULL;
}

static gboolean check_file(Start *s, const char *path, ErrorCode missing, GError **error)
{
    struct stat facts;
    if (s->host->files->lstat(s->host->files, path, &facts) == 0) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, errno == ENOENT ? missing : ERROR_CODE_STORAGE_IO,
                "VM %s: %s: %s; bring it back, or take it out of the VM's configuration",
                s->vm->vm_uuid, path, g_strerror(errno));
    return FALSE;
}

/* What listens there is seen only when QEMU connects; that nothing can is seen here (N7). */
static gboolean check_back_end(Start *s, const DiskSpec *disk, GError **error)
{
    struct stat facts;
    if (s->host->files->lstat(s->host->files, disk->socket_path, &facts) == 0 &&
        S_ISSOCK(facts.st_mode)) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_VHOST_USER_NOT_CONNECTED,
                "VM %s: nobody serves disk %u, there is no socket %s: start its vhost-user back "
                "end, or name the right socket",
                s->vm->vm_uuid, disk->index, disk->socket_path);
    return FALSE;
}

static gboolean check_disks_and_cdroms(Start *s, GError **error)
{
    const StartDomain *start = s->plan.start;
    for (size_t i = 0; i < start->spec->n_disks; i++) {
        const DiskSpec *disk = start->spec->disks[i];
        if (disk->bus == DISK_BUS_VHOST_USER && !check_back_end(s, disk, error)) {
            return FALSE;
        }
    }
    for (size_t i = 0; i < start->n_volumes; i++) {
        VolumeType type = start->volumes[i]->type;
        if ((type == VOLUME_TYPE_ROOT || type == VOLUME_TYPE_DATA) &&
            !check_file(s, s->plan.volume_paths[i], ERROR_CODE_VOLUME_NOT_FOUND, error)) {
            return FALSE;
        }
    }
    for (size_t i = 0; i < start->spec->n_cdroms; i++) {
        if (s->plan.cdrom_paths[i] != NULL &&
            !check_file(s, s->plan.cdrom_paths[i], ERROR_CODE_IMAGE_NOT_FOUND, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean check_switch(Start *s, GError **error)
{
    return s->plan.n_vhost_user == 0 || port_check(s->host, s->vm->vm_uuid, error);
}

static gboolean verify_nvram(Start *s, GError **error)
{
    if (s->plan.nvram == NULL) {
        return TRUE;
    }
    if (!nvram_verify(s->host, s->arena, s->plan.nvram, s->plan.class_, &s->nvram_path, error)) {
        return FALSE;
    }
    audit_add(s->host, s->vm, AUDIT_NVRAM_VERIFIED, s->nvram_path);
    return TRUE;
}

static gboolean prepare_tpm(Start *s, GError **error)
{
    char *path = NULL;
    if (s->plan.tpm == NULL) {
        return TRUE;
    }
    if (!tpm_prepare(s->host, s->arena, s->vm->vm_uuid, s->plan.tpm,
                     start_plan_tpm_started(&s->plan), &path, error)) {
        return FALSE;
    }
    audit_add(s->host, s->vm, AUDIT_TPM_VERIFIED, path);
    return TRUE;
}

static gboolean plug_ports(Start *s, GError **error)
{
    const VmSpec *spec = s->plan.start->spec;
    if (s->plan.n_vhost_user > 0 && !socket_folder_make(s->host, s->arena, s->vm->vm_uuid, error)) {
        return FALSE;
    }
    for (size_t i = 0; i < spec->n_nics; i++) {
        if (spec->nics[i]->type == NIC_TYPE_VHOST_USER &&
            !port_plug(s->host, s->vm, spec->nics[i], s->plan.nics[i], s->plan.socket_paths[i],
                       error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static char *build_xml(Start *s, GError **error)
{
    VbDomainPlan domain = {
        .vm_uuid = s->vm->vm_uuid,
        .operation_id = s->vm->command->operation_id,
        .epoch = s->vm->command->epoch,
        .start = s->plan.start,
        .domain_type = s->domain_type,
        .firmware = s->firmware,
        .nvram_path = s->nvram_path,
        .volume_paths = s->plan.volume_paths,
        .cdrom_paths = s->plan.cdrom_paths,
        .socket_paths = s->plan.socket_paths,
        .nics = s->plan.nics,
        .serial_log_path = s->plan.serial_log_path,
    };
    return domain_xml_build(&domain, error);
}

static gboolean create_domain(Start *s, const char *xml, GError **error)
{
    gint64 timeout_ms = CREATE_TIMEOUT_MS;
    if (s->vm->command->expires_ms != 0) {
        timeout_ms = s->vm->command->expires_ms - s->host->now_ms(s->host->clock);
    }
    if (timeout_ms <= 0) {
        g_set_error(error, VB_ERROR, ERROR_CODE_EXPIRED,
                    "the start of VM %s expired while it was being prepared: ask again",
                    s->vm->vm_uuid);
        return FALSE;
    }
    s->result->nothing_created = FALSE;
    g_autoptr(GError) refusal = NULL;
    VbHypervisor *hypervisor = s->host->hypervisor;
    if (hypervisor->create(hypervisor, s->vm->vm_uuid, xml, timeout_ms, &refusal)) {
        audit_add(s->host, s->vm, AUDIT_DOMAIN_CREATED, NULL);
        return TRUE;
    }
    /* QEMU waits in its start until OVS has connected to every socket: no other part of it waits
     * for anybody. */
    if (s->plan.n_vhost_user > 0 && g_error_matches(refusal, VB_ERROR, ERROR_CODE_TIMEOUT)) {
        refusal->code = ERROR_CODE_VHOST_USER_NOT_CONNECTED;
        g_prefix_error(&refusal, "QEMU and OVS did not connect over a vhost-user socket: ");
    }
    g_propagate_error(error, g_steal_pointer(&refusal));
    return FALSE;
}

static gboolean report_started(Start *s, GError **error)
{
    VbDomainFacts facts;
    VbHypervisor *hypervisor = s->host->hypervisor;
    KILL_POINT("domain-created");
    if (!hypervisor->look(hypervisor, s->arena, s->vm->vm_uuid, &facts, error)) {
        return FALSE;
    }
    if (facts.presence != DOMAIN_OURS) {
        g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR,
                    "VM %s ended right after its start: see the log of domain vb-%s",
                    s->vm->vm_uuid, s->vm->vm_uuid);
        return FALSE;
    }
    start_plan_complete(s->arena, &s->plan, s->firmware, facts.hardware);
    DomainStarted *started = ARENA_MSG(s->arena, domain_started);
    started->hardware = facts.hardware;
    if (s->firmware_replaced) {
        started->replaced_firmware = arena_copy(s->arena, s->pinned);
    }
    HostReport *report = ARENA_MSG(s->arena, host_report);
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
    report->domain_started = started;
    s->result->report = report;
    return TRUE;
}

static gboolean start_domain(Start *s, GError **error)
{
    /* Refused before anything is made. */
    if (!choose_domain_type(s, error) || !resolve_firmware(s, error) ||
        !check_disks_and_cdroms(s, error) || !check_switch(s, error) || !verify_nvram(s, error)) {
        return FALSE;
    }
    g_autofree char *xml = build_xml(s, error);
    if (xml == NULL || !prepare_tpm(s, error) || !plug_ports(s, error)) {
        return FALSE;
    }
    KILL_POINT("port-plugged");
    return create_domain(s, xml, error);
}

void effect_start(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result)
{
    Start start = {.host = host, .arena = arena, .vm = vm, .result = ret_result};
    g_autoptr(GError) error = NULL;
    ret_result->nothing_created = TRUE;
    ret_result->state_paths = start_state_paths(host, arena, vm->command->start_domain);
    gboolean ok =
        start_plan_make(host, arena, vm, &start.plan, &error) && find_domain(&start, &error) &&
        (start.running ? resolve_firmware(&start, &error) : start_domain(&start, &error)) &&
        report_started(&start, &error);
    if (!ok) {
        ret_result->error = error_from_gerror(arena, error);
    }
}
