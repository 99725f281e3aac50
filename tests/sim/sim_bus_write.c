/* See sim_bus.h: transactions, as bus_kafka_write.c makes them.
 *
 * A record goes to the broker when it is produced or, should that have to wait, by the flush; so a
 * process that dies in between leaves some of them behind, in a transaction that stays open. */
#include "tests/sim/sim_bus.h"

#include <string.h>

enum {
    LARGEST_BYTES = 1000000, /* librdkafka's message.max.bytes */
    HOST_SEEN_US = 60 * SIM_S,
    RETRY_US = 20 * SIM_MS,
    NO_TOPIC_US = 11 * SIM_S, /* How long librdkafka looks for a topic that is not there. */
    SENT_LATER = 100000,      /* Per million records: not before the flush. */
};

/* ---- Errors */

static gboolean fail(GError **error, VbBusError code, const char *what)
{
    g_set_error_literal(error, BUS_ERROR, (gint)code, what);
    return FALSE;
}

static gboolean fail_fatal(SimBus *bus, VbBusError code, const char *what, GError **error)
{
    bus->is_fatal = TRUE;
    bus->fatal = code;
    bus->fatal_text = what;
    sim_say(bus->sim, NULL, sim_process_name(bus->process), "cannot go on: %s", what);
    return sim_bus_is_alive(bus, error);
}

/* What may become of a call of a transaction before it reaches the coordinator. */
static gboolean ask_in_transaction(SimBus *bus, GError **error)
{
    if (!sim_bus_ask(bus, error) || !sim_bus_is_alive(bus, error)) {
        return FALSE;
    }
    if (sim_fault(bus->sim, FAULT_TXN_FATAL)) {
        return fail_fatal(bus, BUS_ERROR_FATAL, "the producer has failed for good", error);
    }
    if (sim_fault(bus->sim, FAULT_TXN_ABORT)) {
        return fail(error, BUS_ERROR_ABORT, "the broker wants the transaction aborted");
    }
    return TRUE;
}

/* TRUE: done. FALSE without an error: ask again. */
static gboolean answer_take(SimBus *bus, SimAnswer answer, GError **error)
{
    switch (answer) {
    case SIM_DONE:
        return TRUE;
    case SIM_LATER:
        sim_bus_rest(bus, RETRY_US, error);
        return FALSE;
    case SIM_FENCED:
        sim_mark(MARK_ZOMBIE_FENCED);
        return fail_fatal(bus, BUS_ERROR_FENCED, "the producer is fenced by a newer epoch", error);
    case SIM_UNKNOWN:
        return fail(error, BUS_ERROR_ABORT, "a record's topic is not there");
    case SIM_REJECTED:
        sim_mark(MARK_ZOMBIE_FENCED);
        return fail(error, BUS_ERROR_ABORT, "the group has another generation by now");
    }
    g_assert_not_reached();
}

/* ---- Start */

gboolean sim_bus_init(SimBus *bus, GError **error)
{
    GError *cause = NULL;
    g_autofree char *id = g_strdup_printf("%s-%s", sim_group_id(bus->group), bus->instance_id);
    bus->producer = sim_producer_get(sim_broker_transactions(bus->broker), id);
    do {
        if (!sim_bus_ask(bus, error)) {
            return FALSE;
        }
    } while (!answer_take(bus, sim_producer_init(bus->producer, &bus->epoch), &cause) &&
             cause == NULL);
    if (cause != NULL) {
        g_propagate_error(error, cause);
        return FALSE;
    }
    return TRUE;
}

/* ---- Hosts */

gboolean sim_bus_host_exists(VbBus *vtable, const char *host_uuid, gboolean *ret_exists,
                             GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    const gint64 *seen_us = g_hash_table_lookup(bus->hosts, host_uuid);
    *ret_exists = TRUE;
    if (seen_us != NULL && sim_now_us(bus->sim) - *seen_us < HOST_SEEN_US) {
        return TRUE;
    }
    if (!sim_bus_ask(bus, error)) {
        return FALSE;
    }
    *ret_exists = sim_broker_log(bus->broker, TOPIC_HOST_COMMANDS, host_uuid, 0) != NULL;
    if (*ret_exists) {
        gint64 now_us = sim_now_us(bus->sim);
        g_hash_table_replace(bus->hosts, g_strdup(host_uuid), g_memdup2(&now_us, sizeof(now_us)));
    }
    return TRUE;
}

