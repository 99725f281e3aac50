/* The flags that make a plan other than its seed has it, and the words that make a plan again: what
 * a failing run is shown by is what anybody can type. */
#pragma once

#include "tests/sim/sim_plan.h"

/* Zeroed but for max_steps: as the seed has it. */
typedef struct {
    gint64 max_steps;
    gint64 delays;
    gint times;
    gint hosts;
    gint partitions;
    gint instances;
    char *shared;
    char *vms;
    char *without;
    char *only;
    char *faults;
    char *commands;
} SimFlags;

/* `flags` is filled when the context parses. */
void sim_flags_add(SimFlags *flags, GOptionContext *context);
void sim_flags_clear(SimFlags *flags);
/* TRUE: nothing is taken out of what the seeds have. */
gboolean sim_flags_are_whole(const SimFlags *flags);

/* NULL: a flag is wrong. Free it with sim_plan_free. */
SimPlan *sim_flags_plan(const SimFlags *flags, guint64 seed, GError **error);
/* The words after "virtbus-sim" that make this plan. */
char *sim_flags_words(const SimPlan *plan);
