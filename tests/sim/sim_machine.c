/* See sim_machine.h. Reads the product's XML line by line, for that is how it is written, and gives
 * places to what has none, much as libvirt does: each device of q35 gets a root port of its own,
 * each of pc a slot. It leaves out bridges for old PCI devices. */
#include "tests/sim/sim_machine.h"

#include <stdlib.h>
#include <string.h>

#include "services/host-agent/domain_xml_private.h"

enum { VALUE_BYTES = 512, FIRST_PORT_SLOT = 2, FIRST_PC_SLOT = 3, PORTS_OF_SLOT = 8, N_SLOTS = 32 };

/* ---- Lines */

/* The value of an attribute in this line; "": it has none. */
static const char *value_of(const char *line, const char *name, char value[VALUE_BYTES])
{
    const char *end = line + strcspn(line, "\n");
    gsize length = strlen(name);
    value[0] = '\0';
    for (const char *at = line; (at = strstr(at, name)) != NULL && at < end; at += length) {
        if (at > line && at[-1] == ' ' && at[length] == '=' && at[length + 1] == '"') {
            const char *text = at + length + 2;
            gsize n = MIN(strcspn(text, "\""), (gsize)VALUE_BYTES - 1);
            memcpy(value, text, n);
            value[n] = '\0';
            return value;
        }
    }
    return value;
}

static guint32 number_of(const char *line, const char *name)
{
    char value[VALUE_BYTES];
    return (guint32)strtoul(value_of(line, name, value), NULL, 0);
}

static const char *interned(const char *line, const char *name)
{
    char value[VALUE_BYTES];
    return g_intern_string(value_of(line, name, value));
}

/* What stands between the tags of this line. */
static char *text_of(const char *line)
{
    const char *begin = line + strcspn(line, ">\n");
    begin += *begin == '>' ? 1 : 0;
    return g_strndup(begin, strcspn(begin, "<\n"));
}

static gboolean is(const char *line, const char *tag)
{
    gsize length = strlen(tag);
    return line[0] == '<' && strncmp(line + 1, tag, length) == 0 &&
           strchr(" >/", line[1 + length]) != NULL;
}

/* ---- Devices */

static SimDevice *device_add(SimMachine *machine, const char *name, const char *model)
{
    SimDevice device = {0};
    device_address__init(&device.address);
    device.address.device = (char *)name;
    device.address.model = (char *)model;
    g_array_append_val(machine->devices, device);
    return &g_array_index(machine->devices, SimDevice, machine->devices->len - 1);
}

static void device_clear(void *data)
{
    g_free(((SimDevice *)data)->path);
}

static void read_address(SimDevice *device, const char *line)
{
    char value[VALUE_BYTES];
    DeviceAddress *address = &device->address;
    address->type = (char *)interned(line, "type");
    address->domain = number_of(line, "domain");
    address->bus = number_of(line, "bus");
    address->slot = number_of(line, "slot");
    address->function = number_of(line, "function");
    address->multifunction = strcmp(value_of(line, "multifunction", value), "on") == 0;
    address->controller = number_of(line, "controller");
    address->target = number_of(line, "target");
    address->unit = number_of(line, "unit");
}

/* "ua-nic-0" -> "nic/0" */
static void read_alias(SimDevice *device, const char *line)
{
    char value[VALUE_BYTES];
    value_of(line, "name", value);
    char *dash = strrchr(value, '-');
    if (g_str_has_prefix(value, "ua-") && dash > value + 2) {
        *dash = '/';
        device->address.device = (char *)g_intern_string(value + 3);
        device->nic_index = (guint32)strtoul(dash + 1, NULL, 10);
    }
}

static SimDevice *begin_controller(SimMachine *machine, const char *line)
{
    char type[VALUE_BYTES];
    guint32 index = number_of(line, "index");
    g_autofree char *name =
        g_strdup_printf("controller/%s/%u", value_of(line, "type", type), index);
    SimDevice *device = device_add(machine, g_intern_string(name), interned(line, "model"));
    device->address.index = index;
    return device;
}

static NicType nic_type_of(const char *line)
{
    char value[VALUE_BYTES];
    value_of(line, "type", value);
    return strcmp(value, "bridge") == 0      ? NIC_TYPE_BRIDGE
           : strcmp(value, "vhostuser") == 0 ? NIC_TYPE_VHOST_USER
                                             : NIC_TYPE_USER;
}

