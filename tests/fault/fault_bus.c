/* See fault_bus.h. */
#include "tests/fault/fault_bus.h"

#include <string.h>

enum { ABORTS_MAX = 25, FATALS_MAX = 4 }; /* Of one that fails "for ever". */

struct FaultBus {
    VbBus bus; /* First: a VbBus is a FaultBus. */
    BusFault *fault;
    VbMemoryBus *memory;
    VbBus *real;
};

static FaultBus *of(VbBus *bus)
{
    return (FaultBus *)bus;
}

/* Where its outcome cannot be told from that of another mode, a mode counts no call. */
static gboolean is_counted(BusFaultMode mode, const char *function, gboolean writes)
{
    switch (mode) {
    case BUS_FAULT_NONE:
        return FALSE;
    case BUS_FAULT_ABORT:
    case BUS_FAULT_REFUSED:
    case BUS_FAULT_REFUSED_TWICE:
    case BUS_FAULT_ABORT_EVER:
        return writes; /* To all others any error is the process's end. */
    case BUS_FAULT_FATAL:
    case BUS_FAULT_FATAL_EVER:
        return TRUE;
    case BUS_FAULT_UNKNOWN:
        return strcmp(function, "commit") == 0 || strcmp(function, "poll") == 0 ||
               strcmp(function, "abort") == 0;
    }
    g_assert_not_reached();
}

static guint failures_max(BusFaultMode mode)
{
    switch (mode) {
    case BUS_FAULT_NONE:
    case BUS_FAULT_ABORT:
    case BUS_FAULT_REFUSED:
    case BUS_FAULT_FATAL:
    case BUS_FAULT_UNKNOWN:
        return 1;
    case BUS_FAULT_REFUSED_TWICE:
        return 2;
    case BUS_FAULT_ABORT_EVER:
        return ABORTS_MAX;
    case BUS_FAULT_FATAL_EVER:
        return FATALS_MAX;
    }
    g_assert_not_reached();
}

static VbBusError code_of(BusFaultMode mode)
{
    switch (mode) {
    case BUS_FAULT_ABORT:
    case BUS_FAULT_ABORT_EVER:
        return BUS_ERROR_ABORT;
    case BUS_FAULT_REFUSED:
    case BUS_FAULT_REFUSED_TWICE:
        return BUS_ERROR_REFUSED;
    case BUS_FAULT_NONE:
    case BUS_FAULT_FATAL:
    case BUS_FAULT_UNKNOWN:
    case BUS_FAULT_FATAL_EVER:
        return BUS_ERROR_FATAL;
    }
    g_assert_not_reached();
}

/* Whether this call fails. */
static gboolean fails(VbBus *bus, const char *function, gboolean writes)
{
    BusFault *fault = of(bus)->fault;
    if (!fault->hit) {
        if (!is_counted(fault->mode, function, writes) || ++fault->calls != fault->at) {
            return FALSE;
        }
        fault->hit = TRUE;
        fault->function = function;
    }
    if (fault->n_failed >= failures_max(fault->mode) || strcmp(function, fault->function) != 0) {
        return FALSE;
    }
    fault->n_failed++;
    return TRUE;
}

static gboolean say(VbBus *bus, GError **error)
{
    const BusFault *fault = of(bus)->fault;
    g_set_error(error, BUS_ERROR, code_of(fault->mode), "%s was made to fail", fault->function);
    return FALSE;
}

/* `call` is carried out when it does not fail, or when only its outcome is lost. */
#define PASS(function, writes, call)                                                               \
    gboolean failed = fails(bus, function, writes);                                                \
    if (failed && of(bus)->fault->mode != BUS_FAULT_UNKNOWN) {                                     \
        return say(bus, error);                                                                    \
    }                                                                                              \
    gboolean done = (call);                                                                        \
    return failed ? say(bus, error) : done

static gboolean bus_poll(VbBus *bus, int timeout_ms, VbBusEvent *ret_event, GError **error)
{
    gboolean failed = fails(bus, "poll", FALSE);
    if (failed && of(bus)->fault->mode != BUS_FAULT_UNKNOWN) {
        return say(bus, error);
    }
    gboolean done = of(bus)->real->poll(of(bus)->real, timeout_ms, ret_event, error);
    if (!failed) {
        return done;
    }
    if (ret_event->kind == BUS_RECORD) {
        bus_record_free(ret_event->record);
    }
    return say(bus, error);
}

