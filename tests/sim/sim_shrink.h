/* Makes a failing run smaller: the same rule breaks still, with fewer VMs, hosts, instances and
 * partitions, fewer kinds of faults, fewer faults, fewer commands, fewer steps. */
#pragma once

#include "tests/sim/sim_try.h"

/* Runs it again, then tries for at most `most_s` seconds of real time. NULL: the same plan does not
 * break the rule of `result` again, and nothing about it can be believed. Else the smallest plan that
 * was found, whose run has given `result` as it is now; free it with sim_plan_free. A run that hangs
 * is only run again. */
SimPlan *sim_shrink(const SimPlan *plan, guint most_s, SimResult *result);
