/* What the files of the Kafka bus share: bus_kafka.c, _read.c, _restore.c, _write.c. */
#pragma once

#include "common/bus/bus_kafka.h"

enum {
    KAFKA_SLICE_MS = 1000,       /* No call blocks longer. */
    KAFKA_STOP_GRACE_MS = 10000, /* That a transaction has to end in once a stop is asked for. */
};

typedef struct {
    VbBus bus; /* First: a VbBus is a VbBusKafka. */
    VbBusKafkaConfig config;
    int n_partitions;
    char *names[TOPIC_COUNT]; /* Of topics; NULL for the hosts'. */
    rd_kafka_t *producer;     /* Transactional; asks for ends read-uncommitted. */
    rd_kafka_t *consumer;     /* In the group, read-committed. */
    rd_kafka_t *reader;       /* Restores; NULL most of the time. */
    GQueue events;            /* of VbBusEvent */
    GError *failure;          /* What a callback found; ends the next poll. */
    /* An assignment whose partitions are not all restored yet; NULL: none. */
    rd_kafka_topic_partition_list_t *assignment;
    int n_unrestored;
    int restoring;     /* The partition that the loop restores for this assignment; -1: none. */
    gboolean *is_told; /* Partitions that the loop was told of. */
    gint64 *ends;      /* [partition * n_inputs + input]: where the end was reported; -1: not. */
    GHashTable *hosts; /* host uuid -> when it was seen, monotonic */
    /* The first record of a transaction that the broker did not take. */
    rd_kafka_resp_err_t undelivered;
    char *undelivered_topic;
    gboolean times_told[TOPIC_COUNT]; /* Topics that keep the wrong times, and that was said. */
    gint64 begin_us;
    gint64 stop_us;  /* When a stop was first seen; 0: never. */
    gint64 check_us; /* When the broker was last checked. */
} VbBusKafka;

static inline VbBusKafka *bus_kafka_of(VbBus *bus)
{
    return (VbBusKafka *)bus;
}

/* bus_kafka.c */
/* Between two slices. FALSE and BUS_ERROR_STOP: a stop was asked for `grace_ms` ago. */
gboolean bus_kafka_tick(VbBusKafka *kafka, int grace_ms, GError **error);
/* A fatal error of a handle, if there is one, as BUS_ERROR_FATAL or _FENCED. */
gboolean bus_kafka_is_alive(const VbBusKafka *kafka, rd_kafka_t *handle, GError **error);
/* Index of an input topic's name; -1: none. */
int bus_kafka_input_index(const VbBusKafka *kafka, const char *topic);
rd_kafka_topic_partition_list_t *bus_kafka_inputs(const VbBusKafka *kafka, int partition);

/* _read.c */
rd_kafka_t *bus_kafka_consumer_new(VbBusKafka *kafka, GError **error);
gboolean bus_kafka_subscribe(VbBusKafka *kafka, GError **error);
/* Serves the group while something else goes on. */
gboolean bus_kafka_pump(VbBusKafka *kafka, int timeout_ms, GError **error);
gboolean bus_kafka_poll(VbBus *bus, int timeout_ms, VbBusEvent *ret_event, GError **error);
gboolean bus_kafka_confirm_end(VbBus *bus, int partition, gboolean *ret_at_end, GError **error);

/* _restore.c */
gboolean bus_kafka_committed(VbBus *bus, VbBusOffsets *offsets, GError **error);
gboolean bus_kafka_state_end(VbBus *bus, int partition, gint64 *ret_end, GError **error);
gboolean bus_kafka_read_state(VbBus *bus, int partition, gint64 end, VbBusRead read, void *user,
                              GError **error);
gboolean bus_kafka_consume(VbBus *bus, VbBusOffsets *offsets, GError **error);

/* _write.c */
rd_kafka_t *bus_kafka_producer_new(VbBusKafka *kafka, GError **error);
gboolean bus_kafka_init(VbBusKafka *kafka, GError **error);
gboolean bus_kafka_host_exists(VbBus *bus, const char *host_uuid, gboolean *ret_exists,
                               GError **error);
gboolean bus_kafka_begin(VbBus *bus, GError **error);
gboolean bus_kafka_produce(VbBus *bus, const VbBusMessage *message, GError **error);
gboolean bus_kafka_flush(VbBus *bus, GError **error);
gboolean bus_kafka_send_offsets(VbBus *bus, const VbBusOffsets *offsets, size_t n_offsets,
                                GError **error);
gboolean bus_kafka_commit(VbBus *bus, GError **error);
gboolean bus_kafka_abort(VbBus *bus, GError **error);
