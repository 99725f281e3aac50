/* The work of one transaction: what becomes of each input, gathered until it is written. */
#include <string.h>
#include <uuid/uuid.h>

#include "common/base/message.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/bus/loop_metrics.h"
#include "common/bus/loop_private.h"
#include "common/bus/validate.h"
#include "common/runtime/log.h"

void batch_init(VbLoop *loop)
{
    VbBatch *batch = &loop->batch;
    batch->arena = arena_new();
    batch->scratch = arena_new();
    batch->messages = g_array_new(FALSE, FALSE, sizeof(VbBusMessage));
    batch->overlay = g_hash_table_new(g_str_hash, g_str_equal);
    batch->parts = g_ptr_array_new();
    batch->by_number = g_new0(VbBatchPart *, loop->config.n_partitions);
    batch->hosts = g_hash_table_new(g_str_hash, g_str_equal);
    batch->mutes = g_ptr_array_new();
}

void batch_reset(VbLoop *loop)
{
    VbBatch *batch = &loop->batch;
    for (guint i = 0; i < batch->parts->len; i++) {
        VbBatchPart *part = g_ptr_array_index(batch->parts, i);
        g_ptr_array_free(part->steps, TRUE);
        batch->by_number[part->partition->number] = NULL;
    }
    g_ptr_array_set_size(batch->parts, 0);
    g_ptr_array_set_size(batch->mutes, 0);
    g_array_set_size(batch->messages, 0);
    g_hash_table_remove_all(batch->overlay);
    g_hash_table_remove_all(batch->hosts);
    batch->n_records = 0;
    batch->n_inputs = 0;
    batch->size_bytes = 0;
    batch->last_origin = NULL;
    arena_reset(batch->arena);
    arena_reset(batch->scratch);
}

void batch_clear(VbLoop *loop)
{
    VbBatch *batch = &loop->batch;
    batch_reset(loop);
    g_ptr_array_free(batch->mutes, TRUE);
    g_hash_table_destroy(batch->hosts);
    g_free(batch->by_number);
    g_ptr_array_free(batch->parts, TRUE);
    g_hash_table_destroy(batch->overlay);
    g_array_free(batch->messages, TRUE);
    arena_free(batch->scratch);
    arena_free(batch->arena);
}

VbBatchPart *batch_part(VbLoop *loop, VbPartition *partition)
{
    VbBatch *batch = &loop->batch;
    VbBatchPart *part = batch->by_number[partition->number];
    if (part == NULL) {
        size_t n_inputs = loop->config.service->n_inputs;
        part = arena_alloc(batch->arena, sizeof(*part));
        part->partition = partition;
        part->next = arena_alloc(batch->arena, n_inputs * sizeof(*part->next));
        memcpy(part->next, partition->next, n_inputs * sizeof(*part->next));
        part->steps = g_ptr_array_new();
        batch->by_number[partition->number] = part;
        g_ptr_array_add(batch->parts, part);
    }
    return part;
}

void batch_add_message(VbBatch *batch, const VbBusMessage *message)
{
    g_array_append_val(batch->messages, *message);
    batch->size_bytes += message->key_bytes + message->value_bytes;
}

void batch_dead_letter(VbLoop *loop, const VbBusRecord *record, const VbDlqReason *reason)
{
    const VbLoopConfig *config = &loop->config;
    VbBusMessage message =
        envelope_dlq(loop->batch.arena, record, config->prefix, config->service->name, reason);
    batch_add_message(&loop->batch, &message);
    metrics_add(&loop_metric_dlq, 1, reason->stage);
    log_event(
        VB_LOG_WARNING, "dead-letter", "A record went to the dead letter queue.", "input",
        envelope_record_id(loop->batch.scratch, record->topic, record->partition, record->offset),
        "stage", reason->stage, "code", reason->code, "error", reason->reason, NULL);
}

/* ---- Records */

