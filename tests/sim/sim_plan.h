/* What a run is like, all of it drawn from its seed; flags and the shrinker may change it. */
#pragma once

#include "tests/sim/sim_fault.h"

typedef struct {
    guint64 seed;
    guint64 max_steps; /* Of the stormy part. */
    guint n_vms;
    guint n_hosts;
    guint n_partitions;
    guint n_instances;         /* Of each service. */
    guint n_shared;            /* Storages that every host sees; the local ones come besides. */
    gint64 command_every_ms;   /* Between two commands of all control planes, on average. */
    guint times;               /* See sim_plan_set_times; 0: the rates are drawn. */
    guint rates[SIM_N_FAULTS]; /* Per million; 0: off. */
    gboolean nvram_for_all_uefi;
    gint64 nvram_retain_ms;
    gint64 skew_ms;           /* Of any two hosts' clocks, at most. */
    GArray *skipped_faults;   /* of guint64: numbers, see sim_skip_fault. */
    GArray *skipped_commands; /* of guint64: numbers of commands, counted from 1. */
} SimPlan;

SimPlan *sim_plan_new(guint64 seed, guint64 max_steps);
SimPlan *sim_plan_copy(const SimPlan *plan);
/* Every kind of fault strikes, `times` as often as its table says. Those who want one kind alone set
 * the rates of the others to 0 then. */
void sim_plan_set_times(SimPlan *plan, guint times);
void sim_plan_free(SimPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimPlan, sim_plan_free)
