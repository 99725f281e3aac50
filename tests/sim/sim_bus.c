/* See sim_bus.h: opening, reading, restoring. Call by call what bus_kafka.c, _read.c and _restore.c
 * do; librdkafka's own thread, which keeps the session, is a task of the process.
 *
 * Left out: what is fetched ahead (a partition may be silent for a while instead, so that an end
 * that was reported is long past), and the probes of the broker's health. */
#include "tests/sim/sim_bus.h"

#include <string.h>

enum {
    SLICE_MS = 1000,
    BEAT_US = 1500 * SIM_MS,
    RETRY_MS = 250,
    SILENT_US = 20 * SIM_S,
    NOT_FETCHED_YET = 30000, /* Per million polls that do not wait. */
    FETCHED_MOST = 32,       /* States, by one fetch. */
    HOUR_MS = 3600 * 1000,
};

/* ---- What all calls share */

gboolean sim_bus_stop(GError **error)
{
    g_set_error_literal(error, BUS_ERROR, BUS_ERROR_STOP, "the process is dead");
    return FALSE;
}

gboolean sim_bus_ask(SimBus *bus, GError **error)
{
    return sim_broker_request(bus->broker, bus->process) || sim_bus_stop(error);
}

gboolean sim_bus_rest(SimBus *bus, gint64 duration_us, GError **error)
{
    return sim_sleep(bus->process, duration_us) || sim_bus_stop(error);
}

gboolean sim_bus_is_alive(const SimBus *bus, GError **error)
{
    if (!bus->is_fatal) {
        return TRUE;
    }
    g_set_error_literal(error, BUS_ERROR, (gint)bus->fatal, bus->fatal_text);
    return FALSE;
}

static gint64 bus_now_ms(VbBus *vtable)
{
    SimBus *bus = sim_bus_of(vtable);
    if (sim_process_is_dead(bus->process)) {
        bus->leap_ms += HOUR_MS;
    } else {
        sim_world_jump(bus->world, sim_process_name(bus->process), bus->skew_ms);
    }
    return sim_now_ms(bus->sim) + *bus->skew_ms + bus->leap_ms;
}

static VbBusEvent *event_push(SimBus *bus, VbBusEventKind kind, int partition)
{
    VbBusEvent *event = g_new0(VbBusEvent, 1);
    event->kind = kind;
    event->partition = partition;
    g_queue_push_tail(&bus->events, event);
    return event;
}

static void events_clear(SimBus *bus)
{
    VbBusEvent *event;
    while ((event = g_queue_pop_head(&bus->events)) != NULL) {
        bus_record_free(event->record);
        g_free(event);
    }
}

static SimSlot *slot_of(SimBus *bus, int partition, size_t input)
{
    return &bus->slots[(size_t)partition * bus->service->n_inputs + input];
}

static VbTopic slot_topic(const SimBus *bus, guint slot)
{
    return bus->service->inputs[slot % bus->service->n_inputs];
}

static int slot_partition(const SimBus *bus, guint slot)
{
    return (int)(slot / bus->service->n_inputs);
}

/* ---- The client's thread in the group */

static void on_assigned(void *client, guint generation, int first, int n)
{
    SimBus *bus = client;
    bus->generation = generation;
    bus->assigned_first = first;
    bus->assigned_n = n;
    bus->assign_waits = TRUE;
    bus->state = CLIENT_IN;
    sim_signal(bus->sim, &bus->arrived);
}

static void client_join(SimBus *bus)
{
    bus->state = CLIENT_JOINING;
    bus->member = sim_group_join(bus->group, bus->instance_id, on_assigned, bus, &bus->incarnation);
}

/* Partitions are given up by the loop's task, before the client joins again. */
static void client_beat(SimBus *bus)
{
    if (sim_member_beat(bus->member, bus->incarnation) == SIM_BEAT_GOOD) {
        return;
    }
    if (bus->assigned_n == 0) {
        client_join(bus);
        return;
    }
    bus->state = CLIENT_REVOKING;
    bus->revoke_waits = TRUE;
    sim_signal(bus->sim, &bus->arrived);
}