static void record_fail(VbLoop *loop, const VbBusRecord *record, const char *stage, ErrorCode code,
                        const char *why)
{
    VbDlqReason reason = {.stage = stage, .code = ENUM_CODE(error_code, code), .reason = why};
    batch_dead_letter(loop, record, &reason);
}

/* A key that belongs elsewhere: the record is written there, in this transaction. */
static void record_move(VbLoop *loop, const VbBusRecord *record, int partition)
{
    VbBusMessage message = envelope_moved(loop->batch.arena, record, partition);
    batch_add_message(&loop->batch, &message);
    metrics_add(&loop_metric_moved, 1, topic_info(record->topic)->suffix);
    log_event(VB_LOG_WARNING, "moved",
              "A record was in a wrong partition and was moved. Its producer must use the "
              "partitioner murmur2_random.",
              "input", loop->batch.last_origin, "to", log_number(partition), NULL);
}

static gboolean is_applied(const StateRecord *state, const VbBusRecord *record)
{
    const char *topic = topic_info(record->topic)->suffix;
    for (size_t i = 0; state != NULL && i < state->n_applied; i++) {
        if (strcmp(state->applied[i]->topic, topic) == 0) {
            return record->offset <= state->applied[i]->offset;
        }
    }
    return FALSE;
}

static gboolean is_broken(const VbPartition *partition, const char *vm_uuid)
{
    const VbTableEntry *entry = table_find(partition->table, vm_uuid);
    return entry != NULL && entry->is_broken;
}

/* The reason for which the broker refused this input three times when it was alone; else NULL. */
static const char *poison_of(const VbLoop *loop, const char *origin)
{
    gboolean is_poison = loop->n_suspect >= 3 && strcmp(origin, loop->suspect) == 0;
    return is_poison ? loop->suspect_reason : NULL;
}

static gboolean record_step(VbLoop *loop, VbPartition *partition, const VbBusRecord *record,
                            const char *vm_uuid, GError **error)
{
    StateRecord *state = visit_load_state(loop, partition, vm_uuid);
    if (is_applied(state, record)) {
        metrics_add(&loop_metric_ignored, 1, topic_info(record->topic)->suffix);
        return TRUE;
    }
    VbVisitInput input = {.partition = partition,
                          .vm_uuid = vm_uuid,
                          .origin_id = loop->batch.last_origin,
                          .record = record,
                          .time_ms = record->time_ms,
                          .poison = poison_of(loop, loop->batch.last_origin),
                          .is_broken = is_broken(partition, vm_uuid)};
    return visit_input(loop, &input, state, error);
}

static gboolean record_route(VbLoop *loop, const VbBusRecord *record, GError **error)
{
    const char *poison = poison_of(loop, loop->batch.last_origin);
    const char *vm_uuid = validate_key(loop->batch.scratch, record);
    if (vm_uuid == NULL) {
        record_fail(loop, record, "validate", ERROR_CODE_INVALID_ARGUMENT,
                    "the key is not a VM's uuid: 36 characters, lower case");
        return TRUE;
    }
    int right = topic_partition(record->key, record->key_bytes, loop->config.n_partitions);
    if (right == record->partition) {
        return record_step(loop, loop->partitions[right], record, vm_uuid, error);
    }
    if (poison != NULL) {
        record_fail(loop, record, "transaction", ERROR_CODE_INTERNAL, poison);
    } else if (record->value_bytes > MESSAGE_MAX_BYTES) {
        /* It would be refused there, if the producer can carry it at all. */
        VbJudgement judgement =
            validate_record(loop->batch.scratch, loop->config.service, record, vm_uuid);
        record_fail(loop, record, "validate", judgement.error->code, judgement.error->message);
    } else if (bus_record_header(record, ENVELOPE_MOVED_FROM) != NULL) {
        record_fail(loop, record, "move", ERROR_CODE_INTERNAL,
                    "the record was moved before and is in a wrong partition again: do all "
                    "services see the same number of partitions?");
    } else {
        record_move(loop, record, right);
    }
    return TRUE;
}

