/* The bus of a service over Kafka: one transactional producer, one consumer in a group, and a
 * reader that lives only while partitions are restored.
 *
 * Blocking calls run in slices of a second: between them `tick` is called, which keeps the
 * heartbeat and says whether the process was asked to end.
 */
#pragma once

#include "common/base/step.h"
#include "common/bus/bus.h"
#include "common/bus/kafka_conf.h"

typedef struct {
    VbKafkaSettings kafka;
    const VbService *service;
    const char *prefix;
    const char *group_id;
    const char *instance_id;      /* Unique among the living members of the group, and stable. */
    gboolean (*tick)(void *user); /* TRUE: end as soon as possible. */
    void *user;
} VbBusKafkaConfig;

/* Ends one's own dead transaction, checks the topics, joins the group. Everything in `config` must
 * outlive the bus. NULL and BUS_ERROR_SETUP, _FATAL or _STOP. */
VbBus *bus_kafka_open(const VbBusKafkaConfig *config, int *ret_n_partitions, GError **error);

/* Without leaving the group: the same instance takes its partitions back when it starts again. */
void bus_kafka_close(VbBus *bus);
