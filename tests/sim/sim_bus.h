/* The bus of one instance of a service over the simulated broker. Private to sim_bus.c,
 * sim_bus_write.c and sim_service.c. */
#pragma once

#include "tests/sim/sim_broker.h"

typedef struct SimBus SimBus;

/* As bus_kafka_open: ends one's own dead transaction, then joins the group. In a task of the
 * process. `skew_ms`, of its clock, may change. NULL and a BUS_ERROR; _STOP: the process is dead. */
SimBus *sim_bus_open(SimWorld *world, SimProcess *process, const VbService *service,
                     const char *instance_id, gint64 *skew_ms, GError **error);
/* Without leaving the group. */
void sim_bus_close(SimBus *bus);
VbBus *sim_bus_vtable(SimBus *bus);

/* ---- For the two files */

/* One partition of one input. */
typedef struct {
    SimLog *log;
    gint64 position; /* -1: not consumed. */
    gint64 end;      /* Where the end was reported; -1: not. */
    gint64 end_told; /* librdkafka tells each end once. */
    gint64 silent_until_us;
    gboolean withholds; /* In its silence there was something to be read. */
} SimSlot;

/* The client's part of the group; its own thread in librdkafka. */
typedef enum { CLIENT_OUT, CLIENT_JOINING, CLIENT_IN, CLIENT_REVOKING } SimClientState;

struct SimBus {
    VbBus bus; /* First: a VbBus is a SimBus. */
    SimWorld *world;
    Sim *sim;
    SimBroker *broker;
    SimProcess *process;
    const VbService *service;
    char *instance_id;
    int n_partitions;
    gint64 *skew_ms;
    gint64 leap_ms; /* A dead process's clock runs away. */
    guint n_users;  /* Of this struct: the loop's task and the client's. */
    gboolean is_closed;
    /* Writing. */
    SimProducer *producer;
    guint epoch;
    gboolean is_fatal;
    VbBusError fatal;
    const char *fatal_text;
    GPtrArray *unsent;       /* of VbBusRecord: those that did not reach the broker yet */
    GPtrArray *unsent_hosts; /* of const char *, beside them; NULL: no host's */
    guint n_records;         /* Of the transaction. */
    gboolean was_aborted;    /* And what it was about is not committed yet. */
    GHashTable *hosts;       /* host uuid -> when its topic was seen (gint64 *, us) */
    /* Reading. */
    SimGroup *group;
    SimMember *member; /* NULL: never joined. */
    guint incarnation;
    guint generation;
    SimClientState state;
    gboolean assign_waits; /* What the group said, for the loop's task to hear. */
    gboolean revoke_waits;
    int assigned_first;
    int assigned_n;
    SimCondition client_kick;
    SimCondition arrived;
    SimWatcher watcher;
    GQueue events;  /* of VbBusEvent */
    SimSlot *slots; /* [partition * n_inputs + input] */
    guint n_slots;
    guint cursor;
    gboolean *is_told; /* Partitions that the loop was told of. */
    /* An assignment whose partitions are not all restored yet. */
    gboolean is_assigning;
    int n_unrestored;
    int restoring;  /* -1: none. */
    gint64 *starts; /* As slots. */
};

static inline SimBus *sim_bus_of(VbBus *bus)
{
    return (SimBus *)bus;
}

/* FALSE and BUS_ERROR_STOP when the process died meanwhile. */
gboolean sim_bus_ask(SimBus *bus, GError **error);
gboolean sim_bus_rest(SimBus *bus, gint64 duration_us, GError **error);
gboolean sim_bus_stop(GError **error); /* FALSE and BUS_ERROR_STOP. */
/* FALSE: the producer has failed for good. */
gboolean sim_bus_is_alive(const SimBus *bus, GError **error);

gboolean sim_bus_init(SimBus *bus, GError **error);
gboolean sim_bus_host_exists(VbBus *vtable, const char *host_uuid, gboolean *ret_exists,
                             GError **error);
gboolean sim_bus_begin(VbBus *vtable, GError **error);
gboolean sim_bus_produce(VbBus *vtable, const VbBusMessage *message, GError **error);
gboolean sim_bus_flush(VbBus *vtable, GError **error);
gboolean sim_bus_send_offsets(VbBus *vtable, const VbBusOffsets *offsets, size_t n_offsets,
                              GError **error);
gboolean sim_bus_commit(VbBus *vtable, GError **error);
gboolean sim_bus_abort(VbBus *vtable, GError **error);
