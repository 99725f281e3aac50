/* The runtime of a service: exactly-once steps over a bus.
 *
 *     poll a batch -> step all of it, purely -> begin -> outputs, states, journal -> flush
 *       -> offsets -> commit -> the table
 *
 * One turn is one batch and at most one transaction. Nothing is kept between turns but the table
 * and records that were read and not stepped yet; whatever happens, the log is the truth and a
 * restart restores it. The loop touches no clock, no environment and no Kafka: only the bus.
 */
#pragma once

#include "common/base/step.h"
#include "common/bus/bus.h"

typedef struct {
    const VbService *service;
    const Settings *settings;
    const char *prefix;      /* Of the topics; for headers and messages. */
    const char *instance_id; /* For the journal. */
    const char *group_id;    /* For the words that tell a person what to do. */
    int n_partitions;
    guint max_records; /* Of one batch. 0: 500. */
    guint max_hosts;   /* Whose command topics one transaction writes to. 0: 32. */
} VbLoopConfig;

typedef struct VbLoop VbLoop;

/* `bus` and everything in `config` must outlive the loop. */
VbLoop *loop_new(VbBus *bus, const VbLoopConfig *config);
void loop_free(VbLoop *loop);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbLoop, loop_free)

/* Waits at most `timeout_ms` for something to do, and does it. FALSE: BUS_ERROR_FATAL, _FENCED,
 * _SETUP or _STOP; end the process. What was aborted is written again by the next turns. */
gboolean loop_turn(VbLoop *loop, int timeout_ms, GError **error);

/* Partitions that are restored and consumed now. */
guint loop_partitions(const VbLoop *loop);

/* Calls `each` for every VM's committed state, partition by partition. */
typedef void (*VbLoopEach)(const char *vm_uuid, const void *bytes, size_t size_bytes, void *user);
void loop_each_state(const VbLoop *loop, VbLoopEach each, void *user);
