/* Domain XML against files that a person has read, and against libvirt's own schema.
 *
 * VIRTBUS_REGENERATE=1 rewrites the files: look at the difference before you keep it. live.xml is
 * what a real libvirt 9.0 gave back for the plan `live`; only regenerate it by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libxml/relaxng.h>
#include <string.h>

#include "tests/golden/plans.h"

#define GOLDEN_FOLDER  SOURCE_DIR "/tests/golden"
#define LIBVIRT_SCHEMA "/usr/share/libvirt/schemas/domain.rng"
#define FOLDER         "/var/lib/virtbus"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlRelaxNGValidCtxt, xmlRelaxNGFreeValidCtxt)

static xmlRelaxNG *schema;

static int load_schema(void **state)
{
    (void)state;
    xmlRelaxNGParserCtxt *parser = xmlRelaxNGNewParserCtxt(LIBVIRT_SCHEMA);
    schema = parser != NULL ? xmlRelaxNGParse(parser) : NULL;
    xmlRelaxNGFreeParserCtxt(parser);
    return schema != NULL ? 0 : -1;
}

static int free_schema(void **state)
{
    (void)state;
    xmlRelaxNGFree(schema);
    xmlRelaxNGCleanupTypes();
    xmlCleanupParser();
    return 0;
}

/* libxml2 prints to stderr which element is wrong. */
static void assert_schema_accepts(const char *xml)
{
    g_autoptr(xmlDoc) doc = xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET);
    assert_non_null(doc);
    g_autoptr(xmlRelaxNGValidCtxt) context = xmlRelaxNGNewValidCtxt(schema);
    assert_int_equal(xmlRelaxNGValidateDoc(context, doc), 0);
}

static char *read_golden(const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%s.xml", GOLDEN_FOLDER, name);
    char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        fail_msg("%s cannot be read; VIRTBUS_REGENERATE=1 makes it", path);
    }
    return text;
}

static void assert_equals_golden(const char *xml, const char *name)
{
    if (g_getenv("VIRTBUS_REGENERATE") != NULL) {
        g_autofree char *path = g_strdup_printf("%s/%s.xml", GOLDEN_FOLDER, name);
        assert_true(g_file_set_contents(path, xml, -1, NULL));
    }
    g_autofree char *expected = read_golden(name);
    assert_string_equal(xml, expected);
}

static void assert_golden(VbTestPlan *plan, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = plan_build(plan, &error);
    assert_null(error);
    assert_schema_accepts(xml);
    assert_equals_golden(xml, name);
}

/* --- Golden files */

static void windows_secure_boot_tpm_vhost_user(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_WINDOWS);
    plan_use_uefi(plan, TRUE, TRUE);
    plan_add_tpm(plan);
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2)->boot_order = 1;
    plan_add_cdrom(plan, "virtio-win.iso");
    NicSpec *nic = plan_add_nic(plan, NIC_TYPE_VHOST_USER, NIC_MODEL_E1000);
    nic->queues = 2;
    nic->mtu = 9000;
    plan->spec->vcpus = 4;
    plan->spec->graphics = ARENA_MSG(plan->arena, graphics_spec);
    plan->spec->graphics->type = GRAPHICS_TYPE_VNC;
    assert_golden(plan, "windows-secure-boot-tpm-vhost-user");
}

static void linux_uefi_stateless(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan_use_uefi(plan, FALSE, FALSE);
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_UNSPECIFIED);
    assert_golden(plan, "linux-uefi-stateless");
}

static void linux_uefi_nvram(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan_use_uefi(plan, FALSE, TRUE);
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2);
    assert_golden(plan, "linux-uefi-nvram");
}

static void legacy_pc(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_OTHER);
    plan->spec->machine = "pc";
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_RAW);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_UNSPECIFIED);
    assert_golden(plan, "legacy-pc");
}

