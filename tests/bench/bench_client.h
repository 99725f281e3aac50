/* What the measurements of bench-client share: N requests at a pace, and what comes back. */
#pragma once

#include <sys/types.h>

#include "tests/bench/bench.h"
#include "virtbus/v1/virtbus.h"

typedef struct VbBenchClient VbBenchClient;
typedef void (*VbBenchSend)(VbBenchClient *client, guint number);
typedef void (*VbBenchTake)(VbBenchClient *client, const rd_kafka_message_t *message,
                            gint64 now_us);

struct VbBenchClient {
    const char *bootstrap;
    const char *prefix;
    const char *host_uuid; /* That this client plays; NULL: none. */
    rd_kafka_t *producer;
    VbBenchReader reader;
    int n_partitions;
    guint tag;   /* Tells this run's VMs from another's. */
    guint n;     /* Requests of a measurement. */
    guint n_vms; /* That they are about. */
    guint round; /* Makes request ids of one measurement other than the next one's. */
    guint n_done;
    int rate;         /* Requests a second. */
    gint64 *at_us;    /* When the last record of request i was produced or read; monotonic. */
    VbBenchSend send; /* Throughput: what is queued, while this process is stopped. */
    pid_t pid;
};

/* Sends request 0 .. n-1 at the rate, and hands what comes to `take` until it has counted n_done up
 * to n. */
void client_run(VbBenchClient *client, VbBenchSend send, VbBenchTake take);

/* The uuid of VM `number`; free it. And back; FALSE: none of this run's. */
char *client_vm(const VbBenchClient *client, guint number);
gboolean client_number(const VbBenchClient *client, const rd_kafka_message_t *message,
                       guint *ret_number);
char *client_request(VbBenchClient *client, guint number, char ret_text[37]);

void client_send(VbBenchClient *client, VbTopic topic, const char *vm_uuid, const void *message);
gboolean client_is_topic(const VbBenchClient *client, const rd_kafka_message_t *message,
                         VbTopic topic);

/* Whether it is a reply to one of this run's VMs. One with an error ends the program. */
gboolean client_reply(VbBenchClient *client, const rd_kafka_message_t *message);

/* A VbBenchSend: CreateVm of VM `number`. */
void client_create(VbBenchClient *client, guint number);

/* bench_start.c: starts all VMs on the host that this client plays. */
void client_starts(VbBenchClient *client);
