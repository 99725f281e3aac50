/* The turns of the step loop: what is polled, when it is stepped, and what a failed transaction
 * leads to.
 *
 *     written      -> the next turn
 *     ABORT        -> the same records again, next turn (the partitions may be others by then)
 *     REFUSED      -> the same again; the second time in a row: one input at a time, until all
 *                     inputs of that batch are written; an input that is refused three times alone
 *                     is poison
 *     anything else ends the process
 */
#include <string.h>

#include "common/bus/loop_metrics.h"
#include "common/bus/loop_private.h"
#include "common/runtime/log.h"

enum {
    DEFAULT_MAX_RECORDS = 500,
    DEFAULT_MAX_HOSTS = 32,
    MAX_BATCH_BYTES = 4 * 1024 * 1024, /* Read or written by one transaction. */
    MAX_ABORTS = 10,                   /* In a row; then a new process tries. */
    MAX_REFUSALS = 2,                  /* Of a whole batch. */
};

VbLoop *loop_new(VbBus *bus, const VbLoopConfig *config)
{
    g_assert(config->service->n_inputs < 64);
    loop_metrics_register();
    VbLoop *loop = g_new0(VbLoop, 1);
    loop->bus = bus;
    loop->config = *config;
    if (loop->config.max_records == 0) {
        loop->config.max_records = DEFAULT_MAX_RECORDS;
    }
    if (loop->config.max_hosts == 0) {
        loop->config.max_hosts = DEFAULT_MAX_HOSTS;
    }
    loop->partitions = g_new0(VbPartition *, config->n_partitions);
    g_queue_init(&loop->pending);
    loop->missing = g_string_new(NULL);
    batch_init(loop);
    return loop;
}

static void partition_drop(VbLoop *loop, int number)
{
    VbPartition *partition = loop->partitions[number];
    if (partition != NULL) {
        metrics_add(&loop_metric_vms, -(double)table_size(partition->table));
        metrics_add(&loop_metric_broken, -(double)partition->n_broken);
        metrics_add(&loop_metric_partitions, -1);
        partition_free(partition);
        loop->partitions[number] = NULL;
    }
}

void loop_free(VbLoop *loop)
{
    if (loop != NULL) {
        batch_clear(loop);
        for (int i = 0; i < loop->config.n_partitions; i++) {
            partition_drop(loop, i);
        }
        g_queue_clear_full(&loop->pending, (GDestroyNotify)bus_record_free);
        g_string_free(loop->missing, TRUE);
        g_free(loop->partitions);
        g_free(loop->suspect);
        g_free(loop->suspect_reason);
        g_free(loop);
    }
}

size_t loop_input_index(const VbLoop *loop, VbTopic topic)
{
    const VbService *service = loop->config.service;
    for (size_t i = 0; i < service->n_inputs; i++) {
        if (service->inputs[i] == topic) {
            return i;
        }
    }
    g_assert_not_reached();
}

guint loop_partitions(const VbLoop *loop)
{
    guint n = 0;
    for (int i = 0; i < loop->config.n_partitions; i++) {
        n += loop->partitions[i] != NULL;
    }
    return n;
}

void loop_each_state(const VbLoop *loop, VbLoopEach each, void *user)
{
    for (int i = 0; i < loop->config.n_partitions; i++) {
        if (loop->partitions[i] != NULL) {
            table_each(loop->partitions[i]->table, each, user);
        }
    }
}

/* ---- Events */

static void pending_add(VbLoop *loop, VbBusRecord *record)
{
    VbPartition *partition = loop->partitions[record->partition];
    if (partition == NULL) {
        bus_record_free(record); /* A late one of a partition that was lost. */
        return;
    }
    partition->at_end &= ~((guint64)1 << loop_input_index(loop, record->topic));
    loop->pending_bytes += record->value_bytes;
    g_queue_push_tail(&loop->pending, record);
}

