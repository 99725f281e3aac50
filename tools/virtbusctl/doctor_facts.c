/* What the topics tell: see doctor.h. It reads, and changes nothing. */
#include <string.h>

#include "common/bus/kafka_conf.h"
#include "tools/virtbusctl/doctor.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"

enum {
    COUNTED_MAX = 1000, /* Of records that wait or are dead; more is told as more. */
};

typedef struct {
    Ctl *ctl;
    VbClient *client;
    DoctorFacts *facts;
} Gathering;

static gboolean read_all(const Gathering *gathering, ClientTake take, gpointer data, GError **error)
{
    VbClient *client = gathering->client;
    gboolean ok = client_read_start(client, error) &&
                  client_read_to_end(client, gathering->ctl->timeout_ms, take, data, error);
    client_read_stop(client);
    return ok;
}

/* ---- Topics */

static gboolean topics_gather(const Gathering *gathering, GError **error)
{
    DoctorFacts *facts = gathering->facts;
    for (int i = 0; i < TOPIC_COUNT; i++) {
        if (i == TOPIC_HOST_COMMANDS) {
            continue;
        }
        g_autofree char *name = topic_name(facts->prefix, (VbTopic)i, NULL);
        facts->topics[i].name = arena_strdup(facts->arena, name);
        facts->topics[i].partitions = client_partitions(gathering->client, (VbTopic)i, NULL, error);
        if (facts->topics[i].partitions < 0) {
            return FALSE;
        }
    }
    doctor_admin_topics(client_handle(gathering->client), facts);
    return TRUE;
}

/* ---- Services */

static gboolean waiting_take(const ClientRecord *record, gpointer data)
{
    DoctorService *service = data;
    if (service->oldest_ms == 0 || record->time_ms < service->oldest_ms) {
        service->oldest_ms = record->time_ms;
        service->oldest_topic = topic_info(record->source->topic)->suffix;
    }
    service->waiting++;
    service->more = service->waiting >= COUNTED_MAX;
    return !service->more;
}

/* Reads what the group has not taken: offsets alone would count the marks of transactions. */
static gboolean waiting_gather(const Gathering *gathering, DoctorService *service,
                               const rd_kafka_topic_partition_list_t *list, GError **error)
{
    gsize skipped = strlen(gathering->facts->prefix) + 1;
    guint n = 0;
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *partition = &list->elems[i];
        VbTopic topic;
        gint64 low;
        gint64 high;
        if (strlen(partition->topic) <= skipped ||
            !topic_parse(partition->topic + skipped, &topic)) {
            continue;
        }
        if (!client_bounds(gathering->client, topic, NULL, partition->partition, &low, &high,
                           error)) {
            return FALSE;
        }
        gint64 from = MAX(low, partition->offset);
        if (from < high) {
            n++;
            if (!client_read(gathering->client, topic, NULL, partition->partition, from, error)) {
                return FALSE;
            }
        }
    }
    return n == 0 || read_all(gathering, waiting_take, service, error);
}

