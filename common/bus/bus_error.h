/* What can go wrong on the bus, in the only classes that a caller can act on. */
#pragma once

#include <glib.h>

#define BUS_ERROR (bus_error_quark())
GQuark bus_error_quark(void);

/* What is retriable never leaves the bus: it is tried again inside until it works or ends as one of
 * these. */
typedef enum {
    BUS_ERROR_ABORT,   /* Abort the transaction and write the same one again. Nobody's fault. */
    BUS_ERROR_REFUSED, /* As ABORT, but the broker refused a record for what it is (too large, no
                          such topic, not allowed): to write it again may never work. */
    BUS_ERROR_FATAL,   /* This process cannot go on: end it; a new one finds out what is true. */
    BUS_ERROR_FENCED,  /* As FATAL: to the broker, a newer process has this one's instance.id. */
    BUS_ERROR_SETUP,   /* The deployment is not as it must be; the message says what to do. */
    BUS_ERROR_STOP,    /* The process was asked to end while it waited. Nothing is wrong. */
} VbBusError;