static gboolean bus_committed(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    PASS("committed", FALSE, of(bus)->real->committed(of(bus)->real, offsets, error));
}

static gboolean bus_state_end(VbBus *bus, int partition, gint64 *ret_end, GError **error)
{
    PASS("state_end", FALSE, of(bus)->real->state_end(of(bus)->real, partition, ret_end, error));
}

static gboolean bus_read_state(VbBus *bus, int partition, gint64 end, VbBusRead read, void *user,
                               GError **error)
{
    PASS("read_state", FALSE,
         of(bus)->real->read_state(of(bus)->real, partition, end, read, user, error));
}

static gboolean bus_consume(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    PASS("consume", FALSE, of(bus)->real->consume(of(bus)->real, offsets, error));
}

static gboolean bus_confirm_end(VbBus *bus, int partition, gboolean *ret_at_end, GError **error)
{
    PASS("confirm_end", FALSE,
         of(bus)->real->confirm_end(of(bus)->real, partition, ret_at_end, error));
}

static gboolean bus_host_exists(VbBus *bus, const char *host_uuid, gboolean *ret_exists,
                                GError **error)
{
    PASS("host_exists", FALSE,
         of(bus)->real->host_exists(of(bus)->real, host_uuid, ret_exists, error));
}

static gboolean bus_begin(VbBus *bus, GError **error)
{
    PASS("begin", TRUE, of(bus)->real->begin(of(bus)->real, error));
}

static gboolean bus_produce(VbBus *bus, const VbBusMessage *message, GError **error)
{
    PASS("produce", TRUE, of(bus)->real->produce(of(bus)->real, message, error));
}

static gboolean bus_flush(VbBus *bus, GError **error)
{
    PASS("flush", TRUE, of(bus)->real->flush(of(bus)->real, error));
}

static gboolean bus_send_offsets(VbBus *bus, const VbBusOffsets *offsets, size_t n_offsets,
                                 GError **error)
{
    PASS("send_offsets", TRUE,
         of(bus)->real->send_offsets(of(bus)->real, offsets, n_offsets, error));
}

static gboolean bus_commit(VbBus *bus, GError **error)
{
    PASS("commit", TRUE, of(bus)->real->commit(of(bus)->real, error));
}

static gboolean bus_abort(VbBus *bus, GError **error)
{
    gboolean failed = fails(bus, "abort", FALSE);
    if (!failed || of(bus)->fault->mode == BUS_FAULT_UNKNOWN) {
        memory_bus_drop(of(bus)->memory);
    }
    return failed ? say(bus, error) : TRUE;
}

static gint64 bus_now_ms(VbBus *bus)
{
    return of(bus)->real->now_ms(of(bus)->real);
}

FaultBus *fault_bus_new(BusFault *fault, VbMemoryBus *memory)
{
    FaultBus *bus = g_new0(FaultBus, 1);
    bus->bus = (VbBus){.poll = bus_poll,
                       .committed = bus_committed,
                       .state_end = bus_state_end,
                       .read_state = bus_read_state,
                       .consume = bus_consume,
                       .confirm_end = bus_confirm_end,
                       .host_exists = bus_host_exists,
                       .begin = bus_begin,
                       .produce = bus_produce,
                       .flush = bus_flush,
                       .send_offsets = bus_send_offsets,
                       .commit = bus_commit,
                       .abort = bus_abort,
                       .now_ms = bus_now_ms};
    bus->fault = fault;
    bus->memory = memory;
    bus->real = memory_bus(memory);
    return bus;
}

void fault_bus_free(FaultBus *bus)
{
    g_free(bus);
}

VbBus *fault_bus(FaultBus *bus)
{
    return &bus->bus;
}

const char *fault_bus_mode_name(BusFaultMode mode)
{
    switch (mode) {
    case BUS_FAULT_NONE:
        return "no fault";
    case BUS_FAULT_ABORT:
        return "is aborted once";
    case BUS_FAULT_REFUSED:
        return "is refused once";
    case BUS_FAULT_REFUSED_TWICE:
        return "is refused twice";
    case BUS_FAULT_FATAL:
        return "is the process's end";
    case BUS_FAULT_UNKNOWN:
        return "has an unknown outcome";
    case BUS_FAULT_ABORT_EVER:
        return "is aborted for ever";
    case BUS_FAULT_FATAL_EVER:
        return "is the end of each process";
    }
    g_assert_not_reached();
}
