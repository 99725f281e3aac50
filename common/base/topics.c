#include "common/base/topics.h"

#include <string.h>

#include "virtbus/v1/virtbus.h"

static const VbTopicInfo infos[TOPIC_COUNT] = {
    [TOPIC_VM_COMMANDS] = {"vm.commands", &vm_command__descriptor, TRUE, FALSE, 14},
    [TOPIC_VM_EVENTS] = {"vm.events", &vm_event__descriptor, TRUE, FALSE, 14},
    [TOPIC_VM_STATE] = {"vm.state", &state_record__descriptor, TRUE, TRUE, 0},
    [TOPIC_VM_JOURNAL] = {"vm.journal", &journal__descriptor, TRUE, FALSE, 14},
    [TOPIC_VM_REPORTS] = {"vm.reports", &host_report__descriptor, TRUE, FALSE, 14},
    [TOPIC_VOLUME_COMMANDS] = {"volume.commands", &volume_command__descriptor, TRUE, FALSE, 14},
    [TOPIC_VOLUME_EVENTS] = {"volume.events", &volume_event__descriptor, TRUE, FALSE, 14},
    [TOPIC_VOLUME_STATE] = {"volume.state", &state_record__descriptor, TRUE, TRUE, 0},
    [TOPIC_VOLUME_JOURNAL] = {"volume.journal", &journal__descriptor, TRUE, FALSE, 14},
    [TOPIC_VOLUME_REPORTS] = {"volume.reports", &host_report__descriptor, TRUE, FALSE, 14},
    [TOPIC_HOST_COMMANDS] = {"host.%s.commands", &host_command__descriptor, FALSE, FALSE, 14},
    [TOPIC_HOSTS] = {"hosts", &host_info__descriptor, FALSE, TRUE, 0},
    [TOPIC_DLQ] = {"dlq", NULL, FALSE, FALSE, 30},
    [TOPIC_AGENTS_DLQ] = {"agents.dlq", NULL, FALSE, FALSE, 30},
};

const VbTopicInfo *topic_info(VbTopic topic)
{
    g_assert((unsigned)topic < TOPIC_COUNT);
    return &infos[topic];
}

char *topic_name(const char *prefix, VbTopic topic, const char *host_uuid)
{
    if (topic == TOPIC_HOST_COMMANDS) {
        return g_strdup_printf("%s.host.%s.commands", prefix, host_uuid);
    }
    return g_strdup_printf("%s.%s", prefix, topic_info(topic)->suffix);
}

gboolean topic_parse(const char *suffix, VbTopic *ret_topic)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (topic != TOPIC_HOST_COMMANDS && strcmp(infos[topic].suffix, suffix) == 0) {
            *ret_topic = (VbTopic)topic;
            return TRUE;
        }
    }
    return FALSE;
}

/* MurmurHash2, 32 bits, with the seed of org.apache.kafka.common.utils.Utils.murmur2. */
static uint32_t murmur2(const uint8_t *data, size_t length)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28cU ^ (uint32_t)length;
    size_t left = length;
    for (; left >= 4; left -= 4, data += 4) {
        uint32_t k = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
                     (uint32_t)data[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h = (h * m) ^ k;
    }
    if (left >= 3) {
        h ^= (uint32_t)data[2] << 16;
    }
    if (left >= 2) {
        h ^= (uint32_t)data[1] << 8;
    }
    if (left >= 1) {
        h = (h ^ data[0]) * m;
    }
    h ^= h >> 13;
    h *= m;
    return h ^ (h >> 15);
}

int topic_partition(const void *key, size_t key_bytes, int n_partitions)
{
    return (int)((murmur2(key, key_bytes) & 0x7fffffff) % (uint32_t)n_partitions);
}
