/* Any message of the contract in one short line for people. Pure: no clock, no I/O. */
#pragma once

#include "common/base/arena.h"
#include "virtbus/v1/virtbus.h"

typedef enum {
    TONE_PLAIN,
    TONE_GOOD,
    TONE_WARNING,
    TONE_BAD,
} VbTone;

typedef struct {
    const char *kind; /* "StatusChanged", "CreateVolumes" ...: the message's own name. */
    const char *text; /* May be empty. */
    VbTone tone;
    const char *operation_id; /* That it belongs to; empty: none, or not known. */
} VbDescription;

/* `message` is one of a topic's values (VmCommand, VmEvent, HostReport, StateRecord ...).
 * Everything in the result lies in the arena or is static. */
VbDescription describe(VbArena *arena, const void *message);

/* "2 vCPUs, 2 GiB, Uefi, Secure Boot, TPM, 1 disk, 1 NIC (VhostUser)" */
const char *describe_spec(VbArena *arena, const VmSpec *spec);
/* "preparing volumes" */
const char *describe_phase(VbArena *arena, OperationPhase phase);
