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
    /* Set by timeline_sort: */
    gint64 delta_ms;   /* Since the command of the operation that the record belongs to. */
    gboolean is_begin; /* A command that may begin an operation. */
} TimelineRow;

/* `rows` is of TimelineRow. Orders by the broker's time; in the same millisecond as a saga goes:
 * commands, host, reports, events, states. */
void timeline_sort(GArray *rows);