/* ---- What a transaction holds, for the marks */

/* Bytes of a protobuf message that are not looked at yet. */
typedef struct {
    const guint8 *at;
    gsize left;
} Bytes;

static guint64 varint_next(Bytes *bytes)
{
    guint64 number = 0;
    for (guint shift = 0; bytes->left > 0 && shift < 64; shift += 7) {
        guint8 byte = *bytes->at++;
        bytes->left--;
        number |= (guint64)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            break;
        }
    }
    return number;
}

/* The number of the next field, and its value if it has a length; 0: no more. A journal record has
 * varints besides, and nothing else. */
static guint field_next(Bytes *bytes, Bytes *ret_value)
{
    guint64 tag = varint_next(bytes);
    guint64 number = varint_next(bytes);
    *ret_value = (Bytes){.at = bytes->at};
    if ((tag & 7) == 2) {
        ret_value->left = MIN(number, bytes->left);
        bytes->at += ret_value->left;
        bytes->left -= ret_value->left;
    }
    return (guint)(tag >> 3);
}

static void runtime_input_mark(Bytes input)
{
    enum { DEADLINE_ELAPSED = 1, UNDELIVERABLE = 2 };
    Bytes value;
    guint given = field_next(&input, &value);
    if (given == DEADLINE_ELAPSED) {
        sim_mark(MARK_DEADLINE_ELAPSED);
    } else if (given == UNDELIVERABLE) {
        sim_mark(MARK_UNDELIVERABLE);
    }
}

/* Journal.steps[].runtime_input */
static void journal_mark(const VbBusMessage *message)
{
    enum { STEPS = 4, RUNTIME_INPUT = 5 };
    Bytes journal = {.at = message->value, .left = message->value_bytes};
    Bytes step;
    Bytes value;
    for (guint id; (id = field_next(&journal, &step)) != 0;) {
        for (guint part; id == STEPS && (part = field_next(&step, &value)) != 0;) {
            if (part == RUNTIME_INPUT) {
                runtime_input_mark(value);
            }
        }
    }
}

static void message_mark(const SimBus *bus, const VbBusMessage *message)
{
    if (message->topic == bus->service->journal_topic) {
        journal_mark(message);
    } else if (message->topic == TOPIC_DLQ) {
        sim_mark(MARK_DEAD_LETTER);
    }
    for (size_t input = 0; input < bus->service->n_inputs; input++) {
        if (message->topic == bus->service->inputs[input]) {
            sim_mark(MARK_RECORD_MOVED); /* A service writes to no input of its own else. */
        }
    }
}

/* ---- One transaction */

static void unsent_drop(SimBus *bus)
{
    g_ptr_array_set_size(bus->unsent, 0);
    g_ptr_array_set_size(bus->unsent_hosts, 0);
}

gboolean sim_bus_begin(VbBus *vtable, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    if (!sim_call(bus->process)) {
        return sim_bus_stop(error);
    }
    bus->n_records = 0;
    return sim_bus_is_alive(bus, error);
}

static void unsent_keep(SimBus *bus, const VbBusMessage *message)
{
    VbBusRecord record = sim_record_of(message);
    const char *host_uuid = NULL;
    for (guint i = 0; message->host_uuid != NULL && i < bus->world->plan->n_hosts; i++) {
        if (strcmp(bus->world->host_uuids[i], message->host_uuid) == 0) {
            host_uuid = bus->world->host_uuids[i];
        }
    }
    g_ptr_array_add(bus->unsent, bus_record_copy(&record));
    g_ptr_array_add(bus->unsent_hosts, (gpointer)host_uuid);
}

