/* What libvirt's schema would refuse, said before anything is plugged or made, and in words that name
 * the field. vm-service allows none of it; a command may come from elsewhere, and the hardware of
 * the last start from another host. */
#include "services/host-agent/domain_xml_private.h"

#include <string.h>

#include "common/base/model.h"

#define DIGITS  "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

enum { VCPUS_MAX = 65535, SLOT_MAX = 31, FUNCTION_MAX = 7, CONTROLLER_MAX = 99, UNIT_MAX = 99999 };

static gboolean G_GNUC_PRINTF(3, 4)
    refuse(GError **error, const char *vm_uuid, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, "VM %s cannot be started: %s",
                vm_uuid, what);
    return FALSE;
}

static gboolean is_made_of(const char *text, const char *characters)
{
    return text[0] != '\0' && text[strspn(text, characters)] == '\0';
}

gboolean domain_xml_check_nic(const char *vm_uuid, const NicSpec *nic, const char *mac,
                              GError **error)
{
    if (!model_is_mac(mac)) {
        return refuse(error, vm_uuid, "NIC %u has the MAC \"%.64s\"; give it one of its own",
                      nic->index, mac);
    }
    if (nic->type == NIC_TYPE_BRIDGE && !is_made_of(nic->bridge, LETTERS DIGITS "_.-")) {
        return refuse(error, vm_uuid, "NIC %u has the bridge \"%.64s\", which cannot be one",
                      nic->index, nic->bridge);
    }
    if (!model_is_mtu(nic->mtu)) {
        return refuse(error, vm_uuid, "NIC %u has the MTU %u, which cannot be one", nic->index,
                      nic->mtu);
    }
    return TRUE;
}

static gboolean check_disk(const char *vm_uuid, const DiskSpec *disk, GError **error)
{
    if (domain_xml_disk_is_vhost_user(disk) &&
        (disk->socket_path[0] != '/' || disk->socket_path[1] == '\0')) {
        return refuse(error, vm_uuid,
                      "disk %u has the socket_path \"%.64s\", which is not absolute", disk->index,
                      disk->socket_path);
    }
    return TRUE;
}

/* The controllers that are written as they were; libvirt knows these models of them. */
static gboolean controller_is_sound(const DeviceAddress *address)
{
    static const char *const pci[] = {"pci-root",
                                      "pcie-root",
                                      "pci-bridge",
                                      "dmi-to-pci-bridge",
                                      "pcie-to-pci-bridge",
                                      "pcie-root-port",
                                      "pcie-switch-upstream-port",
                                      "pcie-switch-downstream-port",
                                      "pci-expander-bus",
                                      "pcie-expander-bus",
                                      NULL};
    static const char *const ide[] = {"", "piix3", "piix4", "ich6", NULL};
    if (g_str_has_prefix(address->device, "controller/pci/")) {
        return g_strv_contains(pci, address->model);
    }
    if (g_str_has_prefix(address->device, "controller/ide/")) {
        return g_strv_contains(ide, address->model) && address->chassis == 0;
    }
    if (g_str_has_prefix(address->device, "controller/sata/")) {
        return address->model[0] == '\0' && address->chassis == 0;
    }
    return TRUE;
}

static gboolean address_is_sound(const DeviceAddress *address)
{
    gboolean is_controller = g_str_has_prefix(address->device, "controller/");
    if (strcmp(address->type, "drive") == 0 &&
        (address->controller > CONTROLLER_MAX || address->unit > UNIT_MAX)) {
        return FALSE;
    }
    return controller_is_sound(address) && address->bus <= G_MAXUINT8 &&
           address->slot <= SLOT_MAX && address->function <= FUNCTION_MAX &&
           (!is_controller || (address->chassis <= G_MAXUINT8 && address->port <= G_MAXUINT8));
}

static gboolean check_cpu(const char *vm_uuid, const char *cpu_model, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(cpu_model, ",", -1);
    for (size_t i = 1; parts[0] != NULL && parts[i] != NULL; i++) {
        if ((parts[i][0] == '+' || parts[i][0] == '-') &&
            !is_made_of(parts[i] + 1, LETTERS DIGITS "_.-")) {
            return refuse(error, vm_uuid, "its last CPU had the feature \"%.64s\"", parts[i]);
        }
    }
    return TRUE;
}

static gboolean check_hardware(const char *vm_uuid, const Hardware *hardware, GError **error)
{
    if (!is_made_of(hardware->machine, LETTERS DIGITS "_.-")) {
        return refuse(error, vm_uuid, "its last machine was \"%.64s\"", hardware->machine);
    }
    for (size_t i = 0; i < hardware->n_addresses; i++) {
        if (!address_is_sound(hardware->addresses[i])) {
            return refuse(error, vm_uuid, "its %.64s was last at an address that cannot be",
                          hardware->addresses[i]->device);
        }
    }
    return check_cpu(vm_uuid, hardware->cpu_model, error);
}

gboolean domain_xml_check(const VbDomainXml *xml, GError **error)
{
    const VmSpec *spec = xml->spec;
    const GraphicsSpec *graphics = spec->graphics;
    if (spec->name[0] == '\0') {
        return refuse(error, xml->vm_uuid, "it has no name");
    }
    if (spec->vcpus == 0 || spec->vcpus > VCPUS_MAX) {
        return refuse(error, xml->vm_uuid, "it has %u CPUs", spec->vcpus);
    }
    if (spec->machine[0] != '\0' && !is_made_of(spec->machine, LETTERS DIGITS "_.-")) {
        return refuse(error, xml->vm_uuid, "its machine is \"%.64s\"", spec->machine);
    }
    if (graphics != NULL && graphics->listen[0] != '\0' &&
        !g_hostname_is_ip_address(graphics->listen)) {
        return refuse(error, xml->vm_uuid, "its graphics listen at \"%.64s\", which is no address",
                      graphics->listen);
    }
    for (size_t i = 0; i < spec->n_disks; i++) {
        if (!check_disk(xml->vm_uuid, spec->disks[i], error)) {
            return FALSE;
        }
    }
    for (size_t i = 0; i < spec->n_nics; i++) {
        if (!domain_xml_check_nic(xml->vm_uuid, spec->nics[i], xml->plan->nics[i]->mac, error)) {
            return FALSE;
        }
    }
    return xml->pinned == NULL || check_hardware(xml->vm_uuid, xml->pinned, error);
}