static void bus_unref(SimBus *bus);

static void client_turn(SimBus *bus)
{
    switch (bus->state) {
    case CLIENT_OUT:
        client_join(bus);
        break;
    case CLIENT_JOINING:
        if (sim_member_beat(bus->member, bus->incarnation) == SIM_BEAT_UNKNOWN) {
            client_join(bus); /* Thrown out while it waited for the others. */
        }
        break;
    case CLIENT_IN:
        client_beat(bus);
        break;
    case CLIENT_REVOKING:
        sim_member_beat(bus->member, bus->incarnation);
        break;
    }
}

static void client_run(void *data)
{
    SimBus *bus = data;
    gboolean lives = !sim_process_is_dead(bus->process);
    while (lives && !bus->is_closed) {
        if (!sim_broker_is_down(bus->broker)) {
            client_turn(bus);
        }
        lives = sim_wait(bus->process, &bus->client_kick, sim_now_us(bus->sim) + BEAT_US);
    }
    bus_unref(bus);
}

/* ---- The group, as the loop's task hears of it */

static void slots_stop(SimBus *bus)
{
    for (guint i = 0; i < bus->n_slots; i++) {
        if (bus->slots[i].position >= 0) {
            sim_log_unwatch(bus->slots[i].log, &bus->watcher);
            bus->slots[i].position = -1;
        }
    }
}

static void on_assign(SimBus *bus)
{
    bus->is_assigning = bus->assigned_n > 0;
    bus->n_unrestored = bus->assigned_n;
    for (int i = 0; i < bus->assigned_n; i++) {
        event_push(bus, BUS_GAINED, bus->assigned_first + i);
    }
}

/* Whatever waits in the queue is of the partitions that are gone: a revocation takes all. */
static void on_revoke(SimBus *bus)
{
    events_clear(bus);
    bus->is_assigning = FALSE;
    bus->restoring = -1;
    for (int p = 0; p < bus->n_partitions; p++) {
        if (bus->is_told[p]) {
            event_push(bus, BUS_LOST, p);
        }
    }
    slots_stop(bus);
}

/* TRUE: there was something. */
static gboolean rebalance_hear(SimBus *bus)
{
    if (bus->assign_waits) {
        bus->assign_waits = FALSE;
        on_assign(bus);
        return TRUE;
    }
    if (bus->revoke_waits) {
        bus->revoke_waits = FALSE;
        on_revoke(bus);
        bus->state = CLIENT_OUT;
        sim_signal(bus->sim, &bus->client_kick);
        return TRUE;
    }
    return FALSE;
}

/* ---- Records */

/* The real one halts in both cases. Where others have read the record since, this is a zombie that
 * is thrown out as soon as it asks for anything else: nobody has to act. */
static gboolean slot_fail(const SimBus *bus, guint i, GError **error)
{
    const SimSlot *slot = &bus->slots[i];
    size_t n_inputs = bus->service->n_inputs;
    gint64 committed = sim_group_committed(bus->group, (int)(i / n_inputs), i % n_inputs);
    gboolean is_read = committed >= sim_log_first(slot->log);
    g_set_error(error, BUS_ERROR, is_read ? BUS_ERROR_FATAL : BUS_ERROR_SETUP,
                "the next record of %s, %" G_GINT64_FORMAT ", was deleted before it was read",
                sim_log_name(slot->log), slot->position);
    return FALSE;
}

