/* vhost-user ports in Open vSwitch, by ovs-vsctl: one short process a question, no shell, nothing
 * that runs in between.
 *
 * A port of ours is known by its Interface's external_ids (virtbus-vm, virtbus-nic), never by its
 * name. This file refuses to touch a row without them, and to plug two ports on one socket, which
 * OVS itself accepts (and then one guest is silent).
 *
 * ovs-vsctl first commits its transaction, then waits for ovs-vswitchd to carry it out. So a run
 * that timed out, or that reports an error, may have left a row behind: every failure of plug ends
 * by removing it.
 *
 * Whether QEMU and OVS are connected is not asked here: Interface.status says "connected" only once
 * the guest's driver has set its queues up (probed), which a guest without one never does.
 */
#include "services/host-agent/switch_ovs.h"

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <string.h>

#define OVS_TIMEOUT "--timeout=5" /* Seconds; then ovs-vsctl ends itself by SIGALRM. */

typedef struct {
    VbSwitch interface;
    char *db_option; /* "--db=..." */
} OvsSwitch;

/* How a run of ovs-vsctl ended. */
typedef struct {
    gboolean ok;
    gboolean timed_out; /* ovs-vswitchd did not carry it out in time; the row is in the database. */
    char *output;       /* Of a run that is ok. */
    char *words;        /* OVS's own, one line; of a run that is ok, too (a warning, or empty). */
} Run;

/* One row of table Interface. */
typedef struct {
    char *name;
    char *vm_uuid;     /* NULL: not a port of virtbus. */
    gint64 nic_index;  /* -1: not a port of virtbus. */
    char *socket_path; /* NULL: none. */
    char *problem;     /* OVS's words; NULL: none. */
    gint64 ofport;     /* -1: not taken. */
} Row;

static void run_clear(Run *run)
{
    g_free(run->output);
    g_free(run->words);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

static void row_free(gpointer data)
{
    Row *row = data;
    g_free(row->name);
    g_free(row->vm_uuid);
    g_free(row->socket_path);
    g_free(row->problem);
    g_free(row);
}

char *switch_ovs_port_name(const char *vm_uuid, guint nic_index)
{
    g_autofree char *text = g_strdup_printf("%s/%u", vm_uuid, nic_index);
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    return g_strdup_printf("vb%.12s", digest);
}

/* ---- ovs-vsctl */

/* The first line of what ovs-vsctl said, without its name. */
static char *words_of(const char *stderr_text)
{
    const char *prefix = "ovs-vsctl: ";
    if (g_str_has_prefix(stderr_text, prefix)) {
        stderr_text += strlen(prefix);
    }
    return g_strstrip(g_strndup(stderr_text, strcspn(stderr_text, "\n")));
}

/* Runs ovs-vsctl with the arguments given, up to NULL. */
static G_GNUC_NULL_TERMINATED void vsctl(const OvsSwitch *self, Run *ret_run, const char *first,
                                         ...)
{
    *ret_run = (Run){0};
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, (char *)"ovs-vsctl");
    g_ptr_array_add(argv, (char *)OVS_TIMEOUT);
    g_ptr_array_add(argv, self->db_option);
    va_list args;
    va_start(args, first);
    for (const char *arg = first; arg != NULL; arg = va_arg(args, const char *)) {
        g_ptr_array_add(argv, (char *)arg);
    }
    va_end(args);
    g_ptr_array_add(argv, NULL);

    g_autoptr(GError) gerror = NULL;
    g_autofree char *words = NULL;
    g_autoptr(GSubprocess) process =
        g_subprocess_newv((const char *const *)argv->pdata,
                          G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, &gerror);
    if (process == NULL ||
        !g_subprocess_communicate_utf8(process, NULL, NULL, &ret_run->output, &words, &gerror)) {
        ret_run->words = g_strdup(gerror->message);
        return;
    }
    ret_run->ok = g_subprocess_get_if_exited(process) && g_subprocess_get_exit_status(process) == 0;
    ret_run->timed_out = g_subprocess_get_if_signaled(process);
    ret_run->words = ret_run->timed_out ? g_strdup("ovs-vswitchd did not answer within 5 seconds")
                                        : words_of(words);
}

