/* What `doctor` makes of what it found: each fault is named, with its way out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tools/virtbusctl/doctor.h"

#define HOST_UUID "11111111-2222-4333-8444-555555555555"
#define VM_UUID   "22222222-2222-4333-8444-555555555555"
#define NOW_MS    G_GINT64_CONSTANT(1700000000000)

/* ---- A deployment in which all is well, for each test to break */

typedef struct {
    DoctorFacts facts;
    HostInfo host;
    HostStorage storage;
    StorageRef ref;
    FirmwareClass classes[2];
    FirmwareRef refs[2];
    HostFirmware builds[2];
    VmSpec spec;
    VmRecord vm;
    NicSpec nic;
    TpmSpec tpm;
    Operation operation;
} World;

static HostStorage *storages[1];
static HostFirmware *builds[2];
static char *domain_types[] = {"kvm"};
static NicSpec *nics[1];

static void topics_make(World *world)
{
    for (int i = 0; i < TOPIC_COUNT; i++) {
        const VbTopicInfo *info = topic_info((VbTopic)i);
        world->facts.topics[i] =
            (DoctorTopic){.name = info->suffix,
                          .partitions = info->per_vm ? 4 : 1,
                          .clean_up = info->compacted ? "compact" : "delete",
                          .time_type = "LogAppendTime",
                          .retention_ms = info->retention_days * G_GINT64_CONSTANT(86400000)};
    }
}

static void host_make(World *world)
{
    host_info__init(&world->host);
    host_storage__init(&world->storage);
    storage_ref__init(&world->ref);
    world->ref.name = "main";
    world->storage.storage = &world->ref;
    world->storage.usable = TRUE;
    world->storage.total_bytes = 100;
    world->storage.free_bytes = 50;
    for (int i = 0; i < 2; i++) {
        firmware_class__init(&world->classes[i]);
        world->classes[i].firmware = FIRMWARE_UEFI;
        world->classes[i].secure_boot = i;
        firmware_ref__init(&world->refs[i]);
        world->refs[i].class_ = &world->classes[i];
        host_firmware__init(&world->builds[i]);
        world->builds[i].firmware = &world->refs[i];
        builds[i] = &world->builds[i];
    }
    storages[0] = &world->storage;
    world->host.host_uuid = HOST_UUID;
    world->host.hostname = "h1";
    world->host.time_ms = NOW_MS - 1000;
    world->host.agent_version = VIRTBUS_VERSION;
    world->host.n_firmware = 2;
    world->host.firmware = builds;
    world->host.n_storages = 1;
    world->host.storages = storages;
    world->host.tpm = world->host.ovs = world->host.ovs_dpdk = TRUE;
    world->host.hypervisor_usable = TRUE;
    world->host.n_domain_types = 1;
    world->host.domain_types = domain_types;
    DoctorHost host = {.info = &world->host, .seen_ms = NOW_MS - 1000, .has_topic = TRUE};
    g_array_append_val(world->facts.hosts, host);
}

static void vm_make(World *world)
{
    vm_spec__init(&world->spec);
    world->spec.name = "web";
    vm_record__init(&world->vm);
    operation__init(&world->operation);
    nic_spec__init(&world->nic);
    tpm_spec__init(&world->tpm);
    nics[0] = &world->nic;
    world->vm.spec = &world->spec;
    world->vm.status = VM_STATUS_RUNNING;
    world->vm.host_uuid = HOST_UUID;
    world->vm.changed_ms = NOW_MS - 120000;
    DoctorVm vm = {.uuid = VM_UUID, .record = &world->vm};
    g_array_append_val(world->facts.vms, vm);
}

static int world_make(void **state)
{
    World *world = g_new0(World, 1);
    world->facts = (DoctorFacts){
        .arena = arena_new(),
        .now_ms = NOW_MS,
        .bootstrap = "b:1",
        .prefix = "lab",
        .n_brokers = 1,
        .broker_version = "3.9",
        .services = {{.name = "vm-service", .group_id = "g1", .state = "Stable", .members = 1},
                     {.name = "volume-service", .group_id = "g2", .state = "Stable", .members = 1}},
        .hosts = g_array_new(FALSE, FALSE, sizeof(DoctorHost)),
        .vms = g_array_new(FALSE, FALSE, sizeof(DoctorVm))};
    topics_make(world);
    host_make(world);
    vm_make(world);
    *state = world;
    return 0;
}

