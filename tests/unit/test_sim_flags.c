/* What a run is told to be like, what it comes down to, and the program that runs many: flags and
 * words, digests, TAP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/runtime/log.h"
#include "tests/sim/sim_digest.h"
#include "tests/sim/sim_flags.h"
#include "tests/sim/sim_host_private.h"
#include "tests/sim/sim_try.h"

enum { STEPS = 400 };

/* ---- Flags and words. `line` holds flags of sim_flags.h, and --seed. */

static SimPlan *plan_by(const char *line, GError **error)
{
    SimFlags flags = {.max_steps = STEPS};
    gint64 seed = 0;
    GOptionEntry entries[] = {{"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "", NULL},
                              G_OPTION_ENTRY_NULL};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autofree char *all = g_strconcat("virtbus-sim ", line, NULL);
    g_auto(GStrv) words = g_strsplit(all, " ", -1);
    g_option_context_add_main_entries(context, entries, NULL);
    sim_flags_add(&flags, context);
    assert_true(g_option_context_parse_strv(context, &words, NULL));
    assert_int_equal(g_strv_length(words), 1);
    SimPlan *plan = sim_flags_plan(&flags, (guint64)seed, error);
    sim_flags_clear(&flags);
    return plan;
}

static void test_words_make_the_plan_again(void **state)
{
    static const char *const lines[] = {
        "--seed=10 --steps=17",
        "--seed=10 --steps=400 --times=3",
        "--seed=10 --steps=400 --times=1 --without=crash,power-loss",
        "--seed=10 --steps=400 --times=1 --without=crash --faults=crash:1,freeze:1",
        "--seed=10 --steps=400 --delays=12",
        "--seed=10 --steps=400 --faults=none --commands=none",
        "--seed=10 --steps=400 --faults=crash:1-3,crash:7,file-eio:2 --commands=1,3-5,1000",
    };
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(SimPlan) plan = plan_by(lines[i], &error);
        assert_null(error);
        g_autofree char *words = sim_flags_words(plan);
        assert_string_equal(words, lines[i]);
    }
}

static void test_a_smaller_world_is_said(void **state)
{
    (void)state;
    guint n_said = 0;
    for (guint64 seed = 1; seed <= 40; seed++) {
        g_autoptr(SimPlan) plan = sim_plan_new(seed, STEPS);
        n_said += plan->n_vms > 2 && plan->n_hosts > 1 && plan->n_shared > 0;
        plan->n_hosts = 1;
        plan->n_partitions = 1;
        plan->n_instances = 1;
        plan->n_shared = 0;
        plan->n_vms = MIN(plan->n_vms, 2);
        plan->vms = plan->n_vms;
        g_autofree char *words = sim_flags_words(plan);
        g_autoptr(SimPlan) again = plan_by(words, NULL);
        assert_non_null(again);
        assert_int_equal(again->n_vms, plan->n_vms);
        assert_int_equal(again->n_hosts, 1);
        assert_int_equal(again->n_partitions, 1);
        assert_int_equal(again->n_instances, 1);
        assert_int_equal(again->n_shared, 0);
        for (guint vm = 0; vm < plan->n_vms; vm++) {
            assert_int_equal(again->vms >> vm & 1, plan->vms >> vm & 1);
        }
    }
    assert_true(n_said > 0);
}

static void test_a_wrong_flag_is_told_of(void **state)
{
    static const char *const lines[] = {
        "--faults=crash",   "--faults=crash:0", "--faults=crush:1", "--faults=crash:2-1",
        "--faults=crash:x", "--commands=0",     "--commands=1-",    "--commands=1,,2",
        "--commands=-1",    "--vms=none",       "--vms=64",         "--without=lightning",
        "--only=lightning", "--hosts=4",        "--hosts=-1",       "--partitions=17",
        "--instances=5",    "--shared=-1",      "--shared=5",
    };
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(SimPlan) plan = plan_by(lines[i], &error);
        if (plan != NULL) {
            fail_msg("%s is taken", lines[i]);
        }
        assert_non_null(error);
    }
}

