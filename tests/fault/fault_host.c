/* See fault_host.h. */
#include "tests/fault/fault_host.h"

#include <glib/gstdio.h>
#include <string.h>

#include "services/host-agent/domain_xml.h"

typedef struct {
    guint nic_index;
    char *socket_path;
} Port;

struct FaultHost {
    VbHypervisor hypervisor;
    VbSwitch ports_vtable;
    Fault *fault;
    FaultFiles *files;
    const VbHostConfig *config;
    char *vm_uuid;
    char *xml; /* Of the domain that runs; NULL: none does. */
    GArray *ports;
    gboolean event;
    FaultHostTold starts;
    void *data;
};

static FaultHost *of_hypervisor(VbHypervisor *self)
{
    return (FaultHost *)((char *)self - G_STRUCT_OFFSET(FaultHost, hypervisor));
}

static FaultHost *of_switch(VbSwitch *self)
{
    return (FaultHost *)((char *)self - G_STRUCT_OFFSET(FaultHost, ports_vtable));
}

/* ---- Failing */

static gboolean is_done(FaultWay now)
{
    return now == WAY_DO || now == WAY_DO_AND_FAIL;
}

static gboolean ended(FaultWay now, const char *call, ErrorCode refused, ErrorCode done,
                      ErrorCode away, GError **error)
{
    ErrorCode code = now == WAY_FAIL ? refused : now == WAY_DO_AND_FAIL ? done : away;
    if (now == WAY_DO) {
        return TRUE;
    }
    if (error != NULL && *error == NULL) {
        g_set_error(error, VB_ERROR, (gint)code, "%s was made to fail", call);
    }
    return FALSE;
}

static FaultWay ask_libvirt(FaultHost *host, CallEffect effect, const char *call)
{
    return fault_way(host->fault, CALL_HYPERVISOR, effect, call, "a domain");
}

/* Away is away: whether it is so once, or for ever. */
static gboolean libvirt_said(FaultHost *host, FaultWay now, const char *call, GError **error)
{
    gboolean away = host->fault->mode == FAULT_EVER;
    return ended(now, call, away ? ERROR_CODE_HYPERVISOR_UNAVAILABLE : ERROR_CODE_HYPERVISOR,
                 ERROR_CODE_TIMEOUT, ERROR_CODE_HYPERVISOR_UNAVAILABLE, error);
}

static FaultWay ask_ovs(FaultHost *host, CallEffect effect, const char *call)
{
    return fault_way(host->fault, CALL_SWITCH, effect, call, "a port");
}

static gboolean ovs_said(FaultHost *host, FaultWay now, const char *call, GError **error)
{
    gboolean away = host->fault->mode == FAULT_EVER;
    return ended(now, call, away ? ERROR_CODE_OVS_UNAVAILABLE : ERROR_CODE_OVS_PORT_REFUSED,
                 ERROR_CODE_OVS_UNAVAILABLE, ERROR_CODE_OVS_UNAVAILABLE, error);
}

/* ---- The hypervisor */

static char **hypervisor_list(VbHypervisor *self, GError **error)
{
    FaultHost *host = of_hypervisor(self);
    if (!libvirt_said(host, ask_libvirt(host, CALL_READS, "list"), "list", error)) {
        return NULL;
    }
    char **list = g_new0(char *, 2);
    list[0] = g_strdup(host->xml != NULL ? host->vm_uuid : NULL);
    return list;
}

static gboolean hypervisor_look(VbHypervisor *self, VbArena *arena, const char *vm_uuid,
                                VbDomainFacts *ret_facts, GError **error)
{
    FaultHost *host = of_hypervisor(self);
    *ret_facts = (VbDomainFacts){.presence = DOMAIN_NONE};
    if (!libvirt_said(host, ask_libvirt(host, CALL_READS, "look at"), "look", error)) {
        return FALSE;
    }
    if (host->xml != NULL) {
        g_assert_true(domain_xml_is_ours(host->xml, vm_uuid, &ret_facts->epoch));
        ret_facts->presence = DOMAIN_OURS;
        ret_facts->hardware = domain_xml_read_hardware(arena, host->xml, NULL);
        ret_facts->nic_types = domain_xml_read_nic_types(arena, host->xml);
        ret_facts->nvram_path = domain_xml_read_nvram(arena, host->xml);
    }
    return TRUE;
}

