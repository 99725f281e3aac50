/* The switch vtable as switch_ovs.c behaves: a few runs of ovs-vsctl a call, each of which may be
 * the last that the agent sees done.
 *
 * OVS is away in one of two ways: its database does not answer (then nothing is done), or
 * ovs-vswitchd does not (then rows come and go, each run of ovs-vsctl times out, and nothing is
 * served). Rows are on disk at once and outlive a power loss. It leaves out bridges that are not
 * there, and ports that others made. */
#include "tests/sim/sim_host_private.h"

#include <string.h>

enum {
    VSCTL_MOST_US = 60 * SIM_MS,
    TIMEOUT_US = 5 * SIM_S,
    AWAY_MOST_US = 60 * SIM_S,
};

typedef enum { OVS_SERVES, OVS_NO_SWITCH, OVS_NO_DATABASE } OvsState;

typedef struct {
    char vm_uuid[UUID_TEXT_BYTES];
    guint nic_index;
    char *socket_path;
    gboolean refused; /* Its row says error. */
    guint agent;      /* Which of the host's made it. */
} Row;

struct SimSwitch {
    VbSwitch interface; /* First. */
    SimHost *host;
    GPtrArray *rows; /* of Row */
    OvsState state;
    gint64 away_until_us;
};

static void row_free(void *data)
{
    Row *row = data;
    g_free(row->socket_path);
    g_free(row);
}

static Row *row_find(const SimSwitch *self, const char *vm_uuid, guint nic_index)
{
    for (guint i = 0; i < self->rows->len; i++) {
        Row *row = g_ptr_array_index(self->rows, i);
        if (row->nic_index == nic_index && strcmp(row->vm_uuid, vm_uuid) == 0) {
            return row;
        }
    }
    return NULL;
}

/* ---- There and away */

static void come_back(void *data)
{
    SimSwitch *self = data;
    if (self->state != OVS_SERVES && sim_now_us(self->host->sim) >= self->away_until_us) {
        self->state = OVS_SERVES;
        sim_host_say(self->host, NULL, "OVS is back");
        sim_hypervisor_look_at_ports(self->host->hypervisor);
    }
}

void sim_switch_go_away(SimSwitch *self)
{
    Sim *sim = self->host->sim;
    if (self->state == OVS_SERVES) {
        sim_fault_hit(FAULT_OVS_DOWN);
    }
    self->state = sim_below(sim, 2) == 0 ? OVS_NO_SWITCH : OVS_NO_DATABASE;
    self->away_until_us = sim_now_us(sim) + SIM_S + sim_silence_us(sim, AWAY_MOST_US);
    sim_host_say(self->host, NULL, "OVS is away: no %s",
                 self->state == OVS_NO_SWITCH ? "ovs-vswitchd" : "database");
    sim_at(sim, self->away_until_us, come_back, self);
}

void sim_switch_calm(SimSwitch *self)
{
    self->away_until_us = sim_now_us(self->host->sim);
    come_back(self);
}