static void hear_requests(void *data, const SimLine *line)
{
    if (strcmp(line->who, "vm.commands") == 0) {
        g_ptr_array_add(data, g_strdup_printf("%s %s", line->vm, line->sentence));
    }
}

/* What a run asks for, in the order of asking. */
static GPtrArray *requests_of(const char *line, SimResult *ret_result)
{
    g_autoptr(SimPlan) plan = plan_by(line, NULL);
    GPtrArray *requests = g_ptr_array_new_with_free_func(g_free);
    sim_try(plan, hear_requests, requests, ret_result);
    assert_false(ret_result->failed);
    return requests;
}

/* Two commands, of two VMs: the second is the same one without the first, and without all faults and
 * delays that were. */
static void test_what_is_left_of_a_run_draws_as_before(void **state)
{
    (void)state;
    SimResult result;
    g_autoptr(GPtrArray) all = requests_of("--seed=3", &result);
    assert_true(all->len > 2 && result.n_faults > 0);
    g_autoptr(GPtrArray) none = requests_of("--seed=3 --commands=none --faults=none", &result);
    assert_int_equal(none->len, 0);
    assert_int_equal(result.n_commands, 0);
    assert_int_equal(result.n_faults, 0);
    assert_true(result.n_asked > 2);
    g_autoptr(GPtrArray) second =
        requests_of("--seed=3 --commands=2 --faults=none --delays=5 --hosts=1", &result);
    assert_int_equal(second->len, 1);
    assert_string_equal(g_ptr_array_index(second, 0), g_ptr_array_index(all, 1));
    g_autofree char *vms = g_strdup_printf("--seed=3 --faults=none --vms=%c",
                                           ((const char *)g_ptr_array_index(all, 1))[3]);
    g_autoptr(GPtrArray) of_one = requests_of(vms, &result);
    assert_string_equal(g_ptr_array_index(of_one, 0), g_ptr_array_index(all, 1));
}

/* Of one kind's strikes only those that were named strike, and they are counted as before. */
static void test_only_the_faults_that_were_named_strike(void **state)
{
    (void)state;
    SimResult result;
    g_autoptr(SimPlan) plan = plan_by("--seed=3 --times=20 --only=crash --faults=crash:2", NULL);
    sim_try(plan, NULL, NULL, &result);
    assert_int_equal(result.n_faults, 1);
    assert_true(result.n_strikes[FAULT_CRASH] > 2);
}

/* ---- Digests */

static SimWorld *world_after(const SimPlan *plan)
{
    SimWorld *world = sim_world_new(plan);
    assert_true(sim_world_run(world));
    return world;
}

static void test_equal_runs_have_one_digest(void **state)
{
    (void)state;
    for (guint64 seed = 1; seed <= 4; seed++) {
        g_autoptr(SimPlan) plan = sim_plan_new(seed, STEPS);
        SimResult first, second;
        sim_try(plan, NULL, NULL, &first);
        sim_try(plan, NULL, NULL, &second);
        assert_int_equal(first.digest, second.digest);
        assert_int_equal(first.draws, second.draws);
        plan->delays = 1;
        sim_try(plan, NULL, NULL, &second);
        assert_int_not_equal(first.digest, second.digest);
    }
}