static int world_free(void **state)
{
    World *world = *state;
    g_array_unref(world->facts.hosts);
    g_array_unref(world->facts.vms);
    arena_free(world->facts.arena);
    g_free(world);
    return 0;
}

/* ---- What is found */

/* "fault topics", "warning vms": of all that is not well. */
static char *wrong(World *world, const char *text_holds, const char *mend_holds)
{
    g_autoptr(GArray) findings = doctor_judge(&world->facts);
    GString *all = g_string_new(NULL);
    gboolean has_text = FALSE;
    gboolean has_mend = FALSE;
    for (guint i = 0; i < findings->len; i++) {
        const DoctorFinding *finding = &g_array_index(findings, DoctorFinding, i);
        if (finding->verdict == DOCTOR_OK) {
            assert_string_equal(finding->mend, "");
            continue;
        }
        assert_true(strlen(finding->mend) > 10 && g_str_has_suffix(finding->mend, "."));
        has_text = has_text || strstr(finding->text, text_holds) != NULL;
        has_mend = has_mend || strstr(finding->mend, mend_holds) != NULL;
        g_string_append_printf(all, "%s%s %s", all->len > 0 ? ", " : "",
                               finding->verdict == DOCTOR_FAULT ? "fault" : "warning",
                               finding->check);
    }
    if (!has_text || !has_mend) {
        const DoctorFinding *any = &g_array_index(findings, DoctorFinding, findings->len - 1);
        fail_msg("nothing says \"%s\" and \"%s\"; found: %s; last: %s -> %s", text_holds,
                 mend_holds, all->str, any->text, any->mend);
    }
    return g_string_free(all, FALSE);
}

static void assert_wrong(World *world, const char *expected, const char *text, const char *mend)
{
    g_autofree char *found = wrong(world, text, mend);
    assert_string_equal(found, expected);
}

static void finds_nothing_where_all_is_well(void **state)
{
    World *world = *state;
    g_autoptr(GArray) findings = doctor_judge(&world->facts);
    assert_int_equal(findings->len, 12);
    for (guint i = 0; i < findings->len; i++) {
        const DoctorFinding *finding = &g_array_index(findings, DoctorFinding, i);
        if (finding->verdict != DOCTOR_OK) {
            fail_msg("%s: %s", finding->check, finding->text);
        }
        assert_true(strlen(finding->text) > 3);
    }
}

static void says_nothing_else_without_a_broker(void **state)
{
    World *world = *state;
    world->facts.broker_problem = "no broker answers at b:1";
    world->facts.broker_version = "";
    g_autoptr(GArray) findings = doctor_judge(&world->facts);
    assert_int_equal(findings->len, 1);
    assert_int_equal(g_array_index(findings, DoctorFinding, 0).verdict, DOCTOR_FAULT);
}

static void judges_topics(void **state)
{
    World *world = *state;
    DoctorTopic *topics = world->facts.topics;
    topics[TOPIC_DLQ].partitions = 0;
    assert_wrong(world, "fault topics", "topic dlq is missing",
                 "virtbusctl topics create --partitions 4 --bootstrap b:1 --topic.prefix lab");
    topics_make(world);
    topics[TOPIC_VM_EVENTS].partitions = 5;
    assert_wrong(world, "fault topics", "vm.events has 5 partitions, it must have 4",
                 "fixed for good");
    topics_make(world);
    topics[TOPIC_VM_COMMANDS].clean_up = "compact";
    assert_wrong(world, "fault topics", "it must be delete: records would be lost",
                 "--alter --topic vm.commands --add-config cleanup.policy=delete");
    topics_make(world);
    topics[TOPIC_VM_STATE].time_type = "CreateTime";
    assert_wrong(world, "fault topics", "vm.state has message.timestamp.type CreateTime",
                 "message.timestamp.type=LogAppendTime");
    topics_make(world);
    topics[TOPIC_VM_EVENTS].retention_ms = 3600000;
    assert_wrong(world, "warning topics", "keeps its records for 1 h 0 min only, not 14 days",
                 "retention.ms=1209600000");
    topics_make(world);
    topics[TOPIC_VM_EVENTS].retention_ms = -1;
    topics[TOPIC_VM_JOURNAL].clean_up = NULL; /* Not told. */
    finds_nothing_where_all_is_well(state);
}

