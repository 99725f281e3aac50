/* How often each invariant was really judged: something was there to be judged, and was compared. A
 * watcher that never finds anything to look at keeps silent like one that finds all well; the counts
 * tell the two apart. Counted for the process, over all runs, as marks are. */
#pragma once

#include <glib.h>

#define SIM_INVARIANTS(X)                                                                          \
    X(I1, "an acknowledged volume exists until it is expunged or its retention ends")              \
    X(I2, "at most one live NVRAM per VM, one VM per NVRAM")                                       \
    X(I3, "a domain starts only with what it needs, verified, at its epoch, before its expiry")    \
    X(I4, "bytes are deleted only after the deletion is committed")                                \
    X(I5, "a template is copied once per generation; content never goes back by itself")           \
    X(I6, "at most one running domain per NVRAM; older epochs and expired commands are refused")   \
    X(I7, "inputs and journal give the same states and outputs again")                             \
    X(I8, "one terminal reply per request; nothing under way outlives its deadline")               \
    X(I9, "each consumed offset belongs to exactly one committed set of outputs")                  \
    X(I10, "domains, ports and files converge to the log")                                         \
    X(MODEL, "what replies promised is there, and nothing else")

typedef enum {
#define SIM_INVARIANT_ENUM(name, sentence) SIM_##name,
    SIM_INVARIANTS(SIM_INVARIANT_ENUM)
#undef SIM_INVARIANT_ENUM
        SIM_N_INVARIANTS,
} SimInvariant;

/* Something is there and is compared; or `excused`: docs/INVARIANTS.md says why nothing is promised
 * about it, and the answer is FALSE. */
gboolean sim_judge(SimInvariant invariant, gboolean excused);
guint64 sim_judged(SimInvariant invariant);
guint64 sim_excused(SimInvariant invariant);
const char *sim_invariant_name(SimInvariant invariant); /* "I3" */
const char *sim_invariant_sentence(SimInvariant invariant);