static void legacy_q35_canonical_machine(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan->spec->machine = "pc-q35-7.1";
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2);
    assert_golden(plan, "legacy-q35");
}

static void bridge_and_user_nics_with_queues(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan->spec->vcpus = 8;
    NicSpec *nic = plan_add_nic(plan, NIC_TYPE_BRIDGE, NIC_MODEL_VIRTIO);
    nic->queues = 8;
    nic->mac = "52:54:00:aa:bb:cc";
    nic->mtu = 1450;
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_VIRTIO)->queues = 8;
    plan_add_nic(plan, NIC_TYPE_BRIDGE, NIC_MODEL_E1000E)->queues = 8;
    assert_golden(plan, "bridge-user-queues");
}

static void names_with_special_characters(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER "/a & b <'\">", PLATFORM_LINUX);
    plan->spec->name = "Gr\xc3\xbc\xc3\x9f"
                       "e </title> & \"quotes\" 'too' \xf0\x9f\x90\xa7";
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2);
    DiskSpec *disk = plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_RAW);
    disk->bus = DISK_BUS_VHOST_USER;
    disk->socket_path = "/run/\"><evil/>";
    assert_golden(plan, "special-characters");
}

static void cdroms_and_boot_order(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_WINDOWS);
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2)->boot_order = 2;
    plan_add_cdrom(plan, "install.iso")->boot_order = 1;
    plan_add_cdrom(plan, NULL);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_UNSPECIFIED)->boot_order = 3;
    assert_golden(plan, "cdrom-boot-order");
}

static void huge_pages(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan->spec->huge_page_bytes = 2 * 1024 * 1024;
    plan_add_nic(plan, NIC_TYPE_VHOST_USER, NIC_MODEL_VIRTIO_NON_TRANSITIONAL);
    assert_golden(plan, "huge-pages");
}

static void nothing_but_a_machine(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_UNSPECIFIED);
    assert_golden(plan, "no-devices");
}

static void hyperv_on_kvm(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_WINDOWS_VIRTIO);
    plan->plan.domain_type = "kvm";
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2);
    assert_golden(plan, "hyperv-kvm");
}

static void serial_console_and_panic_device(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan->spec->serial_console = TRUE;
    plan->spec->panic_device = TRUE;
    plan->spec->clock = CLOCK_OFFSET_LOCALTIME;
    assert_golden(plan, "serial-panic");
}

static void data_disks_on_every_bus(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2);
    plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_RAW)->iops_limit = 500;
    for (guint i = 0; i < 7; i++) {
        plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_QCOW2)->bus = DISK_BUS_SATA;
    }
    plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_QCOW2)->bus = DISK_BUS_SCSI;
    DiskSpec *disk = plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_RAW);
    disk->bus = DISK_BUS_VHOST_USER;
    disk->socket_path = "/run/spdk/disk.sock";
    assert_golden(plan, "data-disks");
}

/* --- The last start's hardware */

/* The plan that live.xml answers. */
static VbTestPlan *live_plan(void)
{
    VbTestPlan *plan = plan_new(FOLDER, PLATFORM_WINDOWS);
    plan_use_uefi(plan, TRUE, TRUE);
    plan_add_tpm(plan);
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2)->bus = DISK_BUS_VIRTIO;
    plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_QCOW2);
    plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_QCOW2)->bus = DISK_BUS_SCSI;
    plan_add_cdrom(plan, NULL);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_VIRTIO);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_UNSPECIFIED);
    plan->spec->graphics = ARENA_MSG(plan->arena, graphics_spec);
    plan->spec->graphics->type = GRAPHICS_TYPE_VNC;
    return plan;
}

static void live_plan_itself(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = live_plan();
    assert_golden(plan, "live-plan");
}

static Hardware *read_live(VbArena *arena)
{
    g_autofree char *xml = read_golden("live");
    g_autoptr(GError) error = NULL;
    Hardware *hardware = domain_xml_read_hardware(arena, xml, &error);
    assert_null(error);
    return hardware;
}