static void judges_services(void **state)
{
    World *world = *state;
    DoctorService *service = &world->facts.services[DOCTOR_VOLUME_SERVICE];
    service->members = 0;
    service->state = "Empty";
    assert_wrong(world, "fault volume-service", "no volume-service runs",
                 "Start virtbus-volume-service with --bootstrap b:1 --topic.prefix lab");
    service->waiting = 3;
    service->oldest_ms = NOW_MS - 120000;
    service->oldest_topic = "volume.commands";
    assert_wrong(world, "fault volume-service, fault volume-service",
                 "3 records wait for volume-service, the oldest on volume.commands since 2 min ago",
                 "taken once volume-service runs");
    service->members = 1;
    service->state = "Stable";
    assert_wrong(world, "fault volume-service", "3 records wait", "does not get on");
    service->oldest_ms = NOW_MS - 10;
    finds_nothing_where_all_is_well(state);
    service->state = "PreparingRebalance";
    assert_wrong(world, "warning volume-service", "PreparingRebalance", "Look again");
    service->problem = "not allowed";
    assert_wrong(world, "warning volume-service", "not allowed", "right to describe the group g2");
}

static void judges_dead_letters(void **state)
{
    World *world = *state;
    world->facts.dlqs[DOCTOR_AGENTS_DLQ] = (DoctorDlq){.name = "agents.dlq",
                                                       .records = 2,
                                                       .newest_ms = NOW_MS - 5000,
                                                       .newest_key = VM_UUID,
                                                       .newest_reason = "no such thing"};
    assert_wrong(world, "warning dead letters",
                 "agents.dlq holds 2 records, the newest 5 s ago: no such thing",
                 "virtbusctl vm timeline " VM_UUID);
}

static void judges_hosts(void **state)
{
    World *world = *state;
    DoctorHost *host = &g_array_index(world->facts.hosts, DoctorHost, 0);
    host->seen_ms = NOW_MS - 60000;
    assert_wrong(world, "fault hosts", "host h1 (" HOST_UUID ") is silent",
                 "vm confirm-host-down VM --host " HOST_UUID);
    host->seen_ms = NOW_MS - 2 * G_GINT64_CONSTANT(86400000); /* Forgotten, it seems. */
    assert_wrong(world, "warning hosts", "2 d ago", "");
    host->seen_ms = NOW_MS - 1000;
    host->has_topic = FALSE;
    assert_wrong(world, "fault hosts", "no command topic", "topics create --host " HOST_UUID);
    host->has_topic = TRUE;
    world->host.agent_version = "0.0.1";
    assert_wrong(world, "warning hosts", "agent version 0.0.1", "one version");
    world->host.agent_version = VIRTBUS_VERSION;
    world->host.time_ms += 60000;
    assert_wrong(world, "warning hosts", "differs from the broker's by 1 min 0 s", "clocks");
    g_array_set_size(world->facts.hosts, 0);
    assert_wrong(world, "fault hosts", "no host has ever sent a heartbeat", "virtbus-host-agent");
}

static void judges_what_a_host_can_do(void **state)
{
    World *world = *state;
    world->host.hypervisor_usable = FALSE;
    assert_wrong(world, "fault hypervisor", "libvirt does not answer on host h1", "Start libvirtd");
    world->host.hypervisor_usable = TRUE;
    world->host.n_domain_types = 0;
    assert_wrong(world, "fault hypervisor", "no kind of domain", "Install QEMU");
    world->host.n_domain_types = 1;
    world->storage.free_bytes = 9;
    assert_wrong(world, "warning storage", "storage main has 9 B free of 100 B", "Free space");
    world->storage.usable = FALSE;
    world->storage.problem = "/srv: gone";
    assert_wrong(world, "fault storage", "main is not usable: /srv: gone", "Mount it");
    world->host.n_storages = 0;
    assert_wrong(world, "fault storage", "has no storage", "storage=main:local:");
}

