/* What the broker's administration tells: settings of topics, its version, consumer groups. */
#include <stdlib.h>
#include <string.h>

#include "common/bus/kafka_conf.h"
#include "tools/virtbusctl/doctor.h"

enum { ANSWER_MS = 10000 };

/* Waits for the one answer; NULL and *ret_problem where there is none, or it is an error. */
static rd_kafka_event_t *answer_await(rd_kafka_queue_t *queue, VbArena *arena,
                                      const char **ret_problem)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ANSWER_MS);
    rd_kafka_queue_destroy(queue);
    if (event == NULL) {
        *ret_problem = "the broker does not answer";
        return NULL;
    }
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *ret_problem = arena_strdup(arena, rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
        return NULL;
    }
    return event;
}

/* ---- Settings */

typedef void (*ResourceTake)(DoctorFacts *facts, const rd_kafka_ConfigResource_t *resource);

static void configs_describe(rd_kafka_t *handle, DoctorFacts *facts,
                             rd_kafka_ConfigResource_t **resources, size_t n, ResourceTake take)
{
    const char *problem = NULL;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_DescribeConfigs(handle, resources, n, NULL, queue);
    rd_kafka_event_t *event = answer_await(queue, facts->arena, &problem);
    if (event != NULL) {
        size_t n_results;
        const rd_kafka_ConfigResource_t **results = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &n_results);
        for (size_t i = 0; i < n_results; i++) {
            take(facts, results[i]);
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_ConfigResource_destroy_array(resources, n);
}

/* In the arena; NULL: it is not told. */
static const char *config_value(const DoctorFacts *facts, const rd_kafka_ConfigResource_t *resource,
                                const char *name)
{
    size_t n;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);
    for (size_t i = 0; i < n; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0 && value != NULL) {
            return arena_strdup(facts->arena, value);
        }
    }
    return NULL;
}

static void topic_take(DoctorFacts *facts, const rd_kafka_ConfigResource_t *resource)
{
    const char *clean_up = config_value(facts, resource, "cleanup.policy");
    const char *time_type = config_value(facts, resource, "message.timestamp.type");
    const char *retention = config_value(facts, resource, "retention.ms");
    for (int i = 0; i < TOPIC_COUNT; i++) {
        DoctorTopic *topic = &facts->topics[i];
        if (topic->partitions > 0 && clean_up != NULL && time_type != NULL && retention != NULL &&
            strcmp(topic->name, rd_kafka_ConfigResource_name(resource)) == 0) {
            topic->clean_up = clean_up;
            topic->time_type = time_type;
            topic->retention_ms = strtoll(retention, NULL, 10);
        }
    }
}

void doctor_admin_topics(rd_kafka_t *handle, DoctorFacts *facts)
{
    rd_kafka_ConfigResource_t *resources[TOPIC_COUNT];
    size_t n = 0;
    for (int i = 0; i < TOPIC_COUNT; i++) {
        if (facts->topics[i].partitions > 0) {
            resources[n++] =
                rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, facts->topics[i].name);
        }
    }
    if (n > 0) {
        configs_describe(handle, facts, resources, n, topic_take);
    }
}

/* The protocol has no field for the broker's version; this property, where it is, follows it. */
static void broker_take(DoctorFacts *facts, const rd_kafka_ConfigResource_t *resource)
{
    const char *version = config_value(facts, resource, "inter.broker.protocol.version");
    facts->broker_version = version != NULL ? version : "";
}

void doctor_admin_brokers(rd_kafka_t *handle, DoctorFacts *facts)
{
    const struct rd_kafka_metadata *metadata;
    facts->broker_version = "";
    if (rd_kafka_metadata(handle, 0, NULL, &metadata, ANSWER_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return;
    }
    facts->n_brokers = metadata->broker_cnt;
    if (metadata->broker_cnt > 0) {
        g_autofree char *id = g_strdup_printf("%d", metadata->brokers[0].id);
        rd_kafka_ConfigResource_t *resource =
            rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, id);
        configs_describe(handle, facts, &resource, 1, broker_take);
    }
    rd_kafka_metadata_destroy(metadata);
}

/* ---- Groups */

