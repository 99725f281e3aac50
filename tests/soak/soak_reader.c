/* Reads all topics while the soak goes on, committed records only, and writes down what it saw at
 * which offset: the final reading must say the same. From replies and states it knows what is still
 * owed. */
#include "tests/soak/soak.h"

#include <string.h>

enum { ANSWER_MS = 60000, SHOWN_MAX = 20 };

typedef struct {
    VbTopic topic;
    const char *host; /* TOPIC_HOST_COMMANDS */
    char *name;
} Read;

typedef struct {
    Soak *soak;
    rd_kafka_t *consumer;
    GArray *reads; /* of Read */
} Reader;

static const VbTopic topics[] = {TOPIC_VM_COMMANDS,    TOPIC_VM_EVENTS,    TOPIC_VM_STATE,
                                 TOPIC_VM_JOURNAL,     TOPIC_VM_REPORTS,   TOPIC_VOLUME_COMMANDS,
                                 TOPIC_VOLUME_EVENTS,  TOPIC_VOLUME_STATE, TOPIC_VOLUME_JOURNAL,
                                 TOPIC_VOLUME_REPORTS, TOPIC_DLQ,          TOPIC_AGENTS_DLQ};

static void read_add(Reader *reader, rd_kafka_topic_partition_list_t *list, VbTopic topic,
                     const char *host)
{
    Read read = {
        .topic = topic, .host = host, .name = topic_name(reader->soak->prefix, topic, host)};
    g_autoptr(GError) error = NULL;
    int n = kafka_partitions(reader->consumer, read.name, ANSWER_MS, &error);
    if (n <= 0) {
        soak_die("topic %s: %s", read.name, error != NULL ? error->message : "there is none");
    }
    for (int p = 0; p < n; p++) {
        rd_kafka_topic_partition_list_add(list, read.name, p)->offset = 0;
    }
    g_array_append_val(reader->reads, read);
}

static void reader_open(Reader *reader)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(rd_kafka_topic_partition_list_t) list = rd_kafka_topic_partition_list_new(64);
    VbKafkaSettings settings = {.bootstrap = reader->soak->bootstrap, .client_id = "soak-reader"};
    reader->consumer = kafka_consumer_new(&settings, NULL, &error);
    if (reader->consumer == NULL) {
        soak_die("%s", error->message);
    }
    reader->reads = g_array_new(FALSE, FALSE, sizeof(Read));
    for (size_t i = 0; i < G_N_ELEMENTS(topics); i++) {
        read_add(reader, list, topics[i], NULL);
    }
    for (int i = 0; i < SOAK_HOSTS; i++) {
        read_add(reader, list, TOPIC_HOST_COMMANDS, reader->soak->hosts[i].uuid);
    }
    rd_kafka_assign(reader->consumer, list);
}

/* ---- What is owed */

static SoakVm *vm_get(SoakTable *table, const char *uuid, gsize n_bytes)
{
    g_autofree char *key = g_strndup(uuid, n_bytes);
    SoakVm *vm = g_hash_table_lookup(table->vms, key);
    if (vm == NULL) {
        vm = g_new0(SoakVm, 1);
        g_hash_table_insert(table->vms, g_steal_pointer(&key), vm);
    }
    return vm;
}

static void event_take(SoakTable *table, const rd_kafka_message_t *message)
{
    VmEvent *event = vm_event__unpack(NULL, message->len, message->payload);
    if (event == NULL) {
        soak_die("a record of vm.events at offset %" G_GINT64_FORMAT " is none", message->offset);
    }
    SoakRequest *request = event->event_case == VM_EVENT__EVENT_REPLY
                               ? g_hash_table_lookup(table->requests, event->reply->request_id)
                               : NULL;
    if (request != NULL && event->reply->repeated) {
        request->n_repeated++;
    } else if (request != NULL) {
        request->n_first++;
        request->code = event->reply->error != NULL ? (int)event->reply->error->code : 0;
    }
    vm_event__free_unpacked(event, NULL);
}

static void volumes_take(SoakVm *vm, const VolumeRecord *volumes)
{
    vm->volumes_busy = volumes != NULL && volumes->operation != NULL;
    vm->n_deleting = 0;
    for (size_t i = 0; volumes != NULL && i < volumes->n_volumes; i++) {
        vm->n_deleting += volumes->volumes[i]->status == VOLUME_STATUS_DELETING;
    }
}

/* A tombstone: nothing is kept of it any more. */
static void state_take(SoakTable *table, VbTopic topic, const rd_kafka_message_t *message)
{
    SoakVm *vm = vm_get(table, message->key, message->key_len);
    StateRecord *state = message->payload != NULL
                             ? state_record__unpack(NULL, message->len, message->payload)
                             : NULL;
    if (topic == TOPIC_VOLUME_STATE) {
        volumes_take(vm, state != NULL ? state->volumes : NULL);
    } else {
        vm->status = state != NULL ? state->vm->status : VM_STATUS_UNSPECIFIED;
        vm->vm_busy = state != NULL && state->vm->operation != NULL;
        for (size_t i = 0; state != NULL && i < state->vm->spec->n_nics; i++) {
            vm->has_port |= state->vm->spec->nics[i]->type == NIC_TYPE_VHOST_USER;
        }
    }
    if (state != NULL) {
        state_record__free_unpacked(state, NULL);
    }
}

