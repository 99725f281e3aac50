/* The trace's words for records: what a command, an event, a report or a state says, as one sentence
 * in plain English with the run's own names. It judges nothing. */
#pragma once

#include "tests/sim/sim_world.h"

/* g_free; NULL: nothing that a reader of a trace wants to know (journals, heartbeats). */
char *sim_story_record(SimWorld *world, const VbBusRecord *record, const char *host_uuid);
