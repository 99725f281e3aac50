/* Control planes and operators: they write commands, read what comes of them, and do it again.
 *
 * A control plane knows a VM from vm.events only. It asks at any time, for several VMs at once and
 * several times for one VM; it sends again what it has sent before, sends garbage, and sends to wrong
 * partitions, when those faults strike. While the broker is down it tries on.
 *
 * An operator looks after VMs that are Unknown. The promise that ConfirmHostDown rests on is kept: it
 * is given only for a host that has no power, once every start that was ever asked for has expired
 * there: nothing of the VM runs on it, nor can it come to run when the host is back. Such a command is
 * never sent twice: much later it would be a lie. */
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_model.h"

#include <string.h>

enum {
    LOOK_MS = 5000, /* An operator's round. */
    AGAIN_MS = 500, /* After the broker did not answer. */
    HISTORY = 64,
    LATER_MS = 5 * 60 * 1000,
    PATIENCE_MS = 120 * 1000, /* With a host that is up, and does not say what became of a VM. */
};

/* Bytes on their way to the broker. */
typedef struct {
    SimClients *clients;
    char key[UUID_TEXT_BYTES];
    GBytes *value;
    int partition;
    gboolean is_request; /* Its value is a command that must be answered. */
    gboolean is_again;
} Outgoing;

struct SimClients {
    SimWorld *world;
    VbArena *arena;
    ClientVm *vms;
    gint64 *next;        /* Of vm.events, by partition. */
    GHashTable *waiting; /* Ids of requests without their reply. */
    GPtrArray *outgoing; /* of Outgoing: the broker has not taken them yet. */
    GPtrArray *history;  /* of GBytes: commands that may be sent again. */
    guint64 n_commands;
    guint64 n_turns; /* Of control planes. */
    guint64 n_asked; /* Commands that they have had their turn for: see is_kept. */
    guint64 n_looks; /* Of operators at VMs. */
};

static void outgoing_free(void *data)
{
    Outgoing *outgoing = data;
    g_bytes_unref(outgoing->value);
    g_free(outgoing);
}

static void bytes_free(void *data)
{
    g_bytes_unref(data);
}

SimClients *sim_clients_new(SimWorld *world)
{
    SimClients *clients = g_new0(SimClients, 1);
    clients->world = world;
    clients->arena = arena_new();
    clients->vms = g_new0(ClientVm, world->plan->n_vms);
    for (guint i = 0; i < world->plan->n_vms; i++) {
        clients->vms[i].index = i;
        clients->vms[i].uuid = world->vm_uuids[i];
    }
    clients->next = g_new0(gint64, world->plan->n_partitions);
    clients->waiting = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    clients->outgoing = g_ptr_array_new_with_free_func(outgoing_free);
    clients->history = g_ptr_array_new_with_free_func(bytes_free);
    return clients;
}

void sim_clients_free(SimClients *clients)
{
    for (guint i = 0; i < clients->world->plan->n_vms; i++) {
        g_clear_pointer(&clients->vms[i].spec, g_bytes_unref);
    }
    g_ptr_array_unref(clients->history);
    g_ptr_array_unref(clients->outgoing);
    g_hash_table_unref(clients->waiting);
    g_free(clients->next);
    g_free(clients->vms);
    arena_free(clients->arena);
    g_free(clients);
}

guint64 sim_clients_commands(const SimClients *clients)
{
    return clients->n_commands;
}

guint64 sim_clients_asked(const SimClients *clients)
{
    return clients->n_asked;
}

guint sim_clients_waiting(const SimClients *clients)
{
    return g_hash_table_size(clients->waiting) + clients->outgoing->len;
}

/* ---- Sending */