/* libvirt gives each empty port of the machine its place. */
static char *with_places(const char *xml)
{
    static const char bare[] = "model=\"pcie-root-port\"/>";
    g_autoptr(GString) text = g_string_new(NULL);
    guint slot = 1;
    for (const char *at; (at = strstr(xml, bare)) != NULL; xml = at + strlen(bare)) {
        g_string_append_len(text, xml, at - xml);
        g_string_append_printf(text,
                               "model=\"pcie-root-port\"><address type=\"pci\" bus=\"0\" "
                               "slot=\"%u\"/></controller>",
                               slot++);
    }
    g_string_append(text, xml);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static const Port *port_of(const FaultHost *host, guint nic_index)
{
    for (guint i = 0; i < host->ports->len; i++) {
        const Port *port = &g_array_index(host->ports, Port, i);
        if (port->nic_index == nic_index) {
            return port;
        }
    }
    return NULL;
}

/* QEMU waits for OVS at each socket. */
static gboolean connect_sockets(FaultHost *host, const char *xml, GError **error)
{
    g_autoptr(VbArena) arena = arena_new();
    Hardware *hardware = domain_xml_read_hardware(arena, xml, NULL);
    NicType *types = domain_xml_read_nic_types(arena, xml);
    for (size_t i = 0; i < hardware->n_nics; i++) {
        const Port *port = port_of(host, hardware->nics[i]->index);
        if (types[i] != NIC_TYPE_VHOST_USER) {
            continue;
        }
        if (port == NULL || !g_file_set_contents(port->socket_path, "", 0, NULL)) {
            g_set_error(error, VB_ERROR, ERROR_CODE_TIMEOUT, "nobody connects to QEMU's socket");
            return FALSE;
        }
    }
    return TRUE;
}

static void write_file(FaultHost *host, const char *path, const char *bytes)
{
    gboolean is_new = !g_file_test(path, G_FILE_TEST_EXISTS);
    g_assert_true(g_file_set_contents_full(path, bytes, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    if (is_new) {
        fault_files_made(host->files, path);
    } else {
        fault_files_wrote(host->files, path);
    }
}

/* swtpm makes its state where libvirt's folder leads, and writes at each start. */
static void start_tpm(FaultHost *host)
{
    g_autofree char *link = g_build_filename(host->config->swtpm_dir, host->vm_uuid, NULL);
    g_autofree char *target = g_file_read_link(link, NULL);
    g_assert_nonnull(target);
    g_autofree char *folder = g_build_filename(target, "tpm2", NULL);
    g_autofree char *path = g_build_filename(folder, "tpm2-00.permall", NULL);
    g_autofree char *before = NULL;
    if (!g_file_test(folder, G_FILE_TEST_EXISTS)) {
        g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
        fault_files_made(host->files, folder);
    }
    g_file_get_contents(path, &before, NULL, NULL);
    g_autofree char *after = g_strconcat(before != NULL ? before : "seed", ".", NULL);
    write_file(host, path, after);
}

static gboolean start(FaultHost *host, const char *xml, GError **error)
{
    g_autoptr(VbArena) arena = arena_new();
    const char *nvram = domain_xml_read_nvram(arena, xml);
    guint64 epoch = 0;
    g_assert_null(host->xml); /* Two on one NVRAM would ruin it. */
    if (nvram == NULL || !g_file_test(nvram, G_FILE_TEST_IS_REGULAR)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR, "Failed to open file");
        return FALSE;
    }
    if (!connect_sockets(host, xml, error)) {
        return FALSE;
    }
    g_assert_true(domain_xml_is_ours(xml, host->vm_uuid, &epoch));
    host->starts(host->data, nvram, epoch);
    start_tpm(host);
    g_autofree char *log =
        g_strdup_printf("%s/%s.serial.log", host->config->log_dir, host->vm_uuid);
    g_assert_true(g_file_set_contents(log, "hello\n", -1, NULL));
    host->xml = with_places(xml);
    return TRUE;
}

static gboolean hypervisor_create(VbHypervisor *self, const char *vm_uuid, const char *xml,
                                  gint64 timeout_ms, GError **error)
{
    FaultHost *host = of_hypervisor(self);
    (void)vm_uuid;
    (void)timeout_ms;
    FaultWay now = ask_libvirt(host, CALL_CHANGES, "create");
    gboolean done = is_done(now) && start(host, xml, error);
    return libvirt_said(host, now, "create", error) && done;
}

static gboolean must_run(const FaultHost *host, GError **error)
{
    if (host->xml == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_DOMAIN_NOT_RUNNING, "there is no domain");
    }
    return host->xml != NULL;
}

static gboolean plug_device(FaultHost *host, const char *xml, GError **error)
{
    const char *end = host->xml != NULL ? strstr(host->xml, "</devices>") : NULL;
    if (!must_run(host, error)) {
        return FALSE;
    }
    g_autofree char *more =
        g_strdup_printf("%.*s%s%s", (int)(end - host->xml), host->xml, xml, end);
    if (!connect_sockets(host, more, error)) {
        return FALSE;
    }
    g_free(host->xml);
    host->xml = g_steal_pointer(&more);
    return TRUE;
}

static gboolean hypervisor_attach(VbHypervisor *self, const char *vm_uuid, const char *xml,
                                  const gint *preempted, GError **error)
{
    FaultHost *host = of_hypervisor(self);
    (void)vm_uuid;
    (void)preempted;
    FaultWay now = ask_libvirt(host, CALL_CHANGES, "attach to");
    gboolean done = is_done(now) && plug_device(host, xml, error);
    return libvirt_said(host, now, "attach", error) && done;
}

/* The guest lets go at once. */
static gboolean unplug_device(FaultHost *host, const char *alias, GError **error)
{
    if (!must_run(host, error)) {
        return FALSE;
    }
    const char *at = strstr(host->xml, alias);
    if (at != NULL) {
        const char *begin = g_strrstr_len(host->xml, at - host->xml, "<interface");
        const char *end = strstr(at, "</interface>") + strlen("</interface>");
        char *less = g_strdup_printf("%.*s%s", (int)(begin - host->xml), host->xml, end);
        g_free(host->xml);
        host->xml = less;
    }
    return TRUE;
}

static gboolean hypervisor_detach(VbHypervisor *self, const char *vm_uuid, const char *alias,
                                  const gint *preempted, GError **error)
{
    FaultHost *host = of_hypervisor(self);
    (void)vm_uuid;
    (void)preempted;
    FaultWay now = ask_libvirt(host, CALL_CHANGES, "detach from");
    gboolean done = is_done(now) && unplug_device(host, alias, error);
    return libvirt_said(host, now, "detach", error) && done;
}

static void end_domain(FaultHost *host)
{
    host->event = host->event || host->xml != NULL;
    g_clear_pointer(&host->xml, g_free);
}

static gboolean hypervisor_shutdown(VbHypervisor *self, const char *vm_uuid, GError **error)
{
    FaultHost *host = of_hypervisor(self);
    (void)vm_uuid;
    FaultWay now = ask_libvirt(host, CALL_CHANGES, "shut down");
    gboolean done = is_done(now) && must_run(host, error);
    if (done) {
        end_domain(host);
    }
    return libvirt_said(host, now, "shutdown", error) && done;
}

static gboolean hypervisor_destroy(VbHypervisor *self, const char *vm_uuid, GError **error)
{
    FaultHost *host = of_hypervisor(self);
    (void)vm_uuid;
    FaultWay now = ask_libvirt(host, CALL_CHANGES, "destroy");
    if (is_done(now)) {
        end_domain(host);
    }
    return libvirt_said(host, now, "destroy", error);
}

static const char *const *hypervisor_domain_types(VbHypervisor *self)
{
    static const char *const types[] = {"qemu", NULL};
    (void)self;
    return types;
}

/* ---- The switch */

static void unplug(FaultHost *host, guint nic_index)
{
    for (guint i = 0; i < host->ports->len;) {
        Port *port = &g_array_index(host->ports, Port, i);
        if (port->nic_index == nic_index) {
            g_free(port->socket_path);
            g_array_remove_index(host->ports, i);
        } else {
            i++;
        }
    }
}

static gboolean switch_plug(VbSwitch *self, const VbPort *port, GError **error)
{
    FaultHost *host = of_switch(self);
    FaultWay now = ask_ovs(host, CALL_CHANGES, "plug");
    if (is_done(now)) {
        unplug(host, port->nic_index);
        Port row = {port->nic_index, g_strdup(port->socket_path)};
        g_array_append_val(host->ports, row);
    }
    return ovs_said(host, now, "plug", error);
}

static gboolean switch_unplug(VbSwitch *self, const char *vm_uuid, guint nic_index, GError **error)
{
    FaultHost *host = of_switch(self);
    (void)vm_uuid;
    FaultWay now = ask_ovs(host, CALL_CHANGES, "unplug");
    if (is_done(now)) {
        unplug(host, nic_index);
    }
    return ovs_said(host, now, "unplug", error);
}

static GArray *switch_ports_of(VbSwitch *self, const char *vm_uuid, GError **error)
{
    FaultHost *host = of_switch(self);
    (void)vm_uuid;
    if (!ovs_said(host, ask_ovs(host, CALL_READS, "find"), "find", error)) {
        return NULL;
    }
    GArray *indexes = g_array_new(FALSE, FALSE, sizeof(guint));
    for (guint i = 0; i < host->ports->len; i++) {
        g_array_append_val(indexes, g_array_index(host->ports, Port, i).nic_index);
    }
    return indexes;
}

static void switch_probe(VbSwitch *self, gboolean *ret_ovs, gboolean *ret_dpdk, char **ret_problem)
{
    FaultHost *host = of_switch(self);
    gboolean there = ask_ovs(host, CALL_READS, "probe") == WAY_DO;
    *ret_ovs = there;
    *ret_dpdk = there;
    *ret_problem = there ? NULL : g_strdup("OVS was made to fail");
}

/* ---- The test's side */

gboolean fault_host_runs(const FaultHost *host)
{
    return host->xml != NULL;
}

guint64 fault_host_epoch(const FaultHost *host)
{
    guint64 epoch = 0;
    g_assert_true(domain_xml_is_ours(host->xml, host->vm_uuid, &epoch));
    return epoch;
}

gboolean fault_host_has_nic(FaultHost *host, guint index)
{
    g_autoptr(VbArena) arena = arena_new();
    return host->xml != NULL && strstr(host->xml, domain_xml_nic_alias(arena, index)) != NULL;
}

guint fault_host_ports(const FaultHost *host)
{
    return host->ports->len;
}

char *fault_host_nvram(const FaultHost *host)
{
    g_autoptr(VbArena) arena = arena_new();
    return g_strdup(domain_xml_read_nvram(arena, host->xml));
}

gboolean fault_host_take_event(FaultHost *host)
{
    gboolean event = host->event;
    host->event = FALSE;
    return event;
}

void fault_host_reboot(FaultHost *host)
{
    g_autofree char *folder = g_build_filename(host->config->run_dir, host->vm_uuid, NULL);
    g_autoptr(GDir) open = g_dir_open(folder, 0, NULL);
    for (const char *name; open != NULL && (name = g_dir_read_name(open)) != NULL;) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_remove(path);
    }
    g_rmdir(folder);
    g_clear_pointer(&host->xml, g_free);
    host->event = FALSE;
}

