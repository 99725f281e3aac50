/* Plan to domain XML: the machine around the devices. Disks, controllers and NICs are in
 * domain_xml_devices.c. It refuses a plan that would start a guest without something it was
 * promised: NVRAM, the TPM's state, Secure Boot. */
#include "services/host-agent/domain_xml_private.h"

#include <string.h>

/* libvirt fills a missing NVRAM file from this path, or, without the attribute, from a template of
 * its own. Nothing can exist below a device, so a missing file stays an error. */
#define NVRAM_TEMPLATE_NEVER "/dev/null/virtbus-fills-nvram-itself"

char *domain_name(VbArena *arena, const char *vm_uuid)
{
    return arena_printf(arena, DOMAIN_NAME_FORMAT, vm_uuid);
}

static gboolean refuse(GError **error, ErrorCode code, const char *vm_uuid, const char *why)
{
    g_set_error(error, VB_ERROR, code, "VM %s cannot be started: %s", vm_uuid, why);
    return FALSE;
}

static gboolean is_windows(Platform platform)
{
    return platform == PLATFORM_WINDOWS || platform == PLATFORM_WINDOWS_VIRTIO;
}

/* --- What the plan must not leave out */

static gboolean check_plan(const VbDomainPlan *plan, GError **error)
{
    const StartDomain *start = plan->start;
    const VmSpec *spec = start->spec;
    gboolean uefi = spec->firmware == FIRMWARE_UEFI || spec->firmware == FIRMWARE_UEFI_WITH_CSM;
    const char *family = domain_xml_machine_family(spec->machine);
    if (uefi != (plan->firmware != NULL)) {
        return refuse(error, ERROR_CODE_INTERNAL, plan->vm_uuid,
                      "its firmware and the chosen build do not fit");
    }
    if (family == NULL) {
        return refuse(error, ERROR_CODE_UNSUPPORTED, plan->vm_uuid,
                      "its machine is neither q35 nor pc. Use one of them");
    }
    if (start->nvram_needed && plan->nvram_path == NULL) {
        return refuse(error, ERROR_CODE_NVRAM_MISSING, plan->vm_uuid,
                      "it needs a variable store and has none");
    }
    if (!uefi && plan->nvram_path != NULL) {
        return refuse(error, ERROR_CODE_INVALID_ARGUMENT, plan->vm_uuid,
                      "a variable store is of no use to Legacy BIOS");
    }
    if (uefi && plan->firmware->class_->secure_boot &&
        (plan->nvram_path == NULL || strcmp(family, "pc-q35-") != 0)) {
        return refuse(error, ERROR_CODE_UNSUPPORTED, plan->vm_uuid,
                      "Secure Boot needs a variable store and the machine q35");
    }
    if ((spec->tpm != NULL) != (start->tpm_volume_uuid[0] != '\0')) {
        return refuse(error, ERROR_CODE_TPM_STATE_MISSING, plan->vm_uuid,
                      "a TPM and a volume for its state come together or not at all");
    }
    if (spec->huge_page_bytes % 1024 != 0) {
        return refuse(error, ERROR_CODE_INVALID_ARGUMENT, plan->vm_uuid,
                      "huge_page_bytes is no multiple of 1024");
    }
    return TRUE;
}

/* --- Parts */

static void write_identity(VbDomainXml *xml)
{
    g_autofree char *name = g_strdup_printf(DOMAIN_NAME_FORMAT, xml->plan->vm_uuid);
    g_autofree char *epoch = g_strdup_printf("%" G_GUINT64_FORMAT, xml->plan->epoch);
    xml_text(xml, "name", name, NULL);
    xml_text(xml, "uuid", xml->plan->vm_uuid, NULL);
    xml_text(xml, "title", xml->spec->name, NULL);
    xml_open(xml, "metadata", NULL);
    xml_leaf(xml, "virtbus:vm", "xmlns:virtbus", DOMAIN_XML_NAMESPACE, "epoch", epoch, "operation",
             xml->plan->operation_id, NULL);
    xml_close(xml);
}