/* A value as ovs-vsctl takes it, whatever characters are in it. */
static char *quote(const char *text)
{
    g_autoptr(JsonNode) node = json_node_init_string(json_node_alloc(), text);
    return json_to_string(node, FALSE);
}

/* ---- Rows. OVSDB's JSON: a scalar, ["set", [...]] for an optional value that is not there,
 * ["map", [[key, value], ...]]. */

static char *scalar_text(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_dup_string(node)
               : NULL;
}

/* The value of `key` in a map; NULL: none. Free with g_free. */
static char *map_text(JsonNode *node, const char *key)
{
    if (!JSON_NODE_HOLDS_ARRAY(node) || json_array_get_length(json_node_get_array(node)) != 2) {
        return NULL;
    }
    JsonNode *pairs_node = json_array_get_element(json_node_get_array(node), 1);
    JsonArray *pairs = JSON_NODE_HOLDS_ARRAY(pairs_node) ? json_node_get_array(pairs_node) : NULL;
    for (guint i = 0; pairs != NULL && i < json_array_get_length(pairs); i++) {
        JsonNode *pair_node = json_array_get_element(pairs, i);
        JsonArray *pair = JSON_NODE_HOLDS_ARRAY(pair_node) ? json_node_get_array(pair_node) : NULL;
        if (pair == NULL || json_array_get_length(pair) != 2) {
            continue;
        }
        g_autofree char *name = scalar_text(json_array_get_element(pair, 0));
        if (g_strcmp0(name, key) == 0) {
            return scalar_text(json_array_get_element(pair, 1));
        }
    }
    return NULL;
}

/* The columns of every row that is read, in the order of row_parse. */
#define COLUMNS "--columns=name,error,ofport,options,external_ids"
enum { N_COLUMNS = 5 };

static Row *row_parse(JsonNode *node)
{
    JsonArray *cells = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    if (cells == NULL || json_array_get_length(cells) != N_COLUMNS) {
        return NULL;
    }
    JsonNode *ofport = json_array_get_element(cells, 2);
    JsonNode *external_ids = json_array_get_element(cells, 4);
    g_autofree char *nic = map_text(external_ids, "virtbus-nic");
    guint64 nic_index = 0;
    gboolean has_nic =
        nic != NULL && g_ascii_string_to_unsigned(nic, 10, 0, G_MAXUINT32, &nic_index, NULL);

    Row *row = g_new0(Row, 1);
    row->name = scalar_text(json_array_get_element(cells, 0));
    row->problem = scalar_text(json_array_get_element(cells, 1));
    row->ofport = JSON_NODE_HOLDS_VALUE(ofport) ? json_node_get_int(ofport) : -1;
    row->socket_path = map_text(json_array_get_element(cells, 3), "vhost-server-path");
    row->vm_uuid = map_text(external_ids, "virtbus-vm");
    row->nic_index = has_nic ? (gint64)nic_index : -1;
    return row;
}

/* The rows that ovs-vsctl printed; NULL: that was no such table. */
static GPtrArray *rows_parse(const char *json)
{
    g_autoptr(JsonNode) root = json_from_string(json, NULL);
    JsonObject *table =
        root != NULL && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    JsonNode *data = table != NULL ? json_object_get_member(table, "data") : NULL;
    if (data == NULL || !JSON_NODE_HOLDS_ARRAY(data)) {
        return NULL;
    }
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(row_free);
    JsonArray *array = json_node_get_array(data);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        Row *row = row_parse(json_array_get_element(array, i));
        if (row == NULL) {
            return NULL;
        }
        g_ptr_array_add(rows, row);
    }
    return g_steal_pointer(&rows);
}

/* Interfaces that fulfil one of ovs-vsctl's conditions. NULL and OVS_UNAVAILABLE. */
static GPtrArray *rows_find(const OvsSwitch *self, const char *condition, GError **error)
{
    g_auto(Run) run;
    vsctl(self, &run, "--format=json", COLUMNS, "find", "Interface", condition, NULL);
    if (!run.ok) {
        g_set_error(error, VB_ERROR, ERROR_CODE_OVS_UNAVAILABLE,
                    "Open vSwitch does not answer: %s; start it, then ask again", run.words);
        return NULL;
    }
    GPtrArray *rows = rows_parse(run.output);
    if (rows == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_OVS_UNAVAILABLE,
                    "ovs-vsctl's answer about '%s' cannot be read: check its version", condition);
    }
    return rows;
}

