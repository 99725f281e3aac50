/* The shrinker, on the whole simulator with a defect planted in it. The linker puts these functions
 * before the simulator's own (--wrap): what they do with a planted defect, no real run does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "common/runtime/log.h"
#include "tests/sim/sim_flags.h"
#include "tests/sim/sim_host_private.h"
#include "tests/sim/sim_many.h"
#include "tests/sim/sim_shrink.h"

enum {
    STEPS = 600,
    SEEDS = 500,
    MOST_S = 600,
    OFTEN = 8,       /* SimPlan.times */
    A_REPEATED = 50, /* Seed of many that is run twice. */
};

typedef enum {
    NOTHING,
    NO_SYNC,        /* The sync of a file does nothing. */
    START_AND_LOSS, /* A StartVm, and a loss of power behind it. */
    TWO_OF_EACH,    /* Two VMs that were asked for, and two hosts that lost their power. */
    START_CRASHES,  /* A StartVm ends the process. */
    HERE_ONLY,      /* A StartVm, in this process. */
    OTHER_DRAWS,    /* Each second run of a process draws once more. */
    OTHER_DISKS,    /* Each second run of a process has a file more. */
} Planted;

static Planted planted;
static pid_t here;
static guint64 asked_vms; /* Bits. */
static guint64 lost_hosts;
static guint n_starts;
static guint n_worlds;

static void judge(SimWorld *world)
{
    gboolean two = (asked_vms & (asked_vms - 1)) != 0 && (lost_hosts & (lost_hosts - 1)) != 0;
    if (planted == TWO_OF_EACH && two) {
        sim_fail(world->sim, "planted", NULL, "two of each");
    }
    if (planted == START_CRASHES && n_starts > 0) {
        abort();
    }
    if (planted == HERE_ONLY && n_starts > 0 && getpid() == here) {
        sim_fail(world->sim, "planted", NULL, "a start, in this process");
    }
}

static SimWorld *world; /* Of the run. */

SimCheck *__real_sim_check_new(SimWorld *of);
SimCheck *__wrap_sim_check_new(SimWorld *of);
SimCheck *__wrap_sim_check_new(SimWorld *of)
{
    world = of;
    asked_vms = 0;
    lost_hosts = 0;
    n_starts = 0;
    n_worlds++;
    return __real_sim_check_new(of);
}

void __real_sim_check_requested(SimCheck *check, const VmCommand *command, gint64 offset);
void __wrap_sim_check_requested(SimCheck *check, const VmCommand *command, gint64 offset);
void __wrap_sim_check_requested(SimCheck *check, const VmCommand *command, gint64 offset)
{
    int vm = sim_world_vm_index(world, command->vm_uuid);
    __real_sim_check_requested(check, command, offset);
    asked_vms |= vm >= 0 ? G_GUINT64_CONSTANT(1) << vm : 0;
    n_starts += command->command_case == VM_COMMAND__COMMAND_START_VM;
    if (planted == OTHER_DISKS && n_worlds % 2 == 0) {
        sim_files_make(world->hosts[0], "/planted", SIM_NODE_FILE, 0600, "x", 1);
    }
    judge(world);
}

void __real_sim_check_power_lost(SimCheck *check, SimHost *host);
void __wrap_sim_check_power_lost(SimCheck *check, SimHost *host);
void __wrap_sim_check_power_lost(SimCheck *check, SimHost *host)
{
    __real_sim_check_power_lost(check, host);
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        lost_hosts |= world->hosts[i] == host ? G_GUINT64_CONSTANT(1) << i : 0;
    }
    if (planted == START_AND_LOSS && n_starts > 0) {
        sim_fail(world->sim, "planted", NULL, "a loss of power behind a start");
    }
    judge(world);
}

void __real_sim_node_sync(SimNode *node);
void __wrap_sim_node_sync(SimNode *node);
void __wrap_sim_node_sync(SimNode *node)
{
    if (planted == OTHER_DRAWS && n_worlds % 2 == 0) {
        sim_random(world->sim);
    }
    if (planted != NO_SYNC || node->kind != SIM_NODE_FILE) {
        __real_sim_node_sync(node);
    }
}

/* ---- */

/* NULL: its world is too small to be made smaller. */
static SimPlan *plan_of(guint64 seed, gboolean often)
{
    SimPlan *plan = sim_plan_new(seed, STEPS);
    gboolean fits = plan->n_vms > 2 && plan->n_hosts > 1 && plan->n_instances > 1 &&
                    plan->n_partitions > 1 && plan->n_shared > 0;
    if (fits && often) {
        sim_plan_set_times(plan, OFTEN);
        for (guint i = 0; i < SIM_N_FAULTS; i++) {
            plan->rates[i] = i == FAULT_POWER_LOSS ? plan->rates[i] : 0;
        }
    }
    if (!fits) {
        g_clear_pointer(&plan, sim_plan_free);
    }
    return plan;
}

/* The first seed that breaks the rule; `often`: by more losses of power than it needs. */
static SimPlan *failing(Planted defect, const char *rule, gboolean often, SimResult *ret_result)
{
    planted = defect;
    for (guint64 seed = 1; seed <= SEEDS; seed++) {
        g_autoptr(SimPlan) plan = plan_of(seed, often);
        if (plan == NULL) {
            continue;
        }
        sim_try_apart(plan, ret_result);
        gboolean large =
            often ? ret_result->n_strikes[FAULT_POWER_LOSS] > 1 : ret_result->n_commands > 6;
        if (ret_result->failed && strcmp(ret_result->rule, rule) == 0 && large) {
            return g_steal_pointer(&plan);
        }
    }
    fail_msg("no seed breaks %s", rule);
    return NULL;
}

