/* See sim_shrink.h. Each attempt is a run of its own in a process of its own.
 *
 * At first the plan is told to keep all the commands and faults that there were: that changes
 * nothing, and from then on nothing can come up that was not there before. Then they go in halves,
 * quarters and so on (delta debugging, Zeller), until no single one can go. What is left of them
 * draws as it did (sim.h), but not so the delays: what hangs on a delay is lost as often as not, so
 * once nothing else can go each attempt is made with several. */
#include "tests/sim/sim_shrink.h"

#include <string.h>

enum {
    DELAYS = 4,       /* Others that are tried where the failure is lost. */
    STEPS_SHARE = 10, /* One part of so many of the time is for the steps, at the end. */
    MORE_STEPS = 500, /* A smaller world may fail a little later than a larger one. */
};

typedef struct {
    SimPlan *best;
    SimResult result;
    char rule[16];
    guint n_delays; /* Others to try. */
    gint64 end_us;
} Shrink;

static gboolean is_over(const Shrink *shrink)
{
    return g_get_monotonic_time() > shrink->end_us;
}

static gboolean breaks(const Shrink *shrink, const SimPlan *plan, SimResult *ret_result)
{
    sim_try_apart(plan, ret_result);
    return ret_result->failed && strcmp(ret_result->rule, shrink->rule) == 0;
}

/* Takes `plan`. TRUE: it still fails, and is the best now. */
static gboolean attempt(Shrink *shrink, SimPlan *plan)
{
    guint64 delays = plan->delays;
    for (guint i = 0; i <= shrink->n_delays && !is_over(shrink); i++) {
        SimResult result;
        plan->delays = delays + i;
        if (breaks(shrink, plan, &result)) {
            sim_plan_free(shrink->best);
            plan->max_steps = MIN(plan->max_steps, 2 * result.step + MORE_STEPS);
            shrink->best = plan;
            shrink->result = result;
            return TRUE;
        }
    }
    sim_plan_free(plan);
    return FALSE;
}

/* ---- The world */

static gboolean shrink_to_vms(Shrink *shrink, guint64 vms)
{
    SimPlan *plan = sim_plan_copy(shrink->best);
    plan->vms = vms;
    while (plan->n_vms > 1 && (vms >> (plan->n_vms - 1) & 1) == 0) {
        plan->n_vms--;
    }
    return attempt(shrink, plan);
}

static gboolean shrink_vms(Shrink *shrink)
{
    gboolean any = FALSE;
    guint n_vms = shrink->best->n_vms;
    guint64 all = shrink->best->vms & ((G_GUINT64_CONSTANT(1) << n_vms) - 1);
    for (guint vm = 0; vm < n_vms; vm++) { /* One alone. */
        guint64 bit = G_GUINT64_CONSTANT(1) << vm;
        if ((all & bit) != 0 && all != bit && shrink_to_vms(shrink, bit)) {
            return TRUE;
        }
    }
    for (guint vm = n_vms; vm-- > 0;) { /* All but one. */
        guint64 left = shrink->best->vms & all & ~(G_GUINT64_CONSTANT(1) << vm);
        if (left != (shrink->best->vms & all) && left != 0) {
            any |= shrink_to_vms(shrink, left);
        }
    }
    return any;
}

/* `count`: of the plan, in bytes from its begin. In a smaller world the chances of faults, and so the
 * strikes, come later: it gets more steps. */