/* TRUE: one event more. FALSE and no error: nothing is there. */
static gboolean slot_fetch(SimBus *bus, guint i, GError **error)
{
    SimSlot *slot = &bus->slots[i];
    if (slot->position < 0) {
        return FALSE;
    }
    if (slot->silent_until_us > sim_now_us(bus->sim) && sim_faults_are_on(bus->sim)) {
        if (!slot->withholds && slot->position < sim_log_stable(slot->log)) {
            slot->withholds = TRUE;
            sim_fault_hit(FAULT_DELIVER_LATE);
        }
        return FALSE;
    }
    if (slot->position < sim_log_first(slot->log)) {
        return slot_fail(bus, i, error);
    }
    const VbBusRecord *record = sim_log_read(slot->log, &slot->position);
    if (record != NULL) {
        event_push(bus, BUS_RECORD, record->partition)->record = bus_record_copy(record);
        slot->end = -1;
        return TRUE;
    }
    if (slot->position != slot->end_told) {
        event_push(bus, BUS_AT_END, slot_partition(bus, i))->topic = slot_topic(bus, i);
        slot->end_told = slot->position;
        slot->end = slot->position;
        return TRUE;
    }
    return FALSE;
}

static gboolean fetch(SimBus *bus, GError **error)
{
    GError *cause = NULL;
    for (guint k = 0; k < bus->n_slots && !sim_broker_is_down(bus->broker); k++) {
        guint i = (bus->cursor + k) % bus->n_slots;
        if (slot_fetch(bus, i, &cause)) {
            bus->cursor = i + 1;
            return TRUE;
        }
        if (cause != NULL) {
            g_propagate_error(error, cause);
            return FALSE;
        }
    }
    return FALSE;
}

/* Hears of the group, or takes one message, or waits. FALSE only with an error. */
static gboolean pump(SimBus *bus, int timeout_ms, GError **error)
{
    gint64 until_us = sim_now_us(bus->sim) + (gint64)timeout_ms * SIM_MS;
    GError *cause = NULL;
    for (;;) {
        if (rebalance_hear(bus) || fetch(bus, &cause)) {
            return TRUE;
        }
        if (cause != NULL) {
            g_propagate_error(error, cause);
            return FALSE;
        }
        if (sim_now_us(bus->sim) >= until_us) {
            return TRUE;
        }
        if (!sim_wait(bus->process, &bus->arrived, until_us)) {
            return sim_bus_stop(error);
        }
    }
}

static void silence_chance(SimBus *bus)
{
    if (sim_fault_tries(bus->sim, FAULT_DELIVER_LATE)) {
        SimSlot *slot = &bus->slots[sim_below(bus->sim, bus->n_slots)];
        slot->withholds = FALSE;
        slot->silent_until_us = sim_now_us(bus->sim) + sim_silence_us(bus->sim, SILENT_US);
        sim_say(bus->sim, NULL, sim_process_name(bus->process), "hears nothing of %s for %d ms",
                sim_log_name(slot->log),
                (int)((slot->silent_until_us - sim_now_us(bus->sim)) / SIM_MS));
    }
}

static gboolean bus_poll(VbBus *vtable, int timeout_ms, VbBusEvent *ret_event, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    if (!sim_call(bus->process)) {
        return sim_bus_stop(error);
    }
    if (timeout_ms > 0) {
        silence_chance(bus);
    }
    gboolean is_early = timeout_ms == 0 && sim_chance(bus->sim, NOT_FETCHED_YET);
    if (g_queue_is_empty(&bus->events) && !is_early &&
        !pump(bus, MIN(timeout_ms, SLICE_MS), error)) {
        return FALSE;
    }
    if (!sim_bus_is_alive(bus, error)) {
        return FALSE;
    }
    g_autofree VbBusEvent *event = g_queue_pop_head(&bus->events);
    *ret_event = event != NULL ? *event : (VbBusEvent){.kind = BUS_NOTHING};
    if (ret_event->kind == BUS_GAINED || ret_event->kind == BUS_LOST) {
        bus->is_told[ret_event->partition] = ret_event->kind == BUS_GAINED;
        bus->restoring = ret_event->kind == BUS_GAINED ? ret_event->partition : -1;
    }
    return TRUE;
}