gboolean sim_switch_serves(const SimSwitch *self, const char *socket_path)
{
    for (guint i = 0; self->state == OVS_SERVES && i < self->rows->len; i++) {
        const Row *row = g_ptr_array_index(self->rows, i);
        if (!row->refused && strcmp(row->socket_path, socket_path) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* ---- Runs of ovs-vsctl */

typedef enum { RUN_OK, RUN_TIMED_OUT, RUN_FAILED } Run;

/* Before anything is done: whether it can be. A run that only asks takes no time. */
static Run run_begin(SimSwitch *self, gboolean changes)
{
    SimHost *host = self->host;
    if (!sim_host_call(host)) {
        return RUN_FAILED;
    }
    if (sim_fault_tries(host->sim, FAULT_OVS_DOWN)) {
        sim_switch_go_away(self);
    }
    if (self->state == OVS_NO_DATABASE || (self->state == OVS_NO_SWITCH && changes)) {
        return RUN_TIMED_OUT;
    }
    return RUN_OK;
}

/* Behind what was done. */
static Run run_end(SimSwitch *self, Run run)
{
    SimHost *host = self->host;
    gint64 took_us = run == RUN_TIMED_OUT ? TIMEOUT_US : sim_delay_us(host->sim, VSCTL_MOST_US);
    return run != RUN_FAILED && sim_sleep(host->process, took_us) ? run : RUN_FAILED;
}

/* Asks the database. FALSE and OVS_UNAVAILABLE. */
static gboolean ask(SimSwitch *self, GError **error)
{
    Run run = run_begin(self, FALSE);
    if (run == RUN_OK) {
        return TRUE;
    }
    run_end(self, run);
    g_set_error_literal(error, VB_ERROR, ERROR_CODE_OVS_UNAVAILABLE,
                        "Open vSwitch does not answer: start it, then ask again");
    return FALSE;
}

static gboolean sim_unplug(VbSwitch *interface, const char *vm_uuid, guint nic_index,
                           GError **error)
{
    SimSwitch *self = (SimSwitch *)(void *)interface;
    if (!ask(self, error)) {
        return FALSE;
    }
    if (row_find(self, vm_uuid, nic_index) == NULL) {
        return TRUE;
    }
    Run run = run_begin(self, TRUE);
    Row *row = row_find(self, vm_uuid, nic_index);
    if (run != RUN_FAILED && self->state != OVS_NO_DATABASE && row != NULL) {
        if (row->agent != self->host->n_starts &&
            !sim_hypervisor_runs(self->host->hypervisor, vm_uuid)) {
            sim_mark(MARK_GHOST_PORT);
        }
        sim_host_say(self->host, vm_uuid, "unplugs the port of NIC %u", nic_index);
        g_ptr_array_remove(self->rows, row);
    }
    gboolean gone = row_find(self, vm_uuid, nic_index) == NULL;
    run = run_end(self, run);
    if (run == RUN_FAILED || !gone) {
        g_set_error(error, VB_ERROR, ERROR_CODE_OVS_UNAVAILABLE,
                    "the port of NIC %u of VM %s cannot be removed", nic_index, vm_uuid);
        return FALSE;
    }
    return TRUE;
}

static gboolean socket_is_free(SimSwitch *self, const VbPort *port, GError **error)
{
    for (guint i = 0; i < self->rows->len; i++) {
        const Row *row = g_ptr_array_index(self->rows, i);
        gboolean own =
            row->nic_index == port->nic_index && strcmp(row->vm_uuid, port->vm_uuid) == 0;
        if (!own && strcmp(row->socket_path, port->socket_path) == 0) {
            g_set_error(error, VB_ERROR, ERROR_CODE_OVS_PORT_REFUSED,
                        "NIC %u of VM %s: an OVS port uses the socket %s already", port->nic_index,
                        port->vm_uuid, port->socket_path);
            return FALSE;
        }
    }
    return TRUE;
}

static Run add_port(SimSwitch *self, const VbPort *port)
{
    Run run = run_begin(self, TRUE);
    if (run != RUN_FAILED && self->state != OVS_NO_DATABASE) {
        Row *row = g_new0(Row, 1);
        g_strlcpy(row->vm_uuid, port->vm_uuid, sizeof(row->vm_uuid));
        row->nic_index = port->nic_index;
        row->agent = self->host->n_starts;
        row->socket_path = g_strdup(port->socket_path);
        row->refused = sim_fault(self->host->sim, FAULT_OVS_REFUSES);
        g_ptr_array_add(self->rows, row);
        sim_host_say(self->host, port->vm_uuid, "plugs a port for NIC %u%s", port->nic_index,
                     row->refused ? ", which OVS refuses" : "");
        sim_hypervisor_look_at_ports(self->host->hypervisor);
    }
    return run_end(self, run);
}

static gboolean sim_plug(VbSwitch *interface, const VbPort *port, GError **error)
{
    SimSwitch *self = (SimSwitch *)(void *)interface;
    if (!ask(self, error) || !socket_is_free(self, port, error) ||
        !sim_unplug(interface, port->vm_uuid, port->nic_index, error)) {
        return FALSE;
    }
    Run run = add_port(self, port);
    if (run == RUN_OK && ask(self, error)) {
        const Row *row = row_find(self, port->vm_uuid, port->nic_index);
        if (row != NULL && !row->refused) {
            return TRUE;
        }
        g_set_error(error, VB_ERROR, ERROR_CODE_OVS_PORT_REFUSED,
                    "OVS refused the port of NIC %u of VM %s", port->nic_index, port->vm_uuid);
    } else if (run != RUN_OK) {
        g_set_error(error, VB_ERROR,
                    run == RUN_TIMED_OUT ? ERROR_CODE_OVS_UNAVAILABLE : ERROR_CODE_OVS_PORT_REFUSED,
                    "the port of NIC %u of VM %s was not made on OVS's bridge %s", port->nic_index,
                    port->vm_uuid, port->bridge);
    }
    sim_unplug(interface, port->vm_uuid, port->nic_index, NULL);
    return FALSE;
}

static GArray *sim_ports_of(VbSwitch *interface, const char *vm_uuid, GError **error)
{
    SimSwitch *self = (SimSwitch *)(void *)interface;
    if (!ask(self, error)) {
        return NULL;
    }
    GArray *indexes = g_array_new(FALSE, FALSE, sizeof(guint));
    for (guint i = 0; i < self->rows->len; i++) {
        const Row *row = g_ptr_array_index(self->rows, i);
        if (strcmp(row->vm_uuid, vm_uuid) == 0) {
            g_array_append_val(indexes, row->nic_index);
        }
    }
    return indexes;
}

static void sim_probe(VbSwitch *interface, gboolean *ret_ovs, gboolean *ret_dpdk,
                      char **ret_problem)
{
    SimSwitch *self = (SimSwitch *)(void *)interface;
    gboolean answers = ask(self, NULL);
    *ret_ovs = answers;
    *ret_dpdk = answers;
    *ret_problem = answers ? NULL : g_strdup("Open vSwitch does not answer");
}

/* ---- Life */

void sim_host_each_port(SimHost *host, SimEachPort each, void *data)
{
    for (guint i = 0; i < host->ports->rows->len; i++) {
        const Row *row = g_ptr_array_index(host->ports->rows, i);
        each(data, row->vm_uuid, row->nic_index);
    }
}

SimSwitch *sim_switch_new(SimHost *host)
{
    SimSwitch *self = g_new0(SimSwitch, 1);
    self->interface = (VbSwitch){
        .plug = sim_plug, .unplug = sim_unplug, .ports_of = sim_ports_of, .probe = sim_probe};
    self->host = host;
    self->rows = g_ptr_array_new_with_free_func(row_free);
    return self;
}

void sim_switch_free(SimSwitch *self)
{
    g_ptr_array_unref(self->rows);
    g_free(self);
}

VbSwitch *sim_switch_interface(SimSwitch *self)
{
    return &self->interface;
}
