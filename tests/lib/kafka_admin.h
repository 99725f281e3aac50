/* What tests do to the topics of a broker as its operator would. Any failure ends the test. */
#pragma once

#include <librdkafka/rdkafka.h>

/* Has been done when this returns; the others learn of it a little later. */
void admin_topic_delete(rd_kafka_t *client, const char *topic);

/* Changes one setting and leaves the others. */
void admin_topic_set(rd_kafka_t *client, const char *topic, const char *setting, const char *value);