static gboolean bus_confirm_end(VbBus *vtable, int partition, gboolean *ret_at_end, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    size_t n_inputs = bus->service->n_inputs;
    if (!sim_bus_ask(bus, error)) {
        return FALSE;
    }
    *ret_at_end = TRUE;
    for (size_t input = 0; input < n_inputs; input++) {
        const SimSlot *slot = slot_of(bus, partition, input);
        *ret_at_end = *ret_at_end && slot->end >= sim_log_stable(slot->log);
    }
    for (size_t input = 0; !*ret_at_end && input < n_inputs; input++) {
        const SimSlot *slot = slot_of(bus, partition, input);
        if (slot->end >= sim_log_stable(slot->log)) {
            event_push(bus, BUS_AT_END, partition)->topic = bus->service->inputs[input];
        }
    }
    return TRUE;
}

/* ---- Restoring */

static gboolean bus_committed(VbBus *vtable, VbBusOffsets *offsets, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    for (;;) {
        if (!sim_bus_ask(bus, error)) {
            return FALSE;
        }
        if (!sim_group_is_pending(bus->group, offsets->partition)) {
            break;
        }
        sim_mark(MARK_RESTORE_WAITED);
        sim_say(bus->sim, NULL, sim_process_name(bus->process),
                "waits for offsets of partition %d that are pending", offsets->partition);
        if (!pump(bus, RETRY_MS, error)) {
            return FALSE;
        }
    }
    for (size_t input = 0; input < bus->service->n_inputs; input++) {
        offsets->next[input] = sim_group_committed(bus->group, offsets->partition, input);
    }
    return TRUE;
}

static SimLog *state_log(SimBus *bus, int partition)
{
    return sim_broker_log(bus->broker, bus->service->state_topic, NULL, partition);
}

static gboolean bus_state_end(VbBus *vtable, int partition, gint64 *ret_end, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    if (!sim_bus_ask(bus, error)) {
        return FALSE;
    }
    *ret_end = sim_log_next(state_log(bus, partition));
    return TRUE;
}

/* Behind an open transaction: until readers get further. Group and stop are served meanwhile. */
static gboolean state_wait(SimBus *bus, SimLog *log, GError **error)
{
    sim_mark(MARK_RESTORE_WAITED);
    sim_say(bus->sim, NULL, sim_process_name(bus->process),
            "waits for an open transaction in %s at %" G_GINT64_FORMAT, sim_log_name(log),
            sim_log_stable(log));
    if (!pump(bus, 0, error)) {
        return FALSE;
    }
    sim_log_watch(log, &bus->watcher);
    gboolean lives =
        sim_wait(bus->process, &bus->arrived, sim_now_us(bus->sim) + (gint64)SLICE_MS * SIM_MS);
    sim_log_unwatch(log, &bus->watcher);
    return lives || sim_bus_stop(error);
}