/* What is missing is a fault only where a VM needs it. */
static void judges_what_vms_need(void **state)
{
    World *world = *state;
    world->host.tpm = FALSE;
    assert_wrong(world, "warning tpm", "no usable swtpm; no VM needs it now", "swtpm-tools");
    world->spec.tpm = &world->tpm;
    assert_wrong(world, "fault tpm", "no usable swtpm; 1 VM needs it", "swtpm-tools");
    world->vm.status = VM_STATUS_DESTROYED;
    assert_wrong(world, "warning tpm", "no VM needs it now", "");
    world->vm.status = VM_STATUS_STOPPED;
    world->host.tpm = TRUE;

    world->host.ovs_dpdk = FALSE;
    world->host.ovs_problem = "no hugepages";
    assert_wrong(world, "warning switch", "Open vSwitch has no DPDK (no hugepages)", "dpdk-init");
    world->nic.type = NIC_TYPE_VHOST_USER;
    world->spec.n_nics = 1;
    world->spec.nics = nics;
    assert_wrong(world, "fault switch", "no DPDK (no hugepages)", "dpdk-init=true");
    world->host.ovs = FALSE;
    assert_wrong(world, "fault switch", "does not answer (no hugepages)", "ovs.db");
    world->host.ovs = world->host.ovs_dpdk = TRUE;
    world->host.ovs_problem = "";

    world->host.n_firmware = 1; /* The plain one. */
    assert_wrong(world, "warning firmware", "no UEFI firmware with Secure Boot", "ovmf");
    world->spec.secure_boot = TOGGLE_ON;
    assert_wrong(world, "fault firmware", "no UEFI firmware with Secure Boot", "ovmf");
    world->host.n_firmware = 0;
    assert_wrong(world, "warning firmware, fault firmware", "without Secure Boot", "ovmf");
}

static void judges_vms(void **state)
{
    World *world = *state;
    world->vm.status = VM_STATUS_UNKNOWN;
    assert_wrong(world, "fault vms", "VM web (" VM_UUID ") is Unknown since 2 min ago",
                 "vm confirm-host-down " VM_UUID " --host " HOST_UUID);
    world->vm.status = VM_STATUS_QUARANTINED;
    assert_wrong(world, "fault vms", "is Quarantined", "virtbusctl vm release " VM_UUID);
    world->vm.status = VM_STATUS_CRASHED;
    assert_wrong(world, "warning vms", "is Crashed", "vm start " VM_UUID);
    world->vm.status = VM_STATUS_STOPPING;
    finds_nothing_where_all_is_well(state);
    world->vm.changed_ms = NOW_MS - 3600000;
    assert_wrong(world, "warning vms", "is Stopping since 1 h ago", "vm timeline " VM_UUID);
    world->vm.operation = &world->operation;
    world->operation.deadline_ms = NOW_MS - 120000;
    assert_wrong(world, "fault vms", "its deadline passed 2 min ago", "--force");
}

static void says_how_many_more_there_are(void **state)
{
    World *world = *state;
    world->vm.status = VM_STATUS_UNKNOWN;
    DoctorVm vm = g_array_index(world->facts.vms, DoctorVm, 0);
    for (int i = 0; i < 29; i++) {
        g_array_append_val(world->facts.vms, vm);
    }
    g_autofree char *found = wrong(world, "; and 10 more", "");
    assert_int_equal(strlen(found), 20 * strlen("fault vms, ") - 2);
}

#define WELL_TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WELL_TEST(finds_nothing_where_all_is_well),
        WELL_TEST(says_nothing_else_without_a_broker),
        WELL_TEST(judges_topics),
        WELL_TEST(judges_services),
        WELL_TEST(judges_dead_letters),
        WELL_TEST(judges_hosts),
        WELL_TEST(judges_what_a_host_can_do),
        WELL_TEST(judges_what_vms_need),
        WELL_TEST(judges_vms),
        WELL_TEST(says_how_many_more_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