static GPtrArray *rows_of_vm(const OvsSwitch *self, const char *vm_uuid, GError **error)
{
    g_autofree char *value = quote(vm_uuid);
    g_autofree char *condition = g_strdup_printf("external_ids:virtbus-vm=%s", value);
    return rows_find(self, condition, error);
}

/* The row of one NIC among those of its VM; NULL: none. */
static const Row *row_of_nic(const GPtrArray *rows, guint nic_index)
{
    for (guint i = 0; i < rows->len; i++) {
        const Row *row = rows->pdata[i];
        if (row->nic_index == nic_index) {
            return row;
        }
    }
    return NULL;
}

/* ---- The vtable */

static gboolean ovs_unplug(VbSwitch *interface, const char *vm_uuid, guint nic_index,
                           GError **error)
{
    OvsSwitch *self = (OvsSwitch *)interface;
    g_autoptr(GPtrArray) rows = rows_of_vm(self, vm_uuid, error);
    if (rows == NULL) {
        return FALSE;
    }
    const Row *row = row_of_nic(rows, nic_index);
    if (row == NULL) {
        return TRUE;
    }
    g_auto(Run) run;
    vsctl(self, &run, "--if-exists", "del-port", row->name, NULL);
    /* Without ovs-vswitchd the row is gone all the same, and the port with it when it is back. */
    if (run.ok || run.timed_out) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_OVS_UNAVAILABLE,
                "port %s of NIC %u of VM %s cannot be removed: %s; remove it with 'ovs-vsctl "
                "del-port %s'",
                row->name, nic_index, vm_uuid, run.words, row->name);
    return FALSE;
}

/* Bridges come from the VM's specification and become an argument of ovs-vsctl: one that begins
 * with a dash would be an option. */
static gboolean bridge_check(const VbPort *port, GError **error)
{
    if (port->bridge != NULL &&
        g_regex_match_simple("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\\z", port->bridge, 0, 0)) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                "NIC %u of VM %s: '%s' is no name of an OVS bridge: 1 to 64 of [A-Za-z0-9_.-], not "
                "starting with a dot or dash",
                port->nic_index, port->vm_uuid, port->bridge != NULL ? port->bridge : "");
    return FALSE;
}

/* OVS accepts a second port on the same socket; then only one of the two is served. */
static gboolean socket_is_free(const OvsSwitch *self, const VbPort *port, GError **error)
{
    g_autoptr(GPtrArray) rows = rows_find(self, "type=dpdkvhostuserclient", error);
    if (rows == NULL) {
        return FALSE;
    }
    for (guint i = 0; i < rows->len; i++) {
        const Row *row = rows->pdata[i];
        gboolean own = g_strcmp0(row->vm_uuid, port->vm_uuid) == 0 &&
                       row->nic_index == (gint64)port->nic_index;
        if (!own && g_strcmp0(row->socket_path, port->socket_path) == 0) {
            g_set_error(error, VB_ERROR, ERROR_CODE_OVS_PORT_REFUSED,
                        "NIC %u of VM %s: OVS's port %s uses the socket %s already; remove that "
                        "port",
                        port->nic_index, port->vm_uuid, row->name, port->socket_path);
            return FALSE;
        }
    }
    return TRUE;
}

static void add_port(const OvsSwitch *self, const VbPort *port, const char *name, Run *ret_run)
{
    g_autofree char *path = quote(port->socket_path);
    g_autofree char *vm = quote(port->vm_uuid);
    g_autofree char *path_arg = g_strdup_printf("options:vhost-server-path=%s", path);
    g_autofree char *vm_arg = g_strdup_printf("external_ids:virtbus-vm=%s", vm);
    g_autofree char *nic_arg = g_strdup_printf("external_ids:virtbus-nic=%u", port->nic_index);
    g_autofree char *mtu_arg = g_strdup_printf("mtu_request=%u", port->mtu);
    /* The number of queues is no setting of this port type: DPDK learns it from QEMU. */
    vsctl(self, ret_run, "--", "add-port", port->bridge, name, "--", "set", "Interface", name,
          "type=dpdkvhostuserclient", path_arg, vm_arg, nic_arg, port->mtu > 0 ? mtu_arg : NULL,
          NULL);
}

