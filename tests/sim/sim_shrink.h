/* Makes a failing run smaller: the same rule breaks still, with fewer kinds of faults, fewer faults,
 * fewer commands, fewer steps. */
#pragma once

#include "tests/sim/sim_try.h"

/* Tries for at most `most_s` seconds of real time. The smallest plan that was found; free it with
 * sim_plan_free. `result` becomes its. */
SimPlan *sim_shrink(const SimPlan *plan, guint most_s, SimResult *result);

/* The words after "virtbus-sim" that run this plan. */
char *sim_plan_words(const SimPlan *plan);
