/* Kafka as the simulator has it. Private to sim_broker.c, sim_transaction.c, sim_group.c and those
 * who talk to a broker: sim_bus*.c, sim_agent_bus.c.
 *
 * What it models:
 *   - Logs with offsets that have gaps (control markers, aborted and compacted records), times by
 *     the broker's clock, a high watermark, a last stable offset, log start.
 *   - Transactions: transactional id -> epoch; init fences and ends the one before; a commit is
 *     decided first and written to the partitions as markers one by one, in any order; a
 *     transaction that is open too long is aborted by the broker, and its producer fenced.
 *   - Groups: static members, sessions, generations, eager rebalances, range assignment; offsets
 *     that are pending while their transaction is; offsets sent in an older generation refused.
 *   - Outages: nobody is answered; what was acknowledged is there afterwards.
 * What it leaves out: several brokers, loss of acknowledged records, ACLs, quotas, the rebalance
 * timeout (no member lives and never polls), two living processes of one instance id, a delayed
 * EndTxn that hits a later transaction (a hole of Kafka's protocol that KIP-890 closes for newer
 * clients). */
#pragma once

#include "tests/sim/sim_world.h"

#define SIM_PREFIX "virtbus"

/* Somebody who wants to know when there may be more to read. */
typedef struct {
    void (*wake)(void *data);
    void *data;
} SimWatcher;

/* One partition of one topic. */
typedef struct SimLog SimLog;
typedef struct SimTransaction SimTransaction;
typedef struct SimProducer SimProducer;
typedef struct SimGroup SimGroup;
typedef struct SimMember SimMember;

/* ---- sim_broker.c: requests */

SimWorld *sim_broker_world(SimBroker *broker);
/* A process asks the broker something: it takes a while, and as long as nobody answers. FALSE: the
 * process is dead. */
gboolean sim_broker_request(SimBroker *broker, SimProcess *process);
gboolean sim_broker_is_down(const SimBroker *broker);

/* ---- sim_broker.c: logs */

/* The same bytes, seen from the other side: a record without a place, a message without a host. */
VbBusRecord sim_record_of(const VbBusMessage *message);
VbBusMessage sim_message_of(const VbBusRecord *record);

/* NULL: no such topic, or it was deleted. `host_uuid` is for TOPIC_HOST_COMMANDS. */
SimLog *sim_broker_log(SimBroker *broker, VbTopic topic, const char *host_uuid, int partition);
/* The same for a host of the run, whether the topic is there now or not. */
SimLog *sim_broker_host_log(SimBroker *broker, const char *host_uuid);
/* A host's command topic, if there is none. */
void sim_broker_make_host_topic(SimBroker *broker, const char *host_uuid);
/* What the host's agent has committed; -1: nothing. */
gint64 sim_broker_host_offset(SimBroker *broker, const char *host_uuid);
void sim_broker_commit_host_offset(SimBroker *broker, const char *host_uuid, gint64 next);

/* What a log is called: "vm.commands/2", "host-1". Valid until the next call. */
const char *sim_log_name(const SimLog *log);
const char *sim_log_host(const SimLog *log); /* NULL: no host's. */
gboolean sim_log_exists(const SimLog *log);
gint64 sim_log_first(const SimLog *log);  /* The first offset that may still be there. */
gint64 sim_log_next(const SimLog *log);   /* The high watermark. */
gint64 sim_log_stable(const SimLog *log); /* The last stable offset: readers get no further. */
/* The first visible record at or behind *offset, which is moved behind it. NULL: none; *offset is
 * moved to the last stable offset then. */
const VbBusRecord *sim_log_read(const SimLog *log, gint64 *offset);
/* `watcher` must stay until it is taken back. */
void sim_log_watch(SimLog *log, SimWatcher *watcher);
void sim_log_unwatch(SimLog *log, SimWatcher *watcher);

