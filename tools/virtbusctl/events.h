/* How one event looks: a line for people, or with --json one document in a line. */
#pragma once

#include "tools/virtbusctl/ctl.h"
#include "tools/virtbusctl/describe.h"

/* To standard output, at once. */
void events_show(const Ctl *ctl, gint64 time_ms, const VmEvent *event,
                 const VbDescription *description);
