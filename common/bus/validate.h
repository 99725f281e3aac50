/* Judges a record before any core sees it. Pure.
 *
 * A step may trust: the key is a uuid, the value is a message of its topic within the limits, text
 * is UTF-8 without control characters, enums are known, vm_uuid equals the key, a request_id (where
 * the message has one) is a uuid, and a message that nobody answers holds something that this
 * version knows.
 */
#pragma once

#include "common/base/step.h"
#include "common/bus/bus.h"

typedef enum {
    VALIDITY_GOOD,
    VALIDITY_REFUSED,     /* Wrong, but somebody waits for an answer: refuse it. */
    VALIDITY_DEAD_LETTER, /* Wrong, and nobody could be answered. */
} VbValidity;

typedef struct {
    VbValidity validity;
    const ProtobufCMessage *message; /* GOOD */
    const char *request_id;          /* GOOD (NULL: the message has none), REFUSED */
    const Error *error;              /* REFUSED, DEAD_LETTER */
} VbJudgement;

/* The record's key as text in the arena; NULL when it is no VM's uuid. */
const char *validate_key(VbArena *arena, const VbBusRecord *record);

/* `vm_uuid` is the record's key. Everything lies in the arena. */
VbJudgement validate_record(VbArena *arena, const VbService *service, const VbBusRecord *record,
                            const char *vm_uuid);
