/* See sim_broker.h: transactions, as Kafka's coordinator has them.
 *
 *     open --end--> decided --a marker for each partition--> over
 *       `--too long--> decided (abort), and its producer is fenced
 *
 * Decided is decided: whatever dies then, the markers come. Until they are all written the producer
 * gets no new transaction; between two of them a reader sees one partition's part and not yet
 * another's. */
#include "tests/sim/sim_broker.h"

#include <string.h>

enum {
    TIMEOUT_US = 10 * SIM_S,
    LOOK_US = 2 * SIM_S,     /* Whether the broker is up again. */
    STAGGER_CHANCE = 120000, /* Per million: markers that take their time. */
    STAGGER_MORE = 600000,   /* While the broker has its troubles. */
    STAGGER_US = 3 * SIM_S,
    TROUBLE_US = 5 * SIM_S,
};

struct SimTransactions {
    SimBroker *broker;
    Sim *sim;
    GPtrArray *producers;
    GPtrArray *transactions; /* That are not over, by age. */
    guint64 last_number;
    gint64 sweep_every_us; /* How often the broker looks for those that are open too long. */
    gboolean sweep_is_due;
    gint64 trouble_until_us;
};

struct SimProducer {
    SimTransactions *owner;
    char *id;
    guint epoch;
    SimTransaction *transaction; /* NULL: none. */
};

/* A partition that needs a marker; `log` NULL: the group's offsets. */
typedef struct {
    SimLog *log;
    guint incarnation;
} Part;

struct SimTransaction {
    SimProducer *producer;
    guint64 number;
    gint64 begin_us;
    gboolean is_decided;
    gboolean commit;
    GArray *places;  /* of SimPlace: its records, in the order of their writing */
    GArray *parts;   /* of Part */
    GArray *offsets; /* of VbBusOffsets, with copies of `next` */
    SimGroup *group; /* NULL: no offsets. */
};

static void transaction_free(void *data)
{
    SimTransaction *transaction = data;
    for (guint i = 0; i < transaction->offsets->len; i++) {
        g_free(g_array_index(transaction->offsets, VbBusOffsets, i).next);
    }
    g_array_unref(transaction->places);
    g_array_unref(transaction->parts);
    g_array_unref(transaction->offsets);
    g_free(transaction);
}

/* ---- The end of one */

static void offsets_settle(SimTransaction *transaction)
{
    for (guint i = 0; i < transaction->offsets->len; i++) {
        const VbBusOffsets *offsets = &g_array_index(transaction->offsets, VbBusOffsets, i);
        sim_group_pend(transaction->group, offsets->partition, -1);
        if (transaction->commit) {
            sim_group_commit(transaction->group, offsets);
        }
    }
}

static void marker_write(SimTransaction *transaction, const Part *part)
{
    if (part->log == NULL) {
        offsets_settle(transaction);
        return;
    }
    for (guint i = 0; i < transaction->places->len; i++) {
        const SimPlace *place = &g_array_index(transaction->places, SimPlace, i);
        if (place->log == part->log) {
            sim_log_settle(place, transaction->commit);
        }
    }
    sim_log_mark_end(part->log, part->incarnation, transaction);
}

/* Writes a marker, any of them, and the others later; or all of them. */
static void markers_go_on(void *data)
{
    SimTransaction *transaction = data;
    SimTransactions *owner = transaction->producer->owner;
    if (sim_broker_is_down(owner->broker)) {
        sim_after(owner->sim, LOOK_US, markers_go_on, transaction);
        return;
    }
    gboolean is_troubled = sim_now_us(owner->sim) < owner->trouble_until_us;
    gboolean staggers = sim_chance(owner->sim, is_troubled ? STAGGER_MORE : STAGGER_CHANCE);
    while (transaction->parts->len > 0) {
        guint next = sim_below(owner->sim, transaction->parts->len);
        Part part = g_array_index(transaction->parts, Part, next);
        g_array_remove_index(transaction->parts, next);
        marker_write(transaction, &part);
        if (staggers && transaction->parts->len > 0) {
            sim_after(owner->sim, sim_delay_us(owner->sim, STAGGER_US), markers_go_on, transaction);
            return;
        }
    }
    transaction->producer->transaction = NULL;
    g_ptr_array_remove(owner->transactions, transaction);
}

