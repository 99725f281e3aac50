/* See sim_broker.h: topics and their logs, requests and outages, what becomes of old records. */
#include "tests/sim/sim_broker.h"

#include <string.h>

enum {
    REQUEST_US = 4 * SIM_MS,
    SLOW_US = 3 * SIM_S,
    DOWN_US = 30 * SIM_S,
};

typedef enum { ENTRY_VISIBLE, ENTRY_OPEN, ENTRY_ABORTED } EntryFate;

/* What takes an offset and has no record, a marker, has no entry. */
typedef struct {
    gint64 offset;
    VbBusRecord *record;
    EntryFate fate;
    gint64 gone_ms; /* A tombstone: a compaction takes it away from then on; 0: none has seen it. */
} Entry;

typedef struct {
    SimTransaction *transaction;
    gint64 first;
} Open;

struct SimLog {
    SimBroker *broker;
    VbTopic topic;
    const char *host_uuid; /* NULL: none. */
    int partition;
    gboolean exists;
    guint incarnation;
    GArray *entries; /* of Entry, by offset */
    gint64 first;
    gint64 next;
    gint64 stable;
    gint64 last_ms;
    GArray *open;        /* of Open */
    GPtrArray *watchers; /* of SimWatcher */
};

struct SimBroker {
    SimWorld *world;
    Sim *sim;
    gint64 skew_ms;
    gint64 down_until_us;
    SimCondition is_back;
    guint n_partitions;
    SimLog **logs[TOPIC_COUNT]; /* Of partitions; of TOPIC_HOST_COMMANDS: of hosts. */
    guint n_logs[TOPIC_COUNT];
    gint64 *host_offsets; /* Committed by each host's agent; -1: none. */
    SimTransactions *transactions;
    GPtrArray *groups; /* of SimGroup */
};

/* ---- Logs */

static SimLog *log_new(SimBroker *broker, VbTopic topic, const char *host_uuid, int partition)
{
    SimLog *log = g_new0(SimLog, 1);
    log->broker = broker;
    log->topic = topic;
    log->host_uuid = host_uuid;
    log->partition = partition;
    log->exists = host_uuid == NULL;
    log->entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    log->open = g_array_new(FALSE, FALSE, sizeof(Open));
    log->watchers = g_ptr_array_new();
    return log;
}

static void entries_free(SimLog *log, guint from, guint n)
{
    for (guint i = from; i < from + n; i++) {
        bus_record_free(g_array_index(log->entries, Entry, i).record);
    }
    if (n > 0) {
        g_array_remove_range(log->entries, from, n);
    }
}

static void log_free(SimLog *log)
{
    entries_free(log, 0, log->entries->len);
    g_array_unref(log->entries);
    g_array_unref(log->open);
    g_ptr_array_unref(log->watchers);
    g_free(log);
}

const char *sim_log_name(const SimLog *log)
{
    static char name[64];
    if (log->host_uuid != NULL) {
        g_snprintf(name, sizeof(name), "commands of %s",
                   sim_world_name(log->broker->world, log->host_uuid));
    } else {
        g_snprintf(name, sizeof(name), "%s/%d", topic_info(log->topic)->suffix, log->partition);
    }
    return name;
}

const char *sim_log_host(const SimLog *log)
{
    return log->host_uuid;
}

gboolean sim_log_exists(const SimLog *log)
{
    return log->exists;
}

gint64 sim_log_first(const SimLog *log)
{
    return log->first;
}

gint64 sim_log_next(const SimLog *log)
{
    return log->next;
}

gint64 sim_log_stable(const SimLog *log)
{
    return log->stable;
}

