/* All that the step loop knows of the world: records, partitions, transactions, time.
 *
 * Behind it is Kafka (bus_kafka.c) or memory (tests, the simulator). Everything that the loop does
 * follows from what this table answers, so equal answers give equal runs.
 *
 * A service's input topics and its state topic have the same number of partitions, and all records
 * of one VM lie in the partition of one number: "partition p" means that number in each of them.
 *
 * Every function that can fail returns FALSE and a BUS_ERROR. One thread uses a bus.
 */
#pragma once

#include "common/base/topics.h"
#include "common/bus/bus_error.h"

typedef struct {
    const char *name;
    const void *value;
    size_t size_bytes;
} VbBusHeader;

/* A record as it was read: one block of memory. Free with bus_record_free. */
typedef struct {
    VbTopic topic;
    int partition;
    gint64 offset;
    gint64 time_ms; /* When the broker took it. */
    const void *key;
    size_t key_bytes;  /* 0: no key. */
    const void *value; /* NULL: a tombstone. */
    size_t value_bytes;
    const VbBusHeader *headers;
    size_t n_headers;
} VbBusRecord;

/* A deep copy of `from`. */
VbBusRecord *bus_record_copy(const VbBusRecord *from);
void bus_record_free(VbBusRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbBusRecord, bus_record_free)

/* The last header of this name; NULL: none. */
const VbBusHeader *bus_record_header(const VbBusRecord *record, const char *name);

/* A record to be written. */
typedef struct {
    VbTopic topic;
    const char *host_uuid; /* TOPIC_HOST_COMMANDS; else NULL. */
    int partition;
    const void *key;
    size_t key_bytes;
    const void *value; /* NULL: a tombstone. */
    size_t value_bytes;
    const VbBusHeader *headers;
    size_t n_headers;
} VbBusMessage;

typedef enum {
    BUS_NOTHING, /* The time is up. */
    BUS_RECORD,
    BUS_GAINED, /* Partition p of every input topic is ours: restore it, then bus->consume. */
    BUS_LOST,   /* Partition p is no longer ours. */
    BUS_AT_END, /* Every committed record of `topic`, partition p has been delivered. */
} VbBusEventKind;

typedef struct {
    VbBusEventKind kind;
    int partition;
    VbTopic topic;       /* BUS_AT_END */
    VbBusRecord *record; /* BUS_RECORD: the caller's now. */
} VbBusEvent;

/* Where reading goes on in each input topic of a partition, in the order of the service's inputs.
 */
typedef struct {
    int partition;
    gint64 *next;
} VbBusOffsets;

typedef void (*VbBusRead)(const VbBusRecord *record, void *user);

typedef struct VbBus VbBus;

struct VbBus {
    /* The next event; waits for it at most `timeout_ms`. Never called inside a transaction. */
    gboolean (*poll)(VbBus *bus, int timeout_ms, VbBusEvent *ret_event, GError **error);

    /* The restore of a gained partition, in this order. */
    /* Fills offsets->next; -1: none is committed. Waits while an offset is pending. */
    gboolean (*committed)(VbBus *bus, VbBusOffsets *offsets, GError **error);
    /* The end of the state topic, records of open transactions included. */
    gboolean (*state_end)(VbBus *bus, int partition, gint64 *ret_end, GError **error);
    /* Each committed record of the state topic from its beginning to at least `end`. Waits for open
     * transactions below `end`. */
    gboolean (*read_state)(VbBus *bus, int partition, gint64 end, VbBusRead read, void *user,
                           GError **error);
    /* Reads the inputs from there on. -1 means from the first record that there is, and is replaced
     * by its offset. Harmless when the partition was lost meanwhile. */
    gboolean (*consume)(VbBus *bus, VbBusOffsets *offsets, GError **error);

    /* Whether BUS_AT_END is still true for every input of the partition, asked from the broker now:
     * a process that was held up (a stopped broker, a suspended machine) remembers an end that is
     * long past. When not, BUS_AT_END comes again once it is true again. */
    gboolean (*confirm_end)(VbBus *bus, int partition, gboolean *ret_at_end, GError **error);

    /* Whether the host has a command topic that may be written to. Never called inside a
     * transaction. */
    gboolean (*host_exists)(VbBus *bus, const char *host_uuid, gboolean *ret_exists,
                            GError **error);

    /* One transaction. After BUS_ERROR_ABORT or _REFUSED from any of them: abort. */
    gboolean (*begin)(VbBus *bus, GError **error);
    /* Takes copies. */
    gboolean (*produce)(VbBus *bus, const VbBusMessage *message, GError **error);
    /* Waits until the broker has every record of the transaction. */
    gboolean (*flush)(VbBus *bus, GError **error);
    gboolean (*send_offsets)(VbBus *bus, const VbBusOffsets *offsets, size_t n_offsets,
                             GError **error);
    gboolean (*commit)(VbBus *bus, GError **error);
    gboolean (*abort)(VbBus *bus, GError **error);

    /* Since 1970, by this machine's clock. */
    gint64 (*now_ms)(VbBus *bus);
};