/* Those who watch hear of it at the decision: nobody can have acted on it before. */
static void commit_tell(SimTransaction *transaction)
{
    SimCheck *check = sim_broker_world(transaction->producer->owner->broker)->check;
    for (guint i = 0; i < transaction->places->len; i++) {
        const SimPlace *place = &g_array_index(transaction->places, SimPlace, i);
        const VbBusRecord *record = sim_log_at(place);
        if (record != NULL) {
            sim_check_committed(check, record, sim_log_host(place->log), transaction->number);
        } else if (sim_log_host(place->log) != NULL) {
            sim_check_lost(check, sim_log_host(place->log), transaction->number);
        }
    }
    for (guint i = 0; i < transaction->offsets->len; i++) {
        const VbBusOffsets *offsets = &g_array_index(transaction->offsets, VbBusOffsets, i);
        const VbService *service = sim_group_service(transaction->group);
        for (size_t input = 0; input < service->n_inputs; input++) {
            sim_check_consumed(check, sim_group_id(transaction->group), service->inputs[input],
                               offsets->partition, offsets->next[input], transaction->number);
        }
    }
}

static void decide(SimTransaction *transaction, gboolean commit)
{
    sim_say(transaction->producer->owner->sim, NULL, "broker",
            "transaction %" G_GUINT64_FORMAT " of %s is %s: %u records", transaction->number,
            transaction->producer->id, commit ? "committed" : "aborted", transaction->places->len);
    transaction->is_decided = TRUE;
    transaction->commit = commit;
    if (commit) {
        commit_tell(transaction);
    }
    markers_go_on(transaction);
}

void sim_transactions_trouble(SimTransactions *transactions)
{
    transactions->trouble_until_us = sim_now_us(transactions->sim) + TROUBLE_US;
}

/* ---- Those that are open too long */

static void sweep(void *data);

static void sweep_plan(SimTransactions *owner)
{
    for (guint i = 0; i < owner->transactions->len && !owner->sweep_is_due; i++) {
        const SimTransaction *transaction = g_ptr_array_index(owner->transactions, i);
        if (!transaction->is_decided) {
            gint64 n = (transaction->begin_us + TIMEOUT_US) / owner->sweep_every_us + 1;
            sim_at(owner->sim, n * owner->sweep_every_us, sweep, owner);
            owner->sweep_is_due = TRUE;
        }
    }
}

static void sweep(void *data)
{
    SimTransactions *owner = data;
    if (sim_broker_is_down(owner->broker)) {
        sim_after(owner->sim, LOOK_US, sweep, owner);
        return;
    }
    for (guint i = owner->transactions->len; i > 0; i--) {
        SimTransaction *transaction = g_ptr_array_index(owner->transactions, i - 1);
        if (!transaction->is_decided &&
            sim_now_us(owner->sim) - transaction->begin_us > TIMEOUT_US) {
            sim_say(owner->sim, NULL, "broker", "fences %s: its transaction is open too long",
                    transaction->producer->id);
            transaction->producer->epoch++;
            decide(transaction, FALSE);
        }
    }
    owner->sweep_is_due = FALSE;
    sweep_plan(owner);
}

/* ---- What a producer asks */

/* SIM_DONE: it may write, and producer->transaction is open. */
static SimAnswer producer_open(SimProducer *producer, guint epoch)
{
    SimTransactions *owner = producer->owner;
    if (epoch != producer->epoch) {
        return SIM_FENCED;
    }
    if (producer->transaction != NULL) {
        return producer->transaction->is_decided ? SIM_LATER : SIM_DONE;
    }
    SimTransaction *transaction = g_new0(SimTransaction, 1);
    transaction->producer = producer;
    transaction->number = ++owner->last_number;
    transaction->begin_us = sim_now_us(owner->sim);
    transaction->places = g_array_new(FALSE, FALSE, sizeof(SimPlace));
    transaction->parts = g_array_new(FALSE, FALSE, sizeof(Part));
    transaction->offsets = g_array_new(FALSE, FALSE, sizeof(VbBusOffsets));
    producer->transaction = transaction;
    g_ptr_array_add(owner->transactions, transaction);
    sweep_plan(owner);
    return SIM_DONE;
}

