/* A gained partition, from the log: committed offsets, the state's end, the states, then reading.
 *
 * The order matters. The offsets are asked first and wait for pending ones, so that whatever they
 * count is in the state topic by then; its end is asked before reading and counts open
 * transactions, so that a commit of a dead predecessor cannot be missed. */
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/loop_metrics.h"
#include "common/bus/loop_private.h"
#include "common/bus/validate.h"
#include "common/runtime/kill_point.h"
#include "common/runtime/log.h"

typedef struct {
    VbLoop *loop;
    VbPartition *partition;
    VbArena *arena;
    GHashTable *broken; /* vm uuid -> why its last record cannot be used */
    GPtrArray *foreign; /* Names of records that belong to another partition. */
    guint64 n_records;
} VbRestore;

void partition_free(VbPartition *partition)
{
    if (partition != NULL) {
        table_free(partition->table);
        g_free(partition->next);
        g_free(partition->applied);
        g_free(partition);
    }
}

static VbPartition *partition_new(const VbLoop *loop, int number)
{
    size_t n_inputs = loop->config.service->n_inputs;
    VbPartition *partition = g_new0(VbPartition, 1);
    partition->number = number;
    partition->table = table_new();
    partition->next = g_new(gint64, n_inputs);
    partition->applied = g_new(gint64, n_inputs);
    for (size_t i = 0; i < n_inputs; i++) {
        partition->next[i] = -1;
        partition->applied[i] = -1;
    }
    return partition;
}

/* ---- States */

/* "virtbus.vm.state-1@17" */
static const char *record_name(const VbRestore *restore, const VbBusRecord *record)
{
    return arena_printf(restore->arena, "%s.%s-%d@%" G_GINT64_FORMAT, restore->loop->config.prefix,
                        topic_info(record->topic)->suffix, record->partition, record->offset);
}

static void applied_note(VbRestore *restore, const StateRecord *state)
{
    const VbService *service = restore->loop->config.service;
    for (size_t i = 0; i < state->n_applied; i++) {
        for (size_t input = 0; input < service->n_inputs; input++) {
            gint64 *highest = &restore->partition->applied[input];
            const char *topic = topic_info(service->inputs[input])->suffix;
            if (strcmp(topic, state->applied[i]->topic) == 0) {
                *highest = MAX(*highest, state->applied[i]->offset);
            }
        }
    }
}

static void broken_keep(VbRestore *restore, const VbBusRecord *record, const char *vm_uuid,
                        const char *why)
{
    table_put_broken(restore->partition->table, vm_uuid, record->value, record->value_bytes);
    g_hash_table_replace(restore->broken, g_strdup(vm_uuid),
                         g_strdup_printf("%s: %s", record_name(restore, record), why));
}

static void state_take(VbRestore *restore, const VbBusRecord *record, const char *vm_uuid)
{
    StateRecord *state = state_record__unpack(arena_allocator(restore->arena, SIZE_MAX),
                                              record->value_bytes, record->value);
    if (state == NULL) {
        broken_keep(restore, record, vm_uuid, "it is no StateRecord");
    } else if (state->body_case != restore->loop->config.service->state_body) {
        broken_keep(restore, record, vm_uuid, "it is the StateRecord of another service");
    } else if (state->logic_version > restore->loop->config.service->logic_version) {
        broken_keep(restore, record, vm_uuid,
                    "a newer version of this service wrote it: update this one");
    } else {
        applied_note(restore, state);
        table_put(restore->partition->table, vm_uuid, record->value, record->value_bytes,
                  state->deadline_ms);
    }
}

static void record_take(const VbBusRecord *record, void *user)
{
    VbRestore *restore = user;
    arena_reset(restore->arena);
    restore->n_records++;
    const char *vm_uuid = validate_key(restore->arena, record);
    if (vm_uuid != NULL) {
        g_hash_table_remove(restore->broken, vm_uuid);
    }
    if (vm_uuid == NULL ||
        topic_partition(vm_uuid, UUID_TEXT_BYTES - 1, restore->loop->config.n_partitions) !=
            restore->partition->number) {
        g_ptr_array_add(restore->foreign, g_strdup(record_name(restore, record)));
    } else if (record->value == NULL) {
        table_remove(restore->partition->table, vm_uuid);
    } else {
        state_take(restore, record, vm_uuid);
    }
}

static void broken_tell(const VbRestore *restore)
{
    GHashTableIter iter;
    gpointer vm_uuid;
    gpointer why;
    g_hash_table_iter_init(&iter, restore->broken);
    while (g_hash_table_iter_next(&iter, &vm_uuid, &why)) {
        log_event(VB_LOG_ERROR, "state-broken",
                  "A VM's state record cannot be used. The VM's commands are refused and its other "
                  "records go to the dead letter queue, until the record is mended or deleted and "
                  "this service started again.",
                  "vm", vm_uuid, "error", why, NULL);
    }
    restore->partition->n_broken = g_hash_table_size(restore->broken);
}

/* Once, when all is read: a later record may have mended a broken one, and the states may have been
 * read twice. */
