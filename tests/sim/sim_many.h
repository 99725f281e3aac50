/* Many seeds on many processes. */
#pragma once

#include "tests/sim/sim_check_count.h"
#include "tests/sim/sim_try.h"

/* The plan of a seed; sim_plan_free frees it. */
typedef SimPlan *(*SimMakePlan)(const void *data, guint64 seed);

typedef struct {
    SimMakePlan plan;
    const void *data;
    guint64 first_seed;
    guint64 n_seeds;
    guint n_jobs;
    guint n_most_failures; /* After as many it begins no more. */
} SimMany;

typedef struct {
    guint64 seed;
    SimResult result;
} SimFailure;

typedef struct {
    guint64 n_runs;
    guint64 n_steps;
    guint64 n_commands;
    guint64 n_faults;
    guint64 n_repeated; /* Runs that were run twice, to see whether both come out equal. */
    guint64 n_calm;     /* Runs whose plan knew no faults. */
    double seconds;
    guint64 marks[SIM_N_MARKS];
    guint64 faults[SIM_N_FAULTS];
    guint64 judged[SIM_N_INVARIANTS];
    guint64 excused[SIM_N_INVARIANTS];
    GArray *failures; /* of SimFailure, by seed. */
} SimSum;

/* `sum->failures` is made here: g_array_unref. */
#define SIM_SAME "same" /* The rule of two runs of one plan that came out different. */
void sim_many(const SimMany *many, SimSum *ret_sum);