/* Of two topics it may read the report first. */
static void order_take(SoakTable *table, const rd_kafka_message_t *message)
{
    HostCommand *command = host_command__unpack(NULL, message->len, message->payload);
    if (command != NULL && !g_hash_table_contains(table->reported, command->operation_id)) {
        g_hash_table_replace(table->orders, g_strdup(command->operation_id),
                             g_strdup(command->vm_uuid));
    }
    if (command != NULL) {
        host_command__free_unpacked(command, NULL);
    }
}

static void report_take(SoakTable *table, const rd_kafka_message_t *message)
{
    HostReport *report = host_report__unpack(NULL, message->len, message->payload);
    if (report != NULL) {
        g_hash_table_remove(table->orders, report->operation_id);
        g_hash_table_add(table->reported, g_strdup(report->operation_id));
        host_report__free_unpacked(report, NULL);
    }
}

static gboolean has_settled(const SoakVm *vm)
{
    switch (vm->status) {
    case VM_STATUS_UNSPECIFIED: /* No state record yet, or it was refused. */
    case VM_STATUS_CREATED:
    case VM_STATUS_STOPPED:
    case VM_STATUS_DESTROYED:
    case VM_STATUS_EXPUNGED:
    case VM_STATUS_CRASHED:
        return !vm->vm_busy && !vm->volumes_busy && vm->n_deleting == 0;
    case VM_STATUS_RUNNING: /* What is doomed meanwhile stays until it ends: VOLUME_BUSY. */
        return !vm->vm_busy && !vm->volumes_busy;
    default:
        return FALSE;
    }
}

char *soak_owed(Soak *soak)
{
    SoakTable *table = &soak->table;
    g_autoptr(GString) text = g_string_new(NULL);
    GHashTableIter iter;
    gpointer key;
    gpointer value;
    guint n = 0;
    g_mutex_lock(&table->lock);
    g_hash_table_iter_init(&iter, table->requests);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const SoakRequest *request = value;
        if (request->n_acked > 0 && request->n_first == 0 && n++ < SHOWN_MAX) {
            g_string_append_printf(text, "  %s %s of VM %s has no reply\n", request->what,
                                   request->id, request->vm);
        }
    }
    g_hash_table_iter_init(&iter, table->orders);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (!vm_get(table, value, UUID_TEXT_BYTES - 1)->has_port && n++ < SHOWN_MAX) {
            g_string_append_printf(text, "  host command %s for VM %s has no report\n", (char *)key,
                                   (char *)value);
        }
    }
    g_hash_table_iter_init(&iter, table->vms);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const SoakVm *vm = value;
        if (!has_settled(vm) && n++ < SHOWN_MAX) {
            g_string_append_printf(
                text, "  VM %s: status %d, operations %d %d, %u deletions are open\n", (char *)key,
                (int)vm->status, vm->vm_busy, vm->volumes_busy, vm->n_deleting);
        }
    }
    g_mutex_unlock(&table->lock);
    return n > 0 ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}

/* ---- Reading */

static const Read *read_of(const Reader *reader, const char *name)
{
    for (guint i = 0; i < reader->reads->len; i++) {
        const Read *read = &g_array_index(reader->reads, Read, i);
        if (strcmp(read->name, name) == 0) {
            return read;
        }
    }
    g_assert_not_reached();
}

static void take(Reader *reader, const rd_kafka_message_t *message)
{
    Soak *soak = reader->soak;
    const Read *read = read_of(reader, rd_kafka_topic_name(message->rkt));
    g_autofree char *sha256 =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, message->payload, message->len);
    soak_line(&soak->reader_file, "[\"%s\", \"%s\", %d, %" G_GINT64_FORMAT ", \"%s\"]",
              read->host != NULL ? "host.commands" : topic_info(read->topic)->suffix,
              read->host != NULL ? read->host : "", (int)message->partition, message->offset,
              sha256);
    g_mutex_lock(&soak->table.lock);
    soak->read_us = g_get_monotonic_time();
    if (read->topic == TOPIC_VM_EVENTS) {
        event_take(&soak->table, message);
    } else if (read->topic == TOPIC_VM_STATE || read->topic == TOPIC_VOLUME_STATE) {
        state_take(&soak->table, read->topic, message);
    } else if (read->topic == TOPIC_HOST_COMMANDS) {
        order_take(&soak->table, message);
    } else if (read->topic == TOPIC_VM_REPORTS || read->topic == TOPIC_VOLUME_REPORTS) {
        report_take(&soak->table, message);
    }
    g_mutex_unlock(&soak->table.lock);
}

gpointer soak_reader(gpointer data)
{
    Soak *soak = data;
    Reader reader = {.soak = soak};
    reader_open(&reader);
    /* A broker that is away is no end: the reader goes on where it was. */
    while (g_atomic_int_get(&soak->threads_stop) == 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader.consumer, 100);
        if (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            take(&reader, message);
        }
        if (message != NULL) {
            rd_kafka_message_destroy(message);
        }
    }
    rd_kafka_consumer_close(reader.consumer);
    rd_kafka_destroy(reader.consumer);
    return NULL;
}