static const DeviceAddress *find_address(const Hardware *hardware, const char *device)
{
    for (size_t i = 0; i < hardware->n_addresses; i++) {
        if (strcmp(hardware->addresses[i]->device, device) == 0) {
            return hardware->addresses[i];
        }
    }
    fail_msg("no address of %s", device);
    return NULL;
}

static void reads_the_hardware_of_a_running_domain(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    const Hardware *hardware = read_live(arena);
    assert_string_equal(hardware->domain_type, "qemu");
    assert_string_equal(hardware->machine, "pc-q35-7.2");
    assert_string_equal(hardware->cpu_model, "");
    assert_string_equal(hardware->firmware->code_path, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd");
    assert_int_equal(hardware->n_nics, 2);
    assert_int_equal(hardware->nics[1]->index, 1);
    assert_int_equal(strlen(hardware->nics[1]->mac), strlen("52:54:00:00:00:00"));
    const DeviceAddress *nic = find_address(hardware, "nic/1");
    assert_string_equal(nic->type, "pci");
    assert_string_equal(nic->model, "e1000");
    assert_int_not_equal(nic->bus, 0);
    const DeviceAddress *cdrom = find_address(hardware, "cdrom/0");
    assert_string_equal(cdrom->type, "drive");
    assert_string_equal(cdrom->model, "sata");
    assert_int_equal(cdrom->unit, 1);
    const DeviceAddress *port = find_address(hardware, "controller/pci/1");
    assert_string_equal(port->model, "pcie-root-port");
    assert_int_equal(port->index, 1);
    assert_int_equal(port->chassis, 1);
    assert_int_equal(port->port, 0x10);
    assert_true(port->multifunction);
    assert_string_equal(find_address(hardware, "disk/0")->model, "virtio");
    assert_string_equal(find_address(hardware, "disk/2")->model, "scsi");
    find_address(hardware, "video");
}

static void a_removed_nic_moves_nothing(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = live_plan();
    plan->start->hardware = read_live(plan->arena);
    plan_remove_first_nic(plan);
    assert_golden(plan, "pinned-nic-removed");
}

/* Another bus, model or machine family makes another device: its old place is not forced on it. */
static void changed_devices_are_not_pinned(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = live_plan();
    plan->start->hardware = read_live(plan->arena);
    plan->spec->disks[0]->bus = DISK_BUS_SATA;
    plan->spec->nics[1]->model = NIC_MODEL_VIRTIO;
    plan->spec->graphics = NULL;
    assert_golden(plan, "pinned-devices-changed");
}

static void another_machine_family_is_not_pinned(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_VIRTIO);
    plan->spec->machine = "pc";
    g_autofree char *before = plan_build(plan, NULL);
    plan->start->hardware = read_live(plan->arena);
    g_autofree char *after = plan_build(plan, NULL);
    assert_string_equal(before, after);
}

static void a_canonical_machine_is_taken_at_its_word(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = live_plan();
    plan->start->hardware = read_live(plan->arena);
    plan->spec->machine = "pc-q35-7.1";
    g_autofree char *xml = plan_build(plan, NULL);
    assert_non_null(strstr(xml, "machine=\"pc-q35-7.1\""));
}

static const char KVM_CPU[] =
    "<domain type='kvm'><os><type machine='pc-q35-7.2'>hvm</type></os>"
    "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>Haswell</model>"
    "<vendor>Intel</vendor><feature policy='require' name='vme'/>"
    "<feature policy='disable' name='pni'/></cpu></domain>";

static void a_concrete_cpu_is_kept_on_the_same_domain_type(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_LINUX);
    plan->start->hardware = domain_xml_read_hardware(plan->arena, KVM_CPU, NULL);
    assert_string_equal(plan->start->hardware->cpu_model, "Haswell,+vme,-pni");
    g_autofree char *on_tcg = plan_build(plan, NULL);
    assert_non_null(strstr(on_tcg, "<cpu mode=\"maximum\">"));
    plan->plan.domain_type = "kvm";
    assert_golden(plan, "pinned-cpu");
}

