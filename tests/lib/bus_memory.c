/* See bus_memory.h. */
#include "tests/lib/bus_memory.h"

#include <string.h>

#define PREFIX "test"

struct VbMemoryBus {
    VbBus bus; /* First: a VbBus is a VbMemoryBus. */
    const VbService *service;
    int n_partitions;
    gint64 now_ms;
    GHashTable *logs; /* "topic:partition" -> GPtrArray of VbBusRecord */
    GHashTable *hosts;
    GQueue events;     /* of VbBusEvent */
    gint64 *committed; /* [partition * n_inputs + input]; -1: none. */
    gint64 *begin;
    gint64 *position; /* -1: not consumed. */
    gint64 *end_told;
    gboolean in_transaction;
    gboolean must_abort;
    GPtrArray *staged; /* of VbBusRecord; the host in header "host" */
    gint64 *staged_offsets;
    char *fail_function;
    int fail_n;
    VbBusError fail_code;
    size_t max_value_bytes;
    gboolean confirms_end;
    void (*on_committed)(void *user);
    void *on_committed_user;
    VbMemoryCounts counts;
};

static VbMemoryBus *of(VbBus *bus)
{
    return (VbMemoryBus *)bus;
}

static GPtrArray *log_of(VbMemoryBus *memory, VbTopic topic, const char *host_uuid, int partition)
{
    g_autofree char *name = topic_name(PREFIX, topic, host_uuid);
    char *key = g_strdup_printf("%s:%d", name, partition);
    GPtrArray *log = g_hash_table_lookup(memory->logs, key);
    if (log != NULL) {
        g_free(key);
        return log;
    }
    log = g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free);
    g_hash_table_insert(memory->logs, key, log);
    return log;
}

static size_t slot(const VbMemoryBus *memory, size_t input, int partition)
{
    return (size_t)partition * memory->service->n_inputs + input;
}

static size_t n_slots(const VbMemoryBus *memory)
{
    return (size_t)memory->n_partitions * memory->service->n_inputs;
}

static gboolean fails(VbMemoryBus *memory, const char *function, GError **error)
{
    if (memory->fail_n > 0 && strcmp(memory->fail_function, function) == 0) {
        memory->fail_n--;
        memory->must_abort = TRUE;
        g_set_error(error, BUS_ERROR, memory->fail_code, "injected into %s", function);
        return TRUE;
    }
    return FALSE;
}

/* ---- Reading */

static void event_push(VbMemoryBus *memory, VbBusEventKind kind, int partition)
{
    VbBusEvent *event = g_new0(VbBusEvent, 1);
    event->kind = kind;
    event->partition = partition;
    g_queue_push_tail(&memory->events, event);
}

static gboolean input_poll(VbMemoryBus *memory, size_t input, int partition, VbBusEvent *ret_event)
{
    size_t at = slot(memory, input, partition);
    VbTopic topic = memory->service->inputs[input];
    const GPtrArray *log = log_of(memory, topic, NULL, partition);
    if (memory->position[at] < 0) {
        return FALSE;
    }
    if (memory->position[at] < (gint64)log->len) {
        const VbBusRecord *record = g_ptr_array_index(log, memory->position[at]++);
        *ret_event = (VbBusEvent){
            .kind = BUS_RECORD, .partition = partition, .record = bus_record_copy(record)};
        return TRUE;
    }
    if (memory->end_told[at] != memory->position[at]) {
        memory->end_told[at] = memory->position[at];
        *ret_event = (VbBusEvent){.kind = BUS_AT_END, .partition = partition, .topic = topic};
        return TRUE;
    }
    return FALSE;
}

