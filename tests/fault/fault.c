/* See fault.h. */
#include "tests/fault/fault.h"

const char *fault_mode_name(FaultMode mode)
{
    switch (mode) {
    case FAULT_NEVER:
        return "no fault";
    case FAULT_REFUSED:
        return "fails once, nothing done";
    case FAULT_DONE:
        return "fails once, though done";
    case FAULT_HALF:
        return "fails once, half done";
    case FAULT_SHORT:
        return "writes half";
    case FAULT_EVER:
        return "fails for ever";
    case FAULT_CRASH_BEFORE:
        return "dies before";
    case FAULT_CRASH_AFTER:
        return "dies after";
    case FAULT_REBOOT:
        return "the machine dies after";
    }
    g_assert_not_reached();
}

/* Whether the mode can make a difference at such a call. */
static gboolean is_counted(FaultMode mode, CallEffect effect)
{
    switch (mode) {
    case FAULT_NEVER:
        return FALSE;
    case FAULT_REFUSED:
    case FAULT_EVER:
        return TRUE;
    case FAULT_DONE:
    case FAULT_HALF:
    case FAULT_CRASH_BEFORE: /* A death between two changes is the same one wherever it is. */
    case FAULT_CRASH_AFTER:
    case FAULT_REBOOT:
        return effect != CALL_READS;
    case FAULT_SHORT:
        return effect == CALL_WRITES;
    }
    g_assert_not_reached();
}

static FaultWay way_now(Fault *fault)
{
    switch (fault->mode) {
    case FAULT_NEVER:
        return WAY_DO;
    case FAULT_REFUSED:
    case FAULT_EVER:
        return WAY_FAIL;
    case FAULT_DONE:
        return WAY_DO_AND_FAIL;
    case FAULT_HALF:
        return WAY_HALF_AND_FAIL;
    case FAULT_SHORT:
        return WAY_HALF;
    case FAULT_CRASH_BEFORE:
        fault->crashed = TRUE;
        return WAY_FAIL;
    case FAULT_CRASH_AFTER:
    case FAULT_REBOOT:
        fault->crashed = TRUE;
        return WAY_DO_AND_FAIL;
    }
    g_assert_not_reached();
}

FaultWay fault_way(Fault *fault, CallKind kind, CallEffect effect, const char *call,
                   const char *object)
{
    if (fault->crashed) {
        return WAY_FAIL;
    }
    if (fault->hit) {
        gboolean is_sick = fault->mode == FAULT_EVER && !fault->mended && fault->sick == kind;
        return is_sick ? WAY_FAIL : WAY_DO;
    }
    if (!is_counted(fault->mode, effect) || ++fault->calls != fault->at) {
        return WAY_DO;
    }
    fault->hit = TRUE;
    fault->sick = kind;
    g_snprintf(fault->where, sizeof(fault->where), "%s %s", call, object);
    return way_now(fault);
}