static void refuses_what_is_no_domain(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    const char *const bad[] = {"", "x", "<network/>", "<domain>", "<domain/><domain/>"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(domain_xml_read_hardware(arena, bad[i], &error));
        assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_HYPERVISOR));
        assert_false(domain_xml_is_ours(bad[i], PLAN_VM_UUID, &(guint64){0}));
    }
    g_autoptr(GError) error = NULL;
    const Hardware *empty = domain_xml_read_hardware(arena, "<domain/>", &error);
    assert_null(error);
    assert_int_equal(empty->n_addresses, 0);
}

/* --- A NIC for a running domain */

static char *build_nic(VbTestPlan *plan, const NicSpec *nic, const char *socket_path,
                       const DeviceAddress *place, GError **error)
{
    VbNicPlan nic_plan = {
        .vm_uuid = PLAN_VM_UUID,
        .nic = nic,
        .effective = nic_resolve(plan->arena, PLAN_VM_UUID, plan->spec, nic, NULL, 4),
        .socket_path = socket_path,
        .place = place,
    };
    return domain_xml_build_nic(&nic_plan, error);
}

/* The <interface> alone has no schema: it is looked at where it goes. */
static void assert_golden_nic(VbTestPlan *plan, const char *nic, const char *name)
{
    g_autofree char *domain = plan_build(plan, NULL);
    g_auto(GStrv) parts = g_strsplit(domain, "<memballoon", 2);
    g_autofree char *with_nic = g_strdup_printf("%s%s<memballoon%s", parts[0], nic, parts[1]);
    assert_schema_accepts(with_nic);
    assert_equals_golden(nic, name);
}

/* N1, N4, N5 hold here as at a start: Windows would get e1000, which libvirt refuses there. */
static void a_vhost_user_nic_that_comes_later_is_virtio(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_WINDOWS);
    plan->spec->vcpus = 4;
    NicSpec nic = NIC_SPEC__INIT;
    nic.index = 7;
    nic.type = NIC_TYPE_VHOST_USER;
    nic.queues = 2;
    nic.mtu = 9000;
    nic.boot_order = 1; /* Of use at the next start only. */
    DeviceAddress *place = domain_xml_free_place(plan->arena, read_live(plan->arena));
    g_autofree char *xml = build_nic(plan, &nic, FOLDER "/7", place, NULL);
    assert_golden_nic(plan, xml, "hotplug-windows-vhost-user");
    assert_string_equal(domain_xml_nic_alias(plan->arena, 7), "ua-nic-7");
    assert_non_null(strstr(xml, "ua-nic-7"));

    g_autoptr(GError) error = NULL;
    assert_null(build_nic(plan, &nic, NULL, place, &error));
    assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT));
}

static void other_nics_that_come_later_are_untouched(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = plan_new(FOLDER, PLATFORM_WINDOWS);
    NicSpec nic = NIC_SPEC__INIT;
    nic.type = NIC_TYPE_USER;
    DeviceAddress *place = domain_xml_free_place(plan->arena, read_live(plan->arena));
    g_autofree char *xml = build_nic(plan, &nic, NULL, place, NULL);
    assert_golden_nic(plan, xml, "hotplug-windows-user");
}

