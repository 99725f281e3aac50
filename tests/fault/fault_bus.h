/* The bus in memory, whose Nth call fails with an error of one of the bus's classes. Counted over all
 * buses that share one VbBusFault. */
#pragma once

#include "tests/lib/bus_memory.h"

typedef enum {
    BUS_FAULT_NONE,
    BUS_FAULT_ABORT,         /* Fails once: nothing done, to be aborted and written again. */
    BUS_FAULT_REFUSED,       /* Fails once: the broker did not like a record. */
    BUS_FAULT_REFUSED_TWICE, /* And the next call of that function, too. */
    BUS_FAULT_FATAL,         /* Fails once: nothing done, and the process must end. */
    BUS_FAULT_UNKNOWN,       /* Done; its outcome is unknown, so the process must end. */
    BUS_FAULT_ABORT_EVER,    /* Each call of that function fails, for a while. */
    BUS_FAULT_FATAL_EVER,
} BusFaultMode;

typedef struct {
    BusFaultMode mode;
    guint at;    /* N, from 1. */
    guint calls; /* That this mode counts. */
    gboolean hit;
    guint n_failed;
    const char *function; /* The Nth call's. */
} BusFault;

typedef struct FaultBus FaultBus;

FaultBus *fault_bus_new(BusFault *fault, VbMemoryBus *memory);
void fault_bus_free(FaultBus *bus);
VbBus *fault_bus(FaultBus *bus);

const char *fault_bus_mode_name(BusFaultMode mode);