static gboolean bus_read_state(VbBus *vtable, int partition, gint64 end, VbBusRead read, void *user,
                               GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    SimLog *log = state_log(bus, partition);
    gint64 position = sim_log_first(log);
    while (position < end) {
        const VbBusRecord *record;
        if (!sim_bus_ask(bus, error)) {
            return FALSE;
        }
        guint n = 0;
        while (n < FETCHED_MOST && (record = sim_log_read(log, &position)) != NULL) {
            read(record, user);
            n++;
        }
        if (n == 0 && position < end && !state_wait(bus, log, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void slots_begin(SimBus *bus)
{
    for (int i = 0; i < bus->assigned_n; i++) {
        for (size_t input = 0; input < bus->service->n_inputs; input++) {
            SimSlot *slot = slot_of(bus, bus->assigned_first + i, input);
            slot->position = bus->starts[slot - bus->slots];
            slot->end = -1;
            slot->end_told = -1;
            sim_log_watch(slot->log, &bus->watcher);
        }
    }
}

static gboolean bus_consume(VbBus *vtable, VbBusOffsets *offsets, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    for (size_t input = 0; input < bus->service->n_inputs; input++) {
        SimSlot *slot = slot_of(bus, offsets->partition, input);
        if (offsets->next[input] < 0) {
            if (!sim_bus_ask(bus, error)) {
                return FALSE;
            }
            offsets->next[input] = sim_log_first(slot->log);
        }
        bus->starts[slot - bus->slots] = offsets->next[input];
    }
    if (!sim_call(bus->process)) {
        return sim_bus_stop(error);
    }
    if (bus->restoring != offsets->partition) {
        return TRUE; /* Revoked while it was restored. */
    }
    bus->restoring = -1;
    if (--bus->n_unrestored == 0) {
        bus->is_assigning = FALSE;
        slots_begin(bus);
    }
    return TRUE;
}

/* ---- Life */

static void wake(void *data)
{
    SimBus *bus = data;
    sim_signal(bus->sim, &bus->arrived);
}

static void slots_make(SimBus *bus)
{
    bus->n_slots = (guint)((size_t)bus->n_partitions * bus->service->n_inputs);
    bus->slots = g_new0(SimSlot, bus->n_slots);
    bus->starts = g_new0(gint64, bus->n_slots);
    for (guint i = 0; i < bus->n_slots; i++) {
        bus->slots[i].position = -1;
        bus->slots[i].log =
            sim_broker_log(bus->broker, slot_topic(bus, i), NULL, slot_partition(bus, i));
    }
}

static SimBus *bus_new(SimWorld *world, SimProcess *process, const VbService *service,
                       const char *instance_id, gint64 *skew_ms)
{
    SimBus *bus = g_new0(SimBus, 1);
    bus->bus = (VbBus){.poll = bus_poll,
                       .committed = bus_committed,
                       .state_end = bus_state_end,
                       .read_state = bus_read_state,
                       .consume = bus_consume,
                       .confirm_end = bus_confirm_end,
                       .host_exists = sim_bus_host_exists,
                       .begin = sim_bus_begin,
                       .produce = sim_bus_produce,
                       .flush = sim_bus_flush,
                       .send_offsets = sim_bus_send_offsets,
                       .commit = sim_bus_commit,
                       .abort = sim_bus_abort,
                       .now_ms = bus_now_ms};
    bus->world = world;
    bus->sim = world->sim;
    bus->broker = world->broker;
    bus->process = process;
    bus->service = service;
    bus->instance_id = g_strdup(instance_id);
    bus->skew_ms = skew_ms;
    bus->n_partitions = (int)world->plan->n_partitions;
    bus->n_users = 1;
    bus->restoring = -1;
    bus->group = sim_broker_group(bus->broker, service);
    bus->watcher = (SimWatcher){.wake = wake, .data = bus};
    bus->hosts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    bus->unsent = g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free);
    bus->unsent_hosts = g_ptr_array_new();
    bus->is_told = g_new0(gboolean, bus->n_partitions);
    g_queue_init(&bus->events);
    slots_make(bus);
    return bus;
}

static void bus_unref(SimBus *bus)
{
    if (--bus->n_users > 0) {
        return;
    }
    events_clear(bus);
    g_hash_table_unref(bus->hosts);
    g_ptr_array_unref(bus->unsent);
    g_ptr_array_unref(bus->unsent_hosts);
    g_free(bus->is_told);
    g_free(bus->slots);
    g_free(bus->starts);
    g_free(bus->instance_id);
    g_free(bus);
}

SimBus *sim_bus_open(SimWorld *world, SimProcess *process, const VbService *service,
                     const char *instance_id, gint64 *skew_ms, GError **error)
{
    SimBus *bus = bus_new(world, process, service, instance_id, skew_ms);
    /* First of all: a transaction that this instance left open would hold back every reader. */
    if (!sim_bus_init(bus, error) || !sim_bus_ask(bus, error)) {
        sim_bus_close(bus);
        return NULL;
    }
    bus->n_users++;
    sim_task_start(process, client_run, bus);
    return bus;
}

void sim_bus_close(SimBus *bus)
{
    bus->is_closed = TRUE;
    slots_stop(bus);
    if (bus->member != NULL) {
        sim_member_forget_client(bus->member, bus);
    }
    sim_signal(bus->sim, &bus->client_kick);
    bus_unref(bus);
}

VbBus *sim_bus_vtable(SimBus *bus)
{
    return &bus->bus;
}