static rd_kafka_topic_partition_list_t *partitions_all(const DoctorFacts *facts)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (int i = 0; i < TOPIC_COUNT; i++) {
        const DoctorTopic *topic = &facts->topics[i];
        if (topic_info((VbTopic)i)->per_vm && topic->partitions > 0) {
            rd_kafka_topic_partition_list_add_range(list, topic->name, 0, topic->partitions - 1);
        }
    }
    return list;
}

/* Takes over what is committed. */
static void offsets_take(rd_kafka_topic_partition_list_t *list,
                         const rd_kafka_topic_partition_list_t *committed)
{
    for (int i = 0; committed != NULL && i < committed->cnt; i++) {
        const rd_kafka_topic_partition_t *partition = &committed->elems[i];
        if (partition->offset >= 0) {
            rd_kafka_topic_partition_list_add(list, partition->topic, partition->partition)
                ->offset = partition->offset;
        }
    }
}

static gboolean offsets_read(rd_kafka_t *handle, const DoctorFacts *facts, DoctorService *service,
                             rd_kafka_topic_partition_list_t *list)
{
    g_autoptr(rd_kafka_topic_partition_list_t) all = partitions_all(facts);
    if (all->cnt == 0) {
        return TRUE;
    }
    rd_kafka_ListConsumerGroupOffsets_t *request =
        rd_kafka_ListConsumerGroupOffsets_new(service->group_id, all);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_ListConsumerGroupOffsets(handle, &request, 1, NULL, queue);
    rd_kafka_event_t *event = answer_await(queue, facts->arena, &service->problem);
    rd_kafka_ListConsumerGroupOffsets_destroy(request);
    if (event == NULL) {
        return FALSE;
    }
    size_t n;
    const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(event), &n);
    for (size_t i = 0; i < n; i++) {
        offsets_take(list, rd_kafka_group_result_partitions(groups[i]));
    }
    rd_kafka_event_destroy(event);
    return TRUE;
}

static void group_take(const DoctorFacts *facts, DoctorService *service,
                       const rd_kafka_ConsumerGroupDescription_t *group,
                       rd_kafka_topic_partition_list_t *list)
{
    const rd_kafka_error_t *error = rd_kafka_ConsumerGroupDescription_error(group);
    if (error != NULL) {
        service->problem = arena_strdup(facts->arena, rd_kafka_error_string(error));
        return;
    }
    service->state =
        rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(group));
    service->members = (guint)rd_kafka_ConsumerGroupDescription_member_count(group);
    for (guint i = 0; i < service->members; i++) {
        const rd_kafka_MemberAssignment_t *assignment = rd_kafka_MemberDescription_assignment(
            rd_kafka_ConsumerGroupDescription_member(group, i));
        const rd_kafka_topic_partition_list_t *partitions =
            assignment != NULL ? rd_kafka_MemberAssignment_partitions(assignment) : NULL;
        for (int j = 0; partitions != NULL && j < partitions->cnt; j++) {
            const rd_kafka_topic_partition_t *own = &partitions->elems[j];
            service->assigned++;
            if (rd_kafka_topic_partition_list_find(list, own->topic, own->partition) == NULL) {
                rd_kafka_topic_partition_list_add(list, own->topic, own->partition)->offset = -1;
            }
        }
    }
}

rd_kafka_topic_partition_list_t *doctor_admin_group(rd_kafka_t *handle, const DoctorFacts *facts,
                                                    DoctorService *service)
{
    g_autoptr(rd_kafka_topic_partition_list_t) list = rd_kafka_topic_partition_list_new(16);
    if (!offsets_read(handle, facts, service, list)) {
        return NULL;
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    const char *group_id = service->group_id;
    rd_kafka_DescribeConsumerGroups(handle, &group_id, 1, NULL, queue);
    rd_kafka_event_t *event = answer_await(queue, facts->arena, &service->problem);
    if (event == NULL) {
        return NULL;
    }
    size_t n;
    const rd_kafka_ConsumerGroupDescription_t **groups =
        rd_kafka_DescribeConsumerGroups_result_groups(
            rd_kafka_event_DescribeConsumerGroups_result(event), &n);
    for (size_t i = 0; i < n; i++) {
        group_take(facts, service, groups[i], list);
    }
    rd_kafka_event_destroy(event);
    return service->problem == NULL ? g_steal_pointer(&list) : NULL;
}