/* Of a q35 machine with 7 ports. Port 3 is no port but the bridge behind port 1. */
static void a_free_place_is_an_empty_port(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    Hardware *hardware = read_live(arena);
    const DeviceAddress *place = NULL;
    guint32 last_bus = 0;
    while ((place = domain_xml_free_place(arena, hardware)) != NULL) {
        assert_true(place->bus > last_bus); /* Each once, the first first. */
        assert_int_equal(place->slot, 0);
        last_bus = place->bus;
        char *port = arena_printf(arena, "controller/pci/%u", place->bus);
        assert_string_equal(find_address(hardware, port)->model, "pcie-root-port");
        DeviceAddress *taken = arena_copy(arena, place);
        ARENA_APPEND(arena, hardware->n_addresses, hardware->addresses, taken);
    }
    assert_int_equal(last_bus, 7);
}

static void a_free_place_on_pc_is_a_free_slot(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    Hardware *hardware = ARENA_MSG(arena, hardware);
    hardware->machine = (char *)"pc-i440fx-7.2";
    guint n_places = 0;
    DeviceAddress *place = NULL;
    while ((place = domain_xml_free_place(arena, hardware)) != NULL) {
        assert_int_equal(place->bus, 0);
        assert_int_equal(place->slot, 3 + n_places++);
        ARENA_APPEND(arena, hardware->n_addresses, hardware->addresses, place);
    }
    assert_int_equal(n_places, 29);
}

static guint count_text(const char *text, const char *what)
{
    g_auto(GStrv) parts = g_strsplit(text, what, -1);
    return g_strv_length(parts) - 1;
}

/* live.xml has 6 ports, of which 2 are free; its plan without NICs leaves their ports as they are,
 * as the guest has yet to see them empty. */
static void a_start_makes_up_for_ports_that_are_taken(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = live_plan();
    plan->start->hardware = read_live(plan->arena);
    guint n_free = 0;
    Hardware *probe = arena_copy(plan->arena, plan->start->hardware);
    DeviceAddress *place = NULL;
    while ((place = domain_xml_free_place(plan->arena, probe)) != NULL) {
        n_free++;
        ARENA_APPEND(plan->arena, probe->n_addresses, probe->addresses, place);
    }
    guint n_before = 0;
    for (size_t i = 0; i < plan->start->hardware->n_addresses; i++) {
        n_before += strcmp(plan->start->hardware->addresses[i]->model, "pcie-root-port") == 0;
    }
    g_autofree char *xml = plan_build(plan, NULL);
    assert_int_equal(count_text(xml, "\"pcie-root-port\""), n_before + 4 - n_free);

    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_VIRTIO)->index = 9;
    g_autofree char *with_nic = plan_build(plan, NULL);
    assert_int_equal(count_text(with_nic, "\"pcie-root-port\""), n_before + 5 - n_free);
}

static void shared_memory_is_read(void **state)
{
    static const struct {
        const char *backing;
        gboolean shared;
    } rows[] = {
        {"", FALSE},
        {"<memoryBacking><source type='memfd'/></memoryBacking>", FALSE},
        {"<memoryBacking><access mode='shared'/></memoryBacking>", FALSE},
        {"<memoryBacking><hugepages/></memoryBacking>", FALSE},
        {"<memoryBacking><hugepages/><access mode='private'/></memoryBacking>", FALSE},
        {"<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>", TRUE},
        {"<memoryBacking><hugepages/><access mode='shared'/></memoryBacking>", TRUE},
    };
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        char *xml = arena_printf(arena, "<domain>%s</domain>", rows[i].backing);
        const Hardware *hardware = domain_xml_read_hardware(arena, xml, NULL);
        assert_int_equal(hardware->shared_memory, rows[i].shared);
    }
}

