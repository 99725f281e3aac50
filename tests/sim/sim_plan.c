/* See sim_plan.h. */
#include "tests/sim/sim_plan.h"

#include "tests/sim/sim.h"

#define HOUR_MS (G_GINT64_CONSTANT(3600) * 1000)
#define DAY_MS  (24 * HOUR_MS)

/* One run in eight knows no faults at all: what breaks there is no matter of luck. In the others
 * each kind is on or off, and rare or frequent. */
static void rates_draw(Sim *sim, SimPlan *plan)
{
    static const guint times_of_4[] = {1, 4, 16};
    if (sim_below(sim, 8) == 0) {
        return;
    }
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        guint rate = sim_fault_info(i)->per_million *
                     times_of_4[sim_below(sim, G_N_ELEMENTS(times_of_4))] / 4;
        plan->rates[i] = sim_below(sim, 3) == 0 ? rate : 0;
    }
}

SimPlan *sim_plan_new(guint64 seed, guint64 max_steps)
{
    static const gint64 retain_ms[] = {0, 60 * 1000, 30 * DAY_MS};
    static const gint64 keeps_ms[] = {10 * 1000, 60 * 1000, 600 * 1000, HOUR_MS};
    static const gint64 tombstones_ms[] = {60 * 1000, 600 * 1000, DAY_MS};
    static const gint64 horizons_ms[] = {5 * 1000, 60 * 1000, 300 * 1000, HOUR_MS};
    static const gint64 skews_ms[] = {0, 300, SIM_SKEW_MS};
    Sim *sim = sim_new(seed ^ G_GUINT64_CONSTANT(0x706c616e)); /* "plan" */
    SimPlan *plan = g_new0(SimPlan, 1);
    plan->seed = seed;
    plan->max_steps = max_steps;
    plan->n_vms = 1 + sim_below(sim, 6);
    plan->n_drawn_vms = plan->n_vms;
    plan->vms = G_MAXUINT64;
    plan->n_hosts = 1 + sim_below(sim, 3);
    plan->n_partitions = 1 + sim_below(sim, 4);
    plan->n_instances = 1 + sim_below(sim, 2);
    plan->n_shared = sim_below(sim, 3);
    plan->command_every_ms = sim_between(sim, 100, 6 * 1000);
    plan->nvram_for_all_uefi = sim_below(sim, 2) == 0;
    plan->nvram_retain_ms = retain_ms[sim_below(sim, G_N_ELEMENTS(retain_ms))];
    plan->expunged_keep_ms = keeps_ms[sim_below(sim, G_N_ELEMENTS(keeps_ms))];
    plan->tombstone_keep_ms = tombstones_ms[sim_below(sim, G_N_ELEMENTS(tombstones_ms))];
    plan->horizon_ms = horizons_ms[sim_below(sim, G_N_ELEMENTS(horizons_ms))];
    plan->skew_ms = skews_ms[sim_below(sim, G_N_ELEMENTS(skews_ms))];
    rates_draw(sim, plan);
    sim_free(sim);
    return plan;
}

void sim_plan_set_times(SimPlan *plan, guint times)
{
    plan->times = times;
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        plan->rates[i] = MIN(sim_fault_info(i)->per_million * times, 1000000);
    }
}

SimPlan *sim_plan_copy(const SimPlan *plan)
{
    SimPlan *copy = g_memdup2(plan, sizeof(*plan));
    copy->kept_faults = plan->kept_faults != NULL ? g_array_copy(plan->kept_faults) : NULL;
    copy->kept_commands = plan->kept_commands != NULL ? g_array_copy(plan->kept_commands) : NULL;
    return copy;
}

void sim_plan_free(SimPlan *plan)
{
    g_clear_pointer(&plan->kept_faults, g_array_unref);
    g_clear_pointer(&plan->kept_commands, g_array_unref);
    g_free(plan);
}