/* Whether OVS has taken the port: only the row says so, ovs-vsctl may exit 0 without (probed). */
static gboolean port_is_taken(const OvsSwitch *self, const VbPort *port, const char *words,
                              GError **error)
{
    g_autoptr(GPtrArray) rows = rows_of_vm(self, port->vm_uuid, error);
    if (rows == NULL) {
        return FALSE;
    }
    const Row *row = row_of_nic(rows, port->nic_index);
    if (row != NULL && row->problem == NULL && row->ofport >= 0) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_OVS_PORT_REFUSED,
                "OVS refused the port of NIC %u of VM %s: %s", port->nic_index, port->vm_uuid,
                row != NULL && row->problem != NULL ? row->problem : words);
    return FALSE;
}

static gboolean ovs_plug(VbSwitch *interface, const VbPort *port, GError **error)
{
    OvsSwitch *self = (OvsSwitch *)interface;
    /* A row that an earlier start left goes first: its socket or bridge may be others. */
    if (!bridge_check(port, error) || !socket_is_free(self, port, error) ||
        !ovs_unplug(interface, port->vm_uuid, port->nic_index, error)) {
        return FALSE;
    }
    g_autofree char *name = switch_ovs_port_name(port->vm_uuid, port->nic_index);
    g_auto(Run) run;
    add_port(self, port, name, &run);
    if (run.ok && port_is_taken(self, port, run.words, error)) {
        return TRUE;
    }
    if (!run.ok) {
        g_set_error(error, VB_ERROR,
                    run.timed_out ? ERROR_CODE_OVS_UNAVAILABLE : ERROR_CODE_OVS_PORT_REFUSED,
                    "the port of NIC %u of VM %s was not made on OVS's bridge %s: %s",
                    port->nic_index, port->vm_uuid, port->bridge, run.words);
    }
    g_autoptr(GError) ignored = NULL;
    if (!ovs_unplug(interface, port->vm_uuid, port->nic_index, &ignored)) {
        g_warning("%s", ignored->message);
    }
    return FALSE;
}

static GArray *ovs_ports_of(VbSwitch *interface, const char *vm_uuid, GError **error)
{
    g_autoptr(GPtrArray) rows = rows_of_vm((OvsSwitch *)interface, vm_uuid, error);
    if (rows == NULL) {
        return NULL;
    }
    GArray *indexes = g_array_new(FALSE, FALSE, sizeof(guint));
    for (guint i = 0; i < rows->len; i++) {
        const Row *row = rows->pdata[i];
        if (row->nic_index >= 0) {
            guint index = (guint)row->nic_index;
            g_array_append_val(indexes, index);
        }
    }
    return indexes;
}

static void ovs_probe(VbSwitch *interface, gboolean *ret_ovs, gboolean *ret_dpdk,
                      char **ret_problem)
{
    g_auto(Run) run;
    vsctl((OvsSwitch *)interface, &run, "get", "Open_vSwitch", ".", "dpdk_initialized", NULL);
    *ret_ovs = run.ok;
    *ret_dpdk = run.ok && g_str_has_prefix(run.output, "true");
    *ret_problem = NULL;
    if (!run.ok) {
        *ret_problem = g_strdup_printf("Open vSwitch does not answer: %s", run.words);
    } else if (!*ret_dpdk) {
        *ret_problem = g_strdup("Open vSwitch runs without DPDK: set other_config:dpdk-init=true "
                                "and restart ovs-vswitchd");
    }
}

VbSwitch *switch_ovs_new(const char *db)
{
    OvsSwitch *self = g_new0(OvsSwitch, 1);
    self->interface = (VbSwitch){
        .plug = ovs_plug,
        .unplug = ovs_unplug,
        .ports_of = ovs_ports_of,
        .probe = ovs_probe,
    };
    self->db_option = g_strdup_printf("--db=%s", db);
    return &self->interface;
}

void switch_ovs_free(VbSwitch *interface)
{
    OvsSwitch *self = (OvsSwitch *)interface;
    g_free(self->db_option);
    g_free(self);
}