static gboolean memory_poll(VbBus *bus, int timeout_ms, VbBusEvent *ret_event, GError **error)
{
    VbMemoryBus *memory = of(bus);
    (void)error;
    g_assert(!memory->in_transaction);
    memory->counts.polls++;
    memory->counts.last_wait_ms = MAX(memory->counts.last_wait_ms, timeout_ms);
    g_autofree VbBusEvent *event = g_queue_pop_head(&memory->events);
    if (event != NULL) {
        *ret_event = *event;
        return TRUE;
    }
    for (int partition = 0; partition < memory->n_partitions; partition++) {
        for (size_t input = 0; input < memory->service->n_inputs; input++) {
            if (input_poll(memory, input, partition, ret_event)) {
                return TRUE;
            }
        }
    }
    *ret_event = (VbBusEvent){.kind = BUS_NOTHING};
    return TRUE;
}

static gboolean memory_committed(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    VbMemoryBus *memory = of(bus);
    (void)error;
    if (memory->on_committed != NULL) {
        g_steal_pointer (&memory->on_committed)(memory->on_committed_user);
    }
    memcpy(offsets->next, &memory->committed[slot(memory, 0, offsets->partition)],
           memory->service->n_inputs * sizeof(gint64));
    return TRUE;
}

static gboolean memory_state_end(VbBus *bus, int partition, gint64 *ret_end, GError **error)
{
    (void)error;
    *ret_end = log_of(of(bus), of(bus)->service->state_topic, NULL, partition)->len;
    return TRUE;
}

static gboolean memory_read_state(VbBus *bus, int partition, gint64 end, VbBusRead read, void *user,
                                  GError **error)
{
    const GPtrArray *log = log_of(of(bus), of(bus)->service->state_topic, NULL, partition);
    (void)error;
    for (gint64 i = 0; i < end; i++) {
        read(g_ptr_array_index(log, i), user);
    }
    return TRUE;
}

static gboolean memory_consume(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    VbMemoryBus *memory = of(bus);
    (void)error;
    for (size_t input = 0; input < memory->service->n_inputs; input++) {
        size_t at = slot(memory, input, offsets->partition);
        if (offsets->next[input] < 0) {
            offsets->next[input] = memory->begin[at];
        }
        memory->position[at] = offsets->next[input];
        memory->end_told[at] = -1;
    }
    return TRUE;
}

static gboolean memory_confirm_end(VbBus *bus, int partition, gboolean *ret_at_end, GError **error)
{
    VbMemoryBus *memory = of(bus);
    (void)error;
    *ret_at_end = memory->confirms_end;
    for (size_t input = 0; !memory->confirms_end && input < memory->service->n_inputs; input++) {
        memory->end_told[slot(memory, input, partition)] = -1;
    }
    return TRUE;
}

static gboolean memory_host_exists(VbBus *bus, const char *host_uuid, gboolean *ret_exists,
                                   GError **error)
{
    (void)error;
    g_assert(!of(bus)->in_transaction);
    of(bus)->counts.host_lookups++;
    *ret_exists = g_hash_table_contains(of(bus)->hosts, host_uuid);
    return TRUE;
}

/* ---- Writing */

static gboolean memory_begin(VbBus *bus, GError **error)
{
    VbMemoryBus *memory = of(bus);
    g_assert(!memory->in_transaction && !memory->must_abort);
    if (fails(memory, "begin", error)) {
        return FALSE;
    }
    memory->in_transaction = TRUE;
    memcpy(memory->staged_offsets, memory->committed, n_slots(memory) * sizeof(gint64));
    return TRUE;
}

static VbBusRecord *record_of(const VbMemoryBus *memory, const VbBusMessage *message)
{
    VbBusHeader headers[32];
    size_t n = message->n_headers;
    g_assert(n < G_N_ELEMENTS(headers));
    memcpy(headers, message->headers != NULL ? message->headers : headers, n * sizeof(*headers));
    if (message->host_uuid != NULL) {
        headers[n++] = (VbBusHeader){"host", message->host_uuid, strlen(message->host_uuid) + 1};
    }
    VbBusRecord record = {.topic = message->topic,
                          .partition = message->partition,
                          .time_ms = memory->now_ms,
                          .key = message->key,
                          .key_bytes = message->key_bytes,
                          .value = message->value,
                          .value_bytes = message->value_bytes,
                          .headers = headers,
                          .n_headers = n};
    return bus_record_copy(&record);
}

