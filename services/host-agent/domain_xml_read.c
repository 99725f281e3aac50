/* Domain XML, as libvirt gives it back, to facts. Elements that it does not know are not its
 * business; a device without our alias is not ours to pin. */
#include "services/host-agent/domain_xml_private.h"

#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/* --- Walking. All return "" or NULL for what is not there. */

static const xmlNode *child(const xmlNode *node, const char *name)
{
    const xmlNode *at = node != NULL ? node->children : NULL;
    while (at != NULL && (at->type != XML_ELEMENT_NODE || strcmp((const char *)at->name, name))) {
        at = at->next;
    }
    return at;
}

/* In the arena. */
static char *attribute(VbArena *arena, const xmlNode *node, const char *name)
{
    xmlChar *value = node != NULL ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL;
    char *copy = arena_strdup(arena, value != NULL ? (const char *)value : "");
    xmlFree(value);
    return copy;
}

static char *content(VbArena *arena, const xmlNode *node)
{
    xmlChar *value = node != NULL ? xmlNodeGetContent(node) : NULL;
    char *copy = arena_strdup(arena, value != NULL ? (const char *)value : "");
    xmlFree(value);
    return copy;
}

/* libvirt writes decimal and 0x. */
static guint32 number(VbArena *arena, const xmlNode *node, const char *name)
{
    return (guint32)strtoul(attribute(arena, node, name), NULL, 0);
}

