/* What stands in the headers of the records that a service writes. Pure.
 *
 * Headers are for people and tools: nothing in virtbus needs them to decide. All of them are
 * derived from the input, so that a transaction that is written again is the same, byte for byte.
 */
#pragma once

#include "common/base/error.h"
#include "common/bus/bus.h"

/* Where outputs come from. `id` names one input for ever: "vm.commands/3/17". */
typedef struct {
    const char *id;
    const char *vm_uuid;
    const char *trace_id;    /* 32 hex digits. */
    const char *trace_flags; /* 2 hex digits. */
} VbOrigin;

/* "vm.commands/3/17" in the arena: the origin's id of a record. */
const char *envelope_record_id(VbArena *arena, VbTopic topic, int partition, gint64 offset);

/* The origin of what a VM's step makes. The trace is that of the record's traceparent header, else
 * derived. `record` may be NULL: the runtime made the input. */
VbOrigin envelope_origin(VbArena *arena, const char *id, const char *vm_uuid,
                         const VbBusRecord *record);

/* Sets the headers of `message` to CloudEvents in binary mode, and traceparent. `body` is what its
 * value holds, `index` its place among all outputs of the origin. */
void envelope_output(VbArena *arena, const VbOrigin *origin, guint index, const char *service,
                     gint64 step_ms, const ProtobufCMessage *body, VbBusMessage *message);

/* "virtbus.v1.VmEvent.reply": the message's name, and that of the oneof's member that is set. */
const char *envelope_type(VbArena *arena, const ProtobufCMessage *body);

enum {
    ENVELOPE_DLQ_VALUE_BYTES = 256 * 1024, /* A longer value is cut. */
    ENVELOPE_DLQ_KEY_BYTES = 1024,         /* A longer key is cut. */
};

/* Why a record goes to the DLQ. */
typedef struct {
    const char *stage; /* "validate", "step", "transaction", "restore" */
    const char *code;  /* "INVALID_ARGUMENT" */
    const char *reason;
    const char *host_uuid; /* Whose command topic the record is from; else NULL. */
} VbDlqReason;

/* The record as it goes to the DLQ: key and value as they came, cut where too long; where and why
 * under the names of Kafka Connect; the whole value's SHA-256 and size. */
VbBusMessage envelope_dlq(VbArena *arena, const VbBusRecord *record, const char *prefix,
                          const char *service, const VbDlqReason *reason);

/* The record as it goes to the partition where its key belongs: with all its headers, and one that
 * says where it was found. */
#define ENVELOPE_MOVED_FROM "moved-from"
VbBusMessage envelope_moved(VbArena *arena, const VbBusRecord *record, int partition);