gboolean sim_bus_produce(VbBus *vtable, const VbBusMessage *message, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    if (!sim_call(bus->process)) {
        return sim_bus_stop(error);
    }
    if (bus->is_fatal) {
        return fail(error, BUS_ERROR_ABORT, "the producer takes no record any more");
    }
    if (message->key_bytes + message->value_bytes > LARGEST_BYTES) {
        return fail(error, BUS_ERROR_REFUSED, "a record is too large");
    }
    bus->n_records++;
    message_mark(bus, message);
    if (bus->unsent->len > 0 || sim_broker_is_down(bus->broker) ||
        sim_chance(bus->sim, SENT_LATER) ||
        sim_producer_write(bus->producer, bus->epoch, message) != SIM_DONE) {
        unsent_keep(bus, message);
    }
    return TRUE;
}

static gboolean unsent_write(SimBus *bus, guint i, GError **error)
{
    VbBusMessage message = sim_message_of(g_ptr_array_index(bus->unsent, i));
    message.host_uuid = g_ptr_array_index(bus->unsent_hosts, i);
    GError *cause = NULL;
    gint64 end_us = sim_now_us(bus->sim) + NO_TOPIC_US;
    gboolean is_done = FALSE;
    while (!is_done && cause == NULL) {
        SimAnswer answer = sim_producer_write(bus->producer, bus->epoch, &message);
        if (answer == SIM_UNKNOWN && sim_now_us(bus->sim) < end_us) {
            sim_bus_rest(bus, SIM_S, &cause);
        } else {
            is_done = answer_take(bus, answer, &cause);
        }
    }
    if (cause != NULL) {
        g_propagate_error(error, cause);
    }
    return is_done;
}

gboolean sim_bus_flush(VbBus *vtable, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    if (!ask_in_transaction(bus, error)) {
        return FALSE;
    }
    for (guint i = 0; i < bus->unsent->len; i++) {
        if (!unsent_write(bus, i, error)) {
            return FALSE;
        }
    }
    unsent_drop(bus);
    return TRUE;
}

gboolean sim_bus_send_offsets(VbBus *vtable, const VbBusOffsets *offsets, size_t n_offsets,
                              GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    GError *cause = NULL;
    if (!ask_in_transaction(bus, error)) {
        return FALSE;
    }
    while (!answer_take(bus,
                        sim_producer_send_offsets(bus->producer, bus->epoch, bus->member,
                                                  bus->incarnation, bus->generation, offsets,
                                                  n_offsets),
                        &cause)) {
        if (cause != NULL) {
            g_propagate_error(error, cause);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean transaction_end(SimBus *bus, gboolean commit, GError **error)
{
    GError *cause = NULL;
    while (!answer_take(bus, sim_producer_end(bus->producer, bus->epoch, commit), &cause)) {
        if (cause != NULL) {
            g_propagate_error(error, cause);
            return FALSE;
        }
    }
    return TRUE;
}

static void commit_mark(SimBus *bus)
{
    if (bus->was_aborted) {
        sim_mark(MARK_BATCH_REPEATED);
    }
    bus->was_aborted = FALSE;
}

gboolean sim_bus_commit(VbBus *vtable, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    if (!ask_in_transaction(bus, error) || !transaction_end(bus, TRUE, error)) {
        return FALSE;
    }
    commit_mark(bus);
    if (sim_fault(bus->sim, FAULT_COMMIT_UNKNOWN)) {
        return fail_fatal(bus, BUS_ERROR_FATAL, "commit, outcome unknown", error);
    }
    return TRUE;
}

/* Hosts are looked up anew: a topic that is gone may be why. */
gboolean sim_bus_abort(VbBus *vtable, GError **error)
{
    SimBus *bus = sim_bus_of(vtable);
    g_hash_table_remove_all(bus->hosts);
    unsent_drop(bus);
    bus->was_aborted = TRUE;
    if (!sim_bus_ask(bus, error) || !sim_bus_is_alive(bus, error)) {
        return FALSE;
    }
    if (sim_fault(bus->sim, FAULT_TXN_FATAL)) {
        return fail_fatal(bus, BUS_ERROR_FATAL, "the transaction cannot be aborted", error);
    }
    return transaction_end(bus, FALSE, error);
}