static void pending_drop(VbLoop *loop, GList *link)
{
    VbBusRecord *record = link->data;
    loop->pending_bytes -= record->value_bytes;
    bus_record_free(record);
    g_queue_delete_link(&loop->pending, link);
}

static void partition_lose(VbLoop *loop, int number)
{
    partition_drop(loop, number);
    for (GList *link = loop->pending.head; link != NULL;) {
        GList *next = link->next;
        if (((const VbBusRecord *)link->data)->partition == number) {
            pending_drop(loop, link);
        }
        link = next;
    }
    log_event(VB_LOG_INFO, "partition-lost", "A partition is not this instance's any more.",
              "partition", log_number(number), NULL);
}

static gboolean event_take(VbLoop *loop, const VbBusEvent *event, GError **error)
{
    VbPartition *partition = NULL;
    switch (event->kind) {
    case BUS_NOTHING:
        return TRUE;
    case BUS_RECORD:
        pending_add(loop, event->record);
        return TRUE;
    case BUS_GAINED:
        partition_drop(loop, event->partition);
        return restore_partition(loop, event->partition, error);
    case BUS_LOST:
        partition_lose(loop, event->partition);
        return TRUE;
    case BUS_AT_END:
        partition = loop->partitions[event->partition];
        if (partition != NULL) {
            partition->at_end |= (guint64)1 << loop_input_index(loop, event->topic);
        }
        return TRUE;
    }
    g_assert_not_reached();
}

/* Whether no committed input waits: only then may a deadline count as missed. */
static gboolean is_at_end(const VbLoop *loop, const VbPartition *partition)
{
    return partition->at_end == ((guint64)1 << loop->config.service->n_inputs) - 1;
}

/* How long nothing needs to be done if nothing happens. */
static int wait_ms(const VbLoop *loop, int timeout_ms)
{
    if (!g_queue_is_empty((GQueue *)&loop->pending)) {
        return 0;
    }
    gint64 first_ms = G_MAXINT64;
    for (int i = 0; i < loop->config.n_partitions; i++) {
        const VbPartition *partition = loop->partitions[i];
        if (partition != NULL && is_at_end(loop, partition)) {
            first_ms = MIN(first_ms, table_first_deadline_ms(partition->table));
        }
    }
    if (first_ms == G_MAXINT64) {
        return timeout_ms;
    }
    return (int)CLAMP(first_ms - loop->bus->now_ms(loop->bus), 0, timeout_ms);
}

/* Waits once, then takes what is there. */
static gboolean events_poll(VbLoop *loop, int timeout_ms, GError **error)
{
    int left_ms = wait_ms(loop, timeout_ms);
    loop->is_drained = FALSE;
    for (;;) {
        VbBusEvent event = {.kind = BUS_NOTHING};
        if (!loop->bus->poll(loop->bus, left_ms, &event, error) ||
            !event_take(loop, &event, error)) {
            return FALSE;
        }
        loop->is_drained = event.kind == BUS_NOTHING;
        if (loop->is_drained || loop->pending.length >= loop->config.max_records ||
            loop->pending_bytes >= MAX_BATCH_BYTES) {
            return TRUE;
        }
        left_ms = 0;
    }
}

/* ---- The batch */

static gboolean batch_is_full(const VbLoop *loop)
{
    const VbBatch *batch = &loop->batch;
    guint max_inputs = loop->n_single > 0 ? 1 : loop->config.max_records;
    return batch->n_inputs >= max_inputs || batch->size_bytes >= MAX_BATCH_BYTES ||
           g_hash_table_size(batch->hosts) >= loop->config.max_hosts;
}