/* The first line of a device; NULL: of none that matters. */
static SimDevice *begin_device(SimMachine *machine, const char *line)
{
    if (is(line, "controller")) {
        return begin_controller(machine, line);
    }
    if (is(line, "disk")) {
        return device_add(machine, "", "");
    }
    if (is(line, "video")) {
        return device_add(machine, "video", "");
    }
    if (is(line, "interface")) {
        SimDevice *device = device_add(machine, "", "");
        device->nic_type = nic_type_of(line);
        return device;
    }
    return NULL;
}

static void read_model(SimDevice *device, const char *line)
{
    device->address.model = (char *)interned(line, "type");
    for (NicModel model = NIC_MODEL_UNSPECIFIED + 1; model <= NIC_MODEL_RTL8139; model++) {
        if (device->nic_type != NIC_TYPE_UNSPECIFIED &&
            strcmp(domain_xml_nic_model(model), device->address.model) == 0) {
            device->nic_model = model;
            return;
        }
    }
}

/* A line within a device. */
static void read_device(SimDevice *device, const char *line)
{
    char value[VALUE_BYTES];
    if (is(line, "address")) {
        read_address(device, line);
    } else if (is(line, "alias")) {
        read_alias(device, line);
    } else if (is(line, "model")) {
        read_model(device, line);
    } else if (is(line, "mac")) {
        g_strlcpy(device->mac, value_of(line, "address", value), sizeof(device->mac));
    } else if (is(line, "target")) {
        device->address.chassis = number_of(line, "chassis");
        device->address.port = number_of(line, "port");
        if (value_of(line, "bus", value)[0] != '\0') {
            device->address.model = (char *)g_intern_string(value);
        }
    } else if (is(line, "source")) {
        gboolean is_nic = device->nic_type == NIC_TYPE_VHOST_USER;
        value_of(line, is_nic ? "path" : "file", value);
        device->path = value[0] != '\0' ? g_strdup(value) : NULL;
    }
}

/* ---- The rest */

static const char *canonical(const char *machine)
{
    return strcmp(machine, "q35") == 0  ? "pc-q35-7.2"
           : strcmp(machine, "pc") == 0 ? "pc-i440fx-7.2"
                                        : machine;
}

static void read_cpu(GString *cpu, const char *line)
{
    char value[VALUE_BYTES];
    if (is(line, "cpu") && strcmp(value_of(line, "mode", value), "host-model") == 0) {
        g_string_assign(cpu, "EPYC-Rome,+x2apic");
    } else if (is(line, "model")) {
        g_autofree char *text = text_of(line);
        g_string_assign(cpu, text);
    } else if (is(line, "feature") && cpu->len > 0) {
        gboolean off = strcmp(value_of(line, "policy", value), "disable") == 0;
        g_string_append_printf(cpu, ",%c%s", off ? '-' : '+', interned(line, "name"));
    }
}

/* A line outside of the devices. */
static void read_line(SimMachine *machine, const char *line)
{
    char value[VALUE_BYTES];
    if (is(line, "domain")) {
        machine->domain_type = interned(line, "type");
    } else if (is(line, "uuid")) {
        g_autofree char *uuid = text_of(line);
        g_strlcpy(machine->vm_uuid, uuid, sizeof(machine->vm_uuid));
    } else if (is(line, "virtbus:vm")) {
        machine->epoch = g_ascii_strtoull(value_of(line, "epoch", value), NULL, 10);
    } else if (is(line, "type")) {
        machine->machine = canonical(interned(line, "machine"));
    } else if (is(line, "loader")) {
        g_autofree char *loader = text_of(line);
        machine->loader = g_intern_string(loader);
    } else if (is(line, "nvram")) {
        machine->nvram_path = text_of(line);
    } else if (is(line, "access")) {
        machine->shared_memory = strcmp(value_of(line, "mode", value), "shared") == 0;
    } else if (is(line, "tpm")) {
        machine->has_tpm = TRUE;
    } else if (is(line, "panic")) {
        machine->has_panic_device = TRUE;
    } else if (is(line, "log")) {
        machine->log_path = g_strdup(value_of(line, "file", value));
    }
}

