/* See bench.h. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_MS = 10000 };

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}

/* ---- Writing */

void bench_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    (void)opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        bench_die("the broker did not take a record for %s: %s", rd_kafka_topic_name(message->rkt),
                  rd_kafka_err2str(message->err));
    }
}

int bench_partitions(rd_kafka_t *handle, const char *topic)
{
    g_autoptr(GError) error = NULL;
    int n = kafka_partitions(handle, topic, ANSWER_MS, &error);
    if (n <= 0) {
        bench_die("topic %s: %s", topic, n == 0 ? "there is none" : error->message);
    }
    return n;
}

rd_kafka_t *bench_producer_new(const char *bootstrap, const char *const *topics)
{
    g_autoptr(GError) error = NULL;
    VbKafkaSettings settings = {.bootstrap = bootstrap, .client_id = "bench"};
    rd_kafka_t *producer = kafka_producer_new(&settings, bench_delivered, NULL, &error);
    if (producer == NULL) {
        bench_die("%s", error->message);
    }
    for (; *topics != NULL; topics++) {
        bench_partitions(producer, *topics);
    }
    return producer;
}

void bench_produce(rd_kafka_t *producer, const char *topic, int partition, const char *key,
                   const void *value, size_t value_bytes)
{
    for (;;) {
        rd_kafka_resp_err_t code = rd_kafka_producev(
            producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
            RD_KAFKA_V_VALUE((void *)value, value_bytes), RD_KAFKA_V_END);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return;
        }
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            bench_die("a record for %s cannot be sent: %s", topic, rd_kafka_err2str(code));
        }
        rd_kafka_poll(producer, 100);
    }
}

/* ---- Reading */

void bench_reader_open(VbBenchReader *reader, const char *bootstrap, const char *const *topics)
{
    g_autoptr(GError) error = NULL;
    VbKafkaSettings settings = {.bootstrap = bootstrap, .client_id = "bench"};
    g_autoptr(rd_kafka_topic_partition_list_t) list = rd_kafka_topic_partition_list_new(16);
    reader->consumer = kafka_consumer_new(&settings, NULL, &error);
    if (reader->consumer == NULL) {
        bench_die("%s", error->message);
    }
    for (; *topics != NULL; topics++) {
        int n = bench_partitions(reader->consumer, *topics);
        for (int p = 0; p < n; p++) {
            int64_t low;
            int64_t high;
            rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(reader->consumer, *topics,
                                                                        p, &low, &high, ANSWER_MS);
            if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
                bench_die("the end of %s is not known: %s", *topics, rd_kafka_err2str(code));
            }
            rd_kafka_topic_partition_list_add(list, *topics, p)->offset = high;
        }
    }
    reader->n_open = (guint)list->cnt;
    rd_kafka_assign(reader->consumer, list);
    while (reader->n_open > 0) {
        rd_kafka_message_t *message = bench_reader_next(reader, ANSWER_MS);
        if (message != NULL) {
            rd_kafka_message_destroy(message);
        }
    }
}

rd_kafka_message_t *bench_reader_next(VbBenchReader *reader, int timeout_ms)
{
    rd_kafka_message_t *message = rd_kafka_consumer_poll(reader->consumer, timeout_ms);
    if (message == NULL || message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return message;
    }
    if (message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        bench_die("reading fails: %s", rd_kafka_message_errstr(message));
    }
    reader->n_open -= reader->n_open > 0;
    rd_kafka_message_destroy(message);
    return NULL;
}

/* ---- Results */

void bench_add(VbBenchSeries *series, gint64 spent_us)
{
    if (series->spent_us == NULL) {
        series->spent_us = g_array_new(FALSE, FALSE, sizeof(gint64));
    }
    g_array_append_val(series->spent_us, spent_us);
}

static gint compare(gconstpointer a, gconstpointer b)
{
    gint64 left = *(const gint64 *)a;
    gint64 right = *(const gint64 *)b;
    return left < right ? -1 : left > right;
}

/* The value that `percent` of all do not exceed. */
static double percentile_ms(const GArray *sorted, guint percent)
{
    guint rank = (sorted->len * percent + 99) / 100;
    return (double)g_array_index(sorted, gint64, MAX(rank, 1) - 1) / 1000;
}

void bench_print(VbBenchSeries *series)
{
    if (series->spent_us == NULL) {
        bench_die("nothing was measured for \"%s\"", series->name);
    }
    g_array_sort(series->spent_us, compare);
    printf("latency\t%s\t%u\t%.2f\t%.2f\n", series->name, series->spent_us->len,
           percentile_ms(series->spent_us, 50), percentile_ms(series->spent_us, 99));
    g_array_unref(series->spent_us);
    series->spent_us = NULL;
}