/* vhost-user back ends read the guest's memory; without shared memory the device is silent (N6). */
static gboolean needs_shared_memory(const VmSpec *spec)
{
    for (size_t i = 0; i < spec->n_nics; i++) {
        if (spec->nics[i]->type == NIC_TYPE_VHOST_USER) {
            return TRUE;
        }
    }
    for (size_t i = 0; i < spec->n_disks; i++) {
        if (domain_xml_disk_is_vhost_user(spec->disks[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

static void write_memory(VbDomainXml *xml)
{
    const VmSpec *spec = xml->spec;
    gboolean shared = needs_shared_memory(spec);
    g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, spec->memory_bytes);
    xml_text(xml, "memory", bytes, "unit", "bytes", NULL);
    if (!shared && spec->huge_page_bytes == 0) {
        return;
    }
    xml_open(xml, "memoryBacking", NULL);
    if (spec->huge_page_bytes != 0) {
        xml_open(xml, "hugepages", NULL);
        xml_open(xml, "page", "unit", "KiB", NULL);
        xml_number(xml, "size", spec->huge_page_bytes / 1024);
        xml_close(xml);
        xml_close(xml);
    }
    if (shared) {
        xml_leaf(xml, "source", "type", "memfd", NULL);
        xml_leaf(xml, "access", "mode", "shared", NULL);
    }
    xml_close(xml);
}

static void write_os(VbDomainXml *xml)
{
    const VbDomainPlan *plan = xml->plan;
    const char *asked = xml->spec->machine[0] != '\0' ? xml->spec->machine : "q35";
    gboolean alias = strcmp(asked, "q35") == 0 || strcmp(asked, "pc") == 0;
    const char *machine = alias && xml->pinned != NULL ? xml->pinned->machine : asked;
    xml_open(xml, "os", NULL);
    xml_text(xml, "type", "hvm", "arch", "x86_64", "machine", machine, NULL);
    if (plan->firmware != NULL) {
        /* Never <os firmware=...>: libvirt would choose a build, and fill NVRAM, by itself. */
        xml_text(xml, "loader", plan->firmware->code_path, "readonly", "yes", "secure",
                 plan->firmware->class_->secure_boot ? "yes" : NULL, "type", "pflash", "stateless",
                 plan->nvram_path == NULL ? "yes" : NULL, NULL);
    }
    if (plan->firmware != NULL && plan->nvram_path != NULL) {
        xml_text(xml, "nvram", plan->nvram_path, "template", NVRAM_TEMPLATE_NEVER, NULL);
    }
    xml_close(xml);
}

/* The enlightenments that every KVM has. TCG has none. */
static void write_features(VbDomainXml *xml)
{
    xml_open(xml, "features", NULL);
    xml_leaf(xml, "acpi", NULL);
    xml_leaf(xml, "apic", NULL);
    if (xml->hyperv && xml->kvm) {
        xml_open(xml, "hyperv", NULL);
        xml_leaf(xml, "relaxed", "state", "on", NULL);
        xml_leaf(xml, "vapic", "state", "on", NULL);
        xml_leaf(xml, "spinlocks", "state", "on", "retries", "8191", NULL);
        xml_close(xml);
    }
    if (xml->plan->firmware != NULL && xml->plan->firmware->class_->secure_boot) {
        xml_leaf(xml, "smm", "state", "on", NULL);
    }
    xml_close(xml);
}

/* "model,+feature,-feature" of the last start on the same domain type. */
static void write_pinned_cpu(VbDomainXml *xml)
{
    g_auto(GStrv) parts = g_strsplit(xml->pinned->cpu_model, ",", -1);
    xml_open(xml, "cpu", "mode", "custom", "match", "exact", NULL);
    xml_text(xml, "model", parts[0], "fallback", "forbid", NULL);
    for (size_t i = 1; parts[i] != NULL; i++) {
        if (parts[i][0] == '+' || parts[i][0] == '-') {
            xml_leaf(xml, "feature", "policy", parts[i][0] == '+' ? "require" : "disable", "name",
                     parts[i] + 1, NULL);
        }
    }
    xml_close(xml);
}

/* KVM: the host's model by name, so that the next start can ask for the same. TCG: all that it can
 * emulate, as its default lacks what current systems need; but no 57-bit addresses, which kernels
 * of this generation do not survive there. */
static void write_cpu(VbDomainXml *xml)
{
    if (xml->pinned != NULL && xml->pinned->cpu_model[0] != '\0' &&
        strcmp(xml->pinned->domain_type, xml->plan->domain_type) == 0) {
        write_pinned_cpu(xml);
        return;
    }
    if (xml->kvm) {
        xml_leaf(xml, "cpu", "mode", "host-model", NULL);
        return;
    }
    xml_open(xml, "cpu", "mode", "maximum", NULL);
    xml_leaf(xml, "feature", "policy", "disable", "name", "la57", NULL);
    xml_close(xml);
}

static const char *clock_offset(const VbDomainXml *xml)
{
    switch (xml->spec->clock) {
    case CLOCK_OFFSET_UTC:
        return "utc";
    case CLOCK_OFFSET_LOCALTIME:
        return "localtime";
    case CLOCK_OFFSET_UNSPECIFIED:
        break;
    }
    return is_windows(xml->platform) ? "localtime" : "utc";
}

static void write_clock(VbDomainXml *xml)
{
    xml_open(xml, "clock", "offset", clock_offset(xml), NULL);
    xml_leaf(xml, "timer", "name", "rtc", "tickpolicy", "catchup", NULL);
    xml_leaf(xml, "timer", "name", "pit", "tickpolicy", "delay", NULL);
    xml_leaf(xml, "timer", "name", "hpet", "present", "no", NULL);
    if (xml->hyperv && xml->kvm) {
        xml_leaf(xml, "timer", "name", "hypervclock", "present", "yes", NULL);
    }
    xml_close(xml);
    xml_text(xml, "on_poweroff", "destroy", NULL);
    xml_text(xml, "on_reboot", "restart", NULL);
    xml_text(xml, "on_crash", "destroy", NULL);
}

static const char *tpm_model(TpmModel model)
{
    switch (model) {
    case TPM_MODEL_TIS:
        return "tpm-tis";
    case TPM_MODEL_CRB:
    case TPM_MODEL_UNSPECIFIED:
        break;
    }
    return "tpm-crb";
}

/* Without persistent_state libvirt deletes the TPM's state, also when a start fails. */
static void write_tpm(VbDomainXml *xml)
{
    if (xml->spec->tpm == NULL) {
        return;
    }
    xml_open(xml, "tpm", "model", tpm_model(xml->spec->tpm->model), NULL);
    xml_leaf(xml, "backend", "type", "emulator", "version", "2.0", "persistent_state", "yes", NULL);
    xml_close(xml);
}

static void write_graphics(VbDomainXml *xml)
{
    const GraphicsSpec *graphics = xml->spec->graphics;
    if (graphics == NULL || graphics->type != GRAPHICS_TYPE_VNC) {
        return;
    }
    xml_open(xml, "graphics", "type", "vnc", "autoport", "yes", NULL);
    xml_leaf(xml, "listen", "type", "address", "address",
             graphics->listen[0] != '\0' ? graphics->listen : "127.0.0.1", NULL);
    xml_close(xml);
    xml_open(xml, "video", NULL);
    xml_leaf(xml, "model", "type", "vga", NULL);
    domain_xml_write_address(xml, domain_xml_pin(xml, "video", "vga"));
    xml_close(xml);
    xml_leaf(xml, "input", "type", "tablet", "bus", "usb", NULL);
}

static void write_console(VbDomainXml *xml)
{
    if (xml->plan->serial_log_path == NULL) {
        return;
    }
    xml_open(xml, "serial", "type", "pty", NULL);
    xml_leaf(xml, "log", "file", xml->plan->serial_log_path, "append", "on", NULL);
    xml_leaf(xml, "target", "type", "isa-serial", "port", "0", NULL);
    xml_close(xml);
}

static gboolean write_devices(VbDomainXml *xml, GError **error)
{
    xml_open(xml, "devices", NULL);
    if (!domain_xml_write_storage(xml, error) || !domain_xml_write_nics(xml, error)) {
        return FALSE;
    }
    write_console(xml);
    write_tpm(xml);
    write_graphics(xml);
    if (xml->spec->panic_device) {
        xml_leaf(xml, "panic", "model", "isa", NULL);
    }
    /* libvirt adds a balloon unless told not to. virtbus never takes memory back from a guest, and
     * a balloon works against huge pages and against memory that a vhost-user back end has mapped.
     * There is no random number device either: guests of today have the CPU's. */
    xml_leaf(xml, "memballoon", "model", "none", NULL);
    xml_close(xml);
    return TRUE;
}

static gboolean write_domain(VbDomainXml *xml, GError **error)
{
    g_autofree char *vcpus = g_strdup_printf("%u", xml->spec->vcpus);
    xml_open(xml, "domain", "type", xml->plan->domain_type, NULL);
    write_identity(xml);
    write_memory(xml);
    xml_text(xml, "vcpu", vcpus, NULL);
    write_os(xml);
    write_features(xml);
    write_cpu(xml);
    write_clock(xml);
    if (!write_devices(xml, error)) {
        return FALSE;
    }
    domain_xml_write_mtus(xml);
    xml_close(xml);
    return TRUE;
}

/* --- The whole */

const char *domain_xml_machine_family(const char *machine)
{
    if (machine[0] == '\0' || strcmp(machine, "q35") == 0 || g_str_has_prefix(machine, "pc-q35-")) {
        return "pc-q35-";
    }
    if (strcmp(machine, "pc") == 0 || g_str_has_prefix(machine, "pc-i440fx-")) {
        return "pc-i440fx-";
    }
    return NULL;
}

/* Addresses mean nothing on another family's buses. */
static const Hardware *usable_hardware(const StartDomain *start)
{
    const Hardware *hardware = start->hardware;
    const char *family = domain_xml_machine_family(start->spec->machine);
    return hardware != NULL && g_str_has_prefix(hardware->machine, family) ? hardware : NULL;
}

static gboolean wants_hyperv(const VmSpec *spec, Platform platform)
{
    switch (spec->hyperv) {
    case TOGGLE_ON:
        return TRUE;
    case TOGGLE_OFF:
        return FALSE;
    case TOGGLE_UNSPECIFIED:
        break;
    }
    return is_windows(platform);
}

char *domain_xml_build_nic(const VbNicPlan *plan, GError **error)
{
    g_autoptr(xmlBuffer) buffer = xmlBufferCreate();
    g_autoptr(xmlTextWriter) out = domain_xml_writer_new(buffer);
    VbDomainXml xml = {.out = out, .vm_uuid = plan->vm_uuid};
    if (!domain_xml_check_nic(plan->vm_uuid, plan->nic, plan->effective->mac, error) ||
        !domain_xml_write_nic(&xml, plan->nic, plan->effective, plan->socket_path, 0, plan->place,
                              error)) {
        return NULL;
    }
    g_assert(xmlTextWriterFlush(out) >= 0);
    return g_strdup((const char *)xmlBufferContent(buffer));
}

char *domain_xml_build(const VbDomainPlan *plan, GError **error)
{
    if (!check_plan(plan, error)) {
        return NULL;
    }
    g_autoptr(xmlBuffer) buffer = xmlBufferCreate();
    g_autoptr(xmlTextWriter) out = domain_xml_writer_new(buffer);
    g_autoptr(GArray) drives = g_array_new(FALSE, FALSE, sizeof(VbDrive));
    VbDomainXml xml = {.out = out,
                       .vm_uuid = plan->vm_uuid,
                       .plan = plan,
                       .spec = plan->start->spec,
                       .platform = domain_platform(plan->start->spec),
                       .kvm = strcmp(plan->domain_type, "kvm") == 0,
                       .pinned = usable_hardware(plan->start),
                       .drives = drives};
    xml.hyperv = wants_hyperv(xml.spec, xml.platform);
    if (!domain_xml_check(&xml, error) || !write_domain(&xml, error)) {
        return NULL;
    }
    g_assert(xmlTextWriterFlush(out) >= 0);
    return g_strdup((const char *)xmlBufferContent(buffer));
}