static void part_note(SimTransaction *transaction, Part part)
{
    for (guint i = 0; i < transaction->parts->len; i++) {
        const Part *known = &g_array_index(transaction->parts, Part, i);
        if (known->log == part.log && known->incarnation == part.incarnation) {
            return;
        }
    }
    g_array_append_val(transaction->parts, part);
}

SimAnswer sim_producer_init(SimProducer *producer, guint *ret_epoch)
{
    SimTransaction *transaction = producer->transaction;
    if (transaction != NULL && !transaction->is_decided) {
        producer->epoch++;
        decide(transaction, FALSE);
    }
    if (producer->transaction != NULL) {
        return SIM_LATER;
    }
    *ret_epoch = ++producer->epoch;
    return SIM_DONE;
}

SimAnswer sim_producer_write(SimProducer *producer, guint epoch, const VbBusMessage *message)
{
    SimLog *log = sim_broker_log(producer->owner->broker, message->topic, message->host_uuid,
                                 message->partition);
    SimAnswer answer = log != NULL ? producer_open(producer, epoch) : SIM_UNKNOWN;
    if (answer == SIM_DONE) {
        SimPlace place = sim_log_append(log, message, producer->transaction);
        g_array_append_val(producer->transaction->places, place);
        part_note(producer->transaction, (Part){.log = log, .incarnation = place.incarnation});
    }
    return answer;
}

SimAnswer sim_producer_send_offsets(SimProducer *producer, guint epoch, SimMember *member,
                                    guint incarnation, guint generation,
                                    const VbBusOffsets *offsets, size_t n_offsets)
{
    if (epoch == producer->epoch && !sim_member_is_current(member, incarnation, generation)) {
        return SIM_REJECTED;
    }
    SimAnswer answer = producer_open(producer, epoch);
    if (answer != SIM_DONE) {
        return answer;
    }
    SimTransaction *transaction = producer->transaction;
    SimGroup *group = sim_member_group(member);
    g_assert(transaction->group == NULL); /* The loop sends them once. */
    transaction->group = group;
    for (size_t i = 0; i < n_offsets; i++) {
        size_t n_inputs = sim_group_service(group)->n_inputs;
        VbBusOffsets copy = {.partition = offsets[i].partition,
                             .next = g_memdup2(offsets[i].next, n_inputs * sizeof(gint64))};
        g_array_append_val(transaction->offsets, copy);
        sim_group_pend(group, copy.partition, 1);
    }
    part_note(transaction, (Part){.log = NULL});
    return SIM_DONE;
}

SimAnswer sim_producer_end(SimProducer *producer, guint epoch, gboolean commit)
{
    SimTransaction *transaction = producer->transaction;
    if (epoch != producer->epoch) {
        return SIM_FENCED;
    }
    if (transaction == NULL) {
        return SIM_DONE; /* Nothing was ever sent. */
    }
    if (transaction->is_decided) {
        return transaction->commit == commit ? SIM_DONE : SIM_LATER;
    }
    decide(transaction, commit);
    return SIM_DONE;
}

/* ---- Life */

SimProducer *sim_producer_get(SimTransactions *transactions, const char *transactional_id)
{
    for (guint i = 0; i < transactions->producers->len; i++) {
        SimProducer *producer = g_ptr_array_index(transactions->producers, i);
        if (strcmp(producer->id, transactional_id) == 0) {
            return producer;
        }
    }
    SimProducer *producer = g_new0(SimProducer, 1);
    producer->owner = transactions;
    producer->id = g_strdup(transactional_id);
    g_ptr_array_add(transactions->producers, producer);
    return producer;
}

static void producer_free(void *data)
{
    SimProducer *producer = data;
    g_free(producer->id);
    g_free(producer);
}

SimTransactions *sim_transactions_new(SimBroker *broker)
{
    SimTransactions *transactions = g_new0(SimTransactions, 1);
    transactions->broker = broker;
    transactions->sim = sim_broker_world(broker)->sim;
    transactions->producers = g_ptr_array_new_with_free_func(producer_free);
    transactions->transactions = g_ptr_array_new_with_free_func(transaction_free);
    transactions->sweep_every_us = sim_chance(transactions->sim, 500000) ? SIM_S : 10 * SIM_S;
    return transactions;
}

void sim_transactions_free(SimTransactions *transactions)
{
    g_ptr_array_unref(transactions->transactions);
    g_ptr_array_unref(transactions->producers);
    g_free(transactions);
}
