/* One connection to the brokers: asks for topics, produces, reads. Single-threaded; every call is
 * bounded in time. Errors are CTL_ERROR: CTL_UNREACHABLE, or CTL_FAILED where a topic is missing.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "common/base/topics.h"
#include "tools/virtbusctl/ctl.h"

typedef struct VbClient VbClient;

/* Connects, and fails within seconds where no broker answers. */
VbClient *client_open(const Ctl *ctl, GError **error);
void client_close(VbClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbClient, client_close)

/* For bus_topics_create. Owned by the client. */
rd_kafka_t *client_handle(const VbClient *client);

/* The number of partitions; 0: there is no such topic; -1 and an error. */
int client_partitions(VbClient *client, VbTopic topic, const char *host_uuid, GError **error);

/* The same, with a missing topic as an error that says what to do. -1 and an error. */
int client_partitions_needed(VbClient *client, VbTopic topic, GError **error);

/* The partition of a VM in a topic that is keyed by VM; -1 and an error. */
int client_vm_partition(VbClient *client, VbTopic topic, const char *vm_uuid, GError **error);

/* Writes one record and waits until the broker has it. With CTL_NO_REPLY it may have it or not. */
gboolean client_produce(VbClient *client, VbTopic topic, const char *vm_uuid, const void *message,
                        GError **error);

/* ---- Reading: add the partitions, start, then next. One reading at a time on a client. */

typedef struct {
    VbTopic topic;
    char *host_uuid; /* TOPIC_HOST_COMMANDS; else NULL. */
    char *name;      /* Of the topic, whole. */
    int partition;
    gint64 from; /* An offset. */
    gint64 to;   /* Its end is not reported before this one. */
} ClientSource;

typedef struct {
    const ClientSource *source;
    gint64 offset;
    gint64 time_ms;    /* The broker's. */
    char *key;         /* NULL: none. */
    const void *value; /* NULL: a tombstone. */
    gsize value_bytes;
    rd_kafka_message_t *message;
} ClientRecord;

typedef enum {
    CLIENT_RECORD,
    CLIENT_ENDS, /* Every source was read up to its end as it is now. */
    CLIENT_TIMEOUT,
    CLIENT_ERROR,
} ClientNext;

/* Where a record that is written from now on will be at the earliest. -1 and an error. */
gint64 client_end(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                  GError **error);

/* The first offset that there is, and where a new record will be. */
gboolean client_bounds(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                       gint64 *ret_low, gint64 *ret_high, GError **error);

/* As client_bounds, with what open transactions have written so far. */
gboolean client_bounds_open(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                            gint64 *ret_low, gint64 *ret_high, GError **error);

/* Reads from `offset`; -1: from the first record that there is. */
gboolean client_read(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                     gint64 offset, GError **error);
/* Reads what lies between: waits for transactions that are open below `to`. */
gboolean client_read_range(VbClient *client, VbTopic topic, const char *host_uuid, int partition,
                           gint64 from, gint64 to, GError **error);
gboolean client_read_start(VbClient *client, GError **error);

/* The next record (clear it), once the end of all sources (once more after each time that there was
 * more), or nothing until `deadline_us` of g_get_monotonic_time. */
ClientNext client_next(VbClient *client, gint64 deadline_us, ClientRecord *ret_record,
                       GError **error);
void client_record_clear(ClientRecord *record);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ClientRecord, client_record_clear)

/* FALSE: enough was read. */
typedef gboolean (*ClientTake)(const ClientRecord *record, gpointer data);

/* Gives each record to `take`, until the end of all sources or until that has enough. FALSE and an
 * error: CTL_UNREACHABLE, with a partition that waits, where it takes longer than `timeout_ms` since
 * the beginning or since the last record of a client_read_range. */
gboolean client_read_to_end(VbClient *client, gint64 timeout_ms, ClientTake take, gpointer data,
                            GError **error);

/* Why a record is on a DLQ. */
#define CLIENT_HEADER_REASON "__connect.errors.exception.message"

/* A header's value as text in the arena; NULL: it has none of this name. */
const char *client_record_header(const ClientRecord *record, VbArena *arena, const char *name);

/* The value as the topic's message, or NULL: none of it, or one that is no such message. */
ProtobufCMessage *client_record_message(const ClientRecord *record, VbArena *arena);

/* Ends the reading; the sources are forgotten. */
void client_read_stop(VbClient *client);