/* What says whether the NIC that runs is the one that is asked for. */
static void nics_are_read_with_model_and_type(void **state)
{
    static const char xml[] =
        "<domain><devices>"
        "<interface type='user'><model type='e1000'/><alias name='net0'/></interface>"
        "<interface type='vhostuser'><mac address='52:54:00:00:00:07'/><model type='virtio'/>"
        "<alias name='ua-nic-7'/></interface>"
        "<interface type='bridge'><model type='virtio-transitional'/><alias name='ua-nic-2'/>"
        "</interface>"
        "<interface type='user'><model type='e1000e'/><alias name='ua-nic-3'/></interface>"
        "<interface type='direct'><model type='ne2k_pci'/><alias name='ua-nic-4'/></interface>"
        "</devices></domain>";
    static const struct {
        guint32 index;
        NicModel model;
        NicType type;
    } rows[] = {
        {7, NIC_MODEL_VIRTIO, NIC_TYPE_VHOST_USER},
        {2, NIC_MODEL_VIRTIO_TRANSITIONAL, NIC_TYPE_BRIDGE},
        {3, NIC_MODEL_E1000E, NIC_TYPE_USER},
        {4, NIC_MODEL_UNSPECIFIED, NIC_TYPE_UNSPECIFIED},
    };
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    const Hardware *hardware = domain_xml_read_hardware(arena, xml, NULL);
    const NicType *types = domain_xml_read_nic_types(arena, xml);
    assert_int_equal(hardware->n_nics, G_N_ELEMENTS(rows)); /* The first is none of ours. */
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_int_equal(hardware->nics[i]->index, rows[i].index);
        assert_int_equal(hardware->nics[i]->effective_model, rows[i].model);
        assert_int_equal(types[i], rows[i].type);
    }
    assert_null(domain_xml_read_nic_types(arena, "<network/>"));
}

static void nic_is_known_by_its_alias(void **state)
{
    static const char *const bad[] = {"", "net0", "ua-disk-1", "ua-nic-", "ua-nic-x", "ua-nic--1"};
    (void)state;
    guint index = 0;
    g_autoptr(VbArena) arena = arena_new();
    assert_true(domain_xml_read_nic_alias(domain_xml_nic_alias(arena, 17), &index));
    assert_int_equal(index, 17);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_false(domain_xml_read_nic_alias(bad[i], &index));
    }
}

/* --- Ours or foreign */

static void knows_its_own_domains(void **state)
{
    (void)state;
    g_autofree char *xml = read_golden("live");
    guint64 epoch = 0;
    assert_true(domain_xml_is_ours(xml, PLAN_VM_UUID, &epoch));
    assert_int_equal(epoch, 3);
    assert_false(domain_xml_is_ours(xml, "11111111-1111-4111-8111-111111111111", &epoch));
    const char *const changes[][2] = {
        {"<name>vb-", "<name>"}, {"urn:virtbus:v1", "urn:other"}, {"epoch=\"3\"", "epoch=\"3x\""},
        {"epoch=\"3\"", ""},     {"<uuid>7", "<uuid>8"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GString) changed = g_string_new(xml);
        assert_int_not_equal(g_string_replace(changed, changes[i][0], changes[i][1], 0), 0);
        assert_false(domain_xml_is_ours(changed->str, PLAN_VM_UUID, &epoch));
    }
}

/* --- Refusals */

static void assert_refused(VbTestPlan *plan, ErrorCode code)
{
    g_autoptr(GError) error = NULL;
    assert_null(plan_build(plan, &error));
    assert_true(error != NULL && error->domain == VB_ERROR);
    assert_int_equal(error->code, code);
    assert_non_null(strstr(error->message, PLAN_VM_UUID));
}

