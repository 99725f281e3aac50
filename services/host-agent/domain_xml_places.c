/* Places for devices that come while the guest runs.
 *
 * On q35 a device can be plugged into an empty pcie-root-port only, and a port cannot be plugged
 * itself. libvirt makes as many as a start needs and sometimes one more, so the start asks for
 * spare ones. They have no fixed place at first: libvirt gives places to what has a fixed one
 * before all else, so they move nothing, and what it chose is reported and pinned like the rest.
 *
 * On pc each slot of the one bus will do.
 *
 * Devices of the old PCI (e1000) stand behind a bridge on q35 when they are there from the start.
 * Plugged later they go into a port like all others: libvirt allows it for a place that is named,
 * and the same place is named again at the next start. */
#include "services/host-agent/domain_xml_private.h"

#include <string.h>

enum {
    SPARE_PORTS = 4,
    FIRST_PC_SLOT = 3, /* The chip set has 0 and 1; graphics get 2. */
    N_PC_SLOTS = 32,
};

static gboolean is_root_port(const DeviceAddress *address)
{
    return strcmp(address->model, "pcie-root-port") == 0;
}

static gboolean is_taken(const Hardware *hardware, guint32 bus, guint32 slot)
{
    for (size_t i = 0; i < hardware->n_addresses; i++) {
        const DeviceAddress *address = hardware->addresses[i];
        if (strcmp(address->type, "pci") == 0 && address->bus == bus && address->slot == slot) {
            return TRUE;
        }
    }
    return FALSE;
}

/* --- At a start */

static guint count_free_ports(const Hardware *hardware)
{
    guint n_free = 0;
    for (size_t i = 0; hardware != NULL && i < hardware->n_addresses; i++) {
        const DeviceAddress *address = hardware->addresses[i];
        n_free += is_root_port(address) && !is_taken(hardware, address->index, 0) ? 1 : 0;
    }
    return n_free;
}

static gboolean is_new(const VbDomainXml *xml, const char *kind, guint32 index, const char *model)
{
    g_autofree char *device = g_strdup_printf("%s/%u", kind, index);
    return domain_xml_pin(xml, device, model) == NULL;
}

/* Devices for which libvirt will look for a port, or for a place behind a bridge that may need
 * one. One port too many does no harm. */
static guint count_new_devices(const VbDomainXml *xml)
{
    const VmSpec *spec = xml->spec;
    gboolean scsi = FALSE;
    guint n_new = 0;
    for (size_t i = 0; i < spec->n_disks; i++) {
        const char *bus = domain_xml_disk_bus(xml, spec->disks[i]);
        scsi = scsi || strcmp(bus, "scsi") == 0;
        n_new += strcmp(bus, "virtio") == 0 && is_new(xml, "disk", spec->disks[i]->index, bus);
    }
    for (size_t i = 0; i < spec->n_nics; i++) {
        n_new += is_new(xml, "nic", spec->nics[i]->index,
                        domain_xml_nic_model(xml->plan->nics[i]->effective_model));
    }
    n_new += scsi && is_new(xml, "controller/scsi", 0, "virtio-scsi");
    n_new += domain_xml_has_tablet(spec) && is_new(xml, "controller/usb", 0, "qemu-xhci");
    return n_new;
}

static guint32 last_pci_controller(const Hardware *hardware)
{
    guint32 last = 0;
    for (size_t i = 0; hardware != NULL && i < hardware->n_addresses; i++) {
        if (g_str_has_prefix(hardware->addresses[i]->device, "controller/pci/")) {
            last = MAX(last, hardware->addresses[i]->index);
        }
    }
    return last;
}

void domain_xml_write_spare_ports(VbDomainXml *xml)
{
    if (strcmp(domain_xml_machine_family(xml->spec->machine), "pc-q35-") != 0) {
        return;
    }
    guint n_wanted = SPARE_PORTS + count_new_devices(xml);
    guint32 index = last_pci_controller(xml->pinned);
    for (guint n = count_free_ports(xml->pinned); n < n_wanted; n++) {
        g_autofree char *text = g_strdup_printf("%u", ++index);
        xml_leaf(xml, "controller", "type", "pci", "index", text, "model", "pcie-root-port", NULL);
    }
}

/* --- In a running domain */

static DeviceAddress *place_new(VbArena *arena, guint32 bus, guint32 slot)
{
    DeviceAddress *place = ARENA_MSG(arena, device_address);
    place->type = arena_strdup(arena, "pci");
    place->bus = bus;
    place->slot = slot;
    return place;
}

static DeviceAddress *free_slot(VbArena *arena, const Hardware *hardware)
{
    for (guint32 slot = FIRST_PC_SLOT; slot < N_PC_SLOTS; slot++) {
        if (!is_taken(hardware, 0, slot)) {
            return place_new(arena, 0, slot);
        }
    }
    return NULL;
}

DeviceAddress *domain_xml_free_place(VbArena *arena, const Hardware *hardware)
{
    if (strcmp(domain_xml_machine_family(hardware->machine) ?: "", "pc-q35-") != 0) {
        return free_slot(arena, hardware);
    }
    for (size_t i = 0; i < hardware->n_addresses; i++) {
        const DeviceAddress *port = hardware->addresses[i];
        if (is_root_port(port) && !is_taken(hardware, port->index, 0)) {
            return place_new(arena, port->index, 0);
        }
    }
    return NULL;
}