static gboolean ends_device(const char *line)
{
    static const char *const ends[] = {"</controller>", "</disk>", "</interface>", "</video>"};
    for (gsize i = 0; i < G_N_ELEMENTS(ends); i++) {
        if (strncmp(line, ends[i], strlen(ends[i])) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static void read_lines(SimMachine *machine, const char *xml)
{
    g_autoptr(GString) cpu = g_string_new(NULL);
    SimDevice *device = NULL;
    gboolean in_cpu = FALSE;
    for (const char *line = xml; line != NULL && *line != '\0';) {
        line += strspn(line, " \n");
        const char *end = strchr(line, '\n');
        gboolean closed = end != NULL && end - line >= 2 && end[-2] == '/';
        in_cpu = in_cpu || is(line, "cpu");
        if (strncmp(line, "</", 2) == 0) {
            in_cpu = in_cpu && strncmp(line, "</cpu>", 6) != 0;
            device = ends_device(line) ? NULL : device;
        } else if (in_cpu) {
            read_cpu(cpu, line);
            in_cpu = !(is(line, "cpu") && closed);
        } else if (device != NULL) {
            read_device(device, line);
        } else if ((device = begin_device(machine, line)) == NULL) {
            read_line(machine, line);
        } else if (closed) {
            device = NULL;
        }
        line = end;
    }
    machine->cpu_model = g_intern_string(cpu->str);
}

/* ---- Places */

static gboolean is_taken(const SimMachine *machine, guint32 bus, guint32 slot, guint32 function)
{
    for (guint i = 0; i < machine->devices->len; i++) {
        const DeviceAddress *address = &g_array_index(machine->devices, SimDevice, i).address;
        if (strcmp(address->type, "pci") == 0 && address->bus == bus && address->slot == slot &&
            address->function == function) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_q35(const SimMachine *machine)
{
    return g_str_has_prefix(machine->machine, "pc-q35-");
}

static gboolean is_port(const SimDevice *device)
{
    return strcmp(device->address.model, "pcie-root-port") == 0;
}

static void put_at(SimDevice *device, guint32 bus, guint32 slot, guint32 function)
{
    device->address.type = (char *)"pci";
    device->address.bus = bus;
    device->address.slot = slot;
    device->address.function = function;
}

static void place_port(SimMachine *machine, SimDevice *port)
{
    for (guint32 at = FIRST_PORT_SLOT * PORTS_OF_SLOT;; at++) {
        guint32 slot = at / PORTS_OF_SLOT;
        guint32 function = at % PORTS_OF_SLOT;
        if (!is_taken(machine, 0, slot, function)) {
            put_at(port, 0, slot, function);
            port->address.multifunction = function == 0;
            port->address.chassis = port->address.index;
            port->address.port = at;
            return;
        }
    }
}

/* A root port that nothing is in; else one more. Devices may move in memory. */
static guint32 find_port(SimMachine *machine)
{
    guint32 last = 0;
    for (guint i = 0; i < machine->devices->len; i++) {
        const SimDevice *device = &g_array_index(machine->devices, SimDevice, i);
        if (is_port(device) && !is_taken(machine, device->address.index, 0, 0)) {
            return device->address.index;
        }
        gboolean is_pci = g_str_has_prefix(device->address.device, "controller/pci/");
        last = is_pci ? MAX(last, device->address.index) : last;
    }
    g_autofree char *name = g_strdup_printf("controller/pci/%u", last + 1);
    SimDevice *port = device_add(machine, g_intern_string(name), "pcie-root-port");
    port->address.index = last + 1;
    place_port(machine, port);
    return last + 1;
}

static guint32 find_slot(const SimMachine *machine)
{
    guint32 slot = FIRST_PC_SLOT;
    while (slot < N_SLOTS && is_taken(machine, 0, slot, 0)) {
        slot++;
    }
    return slot;
}

static gboolean needs_place(const SimDevice *device)
{
    const char *name = device->address.device;
    const char *model = device->address.model;
    return device->address.type[0] == '\0' && strcmp(model, "none") != 0 &&
           !g_str_has_prefix(name, "controller/pci/") &&
           !g_str_has_prefix(name, "controller/sata/");
}

static void place_all(SimMachine *machine)
{
    guint n = machine->devices->len;
    gboolean has_sata = FALSE;
    for (guint i = 0; i < n; i++) {
        SimDevice *device = &g_array_index(machine->devices, SimDevice, i);
        has_sata = has_sata || strcmp(device->address.device, "controller/sata/0") == 0;
        if (is_port(device) && device->address.type[0] == '\0') {
            place_port(machine, device);
        }
        if (strcmp(device->address.device, "video") == 0 && device->address.type[0] == '\0') {
            put_at(device, 0, is_q35(machine) ? 1 : 2, 0);
        }
    }
    for (guint i = 0; i < n; i++) {
        if (needs_place(&g_array_index(machine->devices, SimDevice, i))) {
            guint32 at = is_q35(machine) ? find_port(machine) : find_slot(machine);
            put_at(&g_array_index(machine->devices, SimDevice, i), is_q35(machine) ? at : 0,
                   is_q35(machine) ? 0 : at, 0);
        }
    }
    if (is_q35(machine) && !has_sata) {
        put_at(device_add(machine, "controller/sata/0", ""), 0, 0x1f, 2);
    }
}

/* ---- The whole */

SimMachine *sim_machine_new(const char *xml)
{
    SimMachine *machine = g_new0(SimMachine, 1);
    machine->domain_type = "";
    machine->machine = "";
    machine->loader = "";
    machine->devices = g_array_new(FALSE, FALSE, sizeof(SimDevice));
    g_array_set_clear_func(machine->devices, device_clear);
    read_lines(machine, xml);
    if (machine->vm_uuid[0] == '\0' || machine->epoch == 0 || machine->machine[0] == '\0' ||
        machine->domain_type[0] == '\0') {
        sim_machine_free(machine);
        return NULL;
    }
    place_all(machine);
    return machine;
}

void sim_machine_free(SimMachine *machine)
{
    if (machine != NULL) {
        g_array_unref(machine->devices);
        g_free(machine->nvram_path);
        g_free(machine->log_path);
        g_free(machine);
    }
}

SimDevice *sim_machine_nic(const SimMachine *machine, guint32 index)
{
    for (guint i = 0; i < machine->devices->len; i++) {
        SimDevice *device = &g_array_index(machine->devices, SimDevice, i);
        if (device->nic_type != NIC_TYPE_UNSPECIFIED && device->nic_index == index) {
            return device;
        }
    }
    return NULL;
}

void sim_machine_remove_nic(SimMachine *machine, guint32 index)
{
    for (guint i = 0; i < machine->devices->len; i++) {
        const SimDevice *device = &g_array_index(machine->devices, SimDevice, i);
        if (device->nic_type != NIC_TYPE_UNSPECIFIED && device->nic_index == index) {
            g_array_remove_index(machine->devices, i);
            return;
        }
    }
}

gboolean sim_machine_add_nic(SimMachine *machine, const char *xml, guint32 *ret_index)
{
    SimMachine part = {.devices = g_array_new(FALSE, FALSE, sizeof(SimDevice))};
    read_lines(&part, xml);
    SimDevice *device = part.devices->len == 1 ? &g_array_index(part.devices, SimDevice, 0) : NULL;
    gboolean fits =
        device != NULL && device->nic_type != NIC_TYPE_UNSPECIFIED &&
        sim_machine_nic(machine, device->nic_index) == NULL &&
        !is_taken(machine, device->address.bus, device->address.slot, device->address.function);
    if (fits) {
        *ret_index = device->nic_index;
        g_array_append_val(machine->devices, *device);
    } else if (device != NULL) {
        device_clear(device);
    }
    g_array_unref(part.devices);
    return fits;
}

static void add_nic(VbArena *arena, const SimDevice *device, VbDomainFacts *facts)
{
    EffectiveNic *nic = ARENA_MSG(arena, effective_nic);
    nic->index = device->nic_index;
    nic->mac = arena_strdup(arena, device->mac);
    nic->effective_model = device->nic_model;
    facts->nic_types[facts->hardware->n_nics] = device->nic_type;
    ARENA_APPEND(arena, facts->hardware->n_nics, facts->hardware->nics, nic);
}

void sim_machine_facts(const SimMachine *machine, VbArena *arena, VbDomainFacts *ret_facts)
{
    Hardware *hardware = ARENA_MSG(arena, hardware);
    ret_facts->hardware = hardware;
    ret_facts->epoch = machine->epoch;
    ret_facts->nvram_path =
        machine->nvram_path != NULL ? arena_strdup(arena, machine->nvram_path) : NULL;
    ret_facts->nic_types = arena_alloc(arena, (machine->devices->len + 1) * sizeof(NicType));
    hardware->domain_type = (char *)machine->domain_type;
    hardware->machine = (char *)machine->machine;
    hardware->cpu_model = (char *)machine->cpu_model;
    hardware->shared_memory = machine->shared_memory;
    if (machine->loader[0] != '\0') {
        hardware->firmware = ARENA_MSG(arena, firmware_ref);
        hardware->firmware->code_path = (char *)machine->loader;
    }
    for (guint i = 0; i < machine->devices->len; i++) {
        const SimDevice *device = &g_array_index(machine->devices, SimDevice, i);
        const char *type = device->address.type;
        if (device->nic_type != NIC_TYPE_UNSPECIFIED) {
            add_nic(arena, device, ret_facts);
        }
        if (strcmp(type, "pci") == 0 || strcmp(type, "drive") == 0) {
            DeviceAddress *copy = arena_alloc(arena, sizeof(*copy));
            *copy = device->address;
            ARENA_APPEND(arena, hardware->n_addresses, hardware->addresses, copy);
        }
    }
}
