/* What the facts mean: one small function a check, and one table. Pure: see doctor.h. */
#include <string.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "tools/virtbusctl/doctor.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/style.h"

#define DAY_MS G_GINT64_CONSTANT(86400000)

enum {
    WAITING_LONG_MS = 30000,  /* A healthy service takes a record within milliseconds. */
    CLOCKS_APART_MS = 2000,   /* What services allow by default. */
    OVERDUE_MS = 60000,       /* Behind an operation's deadline. */
    TRANSIT_LONG_MS = 600000, /* Without one. */
    FINDINGS_MAX = 20,        /* Of one check. */
    STORAGE_LOW_PERCENT = 10,
};

typedef struct {
    const DoctorFacts *facts;
    const char *check;
    GArray *findings;
    guint n; /* Of this check. */
} Doctor;

static void add(Doctor *doctor, DoctorVerdict verdict, const char *mend, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
static void add(Doctor *doctor, DoctorVerdict verdict, const char *mend, const char *format, ...)
{
    doctor->n++;
    if (doctor->n > FINDINGS_MAX) {
        return;
    }
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    DoctorFinding finding = {.check = doctor->check,
                             .verdict = verdict,
                             .text = arena_strdup(doctor->facts->arena, text),
                             .mend = mend};
    g_array_append_val(doctor->findings, finding);
}

#define SAY(doctor, ...) arena_printf((doctor)->facts->arena, __VA_ARGS__)

static const char *ago(const Doctor *doctor, gint64 then_ms)
{
    g_autofree char *text = style_ago(then_ms, doctor->facts->now_ms);
    return arena_strdup(doctor->facts->arena, text);
}

/* The options that make virtbusctl or a service speak to this deployment. */
static const char *where(const Doctor *doctor)
{
    return SAY(doctor, "--bootstrap %s --topic.prefix %s", doctor->facts->bootstrap,
               doctor->facts->prefix);
}

/* ---- Broker and topics. Each check returns what is said when it has found nothing wrong; NULL:
 * nothing is. */

static const char *check_broker(Doctor *doctor)
{
    const DoctorFacts *facts = doctor->facts;
    if (facts->broker_problem != NULL) {
        add(doctor, DOCTOR_FAULT,
            "Start the broker, or mend --bootstrap, --kafka.NAME or the network on the way to it.",
            "%s", facts->broker_problem);
        return "";
    }
    return SAY(doctor, "%d broker%s at %s, version %s", facts->n_brokers,
               facts->n_brokers == 1 ? "" : "s", facts->bootstrap,
               *facts->broker_version != '\0' ? facts->broker_version : "not told");
}

/* The partition count that most topics have which must be equal; 0: there are none. */
static int partitions_usual(const DoctorFacts *facts)
{
    int usual = 0;
    int n_usual = 0;
    for (int i = 0; i < TOPIC_COUNT; i++) {
        int n = 0;
        for (int j = 0; j < TOPIC_COUNT; j++) {
            n += topic_info((VbTopic)j)->per_vm &&
                 facts->topics[j].partitions == facts->topics[i].partitions;
        }
        if (topic_info((VbTopic)i)->per_vm && facts->topics[i].partitions > 0 && n > n_usual) {
            usual = facts->topics[i].partitions;
            n_usual = n;
        }
    }
    return usual;
}

static void topic_missing(Doctor *doctor, const DoctorTopic *topic, int usual)
{
    const char *partitions = usual > 0 ? SAY(doctor, " --partitions %d", usual) : "";
    add(doctor, DOCTOR_FAULT,
        SAY(doctor,
            "Make it with `virtbusctl topics create%s %s`, then start again what has ended.",
            partitions, where(doctor)),
        "topic %s is missing", topic->name);
}

static const char *alter(const Doctor *doctor, const DoctorTopic *topic, const char *setting)
{
    return SAY(doctor,
               "Set it with Kafka's own tool: `kafka-configs.sh --bootstrap-server %s --alter "
               "--topic %s --add-config %s`.",
               doctor->facts->bootstrap, topic->name, setting);
}

static void topic_settings(Doctor *doctor, const DoctorTopic *topic, const VbTopicInfo *info)
{
    const char *wanted = info->compacted ? "compact" : "delete";
    if (topic->clean_up == NULL) {
        return;
    }
    if (strcmp(topic->clean_up, wanted) != 0) {
        add(doctor, DOCTOR_FAULT, alter(doctor, topic, SAY(doctor, "cleanup.policy=%s", wanted)),
            "topic %s has cleanup.policy %s, it must be %s%s", topic->name, topic->clean_up, wanted,
            info->compacted ? "" : ": records would be lost to newer ones");
    }
    if (strcmp(topic->time_type, "LogAppendTime") != 0) {
        add(doctor, DOCTOR_FAULT, alter(doctor, topic, "message.timestamp.type=LogAppendTime"),
            "topic %s has message.timestamp.type %s: a producer's wrong clock can delete records "
            "unread",
            topic->name, topic->time_type);
    }
    gint64 wanted_ms = info->retention_days * DAY_MS;
    if (!info->compacted && topic->retention_ms >= 0 && topic->retention_ms < wanted_ms) {
        g_autofree char *kept = style_duration(topic->retention_ms);
        add(doctor, DOCTOR_WARNING,
            alter(doctor, topic, SAY(doctor, "retention.ms=%" G_GINT64_FORMAT, wanted_ms)),
            "topic %s keeps its records for %s only, not %d days", topic->name, kept,
            info->retention_days);
    }
}

static const char *check_topics(Doctor *doctor)
{
    const DoctorFacts *facts = doctor->facts;
    int usual = partitions_usual(facts);
    for (int i = 0; i < TOPIC_COUNT; i++) {
        const DoctorTopic *topic = &facts->topics[i];
        const VbTopicInfo *info = topic_info((VbTopic)i);
        if (i == TOPIC_HOST_COMMANDS) {
            continue;
        }
        if (topic->partitions == 0) {
            topic_missing(doctor, topic, usual);
            continue;
        }
        if (info->per_vm && topic->partitions != usual) {
            add(doctor, DOCTOR_FAULT,
                "The number is fixed for good, and services refuse to start: make the topics anew "
                "under another --topic.prefix with `virtbusctl topics create`.",
                "topic %s has %d partitions, it must have %d", topic->name, topic->partitions,
                usual);
        }
        topic_settings(doctor, topic, info);
    }
    return SAY(doctor, "all %d are there, %d partitions for VMs, clean-up and time as they must be",
               TOPIC_COUNT - 1, usual);
}

/* ---- Services */

static void service_waiting(Doctor *doctor, const DoctorService *service, const char *mend)
{
    gint64 age_ms = doctor->facts->now_ms - service->oldest_ms;
    if (service->waiting > 0 && age_ms > WAITING_LONG_MS) {
        add(doctor, DOCTOR_FAULT, mend,
            "%s%" G_GUINT64_FORMAT " records wait for %s, the oldest on %s since %s",
            service->more ? "more than " : "", service->waiting, service->name,
            service->oldest_topic, ago(doctor, service->oldest_ms));
    }
}

static const char *check_service(Doctor *doctor, const DoctorService *service)
{
    if (service->problem != NULL) {
        add(doctor, DOCTOR_WARNING,
            SAY(doctor, "Give this user the right to describe the group %s.", service->group_id),
            "nothing is known of %s: %s", service->name, service->problem);
        return "";
    }
    if (service->members == 0) {
        add(doctor, DOCTOR_FAULT,
            SAY(doctor,
                "Start virtbus-%s with %s. If it runs, see its log, and whether its group.id is %s "
                "(else: --%s-group).",
                service->name, where(doctor), service->group_id, service->name),
            "no %s runs: nobody reads for group %s", service->name, service->group_id);
        service_waiting(doctor, service,
                        SAY(doctor, "They are taken once %s runs.", service->name));
        return "";
    }
    if (strcmp(service->state, "Stable") != 0) {
        add(doctor, DOCTOR_WARNING, "Look again in some seconds: its partitions are being shared.",
            "group %s is %s, with %u members", service->group_id, service->state, service->members);
    }
    service_waiting(doctor, service,
                    SAY(doctor, "See the log and /readyz of %s: it reads, and does not get on.",
                        service->name));
    return SAY(doctor, "%u instance%s, %u partitions, %" G_GUINT64_FORMAT " records wait",
               service->members, service->members == 1 ? "" : "s", service->assigned,
               service->waiting);
}

static const char *check_vm_service(Doctor *doctor)
{
    return check_service(doctor, &doctor->facts->services[DOCTOR_VM_SERVICE]);
}

static const char *check_volume_service(Doctor *doctor)
{
    return check_service(doctor, &doctor->facts->services[DOCTOR_VOLUME_SERVICE]);
}

static const char *check_dead_letters(Doctor *doctor)
{
    for (int i = 0; i < DOCTOR_N_DLQS; i++) {
        const DoctorDlq *dlq = &doctor->facts->dlqs[i];
        if (dlq->records == 0) {
            continue;
        }
        const char *vm = uuid_is_valid(dlq->newest_key) ? dlq->newest_key : "VM";
        add(doctor, DOCTOR_WARNING,
            SAY(doctor,
                "Mend who wrote it; `virtbusctl vm timeline %s` shows it among the VM's records.",
                vm),
            "%s holds %s%" G_GUINT64_FORMAT " records, the newest %s: %s", dlq->name,
            dlq->more ? "more than " : "", dlq->records, ago(doctor, dlq->newest_ms),
            dlq->newest_reason);
    }
    return "none";
}

/* ---- Hosts */

static gboolean is_heard(const Doctor *doctor, const DoctorHost *host)
{
    return doctor->facts->now_ms - host->seen_ms <= HEARTBEAT_OLD_MS;
}

static const char *host_name(const Doctor *doctor, const DoctorHost *host)
{
    return SAY(doctor, "host %s (%s)", host->info->hostname, host->info->host_uuid);
}

/* Calls `check` with each host that is heard. What is said when nothing is wrong; NULL: nobody is
 * heard, which is the fault of another check. */
static const char *each_host(Doctor *doctor, const char *what,
                             void (*check)(Doctor *doctor, const DoctorHost *host))
{
    guint n = 0;
    for (guint i = 0; i < doctor->facts->hosts->len; i++) {
        const DoctorHost *host = &g_array_index(doctor->facts->hosts, DoctorHost, i);
        if (is_heard(doctor, host)) {
            check(doctor, host);
            n++;
        }
    }
    return n > 0 ? SAY(doctor, "%s on %u host%s", what, n, n == 1 ? "" : "s") : NULL;
}

static void host_silent(Doctor *doctor, const DoctorHost *host)
{
    gboolean is_gone = doctor->facts->now_ms - host->seen_ms > DAY_MS;
    add(doctor, is_gone ? DOCTOR_WARNING : DOCTOR_FAULT,
        SAY(doctor,
            "Start virtbus-host-agent there, or see its log. If the host is down, fence it, and "
            "say so for each of its VMs: `virtbusctl vm confirm-host-down VM --host %s`.",
            host->info->host_uuid),
        "%s is silent: its last heartbeat came %s", host_name(doctor, host),
        ago(doctor, host->seen_ms));
}

static void host_agent(Doctor *doctor, const DoctorHost *host)
{
    const HostInfo *info = host->info;
    if (!host->has_topic) {
        add(doctor, DOCTOR_FAULT,
            SAY(doctor, "Make it with `virtbusctl topics create --host %s %s`.", info->host_uuid,
                where(doctor)),
            "%s has no command topic: nothing can be asked of it", host_name(doctor, host));
    }
    if (strcmp(info->agent_version, VIRTBUS_VERSION) != 0) {
        add(doctor, DOCTOR_WARNING,
            SAY(doctor, "Bring agents and virtbusctl (%s) to one version.", VIRTBUS_VERSION),
            "%s runs agent version %s", host_name(doctor, host), info->agent_version);
    }
    gint64 apart_ms = info->time_ms - host->seen_ms;
    if (ABS(apart_ms) > CLOCKS_APART_MS) {
        g_autofree char *apart = style_duration(ABS(apart_ms));
        add(doctor, DOCTOR_WARNING,
            "Synchronise the clocks of hosts and brokers: commands expire by them.",
            "the clock of %s differs from the broker's by %s", host_name(doctor, host), apart);
    }
}

static const char *check_hosts(Doctor *doctor)
{
    const GArray *hosts = doctor->facts->hosts;
    if (hosts->len == 0) {
        add(doctor, DOCTOR_FAULT,
            SAY(doctor, "Start virtbus-host-agent on a host with %s.", where(doctor)),
            "no host has ever sent a heartbeat");
    }
    for (guint i = 0; i < hosts->len; i++) {
        const DoctorHost *host = &g_array_index(hosts, DoctorHost, i);
        if (!is_heard(doctor, host)) {
            host_silent(doctor, host);
        }
    }
    return each_host(doctor, "heartbeats are fresh, agents are version " VIRTBUS_VERSION,
                     host_agent);
}

static void host_hypervisor(Doctor *doctor, const DoctorHost *host)
{
    const HostInfo *info = host->info;
    if (!info->hypervisor_usable) {
        add(doctor, DOCTOR_FAULT,
            "Start libvirtd there, and check the agent's option libvirt.uri and its rights.",
            "libvirt does not answer on %s", host_name(doctor, host));
    } else if (info->n_domain_types == 0) {
        add(doctor, DOCTOR_FAULT, "Install QEMU there, and check the agent's option domain.type.",
            "%s can run no kind of domain", host_name(doctor, host));
    }
}

static const char *check_hypervisor(Doctor *doctor)
{
    return each_host(doctor, "libvirt answers", host_hypervisor);
}

/* ---- What hosts lack is a fault when a VM needs it, and else worth knowing. */

static gboolean needs_uefi(const VmSpec *spec)
{
    return spec->firmware == FIRMWARE_UEFI || spec->firmware == FIRMWARE_UEFI_WITH_CSM;
}

static gboolean needs_secure_boot(const VmSpec *spec)
{
    return spec->secure_boot == TOGGLE_ON;
}

static gboolean needs_tpm(const VmSpec *spec)
{
    return spec->tpm != NULL;
}

static gboolean needs_switch(const VmSpec *spec)
{
    for (size_t i = 0; i < spec->n_nics; i++) {
        if (spec->nics[i]->type == NIC_TYPE_VHOST_USER) {
            return TRUE;
        }
    }
    return FALSE;
}

static void lack(Doctor *doctor, const DoctorHost *host, gboolean (*needs)(const VmSpec *spec),
                 const char *mend, const char *what)
{
    guint n = 0;
    for (guint i = 0; i < doctor->facts->vms->len; i++) {
        const VmRecord *vm = g_array_index(doctor->facts->vms, DoctorVm, i).record;
        n += vm->spec != NULL && vm->status != VM_STATUS_DESTROYED && needs(vm->spec);
    }
    if (n > 0) {
        add(doctor, DOCTOR_FAULT, mend, "%s: %s; %u VM%s", host_name(doctor, host), what, n,
            n == 1 ? " needs it" : "s need it");
    } else {
        add(doctor, DOCTOR_WARNING, mend, "%s: %s; no VM needs it now", host_name(doctor, host),
            what);
    }
}

static gboolean has_firmware(const HostInfo *info, gboolean secure_boot)
{
    for (size_t i = 0; i < info->n_firmware; i++) {
        const FirmwareRef *firmware = info->firmware[i]->firmware;
        if (firmware != NULL && firmware->class_ != NULL &&
            firmware->class_->firmware == FIRMWARE_UEFI &&
            !firmware->class_->secure_boot == !secure_boot) {
            return TRUE;
        }
    }
    return FALSE;
}

static void host_firmware(Doctor *doctor, const DoctorHost *host)
{
    static const char mend[] = "Install the package ovmf there, or name the folder of its JSON "
                               "descriptors with the agent's option firmware.dirs.";
    if (!has_firmware(host->info, FALSE)) {
        lack(doctor, host, needs_uefi, mend, "no UEFI firmware without Secure Boot");
    }
    if (!has_firmware(host->info, TRUE)) {
        lack(doctor, host, needs_secure_boot, mend,
             "no UEFI firmware with Secure Boot and enrolled keys");
    }
}

static const char *check_firmware(Doctor *doctor)
{
    return each_host(doctor, "UEFI with and without Secure Boot", host_firmware);
}

static void host_tpm(Doctor *doctor, const DoctorHost *host)
{
    if (!host->info->tpm) {
        lack(doctor, host, needs_tpm, "Install the packages swtpm and swtpm-tools there.",
             "no usable swtpm");
    }
}

static const char *check_tpm(Doctor *doctor)
{
    return each_host(doctor, "swtpm is usable", host_tpm);
}

static void host_switch(Doctor *doctor, const DoctorHost *host)
{
    const HostInfo *info = host->info;
    const char *problem = *info->ovs_problem != '\0' ? info->ovs_problem : "no reason is told";
    if (!info->ovs) {
        lack(doctor, host, needs_switch,
             "Start ovsdb-server and ovs-vswitchd there, and check the agent's option ovs.db.",
             SAY(doctor, "Open vSwitch does not answer (%s)", problem));
    } else if (!info->ovs_dpdk) {
        lack(doctor, host, needs_switch,
             "Set other_config:dpdk-init=true with ovs-vsctl, give it huge pages, and start "
             "ovs-vswitchd again; its log says what DPDK lacks.",
             SAY(doctor, "Open vSwitch has no DPDK (%s)", problem));
    } else if (*info->ovs_problem != '\0') {
        lack(doctor, host, needs_switch, "Mend it as the switch's own log says.", problem);
    }
}

static const char *check_switch(Doctor *doctor)
{
    return each_host(doctor, "Open vSwitch with DPDK", host_switch);
}

static void storage_judge(Doctor *doctor, const DoctorHost *host, const HostStorage *storage)
{
    const char *name = storage->storage != NULL ? storage->storage->name : "?";
    if (!storage->usable) {
        add(doctor, DOCTOR_FAULT,
            "Mount it, or mend the agent's option storage; its user must be able to write there.",
            "%s: storage %s is not usable: %s", host_name(doctor, host), name, storage->problem);
        return;
    }
    if (storage->free_bytes / STORAGE_LOW_PERCENT < storage->total_bytes / 100) {
        g_autofree char *left = style_size(storage->free_bytes);
        g_autofree char *total = style_size(storage->total_bytes);
        add(doctor, DOCTOR_WARNING, "Free space there: expunge destroyed VMs, remove old images.",
            "%s: storage %s has %s free of %s", host_name(doctor, host), name, left, total);
    }
}

static void host_storage(Doctor *doctor, const DoctorHost *host)
{
    const HostInfo *info = host->info;
    if (info->n_storages == 0) {
        add(doctor, DOCTOR_FAULT,
            "Give the agent one with its option storage, such as storage=main:local:/srv/vms.",
            "%s has no storage", host_name(doctor, host));
    }
    for (size_t i = 0; i < info->n_storages; i++) {
        storage_judge(doctor, host, info->storages[i]);
    }
}

static const char *check_storage(Doctor *doctor)
{
    return each_host(doctor, "usable, with room", host_storage);
}

/* ---- VMs */

static void vm_transit(Doctor *doctor, const DoctorVm *vm, const char *name)
{
    const VmRecord *record = vm->record;
    const Operation *operation = record->operation;
    gint64 now_ms = doctor->facts->now_ms;
    const char *mend =
        SAY(doctor,
            "See which step is missing with `virtbusctl vm timeline %s`. `virtbusctl vm stop %s "
            "--force` or `vm destroy` takes its place.",
            vm->uuid, vm->uuid);
    if (operation != NULL && operation->deadline_ms > 0 &&
        now_ms > operation->deadline_ms + OVERDUE_MS) {
        add(doctor, DOCTOR_FAULT, mend, "%s is %s, and its deadline passed %s", name,
            ENUM_LABEL(vm_status, record->status), ago(doctor, operation->deadline_ms));
    } else if (now_ms - record->changed_ms > TRANSIT_LONG_MS) {
        add(doctor, DOCTOR_WARNING, mend, "%s is %s since %s", name,
            ENUM_LABEL(vm_status, record->status), ago(doctor, record->changed_ms));
    }
}

static void vm_judge(Doctor *doctor, const DoctorVm *vm)
{
    const VmRecord *record = vm->record;
    const char *name =
        SAY(doctor, "VM %s (%s)", record->spec != NULL ? record->spec->name : "?", vm->uuid);
    const char *since = ago(doctor, record->changed_ms);
    const char *why =
        record->last_error != NULL ? SAY(doctor, " (%s)", record->last_error->message) : "";
    switch (record->status) {
    case VM_STATUS_UNKNOWN:
        add(doctor, DOCTOR_FAULT,
            SAY(doctor,
                "It ends when the host reports again. If the host is down, fence it, then "
                "`virtbusctl vm confirm-host-down %s --host %s`.",
                vm->uuid, record->host_uuid),
            "%s is Unknown since %s%s", name, since, why);
        return;
    case VM_STATUS_QUARANTINED:
        add(doctor, DOCTOR_FAULT,
            SAY(doctor,
                "See the record that could not be handled with `virtbusctl vm timeline %s`, then "
                "`virtbusctl vm release %s`.",
                vm->uuid, vm->uuid),
            "%s is Quarantined since %s%s", name, since, why);
        return;
    case VM_STATUS_CRASHED:
        add(doctor, DOCTOR_WARNING,
            SAY(doctor, "`virtbusctl vm start %s --host HOST` starts it again.", vm->uuid),
            "%s is Crashed since %s%s", name, since, why);
        return;
    case VM_STATUS_STARTING:
    case VM_STATUS_STOPPING:
    case VM_STATUS_REBOOTING:
    case VM_STATUS_DESTROYING:
    case VM_STATUS_EXPUNGING:
    case VM_STATUS_MIGRATING:
        vm_transit(doctor, vm, name);
        return;
    case VM_STATUS_UNSPECIFIED:
    case VM_STATUS_CREATED:
    case VM_STATUS_RUNNING:
    case VM_STATUS_STOPPED:
    case VM_STATUS_DESTROYED:
    case VM_STATUS_EXPUNGED:
    case VM_STATUS_PAUSED:
        return;
    }
}

static const char *check_vms(Doctor *doctor)
{
    guint n_running = 0;
    for (guint i = 0; i < doctor->facts->vms->len; i++) {
        const DoctorVm *vm = &g_array_index(doctor->facts->vms, DoctorVm, i);
        n_running += vm->record->status == VM_STATUS_RUNNING;
        vm_judge(doctor, vm);
    }
    return SAY(doctor, "%u VM%s, %u running, none in trouble", doctor->facts->vms->len,
               doctor->facts->vms->len == 1 ? "" : "s", n_running);
}

/* ---- The table */

static const struct {
    const char *name;
    const char *(*run)(Doctor *doctor);
} checks[] = {
    {"broker", check_broker},
    {"topics", check_topics},
    {"vm-service", check_vm_service},
    {"volume-service", check_volume_service},
    {"dead letters", check_dead_letters},
    {"hosts", check_hosts},
    {"hypervisor", check_hypervisor},
    {"firmware", check_firmware},
    {"tpm", check_tpm},
    {"switch", check_switch},
    {"storage", check_storage},
    {"vms", check_vms},
};

GArray *doctor_judge(const DoctorFacts *facts)
{
    Doctor doctor = {.facts = facts, .findings = g_array_new(FALSE, FALSE, sizeof(DoctorFinding))};
    /* Without a broker nothing else is known. */
    size_t n_checks = facts->broker_problem != NULL ? 1 : G_N_ELEMENTS(checks);
    for (size_t i = 0; i < n_checks; i++) {
        doctor.check = checks[i].name;
        doctor.n = 0;
        const char *well = checks[i].run(&doctor);
        if (doctor.n == 0 && well != NULL) {
            add(&doctor, DOCTOR_OK, "", "%s", well);
        } else if (doctor.n > FINDINGS_MAX) {
            DoctorFinding *last =
                &g_array_index(doctor.findings, DoctorFinding, doctor.findings->len - 1);
            last->text = SAY(&doctor, "%s; and %u more", last->text, doctor.n - FINDINGS_MAX);
        }
    }
    return doctor.findings;
}