gboolean batch_add_record(VbLoop *loop, const VbBusRecord *record, GError **error)
{
    VbBatch *batch = &loop->batch;
    VbBatchPart *part = batch_part(loop, loop->partitions[record->partition]);
    arena_reset(batch->scratch);
    part->next[loop_input_index(loop, record->topic)] = record->offset + 1;
    batch->n_records++;
    batch->n_inputs++;
    batch->last_origin =
        envelope_record_id(batch->arena, record->topic, record->partition, record->offset);
    return record_route(loop, record, error);
}

/* ---- Deadlines */

/* A deadline that its own step leaves in place would come again at once, for ever. */
static void deadline_mute(VbLoop *loop, VbPartition *partition, const char *vm_uuid,
                          gint64 deadline_ms, const char *deadline_id)
{
    StateRecord *state = visit_load_state(loop, partition, vm_uuid);
    if (state == NULL || state->deadline_ms != deadline_ms ||
        strcmp(state->deadline_id, deadline_id) != 0) {
        return;
    }
    VbOverlay *mute = arena_alloc(loop->batch.arena, sizeof(*mute));
    mute->partition = partition;
    mute->vm_uuid = arena_strdup(loop->batch.arena, vm_uuid);
    g_ptr_array_add(loop->batch.mutes, mute);
    log_event(VB_LOG_ERROR, "deadline-muted",
              "A deadline passed and its step left it in place; it is forgotten until the VM's "
              "state changes.",
              "vm", vm_uuid, "deadline", deadline_id, NULL);
}

gboolean batch_add_deadline(VbLoop *loop, VbPartition *partition, const VbTableEntry *entry,
                            gint64 now_ms, GError **error)
{
    VbBatch *batch = &loop->batch;
    char vm_uuid[UUID_TEXT_BYTES];
    uuid_unparse_lower(entry->uuid, vm_uuid);
    if (g_hash_table_contains(batch->overlay, vm_uuid)) {
        return TRUE; /* This batch changed the VM: its deadline may be another one by now. */
    }
    arena_reset(batch->scratch);
    StateRecord *state = visit_load_state(loop, partition, vm_uuid);
    const char *deadline_id = arena_strdup(batch->arena, state->deadline_id);
    gint64 deadline_ms = state->deadline_ms;
    batch->n_inputs++;
    batch->last_origin =
        arena_printf(batch->arena, "deadline/%s/%" G_GUINT64_FORMAT, deadline_id, state->version);
    VbVisitInput input = {.partition = partition,
                          .vm_uuid = vm_uuid,
                          .origin_id = batch->last_origin,
                          .deadline_id = deadline_id,
                          .time_ms = now_ms,
                          .poison = poison_of(loop, batch->last_origin)};
    if (!visit_input(loop, &input, state, error)) {
        return FALSE;
    }
    deadline_mute(loop, partition, vm_uuid, deadline_ms, deadline_id);
    return TRUE;
}

/* ---- The end */

void batch_apply(VbLoop *loop)
{
    VbBatch *batch = &loop->batch;
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, batch->overlay);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VbOverlay *overlay = value;
        guint before = table_size(overlay->partition->table);
        if (overlay->bytes != NULL) {
            table_put(overlay->partition->table, overlay->vm_uuid, overlay->bytes,
                      overlay->size_bytes, overlay->deadline_ms);
        } else {
            table_remove(overlay->partition->table, overlay->vm_uuid);
        }
        metrics_add(&loop_metric_vms, (double)table_size(overlay->partition->table) - before);
    }
    for (guint i = 0; i < batch->mutes->len; i++) {
        const VbOverlay *mute = g_ptr_array_index(batch->mutes, i);
        table_mute(mute->partition->table, mute->vm_uuid);
    }
    for (guint i = 0; i < batch->parts->len; i++) {
        VbBatchPart *part = g_ptr_array_index(batch->parts, i);
        memcpy(part->partition->next, part->next,
               loop->config.service->n_inputs * sizeof(*part->next));
    }
    metrics_observe(&loop_metric_batch, batch->n_inputs);
}