static gboolean shrink_count(Shrink *shrink, gsize count, guint least)
{
    guint now = G_STRUCT_MEMBER(guint, shrink->best, count);
    for (guint n = least; n < now; n++) {
        SimPlan *plan = sim_plan_copy(shrink->best);
        G_STRUCT_MEMBER(guint, plan, count) = n;
        plan->max_steps *= 2;
        if (attempt(shrink, plan)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* ---- Commands and faults */

/* FALSE: with all of them named it is another run. */
static gboolean keep_all(Shrink *shrink)
{
    SimPlan *plan = sim_plan_copy(shrink->best);
    if (plan->kept_commands == NULL) {
        plan->kept_commands = g_array_new(FALSE, FALSE, sizeof(guint64));
        for (guint64 number = 1; number <= shrink->result.n_asked; number++) {
            g_array_append_val(plan->kept_commands, number);
        }
    }
    if (plan->kept_faults == NULL) {
        plan->kept_faults = g_array_new(FALSE, FALSE, sizeof(SimFaultNumber));
        for (guint i = 0; i < SIM_N_FAULTS; i++) {
            SimFaultNumber kept = {.fault = i};
            while (kept.number++ < shrink->result.n_strikes[i]) {
                g_array_append_val(plan->kept_faults, kept);
            }
        }
    }
    return attempt(shrink, plan);
}

static gboolean shrink_kinds(Shrink *shrink)
{
    gboolean any = FALSE;
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        SimPlan *plan = sim_plan_copy(shrink->best);
        for (guint at = plan->kept_faults->len; at-- > 0;) {
            if (g_array_index(plan->kept_faults, SimFaultNumber, at).fault == i) {
                g_array_remove_index(plan->kept_faults, at);
            }
        }
        if (plan->kept_faults->len < shrink->best->kept_faults->len) {
            any |= attempt(shrink, plan);
        } else {
            sim_plan_free(plan);
        }
    }
    return any;
}

static GArray *list_of(const SimPlan *plan, gboolean commands)
{
    return commands ? plan->kept_commands : plan->kept_faults;
}

/* `n` at a time, from the last to the first. */
static gboolean shrink_chunks(Shrink *shrink, gboolean commands, guint n)
{
    gboolean any = FALSE;
    for (guint end = list_of(shrink->best, commands)->len; end > 0 && !is_over(shrink);) {
        SimPlan *plan = sim_plan_copy(shrink->best);
        guint begin = end > n ? end - n : 0;
        g_array_remove_range(list_of(plan, commands), begin, end - begin);
        any |= attempt(shrink, plan);
        end = begin;
    }
    return any;
}

static gboolean shrink_list(Shrink *shrink, gboolean commands)
{
    gboolean any = FALSE;
    for (guint n = list_of(shrink->best, commands)->len; n > 0; n /= 2) {
        any |= shrink_chunks(shrink, commands, n);
    }
    return any;
}

/* ---- Steps */

/* The storm ends where it failed at the latest; a step that crashes is not counted. */
static void shrink_steps(Shrink *shrink)
{
    guint64 cut = shrink->best->max_steps;
    for (gboolean last = FALSE; !last; cut /= 2) {
        SimPlan *plan = sim_plan_copy(shrink->best);
        last = cut == 0;
        plan->max_steps = MIN(plan->max_steps, shrink->result.step + 1);
        plan->max_steps -= MIN(cut, plan->max_steps - 1);
        attempt(shrink, plan);
    }
}

/* ---- The whole */

static gboolean shrink_once(Shrink *shrink)
{
    gboolean any = shrink_kinds(shrink);
    any |= shrink_vms(shrink);
    any |= shrink_list(shrink, FALSE);
    any |= shrink_list(shrink, TRUE);
    any |= shrink_count(shrink, G_STRUCT_OFFSET(SimPlan, n_hosts), 1);
    any |= shrink_count(shrink, G_STRUCT_OFFSET(SimPlan, n_instances), 1);
    any |= shrink_count(shrink, G_STRUCT_OFFSET(SimPlan, n_partitions), 1);
    any |= shrink_count(shrink, G_STRUCT_OFFSET(SimPlan, n_shared), 0);
    return any;
}

SimPlan *sim_shrink(const SimPlan *plan, guint most_s, SimResult *result)
{
    gint64 share_us = most_s * G_USEC_PER_SEC / STEPS_SHARE;
    Shrink shrink = {.end_us = g_get_monotonic_time() + (STEPS_SHARE - 1) * share_us};
    g_strlcpy(shrink.rule, result->rule, sizeof(shrink.rule));
    if (!breaks(&shrink, plan, &shrink.result)) {
        return NULL;
    }
    shrink.best = sim_plan_copy(plan);
    if (strcmp(shrink.rule, "hang") != 0) {
        while (keep_all(&shrink) && shrink_once(&shrink)) {
        }
        shrink.n_delays = DELAYS;
        while (keep_all(&shrink) && shrink_once(&shrink)) {
        }
        shrink.end_us += share_us;
        shrink_steps(&shrink);
    }
    *result = shrink.result;
    return shrink.best;
}
