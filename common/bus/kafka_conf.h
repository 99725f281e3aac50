/* librdkafka handles with virtbus's settings: the only place where a property's value is chosen.
 *
 * Properties come from three layers: virtbus's defaults, the caller's, the operator's kafka.NAME.
 * The operator wins, except over the ones that correctness rests on (isolation level, partitioner,
 * offsets ...): those are refused by name. librdkafka's own log lines become log_event lines, and
 * "all brokers down" the health condition "broker". It starts no thread of its own and reads no
 * option but the ones that kafka_settings names.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "common/bus/bus_error.h"
#include "common/runtime/options.h"

/* How to reach the brokers. Everything is borrowed and must live as long as it is used. */
typedef struct {
    const char *bootstrap;
    const char *client_id; /* Shown in the broker's logs: "vm-service/a1". */
    const VbKafkaProperty *extra;
    size_t n_extra;
} VbKafkaSettings;

/* From the options "bootstrap" and kafka.NAME. */
VbKafkaSettings kafka_settings(const VbOptions *options, const char *client_id);

/* One property of the caller's layer. */
typedef struct {
    const char *name;
    const char *value;
} VbKafkaPair;

/* A configuration with the common settings and `pairs` (ends with a NULL name). The caller may set
 * callbacks and owns it until a handle takes it. NULL and BUS_ERROR_SETUP, naming the property. */
rd_kafka_conf_t *kafka_conf_new(const VbKafkaSettings *settings, const VbKafkaPair *pairs,
                                GError **error);

/* A handle over `conf`, which is taken in any case. A consumer's own queue and its main queue are
 * one: rd_kafka_consumer_poll serves everything. Free: rd_kafka_destroy; a consumer first
 * rd_kafka_consumer_close. */
rd_kafka_t *kafka_handle_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, GError **error);

/* An idempotent producer, murmur2 partitioner, acks=all. Each message's fate comes to `delivered`
 * (may be NULL) during rd_kafka_poll or rd_kafka_flush. */
typedef void (*VbKafkaDelivered)(rd_kafka_t *producer, const rd_kafka_message_t *message,
                                 void *opaque);
rd_kafka_t *kafka_producer_new(const VbKafkaSettings *settings, VbKafkaDelivered delivered,
                               void *opaque, GError **error);

/* A read-committed consumer that reports the end of each partition
 * (RD_KAFKA_RESP_ERR__PARTITION_EOF) and commits nothing by itself. Meant for rd_kafka_assign.
 * `group_id` is only for offsets that the caller commits; NULL: none are. With no offset, reading
 * starts where the caller's assignment says. An offset that is gone is an error, never a silent
 * jump. */
rd_kafka_t *kafka_consumer_new(const VbKafkaSettings *settings, const char *group_id,
                               GError **error);

/* The same for one who reads to the end and is gone: it hears of the end at once, and asks all the
 * time while it lives. Look the topic up (kafka_partitions) before you assign it: else librdkafka
 * takes half a second to ask. */
rd_kafka_t *kafka_reader_new(const VbKafkaSettings *settings, const char *group_id, GError **error);

/* The number of partitions of a topic; 0: there is no such topic. -1 and BUS_ERROR_SETUP: not
 * allowed; -1 and BUS_ERROR_FATAL: nobody answers. */
int kafka_partitions(rd_kafka_t *handle, const char *topic, int timeout_ms, GError **error);

/* The health condition "broker", its metrics and its two log lines. kafka_broker_check asks a broker
 * only while the condition is unmet; kafka_broker_probe asks in any case, and believes the third
 * silence in a row. Each takes at most `timeout_ms`. */
void kafka_broker_check(rd_kafka_t *handle, int timeout_ms);
void kafka_broker_probe(rd_kafka_t *handle, int timeout_ms);

/* For a process that executes itself again, so that an outage that goes on is the same one: not
 * told again, and its end is told. Inherit it before the first handle. */
typedef struct {
    gboolean is_on;
    guint n; /* Outages so far. */
} VbKafkaOutage;
VbKafkaOutage kafka_outage(void);
void kafka_outage_inherit(VbKafkaOutage outage);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(rd_kafka_error_t, rd_kafka_error_destroy)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(rd_kafka_topic_partition_list_t,
                              rd_kafka_topic_partition_list_destroy)
