/* What a run is like, all of it drawn from its seed; flags and the shrinker may change it. */
#pragma once

#include "tests/sim/sim_fault.h"

enum { SIM_SKEW_MS = 2000 }; /* What the settings allow. */

typedef struct {
    guint64 seed;
    guint64 max_steps; /* Of the stormy part. */
    guint64 delays;    /* See sim_set_delays. */
    guint n_vms;
    guint
        n_drawn_vms; /* As the seed has it: who is asked is drawn among as many, whatever is left. */
    guint64 vms;     /* Bits of those that commands are for. */
    guint n_hosts;
    guint n_partitions;
    guint n_instances;         /* Of each service. */
    guint n_shared;            /* Storages that every host sees; the local ones come besides. */
    gint64 command_every_ms;   /* Between two commands of all control planes, on average. */
    guint times;               /* See sim_plan_set_times; 0: the rates are drawn. */
    guint rates[SIM_N_FAULTS]; /* Per million; 0: off. */
    gboolean nvram_for_all_uefi;
    gint64 nvram_retain_ms;
    gint64 expunged_keep_ms;
    gint64 tombstone_keep_ms; /* delete.retention.ms: longer than a restore takes. */
    gint64 horizon_ms;        /* Consumed records that are younger are kept. */
    gint64 skew_ms;           /* Of any two clocks, at most. */
    GArray *kept_faults;      /* of SimFaultNumber: no others strike; NULL: all. */
    GArray *kept_commands;    /* of guint64: of control planes, counted from 1; NULL: all. */
} SimPlan;

SimPlan *sim_plan_new(guint64 seed, guint64 max_steps);
SimPlan *sim_plan_copy(const SimPlan *plan);
/* Every kind of fault strikes, `times` as often as its table says. Those who want one kind alone set
 * the rates of the others to 0 then. */
void sim_plan_set_times(SimPlan *plan, guint times);
void sim_plan_free(SimPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimPlan, sim_plan_free)
