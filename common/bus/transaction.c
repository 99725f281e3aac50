/* Writes a batch: one transaction, always with the offsets of the partitions it is about. */
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/loop_private.h"
#include "common/runtime/kill_point.h"

static gint overlay_compare(gconstpointer a, gconstpointer b)
{
    const VbOverlay *left = *(const VbOverlay *const *)a;
    const VbOverlay *right = *(const VbOverlay *const *)b;
    return strcmp(left->vm_uuid, right->vm_uuid);
}

/* One record a changed VM. In the order of the uuids, so that equal batches are written equally. */
static gboolean states_produce(VbLoop *loop, GError **error)
{
    VbBus *bus = loop->bus;
    g_autoptr(GPtrArray) changed = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, loop->batch.overlay);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        g_ptr_array_add(changed, value);
    }
    g_ptr_array_sort(changed, overlay_compare);
    for (guint i = 0; i < changed->len; i++) {
        const VbOverlay *overlay = g_ptr_array_index(changed, i);
        VbBusMessage message = {.topic = loop->config.service->state_topic,
                                .partition = overlay->partition->number,
                                .key = overlay->vm_uuid,
                                .key_bytes = UUID_TEXT_BYTES - 1,
                                .value = overlay->bytes,
                                .value_bytes = overlay->size_bytes};
        if (!bus->produce(bus, &message, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* One record a partition in which something was stepped. */
static gboolean journal_produce(VbLoop *loop, const VbBatchPart *part, GError **error)
{
    VbArena *arena = loop->batch.arena;
    if (part->steps->len == 0) {
        return TRUE;
    }
    Journal journal = JOURNAL__INIT;
    journal.logic_version = loop->config.service->logic_version;
    journal.settings = (Settings *)loop->config.settings;
    journal.partition = part->partition->number;
    journal.n_steps = part->steps->len;
    journal.steps = (JournalStep **)part->steps->pdata;
    journal.instance_id = (char *)loop->config.instance_id;
    size_t size_bytes = journal__get_packed_size(&journal);
    uint8_t *bytes = arena_alloc(arena, size_bytes);
    journal__pack(&journal, bytes);
    const char *key = arena_printf(arena, "%d", part->partition->number);
    VbBusMessage message = {.topic = loop->config.service->journal_topic,
                            .partition = part->partition->number,
                            .key = key,
                            .key_bytes = strlen(key),
                            .value = bytes,
                            .value_bytes = size_bytes};
    return loop->bus->produce(loop->bus, &message, error);
}

static gboolean all_produce(VbLoop *loop, GError **error)
{
    const VbBatch *batch = &loop->batch;
    for (guint i = 0; i < batch->messages->len; i++) {
        const VbBusMessage *message = &g_array_index(batch->messages, VbBusMessage, i);
        if (!loop->bus->produce(loop->bus, message, error)) {
            return FALSE;
        }
    }
    if (!states_produce(loop, error)) {
        return FALSE;
    }
    for (guint i = 0; i < batch->parts->len; i++) {
        if (!journal_produce(loop, g_ptr_array_index(batch->parts, i), error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean transaction_write(VbLoop *loop, GError **error)
{
    VbBus *bus = loop->bus;
    const VbBatch *batch = &loop->batch;
    VbBusOffsets *offsets = arena_alloc(batch->arena, batch->parts->len * sizeof(*offsets));
    for (guint i = 0; i < batch->parts->len; i++) {
        VbBatchPart *part = g_ptr_array_index(batch->parts, i);
        offsets[i] = (VbBusOffsets){.partition = part->partition->number, .next = part->next};
    }
    if (!bus->begin(bus, error)) {
        return FALSE;
    }
    KILL_POINT("transaction-begun");
    if (!all_produce(loop, error)) {
        return FALSE;
    }
    KILL_POINT("transaction-produced");
    if (!bus->flush(bus, error)) {
        return FALSE;
    }
    KILL_POINT("transaction-flushed");
    if (!bus->send_offsets(bus, offsets, batch->parts->len, error)) {
        return FALSE;
    }
    KILL_POINT("transaction-offsets-sent");
    if (!bus->commit(bus, error)) {
        return FALSE;
    }
    KILL_POINT("transaction-committed");
    return TRUE;
}