/* The broker has it: from now on it must be answered. */
static void requested(SimClients *clients, const Outgoing *outgoing, gint64 offset)
{
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(outgoing->value, &size_bytes);
    const VmCommand *command =
        vm_command__unpack(arena_allocator(clients->arena, SIZE_MAX), size_bytes, bytes);
    sim_check_requested(clients->world->check, command, offset);
    sim_model_requested(clients->world->model, command);
    if (!outgoing->is_again) {
        g_hash_table_add(clients->waiting, g_strdup(command->request_id));
    }
}

static void send_now(void *data)
{
    Outgoing *outgoing = data;
    SimClients *clients = outgoing->clients;
    SimWorld *world = clients->world;
    gsize size_bytes = 0;
    const void *value = g_bytes_get_data(outgoing->value, &size_bytes);
    VbBusMessage message = {.topic = TOPIC_VM_COMMANDS,
                            .partition = outgoing->partition,
                            .key = outgoing->key,
                            .key_bytes = strlen(outgoing->key),
                            .value = value,
                            .value_bytes = size_bytes};
    if (outgoing->is_again && world->calm) {
        g_ptr_array_remove(clients->outgoing, outgoing);
        return;
    }
    gint64 offset = sim_broker_append(world->broker, &message);
    if (offset < 0) {
        sim_after(world->sim, (gint64)AGAIN_MS * SIM_MS, send_now, outgoing);
        return;
    }
    if (outgoing->is_again) {
        sim_fault_hit(FAULT_COMMAND_TWICE);
    }
    if (outgoing->is_request) {
        requested(clients, outgoing, offset);
    }
    g_ptr_array_remove(clients->outgoing, outgoing);
}

static Outgoing *outgoing_new(SimClients *clients, const char *key, GBytes *value)
{
    Outgoing *outgoing = g_new0(Outgoing, 1);
    outgoing->clients = clients;
    g_strlcpy(outgoing->key, key, sizeof(outgoing->key));
    outgoing->value = g_bytes_ref(value);
    outgoing->partition = topic_partition(outgoing->key, strlen(outgoing->key),
                                          (int)clients->world->plan->n_partitions);
    g_ptr_array_add(clients->outgoing, outgoing);
    return outgoing;
}

/* Whether the plan has the command of this number, of this VM. */
static gboolean is_kept(const SimPlan *plan, guint vm, guint64 number)
{
    const GArray *kept = plan->kept_commands;
    gboolean found = kept == NULL;
    for (guint i = 0; !found && i < kept->len; i++) {
        found = g_array_index(kept, guint64, i) == number;
    }
    return found && vm < plan->n_vms && (plan->vms >> vm & 1) != 0;
}

static GBytes *pack(const VmCommand *command)
{
    gsize size_bytes = vm_command__get_packed_size(command);
    guint8 *bytes = g_malloc(size_bytes);
    vm_command__pack(command, bytes);
    return g_bytes_new_take(bytes, size_bytes);
}

static void send_counted(SimClients *clients, Outgoing *outgoing)
{
    clients->n_commands++;
    send_now(outgoing);
}

static void send_again_later(SimClients *clients, gint64 most_ms)
{
    Sim *sim = clients->world->sim;
    guint i = sim_below(sim, clients->history->len);
    gint64 delay_us = sim_delay_us(sim, most_ms * SIM_MS);
    GBytes *value = g_ptr_array_index(clients->history, i);
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(value, &size_bytes);
    const VmCommand *command =
        vm_command__unpack(arena_allocator(clients->arena, SIZE_MAX), size_bytes, bytes);
    Outgoing *again = outgoing_new(clients, command->vm_uuid, value);
    again->is_request = TRUE;
    again->is_again = TRUE;
    sim_after(sim, delay_us, send_now, again);
}

