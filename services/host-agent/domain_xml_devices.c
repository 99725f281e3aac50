/* Controllers, disks, CD-ROMs and NICs, each with the address of the last start.
 *
 * A guest's firmware and operating system remember devices by address. libvirt hands out addresses
 * in the order of the devices, so without these pins the removal of one device moves the others. */
#include "services/host-agent/domain_xml_private.h"

#include <string.h>

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

enum {
    SATA_PORTS = 6,     /* Of one AHCI controller. */
    SCSI_UNITS = 16384, /* Of one target of a virtio SCSI controller. */
};

static gboolean refuse(GError **error, const VbDomainXml *xml, ErrorCode code, const char *device,
                       const char *why)
{
    g_set_error(error, VB_ERROR, code, "%s of VM %s %s", device, xml->vm_uuid, why);
    return FALSE;
}

/* --- Addresses */

const DeviceAddress *domain_xml_pin(const VbDomainXml *xml, const char *device, const char *model)
{
    for (size_t i = 0; xml->pinned != NULL && i < xml->pinned->n_addresses; i++) {
        const DeviceAddress *address = xml->pinned->addresses[i];
        if (strcmp(address->device, device) == 0 && strcmp(address->model, model) == 0) {
            return address;
        }
    }
    return NULL;
}

static void write_hex(VbDomainXml *xml, const char *name, guint32 value, int digits)
{
    char text[16];
    g_snprintf(text, sizeof text, "0x%0*x", digits, value);
    xml_attribute(xml, name, text);
}

void domain_xml_write_address(VbDomainXml *xml, const DeviceAddress *address)
{
    if (address == NULL || strcmp(address->type, "pci") != 0) {
        return;
    }
    xml_open(xml, "address", "type", "pci", NULL);
    write_hex(xml, "domain", address->domain, 4);
    write_hex(xml, "bus", address->bus, 2);
    write_hex(xml, "slot", address->slot, 2);
    write_hex(xml, "function", address->function, 1);
    if (address->multifunction) {
        xml_attribute(xml, "multifunction", "on");
    }
    xml_close(xml);
}

static void write_drive_address(VbDomainXml *xml, const VbDrive *drive)
{
    xml_open(xml, "address", "type", "drive", NULL);
    xml_number(xml, "controller", drive->controller);
    xml_number(xml, "bus", 0);
    xml_number(xml, "target", 0);
    xml_number(xml, "unit", drive->unit);
    xml_close(xml);
}

/* vda ... vdz, vdaa ...: the guest does not see it; libvirt wants it unique. */
static char *target_name(const char *prefix, guint number)
{
    char letters[8];
    size_t at = sizeof letters;
    letters[--at] = '\0';
    for (guint rest = number + 1; rest > 0; rest = (rest - 1) / 26) {
        letters[--at] = (char)('a' + (rest - 1) % 26);
    }
    return g_strconcat(prefix, letters + at, NULL);
}

/* "ua-nic-0": how domain_xml_read_hardware tells which device is which. */
static char *alias_of(const char *device)
{
    return g_strdelimit(g_strconcat("ua-", device, NULL), "/", '-');
}

char *domain_xml_nic_alias(VbArena *arena, guint32 index)
{
    g_autofree char *device = g_strdup_printf("nic/%u", index);
    g_autofree char *alias = alias_of(device);
    return arena_strdup(arena, alias);
}

gboolean domain_xml_read_nic_alias(const char *alias, guint *ret_index)
{
    static const char prefix[] = "ua-nic-";
    guint64 index = 0;
    if (!g_str_has_prefix(alias, prefix) ||
        !g_ascii_string_to_unsigned(alias + strlen(prefix), 10, 0, G_MAXUINT32, &index, NULL)) {
        return FALSE;
    }
    *ret_index = (guint)index;
    return TRUE;
}

