/* The bare hop: what a consume-transform-produce hop costs here without virtbus. Records go from
 * one topic to another in Kafka transactions, with the settings of common/bus, and nothing is made
 * of them: no state, no journal, no headers, no restore.
 *
 *   bench-hop BOOTSTRAP IN OUT [--flush]
 *
 * --flush waits for the broker's word on the records before the offsets are sent, as common/bus
 * does. Ends at SIGTERM. */
#include <stdio.h>
#include <string.h>

#include "tests/bench/bench.h"

enum { BATCH_MAX = 500, CALL_MS = 10000 }; /* A batch of the step loop. */

typedef struct {
    rd_kafka_t *consumer;
    rd_kafka_t *producer;
    const char *out;
    gboolean flush;
    rd_kafka_message_t *batch[BATCH_MAX];
    size_t n_batch;
} Hop;

static rd_kafka_t *handle_new(rd_kafka_type_t type, const char *bootstrap, const VbKafkaPair *pairs)
{
    g_autoptr(GError) error = NULL;
    VbKafkaSettings settings = {.bootstrap = bootstrap, .client_id = "bench-hop"};
    rd_kafka_conf_t *conf = kafka_conf_new(&settings, pairs, &error);
    rd_kafka_t *handle = NULL;
    if (conf != NULL) {
        if (type == RD_KAFKA_PRODUCER) {
            rd_kafka_conf_set_dr_msg_cb(conf, bench_delivered);
        }
        handle = kafka_handle_new(type, conf, &error);
    }
    if (handle == NULL) {
        bench_die("%s", error->message);
    }
    return handle;
}

static rd_kafka_t *producer_new(const char *bootstrap, const char *id)
{
    const VbKafkaPair pairs[] = {
        {"transactional.id", id}, {"transaction.timeout.ms", "10000"}, {"retry.backoff.ms", "5"},
        {"linger.ms", "0"},       {"partitioner", "murmur2_random"},   {NULL, NULL}};
    return handle_new(RD_KAFKA_PRODUCER, bootstrap, pairs);
}

static rd_kafka_t *consumer_new(const char *bootstrap, const char *group)
{
    const VbKafkaPair pairs[] = {{"group.id", group},
                                 {"group.instance.id", "bench"},
                                 {"partition.assignment.strategy", "range"},
                                 {"session.timeout.ms", "6000"},
                                 {"heartbeat.interval.ms", "1500"},
                                 {"isolation.level", "read_committed"},
                                 {"auto.offset.reset", "earliest"},
                                 {"enable.auto.commit", "false"},
                                 {"enable.auto.offset.store", "false"},
                                 {"queued.max.messages.kbytes", "1024"},
                                 {NULL, NULL}};
    return handle_new(RD_KAFKA_CONSUMER, bootstrap, pairs);
}

static void must(rd_kafka_error_t *cause, const char *what)
{
    if (cause != NULL) {
        bench_die("%s: %s", what, rd_kafka_error_string(cause));
    }
}

/* Waits once, then takes what is there. */
static void batch_read(Hop *hop)
{
    int wait_ms = 1000;
    hop->n_batch = 0;
    while (hop->n_batch < BATCH_MAX) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(hop->consumer, wait_ms);
        if (message == NULL) {
            return;
        }
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            bench_die("reading fails: %s", rd_kafka_message_errstr(message));
        }
        hop->batch[hop->n_batch++] = message;
        wait_ms = 0;
    }
}

static void batch_write(Hop *hop)
{
    g_autoptr(rd_kafka_topic_partition_list_t) offsets = rd_kafka_topic_partition_list_new(4);
    must(rd_kafka_begin_transaction(hop->producer), "begin");
    for (size_t i = 0; i < hop->n_batch; i++) {
        rd_kafka_message_t *message = hop->batch[i];
        const char *topic = rd_kafka_topic_name(message->rkt);
        rd_kafka_topic_partition_t *offset =
            rd_kafka_topic_partition_list_find(offsets, topic, message->partition);
        if (offset == NULL) {
            offset = rd_kafka_topic_partition_list_add(offsets, topic, message->partition);
        }
        offset->offset = message->offset + 1;
        ((char *)message->payload)[message->len - 1] ^= 1; /* The transformation. */
        bench_produce(hop->producer, hop->out, message->partition, "", message->payload,
                      message->len);
        rd_kafka_message_destroy(message);
    }
    if (hop->flush) {
        rd_kafka_flush(hop->producer, CALL_MS);
    }
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(hop->consumer);
    must(rd_kafka_send_offsets_to_transaction(hop->producer, offsets, group, CALL_MS), "offsets");
    rd_kafka_consumer_group_metadata_destroy(group);
    must(rd_kafka_commit_transaction(hop->producer, CALL_MS), "commit");
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        bench_die("usage: bench-hop BOOTSTRAP IN OUT [--flush]");
    }
    g_autoptr(rd_kafka_topic_partition_list_t) inputs = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(inputs, argv[2], RD_KAFKA_PARTITION_UA);
    Hop hop = {.producer = producer_new(argv[1], argv[2]),
               .consumer = consumer_new(argv[1], argv[2]),
               .out = argv[3],
               .flush = argc > 4 && strcmp(argv[4], "--flush") == 0};
    must(rd_kafka_init_transactions(hop.producer, CALL_MS), "init");
    bench_partitions(hop.producer, hop.out);
    rd_kafka_subscribe(hop.consumer, inputs);
    for (;;) {
        batch_read(&hop);
        if (hop.n_batch > 0) {
            batch_write(&hop);
        }
    }
}
