/* The records of one VM, from every topic, in the order in which things happened. Pure. */
#pragma once

#include "common/base/topics.h"
#include "tools/virtbusctl/describe.h"

typedef struct {
    gint64 time_ms; /* The broker's. */
    VbTopic topic;
    const char *topic_name; /* Without the deployment's prefix. */
    int partition;
    gint64 offset;
    const ProtobufCMessage *message; /* NULL: none, or undecodable. */
    VbDescription description;
    const char *event_id; /* Its header ce_id; NULL: none. */
    gint64 step_ms;       /* Of the step that made it, or that took the runtime's input; 0: none. */
    /* Set by timeline_sort: */
    gint64 delta_ms;   /* Since the command of the operation that the record belongs to. */
    gboolean is_begin; /* A command that may begin an operation. */
    /* Set by timeline_link: */
    int cause; /* The row that was the input of the step which made this one; -1: not known. */
} TimelineRow;

enum { TIMELINE_NO_CAUSE = -1 };

/* `rows` is of TimelineRow. Orders by the broker's time; in the same millisecond as a saga goes:
 * commands, host, reports, events, states. */
void timeline_sort(GArray *rows);

/* Finds out, of sorted rows of this VM, which one led to which. Outputs of the services have ids that
 * are derived from their input's place; states say what they have taken in; a host's report answers
 * the command of its operation. */
void timeline_link(GArray *rows, VbArena *arena, const char *vm_uuid);