static void write_alias(VbDomainXml *xml, const char *device)
{
    g_autofree char *alias = alias_of(device);
    xml_leaf(xml, "alias", "name", alias, NULL);
}

static void write_boot_order(VbDomainXml *xml, guint32 order)
{
    if (order != 0) {
        xml_open(xml, "boot", NULL);
        xml_number(xml, "order", order);
        xml_close(xml);
    }
}

/* --- Places on SATA and SCSI */

static gboolean drive_is_taken(const VbDomainXml *xml, const VbDrive *wanted)
{
    for (guint i = 0; i < xml->drives->len; i++) {
        const VbDrive *drive = &g_array_index(xml->drives, VbDrive, i);
        if (strcmp(drive->bus, wanted->bus) == 0 && drive->controller == wanted->controller &&
            drive->unit == wanted->unit) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Every place of the last start is taken from the outset, also one whose device is gone: a new
 * device must not get it before the guest has seen it empty. */
static void take_pinned_drives(VbDomainXml *xml)
{
    for (size_t i = 0; xml->pinned != NULL && i < xml->pinned->n_addresses; i++) {
        const DeviceAddress *address = xml->pinned->addresses[i];
        if (strcmp(address->type, "drive") == 0) {
            VbDrive drive = {.bus = strcmp(address->model, "scsi") == 0 ? "scsi" : "sata",
                             .controller = address->controller,
                             .unit = address->unit};
            g_array_append_val(xml->drives, drive);
        }
    }
}

static VbDrive place_drive(VbDomainXml *xml, const char *device, const char *bus)
{
    const DeviceAddress *pin = domain_xml_pin(xml, device, bus);
    VbDrive drive = {.bus = bus};
    if (pin != NULL && strcmp(pin->type, "drive") == 0) {
        drive.controller = pin->controller;
        drive.unit = pin->unit;
        return drive;
    }
    guint32 n_units = strcmp(bus, "sata") == 0 ? SATA_PORTS : SCSI_UNITS;
    while (drive_is_taken(xml, &drive)) {
        drive.unit = (drive.unit + 1) % n_units;
        drive.controller += drive.unit == 0 ? 1 : 0;
    }
    g_array_append_val(xml->drives, drive);
    return drive;
}

/* --- Disks */

gboolean domain_xml_disk_is_vhost_user(const DiskSpec *disk)
{
    return disk->bus == DISK_BUS_VHOST_USER;
}

const char *domain_xml_disk_bus(const VbDomainXml *xml, const DiskSpec *disk)
{
    switch (disk->bus) {
    case DISK_BUS_VIRTIO:
    case DISK_BUS_VHOST_USER:
        return "virtio";
    case DISK_BUS_SATA:
        return "sata";
    case DISK_BUS_SCSI:
        return "scsi";
    case DISK_BUS_UNSPECIFIED:
        break;
    }
    return domain_platform_is_virtio(xml->platform) ? "virtio" : "sata";
}

/* By type and index, never by position (S16). */
static const Volume *find_volume(const VbDomainXml *xml, const DiskSpec *disk,
                                 const char **ret_path)
{
    const StartDomain *start = xml->plan->start;
    for (size_t i = 0; i < start->n_volumes; i++) {
        const Volume *volume = start->volumes[i];
        if (volume->type == disk->type && volume->disk_index == disk->index) {
            *ret_path = xml->plan->volume_paths[i];
            return volume;
        }
    }
    return NULL;
}

static gboolean write_vhost_user_source(VbDomainXml *xml, const DiskSpec *disk, const char *device,
                                        GError **error)
{
    if (disk->iops_limit != 0 || disk->socket_path[0] == '\0') {
        return refuse(error, xml, ERROR_CODE_INVALID_ARGUMENT, device,
                      "is vhost-user: it needs socket_path and cannot have iops_limit");
    }
    xml_open(xml, "disk", "type", "vhostuser", "device", "disk", NULL);
    xml_leaf(xml, "driver", "name", "qemu", "type", "raw", NULL);
    xml_leaf(xml, "source", "type", "unix", "path", disk->socket_path, NULL);
    return TRUE;
}

/* No host cache: a guest's flush is then a flush, and its memory is not kept twice. */
static gboolean write_volume_source(VbDomainXml *xml, const DiskSpec *disk, const char *device,
                                    GError **error)
{
    const char *path = NULL;
    const Volume *volume = find_volume(xml, disk, &path);
    if (volume == NULL || path == NULL) {
        return refuse(error, xml, ERROR_CODE_VOLUME_NOT_FOUND, device,
                      "has no volume among those of the start. ListVolumes shows what there is");
    }
    xml_open(xml, "disk", "type", "file", "device", "disk", NULL);
    xml_leaf(xml, "driver", "name", "qemu", "type",
             volume->format == VOLUME_FORMAT_RAW ? "raw" : "qcow2", "cache", "none", "discard",
             "unmap", NULL);
    xml_leaf(xml, "source", "file", path, NULL);
    return TRUE;
}

static gboolean write_disk(VbDomainXml *xml, const DiskSpec *disk, guint *number, GError **error)
{
    g_autofree char *device = g_strdup_printf("disk/%u", disk->index);
    const char *bus = domain_xml_disk_bus(xml, disk);
    gboolean is_virtio = strcmp(bus, "virtio") == 0;
    g_autofree char *target = target_name(is_virtio ? "vd" : "sd", (*number)++);
    if (domain_xml_disk_is_vhost_user(disk) ? !write_vhost_user_source(xml, disk, device, error)
                                            : !write_volume_source(xml, disk, device, error)) {
        return FALSE;
    }
    xml_leaf(xml, "target", "dev", target, "bus", bus, NULL);
    if (disk->iops_limit != 0) {
        g_autofree char *limit = g_strdup_printf("%" G_GUINT64_FORMAT, disk->iops_limit);
        xml_open(xml, "iotune", NULL);
        xml_text(xml, "total_iops_sec", limit, NULL);
        xml_close(xml);
    }
    write_boot_order(xml, disk->boot_order);
    write_alias(xml, device);
    if (is_virtio) {
        domain_xml_write_address(xml, domain_xml_pin(xml, device, bus));
    } else {
        VbDrive drive = place_drive(xml, device, bus);
        write_drive_address(xml, &drive);
    }
    xml_close(xml);
    return TRUE;
}

static void write_cdrom(VbDomainXml *xml, const CdromSpec *cdrom, const char *path, guint *number)
{
    g_autofree char *device = g_strdup_printf("cdrom/%u", cdrom->index);
    g_autofree char *target = target_name("sd", (*number)++);
    VbDrive drive = place_drive(xml, device, "sata");
    xml_open(xml, "disk", "type", "file", "device", "cdrom", NULL);
    xml_leaf(xml, "driver", "name", "qemu", "type", "raw", NULL);
    if (path != NULL) {
        xml_leaf(xml, "source", "file", path, NULL);
    }
    xml_leaf(xml, "target", "dev", target, "bus", "sata", NULL);
    xml_leaf(xml, "readonly", NULL);
    write_boot_order(xml, cdrom->boot_order);
    write_alias(xml, device);
    write_drive_address(xml, &drive);
    xml_close(xml);
}

/* --- Controllers */

gboolean domain_xml_has_tablet(const VmSpec *spec)
{
    return spec->graphics != NULL && spec->graphics->type == GRAPHICS_TYPE_VNC;
}

/* USB carries the tablet of the graphics; without it there is no reason for any USB. */
static void write_usb(VbDomainXml *xml)
{
    const char *model = domain_xml_has_tablet(xml->spec) ? "qemu-xhci" : "none";
    xml_open(xml, "controller", "type", "usb", "index", "0", "model", model, NULL);
    domain_xml_write_address(xml, domain_xml_pin(xml, "controller/usb/0", model));
    xml_close(xml);
}

static void write_scsi(VbDomainXml *xml)
{
    for (size_t i = 0; i < xml->spec->n_disks; i++) {
        if (strcmp(domain_xml_disk_bus(xml, xml->spec->disks[i]), "scsi") == 0) {
            xml_open(xml, "controller", "type", "scsi", "index", "0", "model", "virtio-scsi", NULL);
            domain_xml_write_address(xml, domain_xml_pin(xml, "controller/scsi/0", "virtio-scsi"));
            xml_close(xml);
            return;
        }
    }
}

/* Bridges, ports, SATA and IDE as they were. A port that is empty now keeps its number. */
static void write_pinned_controller(VbDomainXml *xml, const DeviceAddress *address,
                                    const char *type)
{
    g_autofree char *index = g_strdup_printf("%u", address->index);
    xml_open(xml, "controller", "type", type, "index", index, "model",
             address->model[0] != '\0' ? address->model : NULL, NULL);
    if (address->chassis != 0) {
        xml_open(xml, "target", NULL);
        xml_number(xml, "chassis", address->chassis);
        write_hex(xml, "port", address->port, 1);
        xml_close(xml);
    }
    domain_xml_write_address(xml, address);
    xml_close(xml);
}

static void write_controllers(VbDomainXml *xml)
{
    static const char *const types[] = {"pci", "sata", "ide"};
    write_usb(xml);
    write_scsi(xml);
    for (size_t i = 0; xml->pinned != NULL && i < xml->pinned->n_addresses; i++) {
        const DeviceAddress *address = xml->pinned->addresses[i];
        for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
            g_autofree char *prefix = g_strdup_printf("controller/%s/", types[t]);
            if (g_str_has_prefix(address->device, prefix)) {
                write_pinned_controller(xml, address, types[t]);
            }
        }
    }
    domain_xml_write_spare_ports(xml);
}

gboolean domain_xml_write_storage(VbDomainXml *xml, GError **error)
{
    guint n_virtio = 0;
    guint n_drives = 0;
    take_pinned_drives(xml);
    write_controllers(xml);
    for (size_t i = 0; i < xml->spec->n_disks; i++) {
        const DiskSpec *disk = xml->spec->disks[i];
        gboolean is_virtio = strcmp(domain_xml_disk_bus(xml, disk), "virtio") == 0;
        if (!write_disk(xml, disk, is_virtio ? &n_virtio : &n_drives, error)) {
            return FALSE;
        }
    }
    for (size_t i = 0; i < xml->spec->n_cdroms; i++) {
        write_cdrom(xml, xml->spec->cdroms[i], xml->plan->cdrom_paths[i], &n_drives);
    }
    return TRUE;
}

/* --- NICs */

const char *domain_xml_nic_model(NicModel model)
{
    switch (model) {
    case NIC_MODEL_VIRTIO_TRANSITIONAL:
        return "virtio-transitional";
    case NIC_MODEL_VIRTIO_NON_TRANSITIONAL:
        return "virtio-non-transitional";
    case NIC_MODEL_E1000:
        return "e1000";
    case NIC_MODEL_E1000E:
        return "e1000e";
    case NIC_MODEL_RTL8139:
        return "rtl8139";
    case NIC_MODEL_VIRTIO:
    case NIC_MODEL_UNSPECIFIED:
        break;
    }
    return "virtio";
}

/* Opens <interface> with its source. */
static gboolean write_nic_source(VbDomainXml *xml, const NicSpec *nic, const char *socket_path,
                                 const char *device, GError **error)
{
    switch (nic->type) {
    case NIC_TYPE_BRIDGE:
        if (nic->bridge[0] == '\0') {
            break;
        }
        xml_open(xml, "interface", "type", "bridge", NULL);
        xml_leaf(xml, "source", "bridge", nic->bridge, NULL);
        return TRUE;
    case NIC_TYPE_VHOST_USER:
        if (socket_path == NULL) {
            break;
        }
        /* QEMU serves and OVS connects, so that a restarted OVS finds its way back (N8). */
        xml_open(xml, "interface", "type", "vhostuser", NULL);
        xml_leaf(xml, "source", "type", "unix", "path", socket_path, "mode", "server", NULL);
        return TRUE;
    case NIC_TYPE_USER:
        xml_open(xml, "interface", "type", "user", NULL);
        return TRUE;
    case NIC_TYPE_UNSPECIFIED:
        break;
    }
    return refuse(error, xml, ERROR_CODE_INVALID_ARGUMENT, device,
                  "has no network: it needs a type, and a bridge or a socket by that type");
}

gboolean domain_xml_write_nic(VbDomainXml *xml, const NicSpec *nic, const EffectiveNic *effective,
                              const char *socket_path, guint32 boot_order,
                              const DeviceAddress *address, GError **error)
{
    g_autofree char *device = g_strdup_printf("nic/%u", nic->index);
    if (!write_nic_source(xml, nic, socket_path, device, error)) {
        return FALSE;
    }
    xml_leaf(xml, "mac", "address", effective->mac, NULL);
    xml_leaf(xml, "model", "type", domain_xml_nic_model(effective->effective_model), NULL);
    if (effective->queues > 1) {
        xml_open(xml, "driver", NULL);
        xml_number(xml, "queues", effective->queues);
        xml_close(xml);
    }
    /* libvirt sets it on the host's network device, which no other type of NIC has. */
    if (nic->mtu != 0 && nic->type == NIC_TYPE_BRIDGE) {
        xml_open(xml, "mtu", NULL);
        xml_number(xml, "size", nic->mtu);
        xml_close(xml);
    }
    write_boot_order(xml, boot_order);
    write_alias(xml, device);
    domain_xml_write_address(xml, address);
    xml_close(xml);
    return TRUE;
}

gboolean domain_xml_write_nics(VbDomainXml *xml, GError **error)
{
    for (size_t i = 0; i < xml->spec->n_nics; i++) {
        const NicSpec *nic = xml->spec->nics[i];
        const EffectiveNic *effective = xml->plan->nics[i];
        g_autofree char *device = g_strdup_printf("nic/%u", nic->index);
        const DeviceAddress *pin =
            domain_xml_pin(xml, device, domain_xml_nic_model(effective->effective_model));
        if (!domain_xml_write_nic(xml, nic, effective, xml->plan->socket_paths[i], nic->boot_order,
                                  pin, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Past libvirt, which cannot start a NIC with an MTU and without a network device of the host: the
 * guest learns it from QEMU. Only virtio can tell it. */
void domain_xml_write_mtus(VbDomainXml *xml)
{
    gboolean open = FALSE;
    for (size_t i = 0; i < xml->spec->n_nics; i++) {
        const NicSpec *nic = xml->spec->nics[i];
        const char *model = domain_xml_nic_model(xml->plan->nics[i]->effective_model);
        if (nic->mtu == 0 || nic->type == NIC_TYPE_BRIDGE || !g_str_has_prefix(model, "virtio")) {
            continue;
        }
        g_autofree char *alias = g_strdup_printf("ua-nic-%u", nic->index);
        g_autofree char *mtu = g_strdup_printf("%u", nic->mtu);
        if (!open) {
            xml_open(xml, "qemu:override", "xmlns:qemu", QEMU_NAMESPACE, NULL);
            open = TRUE;
        }
        xml_open(xml, "qemu:device", "alias", alias, NULL);
        xml_open(xml, "qemu:frontend", NULL);
        xml_leaf(xml, "qemu:property", "name", "host_mtu", "type", "unsigned", "value", mtu, NULL);
        xml_close(xml);
        xml_close(xml);
    }
    if (open) {
        xml_close(xml);
    }
}