static gboolean services_gather(const Gathering *gathering, GError **error)
{
    rd_kafka_t *handle = client_handle(gathering->client);
    for (int i = 0; i < DOCTOR_N_SERVICES; i++) {
        DoctorService *service = &gathering->facts->services[i];
        g_autoptr(rd_kafka_topic_partition_list_t) list =
            doctor_admin_group(handle, gathering->facts, service);
        if (list != NULL && !waiting_gather(gathering, service, list, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Dead letters */

typedef struct {
    VbArena *arena;
    DoctorDlq *dlq;
} DlqReading;

static gboolean dead_take(const ClientRecord *record, gpointer data)
{
    const DlqReading *reading = data;
    DoctorDlq *dlq = reading->dlq;
    dlq->records++;
    if (record->time_ms >= dlq->newest_ms) {
        dlq->newest_ms = record->time_ms;
        dlq->newest_key = arena_strdup(reading->arena, record->key != NULL ? record->key : "");
        const char *reason = client_record_header(record, reading->arena, CLIENT_HEADER_REASON);
        dlq->newest_reason = reason != NULL ? reason : "no reason is told";
    }
    return TRUE;
}

static gboolean dlq_gather(const Gathering *gathering, VbTopic topic, DoctorDlq *dlq,
                           GError **error)
{
    VbClient *client = gathering->client;
    const DoctorTopic *found = &gathering->facts->topics[topic];
    guint n = 0;
    dlq->name = found->name;
    for (int partition = 0; partition < found->partitions; partition++) {
        gint64 low;
        gint64 high;
        if (!client_bounds(client, topic, NULL, partition, &low, &high, error)) {
            return FALSE;
        }
        gint64 from = MAX(low, high - COUNTED_MAX);
        dlq->more = dlq->more || from > low;
        if (from < high) {
            n++;
            if (!client_read(client, topic, NULL, partition, from, error)) {
                return FALSE;
            }
        }
    }
    DlqReading reading = {gathering->facts->arena, dlq};
    return n == 0 || read_all(gathering, dead_take, &reading, error);
}

/* ---- Hosts and VMs */

/* The last record of each key, by key; a key without a value is left out. */
static gboolean host_take(const ClientRecord *record, gpointer data)
{
    const Gathering *gathering = data;
    GArray *hosts = gathering->facts->hosts;
    for (guint i = 0; record->key != NULL && i < hosts->len; i++) {
        const DoctorHost *known = &g_array_index(hosts, DoctorHost, i);
        if (strcmp(known->info->host_uuid, record->key) == 0) {
            g_array_remove_index(hosts, i);
            break;
        }
    }
    const HostInfo *info = (const HostInfo *)client_record_message(record, gathering->facts->arena);
    if (info != NULL && g_strcmp0(info->host_uuid, record->key) == 0) {
        DoctorHost host = {.info = info, .seen_ms = record->time_ms};
        g_array_append_val(hosts, host);
    }
    return TRUE;
}

static int host_compare(gconstpointer a, gconstpointer b)
{
    const HostInfo *left = ((const DoctorHost *)a)->info;
    const HostInfo *right = ((const DoctorHost *)b)->info;
    int by_name = strcmp(left->hostname, right->hostname);
    return by_name != 0 ? by_name : strcmp(left->host_uuid, right->host_uuid);
}

static gboolean hosts_gather(Gathering *gathering, GError **error)
{
    DoctorFacts *facts = gathering->facts;
    VbClient *client = gathering->client;
    for (int partition = 0; partition < facts->topics[TOPIC_HOSTS].partitions; partition++) {
        if (!client_read(client, TOPIC_HOSTS, NULL, partition, -1, error)) {
            return FALSE;
        }
    }
    if (facts->topics[TOPIC_HOSTS].partitions > 0 &&
        !read_all(gathering, host_take, gathering, error)) {
        return FALSE;
    }
    for (guint i = 0; i < facts->hosts->len; i++) {
        DoctorHost *host = &g_array_index(facts->hosts, DoctorHost, i);
        int n = client_partitions(client, TOPIC_HOST_COMMANDS, host->info->host_uuid, error);
        if (n < 0) {
            return FALSE;
        }
        host->has_topic = n > 0;
    }
    g_array_sort(facts->hosts, host_compare);
    return TRUE;
}

static int vm_compare(gconstpointer a, gconstpointer b)
{
    return strcmp(((const DoctorVm *)a)->uuid, ((const DoctorVm *)b)->uuid);
}

static gboolean vms_gather(const Gathering *gathering, GError **error)
{
    DoctorFacts *facts = gathering->facts;
    if (facts->topics[TOPIC_VM_STATE].partitions == 0) {
        return TRUE;
    }
    g_autoptr(GHashTable) model =
        model_read(gathering->ctl, gathering->client, TOPIC_VM_STATE, error);
    if (model == NULL) {
        return FALSE;
    }
    GHashTableIter iter;
    gpointer uuid;
    gpointer state;
    g_hash_table_iter_init(&iter, model);
    while (g_hash_table_iter_next(&iter, &uuid, &state)) {
        DoctorVm vm = {.uuid = arena_strdup(facts->arena, uuid), .record = model_vm(state)};
        if (vm.record != NULL) {
            g_array_append_val(facts->vms, vm);
        }
    }
    g_array_sort(facts->vms, vm_compare);
    return TRUE;
}

/* ---- The whole */

gboolean doctor_facts_gather(Ctl *ctl, DoctorFacts *facts, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VbClient) client = client_open(ctl, &cause);
    if (client == NULL) {
        facts->broker_problem = arena_strdup(facts->arena, cause->message);
        return TRUE;
    }
    Gathering gathering = {ctl, client, facts};
    doctor_admin_brokers(client_handle(client), facts);
    if (!topics_gather(&gathering, error) || !services_gather(&gathering, error) ||
        !dlq_gather(&gathering, TOPIC_DLQ, &facts->dlqs[DOCTOR_DLQ], error) ||
        !dlq_gather(&gathering, TOPIC_AGENTS_DLQ, &facts->dlqs[DOCTOR_AGENTS_DLQ], error) ||
        !hosts_gather(&gathering, error) || !vms_gather(&gathering, error)) {
        return FALSE;
    }
    facts->now_ms = print_now_ms();
    return TRUE;
}