void fault_host_set_told(FaultHost *host, FaultHostTold starts, void *data)
{
    host->starts = starts;
    host->data = data;
}

FaultHost *fault_host_new(Fault *fault, FaultFiles *files, const VbHostConfig *config,
                          const char *vm_uuid)
{
    FaultHost *host = g_new0(FaultHost, 1);
    host->hypervisor = (VbHypervisor){.list = hypervisor_list,
                                      .look = hypervisor_look,
                                      .create = hypervisor_create,
                                      .attach_device = hypervisor_attach,
                                      .detach_device = hypervisor_detach,
                                      .shutdown = hypervisor_shutdown,
                                      .destroy = hypervisor_destroy,
                                      .domain_types = hypervisor_domain_types};
    host->ports_vtable = (VbSwitch){.plug = switch_plug,
                                    .unplug = switch_unplug,
                                    .ports_of = switch_ports_of,
                                    .probe = switch_probe};
    host->fault = fault;
    host->files = files;
    host->config = config;
    host->vm_uuid = g_strdup(vm_uuid);
    host->ports = g_array_new(FALSE, FALSE, sizeof(Port));
    return host;
}

void fault_host_free(FaultHost *host)
{
    while (host->ports->len > 0) {
        unplug(host, g_array_index(host->ports, Port, 0).nic_index);
    }
    g_array_unref(host->ports);
    g_free(host->xml);
    g_free(host->vm_uuid);
    g_free(host);
}

VbHypervisor *fault_host_hypervisor(FaultHost *host)
{
    return &host->hypervisor;
}

VbSwitch *fault_host_switch(FaultHost *host)
{
    return &host->ports_vtable;
}