static gint64 record_append(VbMemoryBus *memory, VbBusRecord *record)
{
    const VbBusHeader *host = bus_record_header(record, "host");
    GPtrArray *log =
        log_of(memory, record->topic, host != NULL ? host->value : NULL, record->partition);
    record->offset = log->len;
    record->time_ms = memory->now_ms;
    g_ptr_array_add(log, record);
    return record->offset;
}

gint64 memory_bus_append(VbMemoryBus *memory, const VbBusMessage *message)
{
    return record_append(memory, record_of(memory, message));
}

static gboolean memory_produce(VbBus *bus, const VbBusMessage *message, GError **error)
{
    VbMemoryBus *memory = of(bus);
    g_assert(memory->in_transaction);
    if (fails(memory, "produce", error)) {
        return FALSE;
    }
    g_assert(message->topic != TOPIC_HOST_COMMANDS ||
             g_hash_table_contains(memory->hosts, message->host_uuid));
    g_ptr_array_add(memory->staged, record_of(memory, message));
    return TRUE;
}

static gboolean memory_flush(VbBus *bus, GError **error)
{
    VbMemoryBus *memory = of(bus);
    for (guint i = 0; i < memory->staged->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(memory->staged, i);
        if (record->value_bytes > memory->max_value_bytes) {
            memory->must_abort = TRUE;
            g_set_error(error, BUS_ERROR, BUS_ERROR_REFUSED, "a record is too large");
            return FALSE;
        }
    }
    return !fails(memory, "flush", error);
}

static gboolean memory_send_offsets(VbBus *bus, const VbBusOffsets *offsets, size_t n_offsets,
                                    GError **error)
{
    VbMemoryBus *memory = of(bus);
    g_assert(n_offsets > 0);
    if (fails(memory, "send_offsets", error)) {
        return FALSE;
    }
    for (size_t i = 0; i < n_offsets; i++) {
        memcpy(&memory->staged_offsets[slot(memory, 0, offsets[i].partition)], offsets[i].next,
               memory->service->n_inputs * sizeof(gint64));
    }
    return TRUE;
}

static gboolean memory_commit(VbBus *bus, GError **error)
{
    VbMemoryBus *memory = of(bus);
    if (fails(memory, "commit", error)) {
        return FALSE;
    }
    g_assert(memory->in_transaction && !memory->must_abort);
    for (guint i = 0; i < memory->staged->len; i++) {
        record_append(memory, bus_record_copy(g_ptr_array_index(memory->staged, i)));
    }
    g_ptr_array_set_size(memory->staged, 0);
    memcpy(memory->committed, memory->staged_offsets, n_slots(memory) * sizeof(gint64));
    memory->in_transaction = FALSE;
    memory->counts.commits++;
    return TRUE;
}

void memory_bus_drop(VbMemoryBus *memory)
{
    g_ptr_array_set_size(memory->staged, 0);
    memory->must_abort = FALSE;
    memory->in_transaction = FALSE;
    memory->counts.aborts++;
}

static gboolean memory_abort(VbBus *bus, GError **error)
{
    (void)error;
    g_assert(of(bus)->must_abort);
    memory_bus_drop(of(bus));
    return TRUE;
}

static gint64 memory_now_ms(VbBus *bus)
{
    return of(bus)->now_ms;
}

/* ---- The test's side */

static gint64 *slots_new(const VbMemoryBus *memory, gint64 value)
{
    gint64 *slots = g_new(gint64, n_slots(memory));
    for (size_t i = 0; i < n_slots(memory); i++) {
        slots[i] = value;
    }
    return slots;
}