static void never_starts_without_what_was_promised(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) nvram = plan_new(FOLDER, PLATFORM_LINUX);
    plan_use_uefi(nvram, FALSE, TRUE);
    nvram->plan.nvram_path = NULL;
    assert_refused(nvram, ERROR_CODE_NVRAM_MISSING);

    g_autoptr(VbTestPlan) secure = plan_new(FOLDER, PLATFORM_LINUX);
    plan_use_uefi(secure, TRUE, FALSE);
    assert_refused(secure, ERROR_CODE_UNSUPPORTED);

    g_autoptr(VbTestPlan) pc = plan_new(FOLDER, PLATFORM_LINUX);
    plan_use_uefi(pc, TRUE, TRUE);
    pc->spec->machine = "pc";
    assert_refused(pc, ERROR_CODE_UNSUPPORTED);

    g_autoptr(VbTestPlan) tpm = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_tpm(tpm);
    tpm->start->tpm_volume_uuid = "";
    assert_refused(tpm, ERROR_CODE_TPM_STATE_MISSING);

    g_autoptr(VbTestPlan) firmware = plan_new(FOLDER, PLATFORM_LINUX);
    firmware->spec->firmware = FIRMWARE_UEFI;
    assert_refused(firmware, ERROR_CODE_INTERNAL);

    g_autoptr(VbTestPlan) legacy = plan_new(FOLDER, PLATFORM_LINUX);
    legacy->start->nvram_needed = TRUE;
    legacy->plan.nvram_path = FOLDER "/nvram.fd";
    assert_refused(legacy, ERROR_CODE_INVALID_ARGUMENT);
}

/* Whoever sent the command: libvirt would refuse it too, but later and without a field's name. */
static void refuses_what_libvirts_schema_refuses(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) name = plan_new(FOLDER, PLATFORM_LINUX);
    name->spec->name = "";
    assert_refused(name, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) cpus = plan_new(FOLDER, PLATFORM_LINUX);
    cpus->spec->vcpus = 0;
    assert_refused(cpus, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) machine = plan_new(FOLDER, PLATFORM_LINUX);
    machine->spec->machine = "pc-q35-7.2,x=y";
    assert_refused(machine, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) bridge = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_nic(bridge, NIC_TYPE_BRIDGE, NIC_MODEL_VIRTIO)->bridge = "br\"><evil/>";
    assert_refused(bridge, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) mac = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_nic(mac, NIC_TYPE_USER, NIC_MODEL_VIRTIO)->mac = "53:54:00:aa:bb:cc";
    assert_refused(mac, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) mtu = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_nic(mtu, NIC_TYPE_USER, NIC_MODEL_VIRTIO)->mtu = 65536;
    assert_refused(mtu, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) socket = plan_new(FOLDER, PLATFORM_LINUX);
    DiskSpec *disk = plan_add_disk(socket, VOLUME_TYPE_DATA, VOLUME_FORMAT_RAW);
    disk->bus = DISK_BUS_VHOST_USER;
    disk->socket_path = "run/socket";
    assert_refused(socket, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) listen = plan_new(FOLDER, PLATFORM_LINUX);
    listen->spec->graphics = ARENA_MSG(listen->arena, graphics_spec);
    listen->spec->graphics->listen = "here";
    assert_refused(listen, ERROR_CODE_INVALID_ARGUMENT);
}

/* The hardware of the last start came from a host, and may come from another one. */
static void refuses_hardware_that_cannot_have_been(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) slot = plan_new(FOLDER, PLATFORM_LINUX);
    slot->start->hardware = read_live(slot->arena);
    slot->start->hardware->addresses[0]->slot = 32;
    assert_refused(slot, ERROR_CODE_INVALID_ARGUMENT);

    static const char *const controllers[][2] = {
        {"controller/pci/0", ""}, {"controller/sata/0", "ich6"}, {"controller/ide/0", "x"}};
    for (size_t i = 0; i < G_N_ELEMENTS(controllers); i++) {
        g_autoptr(VbTestPlan) model = plan_new(FOLDER, PLATFORM_LINUX);
        model->start->hardware = read_live(model->arena);
        model->start->hardware->addresses[0]->device = (char *)controllers[i][0];
        model->start->hardware->addresses[0]->model = (char *)controllers[i][1];
        assert_refused(model, ERROR_CODE_INVALID_ARGUMENT);
    }

    g_autoptr(VbTestPlan) cpu = plan_new(FOLDER, PLATFORM_LINUX);
    cpu->start->hardware = read_live(cpu->arena);
    cpu->start->hardware->cpu_model = "Skylake,+a b";
    assert_refused(cpu, ERROR_CODE_INVALID_ARGUMENT);
}

