/* Which call fails, and how: the Nth of one run, counted over all that the agent calls.
 *
 * The world is the caller's: this only counts and answers. A run in which `hit` stays FALSE had fewer
 * than N calls and met no fault: the last of its mode. */
#pragma once

#include <glib.h>

typedef enum {
    FAULT_NEVER,
    FAULT_REFUSED,      /* Fails once, nothing was done. */
    FAULT_DONE,         /* Fails once, though it was done. */
    FAULT_HALF,         /* Fails once, half done: a full disk; a libvirt or an OVS that is away. */
    FAULT_SHORT,        /* A write takes half of what it was given, and says so. */
    FAULT_EVER,         /* All calls of this kind fail from here on, until somebody mends it. */
    FAULT_CRASH_BEFORE, /* The process dies before the call does anything ... */
    FAULT_CRASH_AFTER,  /* ... or once it has. */
    FAULT_REBOOT,       /* As CRASH_AFTER, and the machine with it: guests and sockets are gone. */
} FaultMode;

/* Each kind is one that fails as a whole: a disk, a libvirtd, an OVS. */
typedef enum { CALL_FILES, CALL_HYPERVISOR, CALL_SWITCH } CallKind;

typedef enum {
    CALL_READS,   /* Leaves all as it was: that it "was done" means nothing. */
    CALL_CHANGES, /* Is all or nothing. */
    CALL_WRITES,  /* Can be done in part. */
} CallEffect;

typedef enum { WAY_DO, WAY_FAIL, WAY_DO_AND_FAIL, WAY_HALF_AND_FAIL, WAY_HALF } FaultWay;

typedef struct {
    FaultMode mode;
    guint at;         /* N, from 1. */
    guint calls;      /* That this mode counts. */
    gboolean hit;     /* The Nth was reached. */
    gboolean crashed; /* Nothing that the process does has any effect until it is started again. */
    gboolean mended;  /* FAULT_EVER is over. */
    CallKind sick;    /* FAULT_EVER: whose calls fail. */
    char where[256];  /* The Nth call, for people. */
} Fault;

/* What becomes of this call. */
FaultWay fault_way(Fault *fault, CallKind kind, CallEffect effect, const char *call,
                   const char *object);
const char *fault_mode_name(FaultMode mode);