VbMemoryBus *memory_bus_new(const VbService *service, int n_partitions)
{
    VbMemoryBus *memory = g_new0(VbMemoryBus, 1);
    memory->bus = (VbBus){.poll = memory_poll,
                          .committed = memory_committed,
                          .state_end = memory_state_end,
                          .read_state = memory_read_state,
                          .consume = memory_consume,
                          .confirm_end = memory_confirm_end,
                          .host_exists = memory_host_exists,
                          .begin = memory_begin,
                          .produce = memory_produce,
                          .flush = memory_flush,
                          .send_offsets = memory_send_offsets,
                          .commit = memory_commit,
                          .abort = memory_abort,
                          .now_ms = memory_now_ms};
    memory->service = service;
    memory->n_partitions = n_partitions;
    memory->max_value_bytes = 1024 * 1024;
    memory->confirms_end = TRUE;
    memory->logs =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    memory->hosts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    memory->staged = g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free);
    g_queue_init(&memory->events);
    memory->committed = slots_new(memory, -1);
    memory->staged_offsets = slots_new(memory, -1);
    memory->begin = slots_new(memory, 0);
    memory->position = slots_new(memory, -1);
    memory->end_told = slots_new(memory, -1);
    return memory;
}

void memory_bus_free(VbMemoryBus *memory)
{
    g_hash_table_destroy(memory->logs);
    g_hash_table_destroy(memory->hosts);
    g_ptr_array_free(memory->staged, TRUE);
    g_queue_clear_full(&memory->events, g_free);
    g_free(memory->committed);
    g_free(memory->staged_offsets);
    g_free(memory->begin);
    g_free(memory->position);
    g_free(memory->end_told);
    g_free(memory->fail_function);
    g_free(memory);
}

VbBus *memory_bus(VbMemoryBus *memory)
{
    return &memory->bus;
}

void memory_bus_set_now(VbMemoryBus *memory, gint64 now_ms)
{
    memory->now_ms = now_ms;
}

const GPtrArray *memory_bus_log(VbMemoryBus *memory, VbTopic topic, const char *host_uuid,
                                int partition)
{
    return log_of(memory, topic, host_uuid, partition);
}

static size_t slot_of(const VbMemoryBus *memory, VbTopic topic, int partition)
{
    for (size_t input = 0; input < memory->service->n_inputs; input++) {
        if (memory->service->inputs[input] == topic) {
            return slot(memory, input, partition);
        }
    }
    g_assert_not_reached();
}

void memory_bus_set_begin(VbMemoryBus *memory, VbTopic topic, int partition, gint64 offset)
{
    memory->begin[slot_of(memory, topic, partition)] = offset;
}

void memory_bus_gain(VbMemoryBus *memory, int partition)
{
    event_push(memory, BUS_GAINED, partition);
}

void memory_bus_lose(VbMemoryBus *memory, int partition)
{
    for (size_t input = 0; input < memory->service->n_inputs; input++) {
        memory->position[slot(memory, input, partition)] = -1;
    }
    event_push(memory, BUS_LOST, partition);
}

void memory_bus_add_host(VbMemoryBus *memory, const char *host_uuid)
{
    g_hash_table_add(memory->hosts, g_strdup(host_uuid));
}

gint64 memory_bus_committed(VbMemoryBus *memory, VbTopic topic, int partition)
{
    return memory->committed[slot_of(memory, topic, partition)];
}

void memory_bus_set_committed(VbMemoryBus *memory, VbTopic topic, int partition, gint64 offset)
{
    memory->committed[slot_of(memory, topic, partition)] = offset;
}

void memory_bus_fail(VbMemoryBus *memory, const char *function, int n, VbBusError code)
{
    g_free(memory->fail_function);
    memory->fail_function = g_strdup(function);
    memory->fail_n = n;
    memory->fail_code = code;
}

void memory_bus_set_max_value(VbMemoryBus *memory, size_t max_bytes)
{
    memory->max_value_bytes = max_bytes;
}

void memory_bus_on_committed(VbMemoryBus *memory, void (*end)(void *user), void *user)
{
    memory->on_committed = end;
    memory->on_committed_user = user;
}

void memory_bus_set_confirm_end(VbMemoryBus *memory, gboolean at_end)
{
    memory->confirms_end = at_end;
}

VbMemoryCounts *memory_bus_counts(VbMemoryBus *memory)
{
    return &memory->counts;
}
