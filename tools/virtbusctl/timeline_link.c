/* See timeline.h: causes. */
#include <string.h>

#include "common/base/uuid.h"
#include "tools/virtbusctl/timeline.h"

enum { OUTPUTS_MAX = 64 }; /* Of one step: one that makes more leaves the rest without a cause. */

typedef struct {
    GArray *rows;
    VbArena *arena;
    const char *vm_uuid;
    GHashTable *inputs; /* "vm.commands/3/17" -> row */
    GHashTable *ids;    /* Of what that input may have made -> row */
} Linking;

static TimelineRow *row_at(const Linking *linking, guint i)
{
    return &g_array_index(linking->rows, TimelineRow, i);
}

/* Row numbers are kept one higher: NULL is for what is not there. */
static int found(GHashTable *table, const char *key)
{
    return GPOINTER_TO_INT(g_hash_table_lookup(table, key)) - 1;
}

static void inputs_collect(Linking *linking)
{
    for (guint i = 0; i < linking->rows->len; i++) {
        const TimelineRow *row = row_at(linking, i);
        const char *place = arena_printf(linking->arena, "%s/%d/%" G_GINT64_FORMAT, row->topic_name,
                                         row->partition, row->offset);
        gpointer number = GINT_TO_POINTER((int)i + 1);
        if (!topic_info(row->topic)->per_vm || topic_info(row->topic)->compacted ||
            topic_info(row->topic)->message == &journal__descriptor) {
            continue;
        }
        g_hash_table_insert(linking->inputs, (char *)place, number);
        for (int output = 0; output < OUTPUTS_MAX; output++) {
            const char *name = arena_printf(linking->arena, "%s/%d", place, output);
            g_hash_table_insert(linking->ids, uuid_derive(linking->arena, linking->vm_uuid, name),
                                number);
        }
    }
}

/* The input that the runtime itself made, which was stepped at this time. */
static int runtime_input(const Linking *linking, gint64 step_ms)
{
    for (guint i = 0; step_ms != 0 && i < linking->rows->len; i++) {
        const TimelineRow *row = row_at(linking, i);
        if (topic_info(row->topic)->message == &journal__descriptor && row->step_ms == step_ms) {
            return (int)i;
        }
    }
    return TIMELINE_NO_CAUSE;
}

static gboolean has_applied(const StateRecord *state, const AppliedOffset *applied)
{
    for (size_t i = 0; state != NULL && i < state->n_applied; i++) {
        if (state->applied[i]->offset == applied->offset &&
            strcmp(state->applied[i]->topic, applied->topic) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The latest of the inputs that this state has taken in and the one before it had not. */
static int state_cause(const Linking *linking, const StateRecord *state, int partition,
                       const StateRecord *before)
{
    int cause = TIMELINE_NO_CAUSE;
    for (size_t i = 0; i < state->n_applied; i++) {
        const AppliedOffset *applied = state->applied[i];
        if (!has_applied(before, applied)) {
            const char *place = arena_printf(linking->arena, "%s/%d/%" G_GINT64_FORMAT,
                                             applied->topic, partition, (gint64)applied->offset);
            cause = MAX(cause, found(linking->inputs, place));
        }
    }
    return cause != TIMELINE_NO_CAUSE ? cause : runtime_input(linking, state->step_ms);
}

/* The latest command to a host, before row `i`, of the operation that the report answers. */
static int report_cause(const Linking *linking, guint i)
{
    const char *operation_id = row_at(linking, i)->description.operation_id;
    while (*operation_id != '\0' && i-- > 0) {
        const TimelineRow *row = row_at(linking, i);
        if (row->topic == TOPIC_HOST_COMMANDS &&
            strcmp(row->description.operation_id, operation_id) == 0) {
            return (int)i;
        }
    }
    return TIMELINE_NO_CAUSE;
}

static int cause_of(const Linking *linking, guint i, const StateRecord **before)
{
    const TimelineRow *row = row_at(linking, i);
    const ProtobufCMessageDescriptor *type = topic_info(row->topic)->message;
    if (type == &host_report__descriptor) {
        return report_cause(linking, i);
    }
    if (type == &state_record__descriptor && row->message != NULL) {
        const StateRecord *state = (const StateRecord *)row->message;
        const StateRecord **last = &before[row->topic == TOPIC_VM_STATE ? 0 : 1];
        int cause = state_cause(linking, state, row->partition, *last);
        *last = state;
        return cause;
    }
    if (row->event_id == NULL) {
        return TIMELINE_NO_CAUSE;
    }
    int cause = found(linking->ids, row->event_id);
    return cause != TIMELINE_NO_CAUSE ? cause : runtime_input(linking, row->step_ms);
}

void timeline_link(GArray *rows, VbArena *arena, const char *vm_uuid)
{
    g_autoptr(GHashTable) inputs = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) ids = g_hash_table_new(g_str_hash, g_str_equal);
    Linking linking = {rows, arena, vm_uuid, inputs, ids};
    const StateRecord *before[2] = {NULL, NULL};
    inputs_collect(&linking);
    for (guint i = 0; i < rows->len; i++) {
        row_at(&linking, i)->cause = cause_of(&linking, i, before);
    }
}