static void command_send(SimClients *clients, const VmCommand *command)
{
    SimWorld *world = clients->world;
    g_autoptr(GBytes) value = pack(command);
    Outgoing *outgoing = outgoing_new(clients, command->vm_uuid, value);
    outgoing->is_request = TRUE;
    if (world->plan->n_partitions > 1 && sim_fault(world->sim, FAULT_WRONG_PARTITION)) {
        outgoing->partition = (outgoing->partition + 1) % (int)world->plan->n_partitions;
    }
    send_counted(clients, outgoing);
    g_ptr_array_add(clients->history, g_bytes_ref(value));
    if (clients->history->len > HISTORY) {
        g_ptr_array_remove_index(clients->history, 0);
    }
    if (sim_fault_tries(world->sim, FAULT_COMMAND_TWICE)) {
        send_again_later(clients, sim_below(world->sim, 2) == 0 ? 100 : LATER_MS);
    }
}

static void garbage_send(SimClients *clients, ClientVm *vm)
{
    char key[UUID_TEXT_BYTES];
    VmCommand *command = NULL;
    g_autoptr(GBytes) value = client_garbage(clients->world, clients->arena, vm, key, &command);
    Outgoing *outgoing = outgoing_new(clients, key, value);
    outgoing->is_request = command != NULL;
    send_counted(clients, outgoing);
}

/* ---- Reading */

static void stores_note(ClientVm *vm, const Reply *reply)
{
    vm->n_stores = 0;
    for (size_t i = 0; i < reply->n_volumes && vm->n_stores < CLIENT_VOLUMES; i++) {
        if (reply->volumes[i]->type == VOLUME_TYPE_NV_RAM) {
            g_strlcpy(vm->stores[vm->n_stores++], reply->volumes[i]->uuid, UUID_TEXT_BYTES);
        }
    }
}

static void status_note(ClientVm *vm, const VmEvent *event)
{
    vm->status = event->version != 0 ? event->status : VM_STATUS_UNSPECIFIED;
    vm->version = event->version;
    g_strlcpy(vm->host_uuid, event->host_uuid, sizeof(vm->host_uuid));
    if (vm->status == VM_STATUS_STARTING || vm->status == VM_STATUS_REBOOTING) {
        vm->started_ms = event->time_ms;
    }
    if (vm->status != VM_STATUS_UNKNOWN) {
        vm->unknown_since_ms = 0;
    } else if (vm->unknown_since_ms == 0) {
        vm->unknown_since_ms = event->time_ms;
    }
}

static void event_take(SimClients *clients, const VbBusRecord *record)
{
    const VmEvent *event = vm_event__unpack(arena_allocator(clients->arena, SIZE_MAX),
                                            record->value_bytes, record->value);
    int index = sim_world_vm_index(clients->world, event->vm_uuid);
    if (index < 0) {
        return;
    }
    ClientVm *vm = &clients->vms[index];
    status_note(vm, event);
    if (event->event_case == VM_EVENT__EVENT_REPLY) {
        sim_model_replied(clients->world->model, event);
        g_hash_table_remove(clients->waiting, event->reply->request_id);
        if (event->reply->n_volumes > 0) {
            stores_note(vm, event->reply);
        }
    }
}

static void events_read(SimClients *clients)
{
    SimWorld *world = clients->world;
    for (guint i = 0; i < world->plan->n_partitions; i++) {
        const VbBusRecord *record = NULL;
        while ((record = sim_broker_read(world->broker, TOPIC_VM_EVENTS, NULL, (int)i,
                                         &clients->next[i])) != NULL) {
            event_take(clients, record);
        }
    }
    arena_reset(clients->arena);
}

/* ---- Control planes */

static void ask_once(SimClients *clients, guint index)
{
    SimWorld *world = clients->world;
    guint64 number = ++clients->n_asked;
    if (!is_kept(world->plan, index, number)) {
        return;
    }
    ClientVm *vm = &clients->vms[index];
    sim_draw_apart(world->sim, SIM_DRAW_COMMAND, number);
    if (sim_fault(world->sim, FAULT_COMMAND_GARBAGE)) {
        garbage_send(clients, vm);
        return;
    }
    const VmCommand *command = client_ask(world, clients->arena, vm);
    if (command != NULL) {
        command_send(clients, command);
    }
}