static gboolean deadlines_add(VbLoop *loop, VbPartition *partition, gint64 now_ms, GError **error)
{
    if (!is_at_end(loop, partition) || table_first_deadline_ms(partition->table) > now_ms) {
        return TRUE;
    }
    gboolean at_end = FALSE;
    if (!loop->bus->confirm_end(loop->bus, partition->number, &at_end, error)) {
        return FALSE;
    }
    if (!at_end) {
        partition->at_end = 0;
        return TRUE;
    }
    g_autoptr(GPtrArray) due = g_ptr_array_new();
    table_due(partition->table, now_ms, loop->config.max_records, due);
    for (guint i = 0; i < due->len && !batch_is_full(loop); i++) {
        if (!batch_add_deadline(loop, partition, g_ptr_array_index(due, i), now_ms, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean batch_fill(VbLoop *loop, GError **error)
{
    GList *link = loop->pending.head;
    for (; link != NULL && !batch_is_full(loop); link = link->next) {
        if (!batch_add_record(loop, link->data, error)) {
            return FALSE;
        }
    }
    if (link != NULL || !loop->is_drained) {
        return TRUE; /* What waits may well be the answer that a deadline is about. */
    }
    gint64 now_ms = loop->bus->now_ms(loop->bus);
    for (int i = 0; i < loop->config.n_partitions; i++) {
        VbPartition *partition = loop->partitions[i];
        if (partition != NULL && !deadlines_add(loop, partition, now_ms, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void batch_done(VbLoop *loop)
{
    batch_apply(loop);
    for (guint i = 0; i < loop->batch.n_records; i++) {
        const VbBusRecord *record = loop->pending.head->data;
        metrics_add(&loop_metric_records, 1, topic_info(record->topic)->suffix);
        pending_drop(loop, loop->pending.head);
    }
    loop->n_aborts = 0;
    loop->n_refusals = 0;
    loop->n_single -= MIN(loop->n_single, loop->batch.n_inputs);
    loop->n_suspect = 0;
}

/* ---- Failure */

static void refusal_note(VbLoop *loop, const GError *error)
{
    const char *origin = loop->batch.last_origin;
    if (loop->batch.n_inputs > 1) {
        if (++loop->n_refusals >= MAX_REFUSALS) {
            loop->n_single = loop->batch.n_inputs;
        }
        return;
    }
    if (loop->suspect == NULL || strcmp(loop->suspect, origin) != 0) {
        loop->n_suspect = 0;
    }
    g_free(loop->suspect);
    g_free(loop->suspect_reason);
    loop->suspect = g_strdup(origin);
    loop->suspect_reason = g_strdup(error->message);
    loop->n_suspect++;
}

/* The records stay pending, so that the next turns step and write them again. */
static gboolean transaction_failed(VbLoop *loop, GError *cause, GError **error)
{
    gboolean is_abort = g_error_matches(cause, BUS_ERROR, BUS_ERROR_ABORT);
    gboolean is_refusal = g_error_matches(cause, BUS_ERROR, BUS_ERROR_REFUSED);
    if (!is_abort && !is_refusal) {
        g_propagate_error(error, cause);
        return FALSE;
    }
    metrics_add(&loop_metric_aborts, 1, is_refusal ? "refused" : "aborted");
    log_event(VB_LOG_WARNING, "aborted", "A transaction was aborted and is written again.", "error",
              cause->message, "inputs", log_number(loop->batch.n_inputs), "input",
              loop->batch.last_origin, NULL);
    if (is_refusal) {
        refusal_note(loop, cause);
    }
    if (++loop->n_aborts > MAX_ABORTS) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_FATAL,
                    "%u transactions in a row were aborted, the last one because: %s",
                    loop->n_aborts, cause->message);
        g_error_free(cause);
        return FALSE;
    }
    g_error_free(cause);
    return loop->bus->abort(loop->bus, error);
}

static gboolean batch_write(VbLoop *loop, GError **error)
{
    GError *cause = NULL;
    if (transaction_write(loop, &cause)) {
        batch_done(loop);
        return TRUE;
    }
    return transaction_failed(loop, cause, error);
}

gboolean loop_turn(VbLoop *loop, int timeout_ms, GError **error)
{
    gboolean done = events_poll(loop, timeout_ms, error) && restore_check(loop, error) &&
                    batch_fill(loop, error) &&
                    (loop->batch.n_inputs == 0 || batch_write(loop, error));
    batch_reset(loop);
    return done;
}
