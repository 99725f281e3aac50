/* What a service is: one pure function over the state of ONE virtual machine and ONE input.
 *
 *     step(state, input) -> new state, outputs
 *
 * No clock, no I/O, no randomness, no globals, no log, no Kafka. Equal arguments give equal
 * results, byte for byte, on any machine. The runtime (common/bus), the simulator, the replayer,
 * the fuzzer and the tests call the same function.
 */
#pragma once

#include "common/base/arena.h"
#include "common/base/topics.h"
#include "virtbus/v1/virtbus.h"

typedef struct {
    const char *vm_uuid;
    gint64 time_ms; /* Never before the time of the VM's last step. */
    const Settings *settings;
    /* Exactly one of the two: */
    const ProtobufCMessage
        *record; /* Of `topic`'s type; passed message_check; its vm_uuid equals the key. */
    const RuntimeInput *runtime;
    VbTopic topic; /* Of `record`. */
} VbStepInput;

typedef struct {
    VbTopic topic;
    const char *host_uuid; /* TOPIC_HOST_COMMANDS; else NULL. */
    const void *message;
} VbOutput;

/* A step in progress. The core changes `state` in place: it is a copy of its own, in `arena`. */
typedef struct {
    const VbStepInput *input;
    VbArena *arena;
    StateRecord
        *state; /* NULL: no record. The core may make one, or set NULL to delete it for good. */
    GArray *outputs; /* of VbOutput, in order. */
} VbStep;

typedef enum {
    STEP_OK,
    STEP_FAULT, /* A broken internal assumption. State and outputs are thrown away. */
} VbStepResult;

typedef VbStepResult (*VbStepFunction)(VbStep *step);

/* A service, as the runtime sees it. */
typedef struct {
    const char *name;      /* "vm-service" */
    guint32 logic_version; /* Grows when a step's result changes for any input. */
    const VbTopic *inputs;
    size_t n_inputs;
    VbTopic state_topic;
    StateRecord__BodyCase state_body; /* What it keeps there. */
    VbTopic journal_topic;
    VbStepFunction step;
    /* The reply to a record that cannot reach the core (wrong key, unknown enum, control characters
     * ...) but has a usable request id. NULL: this service answers nobody; such records go to the
     * DLQ. Makes outputs only. */
    void (*refuse)(VbStep *step, const char *request_id, const Error *error);
} VbService;

static inline void step_output(VbStep *step, VbTopic topic, const char *host_uuid,
                               const void *message)
{
    VbOutput output = {.topic = topic, .host_uuid = host_uuid, .message = message};
    g_array_append_val(step->outputs, output);
}

/* The version that the record will have if this step changes it. */
static inline guint64 step_version(const VbStep *step)
{
    return (step->state != NULL ? step->state->version : 0) + 1;
}

/* The record as the step found it, packed: a core changes it in place. Lies in the step's arena. */
typedef struct {
    const void *bytes; /* NULL: no record. */
    size_t size_bytes;
} VbStepBefore;

VbStepBefore step_before(const VbStep *step);

/* At a step's end: events say with step_version() that the record changes. Those of that topic say
 * the version that it keeps, if this step has not changed it. */
void step_settle_versions(const VbStep *step, VbStepBefore before, VbTopic events);
