/* Kafka as an agent uses it: its own command topic in, at least once; reports, heartbeats and dead
 * letters out.
 *
 * The committed offset is the low-water mark of finished commands: what a crash cuts off is read
 * again. It knows no VM's state and decides nothing. One thread uses a bus, except where a comment
 * says otherwise; no call blocks, except where its comment says so. */
#pragma once

#include "common/bus/kafka_conf.h"
#include "services/host-agent/agent_records.h"

typedef struct VbAgentBus VbAgentBus;

/* The fate of a report that was sent: `delivered`, or the broker has refused it or did not answer
 * for long. Called from agent_bus_serve. */
typedef void (*VbReportFate)(void *data, const char *vm_uuid, gboolean delivered);

/* Everything but `fate`'s data is copied, except `settings`. Connects in the background. */
VbAgentBus *agent_bus_new(const VbKafkaSettings *settings, const char *prefix,
                          const char *host_uuid, VbReportFate fate, void *data, GError **error);
/* Gives reports and the offset `timeout_ms` to reach the broker. It frees nothing, for librdkafka
 * may wait for ever when it closes a consumer whose topic is gone (probed): the process ends behind
 * it. */
void agent_bus_end(VbAgentBus *bus, int timeout_ms);

/* Readable when agent_bus_serve or agent_bus_next have something to do. */
int agent_bus_fd(VbAgentBus *bus);

/* Where reading begins: the committed offset, else the first record that there is. */
typedef struct {
    gint64 start;
    gint64 end;
    gboolean is_another; /* Than the one of the mark: its offsets begin anew. */
} VbAgentTopic;

/* The newest command that was taken up from the topic. */
typedef struct {
    gint64 offset; /* -1: none. */
    const char *operation_id;
} VbAgentMark;

/* Finds the command topic, or makes it. Blocks while brokers do not answer, up to 10 s for each of
 * some seven questions: for a worker.
 *
 * Kafka tells nobody that a topic was deleted and made again: topic ids and leader epochs are beyond
 * librdkafka 2.0.2, and a committed offset may be missing because it is old. So it is another topic
 * when it was made just now, and else when it does not hold the mark's command at the mark's
 * offset. Where retention has removed that record, nothing can be mistaken: each record that is left
 * lies behind it. What cannot be known is that a topic was replaced, and grew beyond where it is
 * read, between two checks of one that is open; what it held before that is not read then. */
gboolean agent_bus_open(VbAgentBus *bus, const VbAgentMark *mark, VbAgentTopic *ret_topic,
                        GError **error);
/* Begins to read. */
void agent_bus_assign(VbAgentBus *bus, const VbAgentTopic *topic);
/* FALSE: not assigned yet, or the topic failed and must be opened again. */
gboolean agent_bus_is_assigned(VbAgentBus *bus);

/* Callbacks of deliveries. FALSE and BUS_ERROR_FATAL: the producer is of no use any more; the
 * process must begin anew. */
gboolean agent_bus_serve(VbAgentBus *bus, GError **error);
/* The next command, in the arena. FALSE: none is there, or too many are unfinished. Bad records go
 * to the agents' DLQ by themselves. */
gboolean agent_bus_next(VbAgentBus *bus, VbArena *arena, VbAgentCommand *ret_command);
/* The command at this offset is finished: its report is with the broker. */
void agent_bus_finish(VbAgentBus *bus, gint64 offset);
/* Commits what is finished and is not committed; what fails is tried again by the next call. */
void agent_bus_commit(VbAgentBus *bus);
/* The offset that is committed, -1: none. */
gint64 agent_bus_committed(VbAgentBus *bus);

/* Sends a report to who asked; its fate comes later. `traceparent`: of the command; may be NULL. */
void agent_bus_report(VbAgentBus *bus, VbArena *arena, const HostReport *report,
                      const char *traceparent);
void agent_bus_info(VbAgentBus *bus, VbArena *arena, const HostInfo *info);
/* Asks a broker for the health condition "broker", and whether the command topic is still there:
 * librdkafka does not tell (probed on 2.0.2). TRUE also when nobody answers. Blocks up to 2 s: for
 * a worker. */
gboolean agent_bus_check(VbAgentBus *bus);
/* The command topic is gone: it must be opened again. */
void agent_bus_unassign(VbAgentBus *bus);