static void refuses_devices_that_cannot_be(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) machine = plan_new(FOLDER, PLATFORM_LINUX);
    machine->spec->machine = "microvm";
    assert_refused(machine, ERROR_CODE_UNSUPPORTED);

    /* A volume of another type does not stand in for a disk (S16). */
    g_autoptr(VbTestPlan) volume = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_disk(volume, VOLUME_TYPE_DATA, VOLUME_FORMAT_RAW)->type = VOLUME_TYPE_ROOT;
    assert_refused(volume, ERROR_CODE_VOLUME_NOT_FOUND);

    g_autoptr(VbTestPlan) limit = plan_new(FOLDER, PLATFORM_LINUX);
    DiskSpec *disk = plan_add_disk(limit, VOLUME_TYPE_DATA, VOLUME_FORMAT_RAW);
    disk->bus = DISK_BUS_VHOST_USER;
    disk->socket_path = "/run/spdk/disk.sock";
    disk->iops_limit = 1;
    assert_refused(limit, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) bridge = plan_new(FOLDER, PLATFORM_LINUX);
    plan_add_nic(bridge, NIC_TYPE_BRIDGE, NIC_MODEL_VIRTIO)->bridge = "";
    assert_refused(bridge, ERROR_CODE_INVALID_ARGUMENT);

    g_autoptr(VbTestPlan) pages = plan_new(FOLDER, PLATFORM_LINUX);
    pages->spec->huge_page_bytes = 1000;
    assert_refused(pages, ERROR_CODE_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_secure_boot_tpm_vhost_user),
        cmocka_unit_test(linux_uefi_stateless),
        cmocka_unit_test(linux_uefi_nvram),
        cmocka_unit_test(legacy_pc),
        cmocka_unit_test(legacy_q35_canonical_machine),
        cmocka_unit_test(bridge_and_user_nics_with_queues),
        cmocka_unit_test(names_with_special_characters),
        cmocka_unit_test(cdroms_and_boot_order),
        cmocka_unit_test(huge_pages),
        cmocka_unit_test(nothing_but_a_machine),
        cmocka_unit_test(hyperv_on_kvm),
        cmocka_unit_test(serial_console_and_panic_device),
        cmocka_unit_test(data_disks_on_every_bus),
        cmocka_unit_test(live_plan_itself),
        cmocka_unit_test(reads_the_hardware_of_a_running_domain),
        cmocka_unit_test(a_removed_nic_moves_nothing),
        cmocka_unit_test(changed_devices_are_not_pinned),
        cmocka_unit_test(another_machine_family_is_not_pinned),
        cmocka_unit_test(a_canonical_machine_is_taken_at_its_word),
        cmocka_unit_test(a_concrete_cpu_is_kept_on_the_same_domain_type),
        cmocka_unit_test(refuses_what_is_no_domain),
        cmocka_unit_test(a_vhost_user_nic_that_comes_later_is_virtio),
        cmocka_unit_test(other_nics_that_come_later_are_untouched),
        cmocka_unit_test(a_free_place_is_an_empty_port),
        cmocka_unit_test(a_free_place_on_pc_is_a_free_slot),
        cmocka_unit_test(a_start_makes_up_for_ports_that_are_taken),
        cmocka_unit_test(shared_memory_is_read),
        cmocka_unit_test(nics_are_read_with_model_and_type),
        cmocka_unit_test(nic_is_known_by_its_alias),
        cmocka_unit_test(knows_its_own_domains),
        cmocka_unit_test(never_starts_without_what_was_promised),
        cmocka_unit_test(refuses_what_libvirts_schema_refuses),
        cmocka_unit_test(refuses_hardware_that_cannot_have_been),
        cmocka_unit_test(refuses_devices_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, load_schema, free_schema);
}