static void control_plane_turn(void *data)
{
    SimClients *clients = data;
    SimWorld *world = clients->world;
    if (world->calm) {
        return;
    }
    events_read(clients);
    sim_draw_apart(world->sim, SIM_DRAW_TURN, ++clients->n_turns);
    gint64 wait_ms = sim_between(world->sim, 1, 2 * world->plan->command_every_ms);
    guint index = sim_below(world->sim, world->plan->n_drawn_vms);
    guint n = sim_below(world->sim, 8) == 0 ? 2 + sim_below(world->sim, 3) : 1;
    for (guint i = 0; i < n; i++) {
        ask_once(clients, index);
    }
    sim_draw_together(world->sim);
    arena_reset(clients->arena);
    sim_after(world->sim, wait_ms * SIM_MS, control_plane_turn, clients);
}

/* ---- Operators */

static void operator_send(SimClients *clients, VmCommand *command)
{
    g_autoptr(GBytes) value = pack(command);
    Outgoing *outgoing = outgoing_new(clients, command->vm_uuid, value);
    outgoing->is_request = TRUE;
    send_counted(clients, outgoing);
}

/* See the head of this file. */
static gboolean is_down_for_good(const SimClients *clients, const ClientVm *vm, gint64 now_ms)
{
    const SimWorld *world = clients->world;
    SimHost *host = sim_world_host(world, vm->host_uuid);
    gint64 expired_ms = vm->started_ms + CLIENT_TIMEOUT_MS + 2 * world->settings.allowed_skew_ms;
    return host != NULL && !sim_host_is_up(host) && now_ms > expired_ms;
}

static void operator_help(SimClients *clients, ClientVm *vm)
{
    SimWorld *world = clients->world;
    gint64 now_ms = sim_now_ms(world->sim);
    sim_draw_apart(world->sim, SIM_DRAW_OPERATOR, ++clients->n_looks);
    if (vm->status == VM_STATUS_QUARANTINED && world->calm) {
        operator_send(clients, client_command(world, clients->arena, vm,
                                              VM_COMMAND__COMMAND_RELEASE_QUARANTINE));
    } else if (vm->status == VM_STATUS_UNKNOWN && is_down_for_good(clients, vm, now_ms)) {
        VmCommand *command =
            client_command(world, clients->arena, vm, VM_COMMAND__COMMAND_CONFIRM_HOST_DOWN);
        command->confirm_host_down->host_uuid = arena_strdup(clients->arena, vm->host_uuid);
        operator_send(clients, command);
    } else if (vm->status == VM_STATUS_UNKNOWN && world->calm &&
               now_ms - vm->unknown_since_ms > PATIENCE_MS) {
        VmCommand *command = client_command(world, clients->arena, vm, VM_COMMAND__COMMAND_STOP_VM);
        command->stop_vm->mode = STOP_MODE_FORCED;
        vm->unknown_since_ms = now_ms;
        operator_send(clients, command);
    }
}

static void operator_turn(void *data)
{
    SimClients *clients = data;
    events_read(clients);
    for (guint i = 0; i < clients->world->plan->n_vms; i++) {
        operator_help(clients, &clients->vms[i]);
    }
    sim_draw_together(clients->world->sim);
    arena_reset(clients->arena);
    sim_after(clients->world->sim, (gint64)LOOK_MS * SIM_MS, operator_turn, clients);
}

void sim_clients_start(SimClients *clients)
{
    sim_after(clients->world->sim, 0, control_plane_turn, clients);
    sim_after(clients->world->sim, (gint64)LOOK_MS * SIM_MS, operator_turn, clients);
}

/* The world says that it is calm: nobody asks any more, but those who help. */
void sim_clients_calm(SimClients *clients)
{
    events_read(clients);
}