static xmlDoc *parse(const char *text)
{
    xmlInitParser();
    size_t length = strlen(text);
    if (length > G_MAXINT) {
        return NULL;
    }
    xmlDoc *doc = xmlReadMemory(text, (int)length, NULL, NULL,
                                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const xmlNode *root = doc != NULL ? xmlDocGetRootElement(doc) : NULL;
    if (root == NULL || strcmp((const char *)root->name, "domain") != 0) {
        xmlFreeDoc(doc);
        return NULL;
    }
    return doc;
}

/* --- Devices */

/* "nic/1" from our alias "ua-nic-1"; NULL: not one of ours. */
static char *device_of(VbArena *arena, const xmlNode *node)
{
    char *alias = attribute(arena, child(node, "alias"), "name");
    char *dash = g_str_has_prefix(alias, "ua-") ? strrchr(alias + 3, '-') : NULL;
    if (dash == NULL) {
        return NULL;
    }
    *dash = '/';
    return alias + 3;
}

static void add_address(VbArena *arena, Hardware *hardware, const xmlNode *node, char *device,
                        char *model)
{
    const xmlNode *from = child(node, "address");
    const xmlNode *target = child(node, "target");
    char *type = attribute(arena, from, "type");
    if (device == NULL || (strcmp(type, "pci") != 0 && strcmp(type, "drive") != 0)) {
        return;
    }
    DeviceAddress *address = ARENA_MSG(arena, device_address);
    address->device = device;
    address->model = model;
    address->type = type;
    address->domain = number(arena, from, "domain");
    address->bus = number(arena, from, "bus");
    address->slot = number(arena, from, "slot");
    address->function = number(arena, from, "function");
    address->multifunction = strcmp(attribute(arena, from, "multifunction"), "on") == 0;
    address->controller = number(arena, from, "controller");
    address->target = number(arena, from, "target");
    address->unit = number(arena, from, "unit");
    address->index = number(arena, node, "index");
    address->chassis = number(arena, target, "chassis");
    address->port = number(arena, target, "port");
    ARENA_APPEND(arena, hardware->n_addresses, hardware->addresses, address);
}

static void read_controller(VbArena *arena, Hardware *hardware, const xmlNode *node)
{
    char *device = arena_printf(arena, "controller/%s/%u", attribute(arena, node, "type"),
                                number(arena, node, "index"));
    add_address(arena, hardware, node, device, attribute(arena, node, "model"));
}

static gboolean is_our_nic(VbArena *arena, const xmlNode *node)
{
    char *device = device_of(arena, node);
    return strcmp((const char *)node->name, "interface") == 0 && device != NULL &&
           g_str_has_prefix(device, "nic/");
}

/* UNSPECIFIED: none that virtbus writes. */
static NicModel model_named(const char *name)
{
    for (NicModel model = NIC_MODEL_UNSPECIFIED + 1; model <= NIC_MODEL_RTL8139; model++) {
        if (strcmp(domain_xml_nic_model(model), name) == 0) {
            return model;
        }
    }
    return NIC_MODEL_UNSPECIFIED;
}

static NicType type_named(const char *name)
{
    return strcmp(name, "bridge") == 0      ? NIC_TYPE_BRIDGE
           : strcmp(name, "vhostuser") == 0 ? NIC_TYPE_VHOST_USER
           : strcmp(name, "user") == 0      ? NIC_TYPE_USER
                                            : NIC_TYPE_UNSPECIFIED;
}

static void read_nic(VbArena *arena, Hardware *hardware, const xmlNode *node)
{
    if (!is_our_nic(arena, node)) {
        return;
    }
    char *device = device_of(arena, node);
    char *model = attribute(arena, child(node, "model"), "type");
    EffectiveNic *nic = ARENA_MSG(arena, effective_nic);
    nic->index = (guint32)strtoul(device + strlen("nic/"), NULL, 10);
    nic->mac = attribute(arena, child(node, "mac"), "address");
    nic->effective_model = model_named(model);
    ARENA_APPEND(arena, hardware->n_nics, hardware->nics, nic);
    add_address(arena, hardware, node, device, model);
}

static void read_device(VbArena *arena, Hardware *hardware, const xmlNode *node)
{
    const char *name = (const char *)node->name;
    if (strcmp(name, "controller") == 0) {
        read_controller(arena, hardware, node);
    } else if (strcmp(name, "interface") == 0) {
        read_nic(arena, hardware, node);
    } else if (strcmp(name, "disk") == 0) {
        add_address(arena, hardware, node, device_of(arena, node),
                    attribute(arena, child(node, "target"), "bus"));
    } else if (strcmp(name, "video") == 0) {
        add_address(arena, hardware, node, arena_strdup(arena, "video"),
                    attribute(arena, child(node, "model"), "type"));
    }
}

/* --- The whole */

/* "model,+feature,-feature". */
static char *read_cpu(VbArena *arena, const xmlNode *cpu)
{
    const xmlNode *model = child(cpu, "model");
    if (model == NULL) {
        return arena_strdup(arena, "");
    }
    g_autoptr(GString) text = g_string_new(content(arena, model));
    for (const xmlNode *at = cpu->children; at != NULL; at = at->next) {
        if (at->type == XML_ELEMENT_NODE && strcmp((const char *)at->name, "feature") == 0) {
            gboolean off = strcmp(attribute(arena, at, "policy"), "disable") == 0;
            g_string_append_printf(text, ",%c%s", off ? '-' : '+', attribute(arena, at, "name"));
        }
    }
    return arena_strdup(arena, text->str);
}

/* Of pages that somebody else can map: anonymous ones cannot be, whatever their access. */
static gboolean read_shared_memory(VbArena *arena, const xmlNode *root)
{
    const xmlNode *backing = child(root, "memoryBacking");
    gboolean mappable = child(backing, "hugepages") != NULL ||
                        strcmp(attribute(arena, child(backing, "source"), "type"), "memfd") == 0;
    return mappable && strcmp(attribute(arena, child(backing, "access"), "mode"), "shared") == 0;
}

Hardware *domain_xml_read_hardware(VbArena *arena, const char *xml, GError **error)
{
    g_autoptr(xmlDoc) doc = parse(xml);
    if (doc == NULL) {
        g_set_error_literal(error, VB_ERROR, ERROR_CODE_HYPERVISOR,
                            "libvirt's description of the domain is no domain XML. Look at the "
                            "domain with virsh dumpxml");
        return NULL;
    }
    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *os = child(root, "os");
    const xmlNode *loader = child(os, "loader");
    const xmlNode *devices = child(root, "devices");
    Hardware *hardware = ARENA_MSG(arena, hardware);
    hardware->domain_type = attribute(arena, root, "type");
    hardware->machine = attribute(arena, child(os, "type"), "machine");
    hardware->cpu_model = read_cpu(arena, child(root, "cpu"));
    hardware->shared_memory = read_shared_memory(arena, root);
    if (loader != NULL) {
        hardware->firmware = ARENA_MSG(arena, firmware_ref);
        hardware->firmware->code_path = content(arena, loader);
    }
    for (const xmlNode *at = devices != NULL ? devices->children : NULL; at != NULL;
         at = at->next) {
        if (at->type == XML_ELEMENT_NODE) {
            read_device(arena, hardware, at);
        }
    }
    return hardware;
}

NicType *domain_xml_read_nic_types(VbArena *arena, const char *xml)
{
    g_autoptr(xmlDoc) doc = parse(xml);
    const xmlNode *devices = doc != NULL ? child(xmlDocGetRootElement(doc), "devices") : NULL;
    g_autoptr(GArray) types = g_array_new(FALSE, FALSE, sizeof(NicType));
    if (doc == NULL) {
        return NULL;
    }
    for (const xmlNode *at = devices != NULL ? devices->children : NULL; at != NULL;
         at = at->next) {
        if (at->type == XML_ELEMENT_NODE && is_our_nic(arena, at)) {
            NicType type = type_named(attribute(arena, at, "type"));
            g_array_append_val(types, type);
        }
    }
    NicType *copy = arena_alloc(arena, (types->len + 1) * sizeof(*copy));
    if (types->len > 0) {
        memcpy(copy, types->data, types->len * sizeof(*copy));
    }
    return copy;
}

char *domain_xml_read_nvram(VbArena *arena, const char *xml)
{
    g_autoptr(xmlDoc) doc = parse(xml);
    const xmlNode *os = doc != NULL ? child(xmlDocGetRootElement(doc), "os") : NULL;
    char *path = content(arena, child(os, "nvram"));
    return path[0] != '\0' ? path : NULL;
}

static const xmlNode *our_metadata(const xmlNode *root)
{
    const xmlNode *metadata = child(root, "metadata");
    const xmlNode *at = metadata != NULL ? metadata->children : NULL;
    while (at != NULL && (at->type != XML_ELEMENT_NODE || at->ns == NULL ||
                          strcmp((const char *)at->ns->href, DOMAIN_XML_NAMESPACE) != 0 ||
                          strcmp((const char *)at->name, "vm") != 0)) {
        at = at->next;
    }
    return at;
}

gboolean domain_xml_is_ours(const char *xml, const char *vm_uuid, guint64 *ret_epoch)
{
    g_autoptr(xmlDoc) doc = parse(xml);
    if (doc == NULL) {
        return FALSE;
    }
    g_autoptr(VbArena) arena = arena_new();
    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *ours = our_metadata(root);
    const char *name = content(arena, child(root, "name"));
    const char *uuid = content(arena, child(root, "uuid"));
    guint64 epoch = 0;
    if (ours == NULL || strcmp(name, domain_name(arena, vm_uuid)) != 0 ||
        strcmp(uuid, vm_uuid) != 0 ||
        !g_ascii_string_to_unsigned(attribute(arena, ours, "epoch"), 10, 0, G_MAXUINT64, &epoch,
                                    NULL)) {
        return FALSE;
    }
    *ret_epoch = epoch;
    return TRUE;
}
