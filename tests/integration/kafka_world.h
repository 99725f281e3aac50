/* One test's own corner of a real broker: topics under a prefix of its own, a client beside the
 * service, and the echo service in this process or as a process.
 *
 * The broker's address is BOOTSTRAP in the environment. Waits poll a condition until a generous
 * deadline; nothing is asserted about time.
 */
#pragma once

#include <sys/types.h>

#include "common/base/step.h"
#include "common/bus/bus_kafka.h"
#include "common/bus/step_loop.h"

enum { WORLD_PARTITIONS = 2, WORLD_WAIT_MS = 60000 };

typedef struct {
    char *bootstrap;
    char *prefix;
    char *group;
    VbArena *arena;
    VbKafkaSettings kafka;
    rd_kafka_t *producer; /* Idempotent, the client's. */
    int next_request;
    GArray *children; /* of pid_t, to be killed at the end. */
} World;

/* For cmocka: set up with topics and host HOST_A, tear down. */
int world_set_up(void **state);
int world_set_up_bare(void **state); /* Without topics. */
int world_tear_down(void **state);
/* The same on a broker of the test's own; world_topics makes topics and host HOST_A. */
World *world_new(const char *bootstrap);
void world_topics(World *world);
void world_free(World *world);
/* One topic. */
void world_topic(World *world, VbTopic topic, int n_partitions);
void world_topic_delete(World *world, VbTopic topic, const char *host_uuid);
/* From now on the topic keeps its producers' times. True of the partition when this returns: its last
 * record, which is garbage, is the first that has its producer's time. */
void world_topic_keep_times(World *world, VbTopic topic, int partition);
#define HOST_A "aaaaaaaa-0000-4000-8000-000000000001"

/* ---- The client */

/* The n-th VM whose records belong into that partition. */
const char *world_vm(World *world, int partition, int n);
VmCommand *world_command(World *world, const char *vm, VmCommand__CommandCase which);
/* Acknowledged when it returns. `partition` -1: where the key belongs. */
void world_produce(World *world, VbTopic topic, int partition, const char *key, const void *value,
                   size_t value_bytes);
/* The same, not waited for: it may be acknowledged only when a broker is back. */
void world_queue(World *world, VbTopic topic, int partition, const char *key, const void *value,
                 size_t value_bytes);
void world_flush(World *world);
void world_send(World *world, const VmCommand *command);
/* Makes and sends it; returns the request id. */
const char *world_request(World *world, const char *vm, VmCommand__CommandCase which);

/* Every record of a topic's partition, read again from its beginning: of VbBusRecord.
 * `topic_suffix` e.g. "vm.events". */
GPtrArray *world_read(World *world, const char *topic_suffix, int partition, gboolean committed);
/* The same once there are at least `n`; the test fails when that does not come. */
GPtrArray *world_wait(World *world, const char *topic_suffix, int partition, guint n);
void *world_unpack(World *world, const VbBusRecord *record,
                   const ProtobufCMessageDescriptor *descriptor);
/* A header as text; fails without. */
const char *world_header(World *world, const VbBusRecord *record, const char *name);

/* Asks `is_done` until it says yes. */
typedef gboolean (*WorldCondition)(void *user);
void world_until(WorldCondition is_done, void *user);

/* A transactional producer of a stranger, begun. */
rd_kafka_t *world_transaction(World *world, const char *id);

/* ---- The service in this process */

typedef struct {
    World *world;
    VbBus *bus;
    VbLoop *loop;
    Settings settings;
    char *instance_id;
    VbBusKafkaConfig bus_config;
    VbLoopConfig loop_config;
    void (*on_tick)(void *user);
    void *user;
} Service;

/* Opens the bus; `on_tick` (may be NULL) is called in each slice of waiting. */
Service *service_new(World *world, const char *instance_id, void (*on_tick)(void *user),
                     void *user);
/* Ends it as SIGTERM would. */
void service_free(Service *service);
/* Turns until all partitions are restored. */
void service_restore(Service *service);
/* Turns until that topic partition has `n` committed records. */
void service_serve(Service *service, const char *topic_suffix, int partition, guint n);
/* All states as text, sorted. */
char *service_states(const Service *service);

/* ---- The service as a process */

/* Its log goes to the test's standard error. `arguments` (NULL-terminated, may be NULL) follow the
 * usual ones. */
pid_t world_spawn(World *world, const char *instance_id, const char *const *arguments);
/* Waits for the end; returns the exit status, or minus the signal. */
int world_reap(World *world, pid_t pid);
