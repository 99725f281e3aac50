/* See sim_shrink.h. Each attempt is a run of its own in a process of its own. Faults and commands
 * are taken away in halves, quarters and so on (delta debugging, Zeller). What is taken away changes
 * the run behind it, so the numbers of a smaller run are counted anew: it stays a run that anybody
 * can repeat. */
#include "tests/sim/sim_shrink.h"

#include <string.h>

typedef struct {
    SimPlan *best;
    SimResult result;
    char rule[16];
    gint64 end_us;
} Shrink;

/* Takes `plan`. TRUE: it still fails, and is the best now. */
static gboolean attempt(Shrink *shrink, SimPlan *plan)
{
    SimResult result;
    if (g_get_monotonic_time() > shrink->end_us) {
        sim_plan_free(plan);
        return FALSE;
    }
    sim_try_apart(plan, &result);
    if (!result.failed || strcmp(result.rule, shrink->rule) != 0) {
        sim_plan_free(plan);
        return FALSE;
    }
    sim_plan_free(shrink->best);
    shrink->best = plan;
    shrink->result = result;
    return TRUE;
}

static void shrink_steps(Shrink *shrink)
{
    for (guint64 cut = shrink->best->max_steps; cut > 0; cut /= 2) {
        SimPlan *plan = sim_plan_copy(shrink->best);
        plan->max_steps = MIN(plan->max_steps, shrink->result.step);
        plan->max_steps -= MIN(cut, plan->max_steps - 1);
        attempt(shrink, plan);
    }
}

static void shrink_kinds(Shrink *shrink)
{
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        if (shrink->best->rates[i] > 0) {
            SimPlan *plan = sim_plan_copy(shrink->best);
            plan->rates[i] = 0;
            attempt(shrink, plan);
        }
    }
}

static gboolean is_skipped(const GArray *skipped, guint64 number)
{
    for (guint i = 0; i < skipped->len; i++) {
        if (g_array_index(skipped, guint64, i) == number) {
            return TRUE;
        }
    }
    return FALSE;
}

/* `commands`: of the commands; else of the faults. Chunks of `size`, from the last to the first. */
static void shrink_chunks(Shrink *shrink, gboolean commands, guint64 size)
{
    guint64 n = commands ? shrink->result.n_commands : shrink->result.n_faults;
    for (guint64 begin = n - n % size; n > 0; begin -= size) {
        SimPlan *plan = sim_plan_copy(shrink->best);
        GArray *skipped = commands ? plan->skipped_commands : plan->skipped_faults;
        guint before = skipped->len;
        for (guint64 number = begin + 1; number <= MIN(begin + size, n); number++) {
            if (!is_skipped(skipped, number)) {
                g_array_append_val(skipped, number);
            }
        }
        if (skipped->len == before) {
            sim_plan_free(plan);
        } else {
            attempt(shrink, plan);
        }
        if (begin < size || g_get_monotonic_time() > shrink->end_us) {
            return;
        }
    }
}

static void shrink_numbers(Shrink *shrink, gboolean commands)
{
    guint64 n = commands ? shrink->result.n_commands : shrink->result.n_faults;
    for (guint64 size = MAX(n / 2, 1); n > 0; size /= 2) {
        shrink_chunks(shrink, commands, size);
        if (size == 1) {
            return;
        }
    }
}

SimPlan *sim_shrink(const SimPlan *plan, guint most_s, SimResult *result)
{
    Shrink shrink = {.best = sim_plan_copy(plan),
                     .result = *result,
                     .end_us = g_get_monotonic_time() + most_s * G_USEC_PER_SEC};
    g_strlcpy(shrink.rule, result->rule, sizeof(shrink.rule));
    shrink_steps(&shrink);
    shrink_kinds(&shrink);
    shrink_numbers(&shrink, TRUE);
    shrink_numbers(&shrink, FALSE);
    shrink_steps(&shrink);
    *result = shrink.result;
    return shrink.best;
}

/* ---- Words */

static gint number_compare(gconstpointer a, gconstpointer b)
{
    guint64 left = *(const guint64 *)a;
    guint64 right = *(const guint64 *)b;
    return left < right ? -1 : left > right;
}

/* " --FLAG=1-5,9" */
static void numbers_add(GString *words, const char *flag, const GArray *numbers)
{
    g_autoptr(GArray) sorted = g_array_copy((GArray *)numbers);
    g_array_sort(sorted, number_compare);
    for (guint i = 0; i < sorted->len;) {
        guint64 first = g_array_index(sorted, guint64, i);
        guint64 last = first;
        g_string_append_printf(words, "%s%" G_GUINT64_FORMAT, i == 0 ? flag : ",", first);
        while (++i < sorted->len && g_array_index(sorted, guint64, i) == last + 1) {
            last++;
        }
        if (last > first) {
            g_string_append_printf(words, "-%" G_GUINT64_FORMAT, last);
        }
    }
}

char *sim_plan_words(const SimPlan *plan)
{
    g_autoptr(SimPlan) plain = sim_plan_new(plan->seed, plan->max_steps);
    GString *words = g_string_new(NULL);
    const char *flag = " --without=";
    g_string_append_printf(words, "--seed=%" G_GUINT64_FORMAT " --steps=%" G_GUINT64_FORMAT,
                           plan->seed, plan->max_steps);
    if (plan->times > 0) {
        sim_plan_set_times(plain, plan->times);
        g_string_append_printf(words, " --times=%u", plan->times);
    }
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        if (plan->rates[i] == 0 && plain->rates[i] > 0) {
            g_string_append_printf(words, "%s%s", flag, sim_fault_info(i)->name);
            flag = ",";
        }
    }
    numbers_add(words, " --skip-faults=", plan->skipped_faults);
    numbers_add(words, " --skip-commands=", plan->skipped_commands);
    return g_string_free(words, FALSE);
}
