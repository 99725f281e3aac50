/* Every topic of virtbus in one table, and the one function that says where a key belongs. */
#pragma once

#include <glib.h>
#include <protobuf-c/protobuf-c.h>

typedef enum {
    TOPIC_VM_COMMANDS,
    TOPIC_VM_EVENTS,
    TOPIC_VM_STATE,
    TOPIC_VM_JOURNAL,
    TOPIC_VM_REPORTS,
    TOPIC_VOLUME_COMMANDS,
    TOPIC_VOLUME_EVENTS,
    TOPIC_VOLUME_STATE,
    TOPIC_VOLUME_JOURNAL,
    TOPIC_VOLUME_REPORTS,
    TOPIC_HOST_COMMANDS, /* One topic a host: needs the host's uuid. */
    TOPIC_HOSTS,
    TOPIC_DLQ,
    TOPIC_AGENTS_DLQ,
    TOPIC_COUNT,
} VbTopic;

typedef struct {
    const char *suffix; /* "vm.commands"; for the host topic a format with the host's uuid. */
    const ProtobufCMessageDescriptor *message; /* NULL: bytes as they came (DLQ). */
    gboolean
        per_vm; /* Keyed by VM uuid, with the deployment's partition count. Else one partition. */
    gboolean compacted;
    int retention_days; /* 0: compacted. */
} VbTopicInfo;

const VbTopicInfo *topic_info(VbTopic topic);

/* "<prefix>.<suffix>", e.g. "virtbus.vm.commands". `host_uuid` is for TOPIC_HOST_COMMANDS, else
 * NULL. */
char *topic_name(const char *prefix, VbTopic topic, const char *host_uuid);

/* The topic of this suffix, without the prefix; FALSE: none. Host topics are not looked for. */
gboolean topic_parse(const char *suffix, VbTopic *ret_topic);

/* Kafka's default partitioner for Java: toPositive(murmur2(key)) mod n. librdkafka's own default
 * differs. */
int topic_partition(const void *key, size_t key_bytes, int n_partitions);