/* The index of the first entry at or behind `offset`. Most logs have few gaps. */
static guint entry_find(const SimLog *log, gint64 offset)
{
    const Entry *entries = (const Entry *)(const void *)log->entries->data;
    guint low = 0;
    guint high = log->entries->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        if (entries[middle].offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const VbBusRecord *sim_log_read(const SimLog *log, gint64 *offset)
{
    const Entry *entries = (const Entry *)(const void *)log->entries->data;
    if (*offset >= log->stable) {
        return NULL;
    }
    for (guint i = entry_find(log, *offset); i < log->entries->len; i++) {
        if (entries[i].offset >= log->stable) {
            break;
        }
        if (entries[i].fate == ENTRY_VISIBLE) {
            *offset = entries[i].offset + 1;
            return entries[i].record;
        }
    }
    *offset = log->stable;
    return NULL;
}

void sim_log_watch(SimLog *log, SimWatcher *watcher)
{
    g_ptr_array_add(log->watchers, watcher);
}

void sim_log_unwatch(SimLog *log, SimWatcher *watcher)
{
    g_ptr_array_remove(log->watchers, watcher);
}

/* Recomputes how far readers get. */
static void stable_move(SimLog *log)
{
    gint64 before = log->stable;
    log->stable = log->next;
    for (guint i = 0; i < log->open->len; i++) {
        log->stable = MIN(log->stable, g_array_index(log->open, Open, i).first);
    }
    for (guint i = 0; i < log->watchers->len && log->stable != before; i++) {
        const SimWatcher *watcher = g_ptr_array_index(log->watchers, i);
        watcher->wake(watcher->data);
    }
}

static void open_note(SimLog *log, SimTransaction *transaction, gint64 offset)
{
    for (guint i = 0; i < log->open->len; i++) {
        if (g_array_index(log->open, Open, i).transaction == transaction) {
            return;
        }
    }
    Open open = {.transaction = transaction, .first = offset};
    g_array_append_val(log->open, open);
}

VbBusRecord sim_record_of(const VbBusMessage *message)
{
    return (VbBusRecord){.topic = message->topic,
                         .partition = message->partition,
                         .key = message->key,
                         .key_bytes = message->key_bytes,
                         .value = message->value,
                         .value_bytes = message->value_bytes,
                         .headers = message->headers,
                         .n_headers = message->n_headers};
}

VbBusMessage sim_message_of(const VbBusRecord *record)
{
    return (VbBusMessage){.topic = record->topic,
                          .partition = record->partition,
                          .key = record->key,
                          .key_bytes = record->key_bytes,
                          .value = record->value,
                          .value_bytes = record->value_bytes,
                          .headers = record->headers,
                          .n_headers = record->n_headers};
}

SimPlace sim_log_append(SimLog *log, const VbBusMessage *message, SimTransaction *transaction)
{
    log->last_ms = MAX(log->last_ms, sim_now_ms(log->broker->sim) + log->broker->skew_ms);
    VbBusRecord record = sim_record_of(message);
    record.topic = log->topic;
    record.partition = log->partition;
    record.offset = log->next++;
    record.time_ms = log->last_ms;
    Entry entry = {.offset = record.offset,
                   .record = bus_record_copy(&record),
                   .fate = transaction != NULL ? ENTRY_OPEN : ENTRY_VISIBLE};
    g_array_append_val(log->entries, entry);
    if (transaction != NULL) {
        open_note(log, transaction, entry.offset);
    }
    stable_move(log);
    return (SimPlace){.log = log, .incarnation = log->incarnation, .offset = entry.offset};
}

static Entry *entry_at(const SimPlace *place)
{
    guint i = entry_find(place->log, place->offset);
    Entry *entry = place->incarnation == place->log->incarnation && i < place->log->entries->len
                       ? &g_array_index(place->log->entries, Entry, i)
                       : NULL;
    return entry != NULL && entry->offset == place->offset ? entry : NULL;
}

const VbBusRecord *sim_log_at(const SimPlace *place)
{
    const Entry *entry = entry_at(place);
    return entry != NULL ? entry->record : NULL;
}

void sim_log_settle(const SimPlace *place, gboolean commit)
{
    Entry *entry = entry_at(place);
    if (entry != NULL) {
        entry->fate = commit ? ENTRY_VISIBLE : ENTRY_ABORTED;
    }
}

void sim_log_mark_end(SimLog *log, guint incarnation, SimTransaction *transaction)
{
    if (incarnation != log->incarnation) {
        return;
    }
    for (guint i = 0; i < log->open->len; i++) {
        if (g_array_index(log->open, Open, i).transaction == transaction) {
            g_array_remove_index(log->open, i);
            break;
        }
    }
    log->next++;
    stable_move(log);
}

/* ---- Topics */

static int host_index(const SimBroker *broker, const char *host_uuid)
{
    for (guint i = 0; i < broker->n_logs[TOPIC_HOST_COMMANDS]; i++) {
        if (strcmp(broker->logs[TOPIC_HOST_COMMANDS][i]->host_uuid, host_uuid) == 0) {
            return (int)i;
        }
    }
    return -1;
}

SimLog *sim_broker_log(SimBroker *broker, VbTopic topic, const char *host_uuid, int partition)
{
    int index = topic == TOPIC_HOST_COMMANDS ? host_index(broker, host_uuid) : partition;
    if (index < 0 || index >= (int)broker->n_logs[topic]) {
        return NULL;
    }
    SimLog *log = broker->logs[topic][index];
    return log->exists ? log : NULL;
}

SimLog *sim_broker_host_log(SimBroker *broker, const char *host_uuid)
{
    return broker->logs[TOPIC_HOST_COMMANDS][host_index(broker, host_uuid)];
}

void sim_broker_make_host_topic(SimBroker *broker, const char *host_uuid)
{
    sim_broker_host_log(broker, host_uuid)->exists = TRUE;
}

/* Everything in it is gone, and whoever asks is told that there is no such topic. */
static void topic_delete(SimBroker *broker, SimLog *log)
{
    sim_say(broker->sim, NULL, "broker", "%s: the topic is deleted", sim_log_name(log));
    entries_free(log, 0, log->entries->len);
    g_array_set_size(log->open, 0);
    log->exists = FALSE;
    log->incarnation++;
    log->first = 0;
    log->next = 0;
    log->stable = 0;
    broker->host_offsets[host_index(broker, log->host_uuid)] = -1;
    sim_check_topic_deleted(broker->world->check, log->host_uuid);
}

gint64 sim_broker_host_offset(SimBroker *broker, const char *host_uuid)
{
    return broker->host_offsets[host_index(broker, host_uuid)];
}

void sim_broker_commit_host_offset(SimBroker *broker, const char *host_uuid, gint64 next)
{
    broker->host_offsets[host_index(broker, host_uuid)] = next;
}

/* ---- What becomes of old records */

/* Up to which offset everybody who reads this log has consumed it. Control planes read vm.events
 * whenever they like, and people the dead letters: those stay. */
static gint64 log_consumed(SimBroker *broker, const SimLog *log)
{
    gint64 consumed = log->stable;
    if (log->topic == TOPIC_VM_EVENTS || log->topic == TOPIC_DLQ ||
        log->topic == TOPIC_AGENTS_DLQ || topic_info(log->topic)->compacted) {
        return 0;
    }
    if (log->host_uuid != NULL) {
        return broker->host_offsets[host_index(broker, log->host_uuid)];
    }
    for (guint i = 0; i < broker->groups->len; i++) {
        const SimGroup *group = g_ptr_array_index(broker->groups, i);
        const VbService *service = sim_group_service(group);
        for (size_t input = 0; input < service->n_inputs; input++) {
            if (service->inputs[input] == log->topic) {
                consumed = MIN(consumed, sim_group_committed(group, log->partition, input));
            }
        }
    }
    return consumed;
}

static void log_shorten(SimBroker *broker, SimLog *log)
{
    guint n = 0;
    gint64 consumed = log_consumed(broker, log);
    gint64 old_ms = sim_now_ms(broker->sim) - broker->world->plan->horizon_ms;
    while (n < log->entries->len) {
        const Entry *entry = &g_array_index(log->entries, Entry, n);
        if (entry->offset >= consumed || entry->record->time_ms >= old_ms) {
            break;
        }
        log->first = entry->offset + 1;
        n++;
    }
    entries_free(log, 0, n);
    if (n > 0) {
        sim_fault_hit(FAULT_RETENTION);
        sim_say(broker->sim, NULL, "broker", "%s: deletes %u old records", sim_log_name(log), n);
    }
}

static void retention_strike(SimBroker *broker)
{
    for (VbTopic topic = 0; topic < TOPIC_COUNT; topic++) {
        for (guint i = 0; i < broker->n_logs[topic]; i++) {
            log_shorten(broker, broker->logs[topic][i]);
        }
    }
}

/* Of each key the last visible record stays, a tombstone for a while after the first compaction that
 * has come to it (KIP-534). */
static gboolean entry_stays(const SimLog *log, GHashTable *seen, Entry *entry)
{
    const VbBusRecord *record = entry->record;
    gint64 now_ms = sim_now_ms(log->broker->sim);
    if (entry->offset >= log->stable) {
        return TRUE;
    }
    if (entry->fate == ENTRY_ABORTED ||
        !g_hash_table_add(seen, g_strndup(record->key, record->key_bytes))) {
        return FALSE;
    }
    if (entry->gone_ms == 0) {
        entry->gone_ms = now_ms + log->broker->world->plan->tombstone_keep_ms;
    }
    return record->value != NULL || now_ms < entry->gone_ms;
}

static void compaction_strike(SimBroker *broker)
{
    static const VbTopic topics[] = {TOPIC_VM_STATE, TOPIC_VOLUME_STATE};
    VbTopic topic = topics[sim_below(broker->sim, G_N_ELEMENTS(topics))];
    SimLog *log = broker->logs[topic][sim_below(broker->sim, broker->n_partitions)];
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GArray *kept = g_array_new(FALSE, FALSE, sizeof(Entry));
    for (guint i = log->entries->len; i > 0; i--) {
        Entry *entry = &g_array_index(log->entries, Entry, i - 1);
        if (entry_stays(log, seen, entry)) {
            g_array_append_val(kept, *entry);
        } else {
            bus_record_free(entry->record);
        }
    }
    for (guint i = 0; i < kept->len / 2; i++) {
        Entry swap = g_array_index(kept, Entry, i);
        g_array_index(kept, Entry, i) = g_array_index(kept, Entry, kept->len - 1 - i);
        g_array_index(kept, Entry, kept->len - 1 - i) = swap;
    }
    if (kept->len < log->entries->len) {
        sim_fault_hit(FAULT_COMPACTION);
        sim_say(broker->sim, NULL, "broker", "%s: compacted from %u records to %u",
                sim_log_name(log), log->entries->len, kept->len);
    }
    g_array_unref(log->entries);
    log->entries = kept;
}

/* ---- Requests */

gboolean sim_broker_is_down(const SimBroker *broker)
{
    return sim_now_us(broker->sim) < broker->down_until_us;
}

static void broker_back(void *data)
{
    SimBroker *broker = data;
    if (broker->down_until_us == 0 || sim_broker_is_down(broker)) {
        return; /* It was back before, or is down again. */
    }
    broker->down_until_us = 0;
    sim_say(broker->sim, NULL, "broker", "is back");
    sim_signal(broker->sim, &broker->is_back);
    sim_transactions_trouble(broker->transactions);
    for (guint i = 0; i < broker->groups->len; i++) {
        sim_group_revive(g_ptr_array_index(broker->groups, i));
    }
}

static void broker_fall(SimBroker *broker)
{
    broker->down_until_us = sim_now_us(broker->sim) + SIM_S + sim_silence_us(broker->sim, DOWN_US);
    sim_say(broker->sim, NULL, "broker", "is down for %" G_GINT64_FORMAT " ms",
            (broker->down_until_us - sim_now_us(broker->sim)) / SIM_MS);
    sim_at(broker->sim, broker->down_until_us, broker_back, broker);
}

static void topic_strike(SimBroker *broker)
{
    guint n = broker->n_logs[TOPIC_HOST_COMMANDS];
    SimLog *log = n > 0 ? broker->logs[TOPIC_HOST_COMMANDS][sim_below(broker->sim, n)] : NULL;
    if (log != NULL && log->exists) {
        sim_fault_hit(FAULT_TOPIC_DELETED);
        topic_delete(broker, log);
    }
}

/* What may happen to the broker while it is asked something. */
static void broker_chance(SimBroker *broker)
{
    Sim *sim = broker->sim;
    if (!sim_broker_is_down(broker) && sim_fault(sim, FAULT_BROKER_DOWN)) {
        broker_fall(broker);
    }
    if (broker->groups->len > 0 && sim_fault_tries(sim, FAULT_REBALANCE)) {
        sim_transactions_trouble(broker->transactions);
        sim_group_disturb(g_ptr_array_index(broker->groups, sim_below(sim, broker->groups->len)));
    }
    if (sim_fault_tries(sim, FAULT_TOPIC_DELETED)) {
        topic_strike(broker);
    }
    if (sim_fault_tries(sim, FAULT_RETENTION)) {
        retention_strike(broker);
    }
    if (sim_fault_tries(sim, FAULT_COMPACTION)) {
        compaction_strike(broker);
    }
}

gboolean sim_broker_request(SimBroker *broker, SimProcess *process)
{
    Sim *sim = broker->sim;
    if (!sim_call(process)) {
        return FALSE;
    }
    broker_chance(broker);
    gint64 delay_us = sim_delay_us(sim, REQUEST_US);
    if (sim_fault(sim, FAULT_BROKER_SLOW)) {
        delay_us += sim_delay_us(sim, SLOW_US);
    }
    if (!sim_sleep(process, delay_us)) {
        return FALSE;
    }
    while (sim_broker_is_down(broker)) {
        if (!sim_wait(process, &broker->is_back, broker->down_until_us)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Those who only append and read */

gint64 sim_broker_append(SimBroker *broker, const VbBusMessage *message)
{
    SimLog *log = sim_broker_log(broker, message->topic, message->host_uuid, message->partition);
    if (log == NULL || sim_broker_is_down(broker)) {
        return -1;
    }
    SimPlace place = sim_log_append(log, message, NULL);
    sim_check_committed(broker->world->check, sim_log_at(&place), log->host_uuid, 0);
    return place.offset;
}

const VbBusRecord *sim_broker_read(SimBroker *broker, VbTopic topic, const char *host_uuid,
                                   int partition, gint64 *offset)
{
    const SimLog *log = sim_broker_log(broker, topic, host_uuid, partition);
    return log != NULL && !sim_broker_is_down(broker) ? sim_log_read(log, offset) : NULL;
}

/* ---- Life */

SimWorld *sim_broker_world(SimBroker *broker)
{
    return broker->world;
}

SimTransactions *sim_broker_transactions(SimBroker *broker)
{
    return broker->transactions;
}

SimGroup *sim_broker_group(SimBroker *broker, const VbService *service)
{
    for (guint i = 0; i < broker->groups->len; i++) {
        SimGroup *group = g_ptr_array_index(broker->groups, i);
        if (sim_group_service(group) == service) {
            return group;
        }
    }
    SimGroup *group = sim_group_new(broker, service);
    g_ptr_array_add(broker->groups, group);
    return group;
}

static void logs_make(SimBroker *broker, VbTopic topic)
{
    const SimPlan *plan = broker->world->plan;
    guint n = topic == TOPIC_HOST_COMMANDS ? plan->n_hosts
              : topic_info(topic)->per_vm  ? plan->n_partitions
                                           : 1;
    broker->n_logs[topic] = n;
    broker->logs[topic] = g_new0(SimLog *, n);
    for (guint i = 0; i < n; i++) {
        broker->logs[topic][i] = topic == TOPIC_HOST_COMMANDS
                                     ? log_new(broker, topic, broker->world->host_uuids[i], 0)
                                     : log_new(broker, topic, NULL, (int)i);
    }
}

SimBroker *sim_broker_new(SimWorld *world)
{
    SimBroker *broker = g_new0(SimBroker, 1);
    broker->world = world;
    broker->sim = world->sim;
    broker->skew_ms = sim_world_draw_skew_ms(world);
    broker->n_partitions = world->plan->n_partitions;
    for (VbTopic topic = 0; topic < TOPIC_COUNT; topic++) {
        logs_make(broker, topic);
    }
    broker->host_offsets = g_new(gint64, world->plan->n_hosts);
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        broker->host_offsets[i] = -1;
    }
    broker->groups = g_ptr_array_new_with_free_func((GDestroyNotify)sim_group_free);
    broker->transactions = sim_transactions_new(broker);
    return broker;
}

void sim_broker_free(SimBroker *broker)
{
    sim_transactions_free(broker->transactions);
    g_ptr_array_unref(broker->groups);
    for (VbTopic topic = 0; topic < TOPIC_COUNT; topic++) {
        for (guint i = 0; i < broker->n_logs[topic]; i++) {
            log_free(broker->logs[topic][i]);
        }
        g_free(broker->logs[topic]);
    }
    g_free(broker->host_offsets);
    g_free(broker);
}

void sim_broker_leap(SimBroker *broker, gint64 leap_us)
{
    if (broker->down_until_us != 0) {
        broker->down_until_us += leap_us;
    }
}

void sim_broker_calm(SimBroker *broker)
{
    if (sim_broker_is_down(broker)) {
        broker->down_until_us = sim_now_us(broker->sim);
        broker_back(broker);
    }
}