static SimPlan *plan_by_words(const char *words)
{
    SimFlags flags = {0};
    gint64 seed = 0;
    GOptionEntry entries[] = {{"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "", NULL},
                              G_OPTION_ENTRY_NULL};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autofree char *line = g_strconcat("virtbus-sim ", words, NULL);
    g_auto(GStrv) arguments = g_strsplit(line, " ", -1);
    g_option_context_add_main_entries(context, entries, NULL);
    sim_flags_add(&flags, context);
    assert_true(g_option_context_parse_strv(context, &arguments, NULL));
    assert_int_equal(g_strv_length(arguments), 1);
    SimPlan *plan = sim_flags_plan(&flags, (guint64)seed, NULL);
    assert_non_null(plan);
    sim_flags_clear(&flags);
    return plan;
}

typedef struct {
    guint n_commands; /* Each at most. */
    guint n_faults;
    guint n_vms;
    guint n_hosts;
    gboolean often; /* In a run with many losses of power. */
} Size;

/* Shrinks it; what is left is no larger than that, and its words make the very same run. */
static void shrinks_to(Planted defect, const char *rule, Size most)
{
    SimResult result;
    SimResult again;
    g_autoptr(SimPlan) plan = failing(defect, rule, most.often, &result);
    g_autoptr(SimPlan) small = sim_shrink(plan, MOST_S, &result);
    assert_non_null(small);
    g_autofree char *words = sim_flags_words(small);
    print_message("# %s\n", words);
    assert_string_equal(result.rule, rule);
    assert_true(small->kept_commands->len <= most.n_commands);
    assert_int_equal(small->kept_faults->len, most.n_faults);
    assert_int_equal(small->n_hosts, most.n_hosts);
    assert_int_equal(__builtin_popcountll(small->vms), most.n_vms);
    assert_int_equal(small->n_instances, 1);
    assert_int_equal(small->n_partitions, 1);
    assert_int_equal(small->n_shared, 0);
    assert_true(small->max_steps <= result.step + 1);

    g_autoptr(SimPlan) same = plan_by_words(words);
    sim_try_apart(same, &again);
    assert_true(again.failed);
    assert_string_equal(again.rule, result.rule);
    assert_string_equal(again.text, result.text);
    assert_int_equal(again.step, result.step);
    assert_int_equal(again.draws, result.draws);
    assert_int_equal(again.digest, result.digest);
}

static void test_a_world_that_does_not_sync_needs_two_commands(void **state)
{
    (void)state;
    shrinks_to(NO_SYNC, "I1", (Size){.n_commands = 2, .n_vms = 1, .n_hosts = 1});
}

static void test_a_command_and_a_fault_are_left(void **state)
{
    (void)state;
    shrinks_to(START_AND_LOSS, "planted",
               (Size){.n_commands = 2, .n_faults = 1, .n_vms = 1, .n_hosts = 1, .often = TRUE});
}

static void test_two_of_each_are_left(void **state)
{
    (void)state;
    shrinks_to(TWO_OF_EACH, "planted",
               (Size){.n_commands = 2, .n_faults = 2, .n_vms = 2, .n_hosts = 2, .often = TRUE});
}

static void test_what_crashes_is_made_smaller_too(void **state)
{
    (void)state;
    shrinks_to(START_CRASHES, "crash", (Size){.n_commands = 2, .n_vms = 1, .n_hosts = 1});
}

static void test_what_does_not_repeat_is_not_made_smaller(void **state)
{
    (void)state;
    SimResult result = {0};
    g_autoptr(SimPlan) plan = NULL;
    planted = HERE_ONLY;
    here = getpid();
    for (guint64 seed = 1; seed <= SEEDS && !result.failed; seed++) {
        g_clear_pointer(&plan, sim_plan_free);
        plan = sim_plan_new(seed, STEPS);
        sim_try(plan, NULL, NULL, &result);
    }
    assert_true(result.failed);
    assert_null(sim_shrink(plan, MOST_S, &result));
}

static SimPlan *plain_plan(const void *data, guint64 seed)
{
    (void)data;
    return sim_plan_new(seed, STEPS);
}

/* What a run that is made twice comes to when its plan is the same and it is not. */
static void differs(Planted defect, const char *what)
{
    const SimMany many = {.plan = plain_plan,
                          .first_seed = A_REPEATED,
                          .n_seeds = 1,
                          .n_jobs = 1,
                          .n_most_failures = 1};
    SimSum sum;
    planted = defect;
    n_worlds = 0;
    sim_many(&many, &sum);
    assert_int_equal(sum.n_repeated, 1);
    assert_int_equal(sum.failures->len, what != NULL ? 1 : 0);
    if (what != NULL) {
        const SimFailure *failure = &g_array_index(sum.failures, SimFailure, 0);
        assert_string_equal(failure->result.rule, SIM_SAME);
        assert_non_null(strstr(failure->result.text, what));
    }
    g_array_unref(sum.failures);
}

static void test_a_second_run_that_differs_is_seen(void **state)
{
    (void)state;
    differs(NOTHING, NULL);
    differs(OTHER_DRAWS, "other draws");
    differs(OTHER_DISKS, "other records or disks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_world_that_does_not_sync_needs_two_commands),
        cmocka_unit_test(test_a_command_and_a_fault_are_left),
        cmocka_unit_test(test_two_of_each_are_left),
        cmocka_unit_test(test_what_crashes_is_made_smaller_too),
        cmocka_unit_test(test_what_does_not_repeat_is_not_made_smaller),
        cmocka_unit_test(test_a_second_run_that_differs_is_seen),
    };
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
