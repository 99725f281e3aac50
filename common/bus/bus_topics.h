/* Makes the topics of a deployment with the settings that the design needs. Idempotent.
 *
 * It never changes and never deletes a topic that exists; one with another partition count is an
 * error, for the count is fixed for good.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "common/base/topics.h"
#include "common/bus/bus_error.h"

typedef struct {
    const char *prefix;
    int partitions;  /* Of the topics that are keyed by VM. */
    int replication; /* -1: the broker's default. */
} VbTopicPlan;

/* Makes every topic of topics.h but the hosts'. `handle`: any producer or consumer. Names of those
 * that were made are appended to `created` (of char *, with g_free; may be NULL). */
gboolean bus_topics_create(rd_kafka_t *handle, const VbTopicPlan *plan, GPtrArray *created,
                           GError **error);

/* Makes the command topic of one host. Without it, services answer HOST_UNKNOWN for that host. */
gboolean bus_topics_create_host(rd_kafka_t *handle, const char *prefix, const char *host_uuid,
                                int replication, gboolean *ret_created, GError **error);