/* For sim_transaction.c. */
typedef struct {
    SimLog *log;
    guint incarnation; /* Of the log: a topic that is deleted and made again is another. */
    gint64 offset;
} SimPlace;
/* `transaction` NULL: visible at once. */
SimPlace sim_log_append(SimLog *log, const VbBusMessage *message, SimTransaction *transaction);
/* The record of a transaction that is not ended; NULL: it is gone, with its topic. */
const VbBusRecord *sim_log_at(const SimPlace *place);
void sim_log_settle(const SimPlace *place, gboolean commit);
/* The control marker: takes an offset, and lets readers go on. */
void sim_log_mark_end(SimLog *log, guint incarnation, SimTransaction *transaction);

/* ---- sim_transaction.c */

typedef struct SimTransactions SimTransactions;
SimTransactions *sim_transactions_new(SimBroker *broker);
void sim_transactions_free(SimTransactions *transactions);
/* For a while markers are slow: those who restore meanwhile see half a transaction. */
void sim_transactions_trouble(SimTransactions *transactions);
SimTransactions *sim_broker_transactions(SimBroker *broker);

typedef enum {
    SIM_DONE,
    SIM_LATER,    /* The one before is not ended everywhere: ask again. */
    SIM_FENCED,   /* By a newer epoch. */
    SIM_UNKNOWN,  /* No such topic. */
    SIM_REJECTED, /* The group does not know the member, or not in this generation. */
} SimAnswer;

/* Makes it at its first use. */
SimProducer *sim_producer_get(SimTransactions *transactions, const char *transactional_id);
/* Ends the producer's open transaction, and fences whoever opened it. */
SimAnswer sim_producer_init(SimProducer *producer, guint *ret_epoch);
SimAnswer sim_producer_write(SimProducer *producer, guint epoch, const VbBusMessage *message);
SimAnswer sim_producer_send_offsets(SimProducer *producer, guint epoch, SimMember *member,
                                    guint incarnation, guint generation,
                                    const VbBusOffsets *offsets, size_t n_offsets);
SimAnswer sim_producer_end(SimProducer *producer, guint epoch, gboolean commit);

/* ---- sim_group.c */

/* Told a member's client: these partitions, of every input, are its own. */
typedef void (*SimAssigned)(void *client, guint generation, int first, int n);

SimGroup *sim_group_new(SimBroker *broker, const VbService *service);
void sim_group_free(SimGroup *group);
SimGroup *sim_broker_group(SimBroker *broker, const VbService *service); /* Makes it. */

const char *sim_group_id(const SimGroup *group);
const VbService *sim_group_service(const SimGroup *group);
/* -1: none is committed. */
gint64 sim_group_committed(const SimGroup *group, int partition, size_t input);
gboolean sim_group_is_pending(const SimGroup *group, int partition);

/* The member of this instance, and which incarnation of it the caller is from now on. It is given
 * its partitions through `assigned`, now or later. */
SimMember *sim_group_join(SimGroup *group, const char *instance_id, SimAssigned assigned,
                          void *client, guint *ret_incarnation);
/* The client is no more; the broker does not know. */
void sim_member_forget_client(SimMember *member, void *client);

typedef enum { SIM_BEAT_GOOD, SIM_BEAT_REBALANCE, SIM_BEAT_UNKNOWN } SimBeat;
SimBeat sim_member_beat(SimMember *member, guint incarnation);
/* Offsets sent by it now belong to the group's generation. */
gboolean sim_member_is_current(const SimMember *member, guint incarnation, guint generation);
SimGroup *sim_member_group(const SimMember *member);

/* For sim_transaction.c: offsets as they wait, and as they are committed or dropped. */
void sim_group_pend(SimGroup *group, int partition, int change);
void sim_group_commit(SimGroup *group, const VbBusOffsets *offsets);
/* The fault REBALANCE. */
void sim_group_disturb(SimGroup *group);
/* The broker is up again: sessions begin anew. */
void sim_group_revive(SimGroup *group);
