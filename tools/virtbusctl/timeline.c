/* See timeline.h. */
#include "tools/virtbusctl/timeline.h"

#include <string.h>

/* Where a topic stands in a saga. The broker's clock has milliseconds, and a hop may take less. */
static int topic_rank(VbTopic topic)
{
    static const VbTopic order[] = {
        TOPIC_VM_COMMANDS, TOPIC_VOLUME_COMMANDS, TOPIC_HOST_COMMANDS, TOPIC_VOLUME_REPORTS,
        TOPIC_VM_REPORTS,  TOPIC_VOLUME_EVENTS,   TOPIC_VM_EVENTS,     TOPIC_VOLUME_STATE,
        TOPIC_VM_STATE,    TOPIC_VOLUME_JOURNAL,  TOPIC_VM_JOURNAL,    TOPIC_HOSTS,
        TOPIC_DLQ,         TOPIC_AGENTS_DLQ,
    };
    G_STATIC_ASSERT(G_N_ELEMENTS(order) == TOPIC_COUNT);
    int rank = 0;
    while (order[rank] != topic) {
        rank++;
    }
    return rank;
}

static int row_compare(gconstpointer a, gconstpointer b)
{
    const TimelineRow *left = a;
    const TimelineRow *right = b;
    if (left->time_ms != right->time_ms) {
        return left->time_ms < right->time_ms ? -1 : 1;
    }
    if (left->topic != right->topic) {
        return topic_rank(left->topic) - topic_rank(right->topic);
    }
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static const VmCommand *command_of(const TimelineRow *row)
{
    return row->topic == TOPIC_VM_COMMANDS ? (const VmCommand *)row->message : NULL;
}

static gboolean is_read(const VmCommand *command)
{
    return command->command_case == VM_COMMAND__COMMAND_GET_VM ||
           command->command_case == VM_COMMAND__COMMAND_LIST_VOLUMES;
}

/* The request that a command makes or a reply answers; NULL: the row is neither. */
static const char *request_of(const TimelineRow *row)
{
    const VmCommand *command = command_of(row);
    if (command != NULL) {
        return command->request_id;
    }
    const VmEvent *event = row->topic == TOPIC_VM_EVENTS ? (const void *)row->message : NULL;
    return event != NULL && event->event_case == VM_EVENT__EVENT_REPLY ? event->reply->request_id
                                                                       : NULL;
}

static const Operation *operation_of(const TimelineRow *row)
{
    const StateRecord *state = row->topic == TOPIC_VM_STATE ? (const void *)row->message : NULL;
    return state != NULL && state->body_case == STATE_RECORD__BODY_VM ? state->vm->operation : NULL;
}

/* Request id -> the row of its first command. */
static GHashTable *commands_find(GArray *rows)
{
    GHashTable *commands = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < rows->len; i++) {
        TimelineRow *row = &g_array_index(rows, TimelineRow, i);
        const VmCommand *command = command_of(row);
        if (command != NULL && !g_hash_table_contains(commands, command->request_id)) {
            g_hash_table_insert(commands, command->request_id, row);
        }
    }
    return commands;
}

/* Operation id -> the row of the command that began it, as the VM's states tell. */
static GHashTable *operations_find(GArray *rows, GHashTable *commands)
{
    GHashTable *operations = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < rows->len; i++) {
        const Operation *operation = operation_of(&g_array_index(rows, TimelineRow, i));
        TimelineRow *begin =
            operation != NULL ? g_hash_table_lookup(commands, operation->request_id) : NULL;
        if (begin != NULL) {
            g_hash_table_insert(operations, operation->id, begin);
        }
    }
    return operations;
}

void timeline_sort(GArray *rows)
{
    g_array_sort(rows, row_compare);
    g_autoptr(GHashTable) commands = commands_find(rows);
    g_autoptr(GHashTable) operations = operations_find(rows, commands);
    const TimelineRow *latest = NULL; /* What names nothing is taken for the latest command's. */
    for (guint i = 0; i < rows->len; i++) {
        TimelineRow *row = &g_array_index(rows, TimelineRow, i);
        const char *request = request_of(row);
        const TimelineRow *begin =
            request != NULL ? g_hash_table_lookup(commands, request)
                            : g_hash_table_lookup(operations, row->description.operation_id);
        row->is_begin = begin == row && !is_read(command_of(row));
        if (row->is_begin) {
            latest = row;
        }
        begin = begin != NULL ? begin : latest;
        row->delta_ms = begin != NULL ? row->time_ms - begin->time_ms : 0;
    }
}
