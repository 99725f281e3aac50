/* What the measuring programs share: handles with virtbus's own settings, one place where every
 * record that comes in is timed, and percentiles. Any error ends the program with a sentence: a
 * measurement that went wrong has no result. */
#pragma once

#include <librdkafka/rdkafka.h>

#include "common/base/topics.h"
#include "common/bus/kafka_conf.h"

G_NORETURN void bench_die(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* ---- Writing */

/* A delivery report callback: a record that the broker does not take ends the program. */
void bench_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque);

/* Idempotent, not transactional: a control plane, or a host. It has looked the topics up. */
rd_kafka_t *bench_producer_new(const char *bootstrap, const char *const *topics);

/* Copies the value. Waits only while librdkafka's queue is full. */
void bench_produce(rd_kafka_t *producer, const char *topic, int partition, const char *key,
                   const void *value, size_t value_bytes);

/* ---- Reading */

typedef struct {
    rd_kafka_t *consumer;
    guint n_open; /* Partitions whose end was not reached yet. */
} VbBenchReader;

/* Reads committed records from the topics' present ends on. Returns when it has reached all of
 * them, so that every record written from now on is seen. */
void bench_reader_open(VbBenchReader *reader, const char *bootstrap, const char *const *topics);

/* The next record, or NULL after `timeout_ms`. Destroy it. */
rd_kafka_message_t *bench_reader_next(VbBenchReader *reader, int timeout_ms);

int bench_partitions(rd_kafka_t *handle, const char *topic);

/* ---- Results */

typedef struct {
    const char *name;
    GArray *spent_us; /* of gint64 */
} VbBenchSeries;

void bench_add(VbBenchSeries *series, gint64 spent_us);

/* One line on standard output: "latency", name, number, p50 and p99 in ms, separated by tabs. */
void bench_print(VbBenchSeries *series);