static void states_tell(const VbRestore *restore)
{
    for (guint i = 0; i < restore->foreign->len; i++) {
        log_event(VB_LOG_ERROR, "state-foreign",
                  "A state record's key is no VM of this partition; it is ignored.", "record",
                  g_ptr_array_index(restore->foreign, i), NULL);
    }
    broken_tell(restore);
    metrics_add(&loop_metric_foreign, restore->foreign->len);
    metrics_add(&loop_metric_restored, (double)restore->n_records);
}

/* Begins anew each time. */
static gboolean states_read(VbRestore *restore, GError **error)
{
    VbBus *bus = restore->loop->bus;
    VbPartition *partition = restore->partition;
    table_free(partition->table);
    partition->table = table_new();
    g_hash_table_remove_all(restore->broken);
    g_ptr_array_set_size(restore->foreign, 0);
    restore->n_records = 0;
    gint64 end;
    return bus->state_end(bus, partition->number, &end, error) &&
           bus->read_state(bus, partition->number, end, record_take, restore, error);
}

/* ---- Offsets */

/* FALSE: there are states without offsets. */
static gboolean offsets_are_complete(const VbLoop *loop, const VbPartition *partition)
{
    for (size_t i = 0; i < loop->config.service->n_inputs; i++) {
        if (partition->next[i] < 0 && table_size(partition->table) > 0) {
            return FALSE;
        }
    }
    return TRUE;
}

/* The group's offsets expired or were deleted. To start at the beginning would step old records
 * again, to start at the end would lose some: a person must say. Notes what is missing, with what
 * the states have applied already. */
static void offsets_note_missing(VbLoop *loop, const VbPartition *partition)
{
    const VbService *service = loop->config.service;
    for (size_t i = 0; i < service->n_inputs; i++) {
        if (partition->next[i] < 0) {
            g_string_append_printf(loop->missing, " %s.%s:%d to %" G_GINT64_FORMAT,
                                   loop->config.prefix, topic_info(service->inputs[i])->suffix,
                                   partition->number, partition->applied[i] + 1);
        }
    }
}

gboolean restore_check(const VbLoop *loop, GError **error)
{
    if (loop->missing->len == 0) {
        return TRUE;
    }
    g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP,
                "there are states, but group %s has not committed an offset for each of their "
                "input partitions: the offsets were deleted, or have expired. Nothing is consumed. "
                "Set the missing ones with kafka-consumer-groups.sh --bootstrap-server BROKER "
                "--group %s --reset-offsets --topic TOPIC:PARTITION --to-offset OFFSET --execute "
                "while no instance runs; what the states have applied already says:%s",
                loop->config.group_id, loop->config.group_id, loop->missing->str);
    return FALSE;
}

static gboolean offsets_ask(const VbRestore *restore, GError **error)
{
    VbBus *bus = restore->loop->bus;
    VbPartition *partition = restore->partition;
    VbBusOffsets offsets = {.partition = partition->number, .next = partition->next};
    return bus->committed(bus, &offsets, error);
}

/* Offsets that are missing are asked for once more, behind the states: while this process stood
 * still, another one may have committed both. Then the states are read again, because they must
 * not be older than the offsets. */
static gboolean partition_read(VbRestore *restore, GError **error)
{
    if (!offsets_ask(restore, error)) {
        return FALSE;
    }
    KILL_POINT("restore-offsets-read");
    if (!states_read(restore, error)) {
        return FALSE;
    }
    if (offsets_are_complete(restore->loop, restore->partition)) {
        return TRUE;
    }
    return offsets_ask(restore, error) &&
           (!offsets_are_complete(restore->loop, restore->partition) ||
            states_read(restore, error));
}

static gboolean partition_restore(VbLoop *loop, VbPartition *partition, GError **error)
{
    VbBus *bus = loop->bus;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GHashTable) broken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr(GPtrArray) foreign = g_ptr_array_new_with_free_func(g_free);
    VbRestore restore = {
        .loop = loop, .partition = partition, .arena = arena, .broken = broken, .foreign = foreign};
    gint64 begin_ms = bus->now_ms(bus);
    if (!partition_read(&restore, error)) {
        return FALSE;
    }
    states_tell(&restore);
    if (!offsets_are_complete(loop, partition)) {
        offsets_note_missing(loop, partition);
        return TRUE; /* Not consumed: restore_check ends this once all that is missing is known. */
    }
    VbBusOffsets offsets = {.partition = partition->number, .next = partition->next};
    if (!bus->consume(bus, &offsets, error)) {
        return FALSE;
    }
    log_event(VB_LOG_INFO, "restored", "A partition is restored.", "partition",
              log_number(partition->number), "vms", log_number(table_size(partition->table)),
              "records", log_number((gint64)restore.n_records), "ms",
              log_number(bus->now_ms(bus) - begin_ms), NULL);
    return TRUE;
}

gboolean restore_partition(VbLoop *loop, int number, GError **error)
{
    VbPartition *partition = partition_new(loop, number);
    if (!partition_restore(loop, partition, error)) {
        partition_free(partition);
        return FALSE;
    }
    loop->partitions[number] = partition;
    metrics_add(&loop_metric_vms, table_size(partition->table));
    metrics_add(&loop_metric_broken, partition->n_broken);
    metrics_add(&loop_metric_partitions, 1);
    return TRUE;
}