static void test_a_digest_sees_records_bytes_syncs_and_names(void **state)
{
    (void)state;
    g_autoptr(SimPlan) plan = plan_by("--seed=1 --faults=none", NULL);
    SimWorld *world = world_after(plan);
    SimHost *host = world->hosts[0];
    guint64 seen[6];
    guint n_seen = 0;
    VbBusMessage message = {.topic = TOPIC_VM_COMMANDS,
                            .key = world->vm_uuids[0],
                            .key_bytes = strlen(world->vm_uuids[0]),
                            .value = "x",
                            .value_bytes = 1};
    seen[n_seen++] = sim_digest(world);
    assert_int_equal(sim_digest(world), seen[0]);
    assert_true(sim_broker_append(world->broker, &message) >= 0);
    seen[n_seen++] = sim_digest(world);
    assert_true(sim_files_make(host, "/file", SIM_NODE_FILE, 0600, "a", 1));
    seen[n_seen++] = sim_digest(world);
    SimNode *node = sim_files_find(host, "/file");
    sim_node_write(node, 0, "b", 1, 0);
    seen[n_seen++] = sim_digest(world);
    sim_node_sync(sim_disk_root(host->root));
    seen[n_seen++] = sim_digest(world);
    sim_node_sync(node);
    seen[n_seen++] = sim_digest(world);
    for (guint i = 0; i < n_seen; i++) {
        for (guint k = 0; k < i; k++) {
            assert_int_not_equal(seen[i], seen[k]);
        }
    }
    sim_world_free(world);
}

/* ---- The program */

static char *virtbus_sim(const char *flags, int *ret_status)
{
    g_autofree char *line = g_strconcat(SIM_PROGRAM " ", flags, NULL);
    g_autoptr(GError) error = NULL;
    char *output = NULL;
    assert_true(g_spawn_command_line_sync(line, &output, NULL, ret_status, &error));
    return output;
}

static void assert_says(const char *output, const char *words)
{
    if (strstr(output, words) == NULL) {
        fail_msg("no \"%s\" in:\n%s", words, output);
    }
}

static void test_one_seed_is_one_run_in_any_process(void **state)
{
    (void)state;
    for (guint seed = 1; seed <= 3; seed++) {
        int status = 0;
        g_autofree char *flags = g_strdup_printf("--seed=%u --steps=600", seed);
        g_autofree char *first = virtbus_sim(flags, &status);
        assert_int_equal(status, 0);
        g_autofree char *second = virtbus_sim(flags, &status);
        assert_says(first, "every invariant held (digest ");
        assert_string_equal(first, second);
    }
}

/* A few runs show no counts, but each line of them must be there under its name. */
static void test_many_report_in_tap(void **state)
{
    static const char *const lines[] = {"1..15\n",
                                        "\nok 13 - no run failed\n",
                                        "\nok 12 - one seed gives one run\n",
                                        " I1\n",
                                        " I10\n",
                                        "\nok 14 # SKIP every rare path was taken\n",
                                        "\nok 15 # SKIP every kind of fault struck\n"};
    (void)state;
    int status = 0;
    g_autofree char *output =
        virtbus_sim("--first=41 --seeds=15 --steps=300 --jobs=2 --quiet", &status);
    assert_int_equal(status, 0);
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        assert_says(output, lines[i]);
    }
}

/* What flags take out is out of each of many runs. */
static void test_flags_are_for_many_too(void **state)
{
    (void)state;
    int status = 0;
    g_autofree char *none =
        virtbus_sim("--seeds=10 --steps=300 --commands=none --faults=none --quiet", &status);
    assert_int_equal(status, 0);
    assert_says(none, " 0 commands, 0 faults ");
    g_autofree char *some = virtbus_sim("--seeds=10 --steps=300 --faults=none --quiet", &status);
    assert_says(some, " 0 faults ");
    assert_null(strstr(some, " 0 commands"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_make_the_plan_again),
        cmocka_unit_test(test_a_smaller_world_is_said),
        cmocka_unit_test(test_a_wrong_flag_is_told_of),
        cmocka_unit_test(test_what_is_left_of_a_run_draws_as_before),
        cmocka_unit_test(test_only_the_faults_that_were_named_strike),
        cmocka_unit_test(test_equal_runs_have_one_digest),
        cmocka_unit_test(test_a_digest_sees_records_bytes_syncs_and_names),
        cmocka_unit_test(test_one_seed_is_one_run_in_any_process),
        cmocka_unit_test(test_many_report_in_tap),
        cmocka_unit_test(test_flags_are_for_many_too),
    };
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
