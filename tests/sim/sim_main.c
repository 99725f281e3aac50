/* virtbus-sim: runs simulated deployments. One seed is one run, for ever the same:
 *
 *   virtbus-sim --seed 7                        one run, told in sentences
 *   virtbus-sim --seeds 2000 --steps 2000       many, on all cores; reports in TAP
 *
 * A failure of many is shown by its seed, its step, what broke and the last that happened to the VM,
 * then made smaller: the command is printed that shows the smallest run that was found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/runtime/log.h"
#include "tests/sim/sim_flags.h"
#include "tests/sim/sim_many.h"
#include "tests/sim/sim_shrink.h"

enum {
    LAST_LINES = 60,         /* Of a failing run's trace. */
    COUNTS_FROM_RUNS = 1000, /* Fewer need not have been everywhere. */
    MOST_FAILURES = 10,
    LONG_EVERY = 20, /* Seeds of many: each such one has LONG_TIMES the steps. */
    LONG_TIMES = 10,
};

typedef struct {
    SimFlags flags;
    gint64 seed;
    gint64 first;
    gint64 n_seeds;
    gint n_jobs;
    gint shrink_s;
    gboolean quiet;
} Arguments;

G_NORETURN static void usage(const char *what, const char *word)
{
    fprintf(stderr, "virtbus-sim: %s %s; see virtbus-sim --help\n", what, word);
    exit(2);
}

static SimPlan *plan_by(const void *data, guint64 seed)
{
    const Arguments *arguments = data;
    g_autoptr(GError) error = NULL;
    SimPlan *plan = sim_flags_plan(&arguments->flags, seed, &error);
    if (plan == NULL) {
        usage("wrong use:", error->message);
    }
    if (arguments->n_seeds > 0 && seed % LONG_EVERY == 0) {
        plan->max_steps *= LONG_TIMES;
    }
    return plan;
}

/* ---- One */

static char *line_text(const SimLine *line)
{
    return g_strdup_printf("%7" G_GUINT64_FORMAT " %11.3f s  %-5s %-16s %s", line->step,
                           line->seconds, line->vm, line->who, line->sentence);
}

static void line_print(void *data, const SimLine *line)
{
    (void)data;
    g_autofree char *text = line_text(line);
    puts(text);
}

static int one(const Arguments *arguments)
{
    g_autoptr(SimPlan) plan = plan_by(arguments, (guint64)arguments->seed);
    SimResult result;
    sim_try(plan, arguments->quiet ? NULL : line_print, NULL, &result);
    if (result.failed) {
        printf("FAILED at step %" G_GUINT64_FORMAT ": %s: %s\n", result.step, result.rule,
               result.text);
        return EXIT_FAILURE;
    }
    printf("%" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT " commands, %" G_GUINT64_FORMAT
           " faults: every invariant held (digest %016" G_GINT64_MODIFIER "x)\n",
           result.step, result.n_commands, result.n_faults, result.digest);
    return EXIT_SUCCESS;
}

/* ---- Many */

typedef struct {
    const char *vm_uuid; /* "": of all. */
    GQueue lines;        /* of char * */
} Last;

/* Faults and deaths matter to every VM. */
static void line_keep(void *data, const SimLine *line)
{
    Last *last = data;
    if (last->vm_uuid[0] != '\0' && line->vm_uuid != NULL &&
        strcmp(line->vm_uuid, last->vm_uuid) != 0) {
        return;
    }
    g_queue_push_tail(&last->lines, line_text(line));
    if (last->lines.length > LAST_LINES) {
        g_free(g_queue_pop_head(&last->lines));
    }
}

/* A run that crashes or hangs would do so here too. */
static void show_last(const SimPlan *plan, const SimResult *failed)
{
    Last last = {.vm_uuid = failed->vm_uuid, .lines = G_QUEUE_INIT};
    SimResult result;
    if (strcmp(failed->rule, "crash") == 0 || strcmp(failed->rule, "hang") == 0) {
        return;
    }
    sim_try(plan, line_keep, &last, &result);
    for (GList *at = last.lines.head; at != NULL; at = at->next) {
        printf("#   %s\n", (const char *)at->data);
    }
    if (!result.failed || strcmp(result.rule, failed->rule) != 0) {
        printf("# this run DOES NOT REPEAT: it %s when it was told\n",
               result.failed ? "broke something else" : "did not fail");
    }
    g_queue_clear_full(&last.lines, g_free);
}

static void show_failure(const Arguments *arguments, const SimFailure *failure)
{
    g_autoptr(SimPlan) plan = plan_by(arguments, failure->seed);
    SimResult result = failure->result;
    g_autoptr(SimPlan) small = sim_shrink(plan, (guint)arguments->shrink_s, &result);
    g_autofree char *words = sim_flags_words(small != NULL ? small : plan);
    if (small == NULL) {
        printf("# seed %" G_GUINT64_FORMAT " DOES NOT REPEAT: a second run of it does not break "
               "%s\n#   virtbus-sim %s\n",
               failure->seed, failure->result.rule, words);
        return;
    }
    show_last(small, &result);
    printf("# seed %" G_GUINT64_FORMAT " breaks %s at step %" G_GUINT64_FORMAT "; the smallest "
           "that was found, %" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT
           " commands, %" G_GUINT64_FORMAT " faults: %s\n#   virtbus-sim %s\n",
           failure->seed, failure->result.rule, failure->result.step, result.step,
           result.n_commands, result.n_faults, result.text, words);
}

static void report_failures(const Arguments *arguments, const SimSum *sum)
{
    g_autoptr(GHashTable) shown = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < sum->failures->len; i++) {
        const SimFailure *failure = &g_array_index(sum->failures, SimFailure, i);
        printf("# seed %" G_GUINT64_FORMAT " step %" G_GUINT64_FORMAT ": %s: %s\n", failure->seed,
               failure->result.step, failure->result.rule, failure->result.text);
    }
    for (guint i = 0; i < sum->failures->len; i++) {
        const SimFailure *failure = &g_array_index(sum->failures, SimFailure, i);
        if (g_hash_table_add(shown, g_strdup(failure->result.rule)) &&
            strcmp(failure->result.rule, SIM_SAME) != 0) {
            show_failure(arguments, failure);
        }
    }
}

/* ---- TAP. The names stay the same from run to run: docs/INVARIANTS.md cites them. */

typedef struct {
    gboolean whole; /* Every count must be above 0. */
    guint n_lines;
    guint n_bad;
} Tap;

static void tap_line(Tap *tap, gboolean bad, gboolean skipped, const char *name)
{
    tap->n_lines++;
    tap->n_bad += bad;
    printf("%sok %u %s %s\n", bad ? "not " : "", tap->n_lines, skipped && !bad ? "# SKIP" : "-",
           name);
}

static guint rule_failures(const SimSum *sum, const char *rule)
{
    guint n = 0;
    for (guint i = 0; i < sum->failures->len; i++) {
        const SimFailure *failure = &g_array_index(sum->failures, SimFailure, i);
        n += g_ascii_strcasecmp(failure->result.rule, rule) == 0;
    }
    return n;
}

static void tap_invariants(Tap *tap, const SimSum *sum)
{
    for (guint i = 0; i < SIM_N_INVARIANTS; i++) {
        const char *name = i == SIM_MODEL ? "model" : sim_invariant_name(i);
        guint n_broken = rule_failures(sum, name);
        gboolean never = sum->judged[i] == 0;
        printf("# %s: %s: judged %" G_GUINT64_FORMAT " times, excused %" G_GUINT64_FORMAT
               ", broken by %u runs\n",
               name, sim_invariant_sentence(i), sum->judged[i], sum->excused[i], n_broken);
        tap_line(tap, n_broken > 0 || (never && tap->whole), never, name);
    }
}

static void tap_marks(Tap *tap, const SimSum *sum)
{
    guint n_missed = 0;
    for (guint i = 0; i < SIM_N_MARKS && tap->whole; i++) {
        if (sum->marks[i] == 0) {
            n_missed++;
            printf("# never: %s (%s)\n", sim_mark_sentence(i), sim_mark_name(i));
        }
    }
    tap_line(tap, n_missed > 0, !tap->whole, "every rare path was taken");
    n_missed = 0;
    for (guint i = 0; i < SIM_N_FAULTS && tap->whole; i++) {
        if (sum->faults[i] == 0) {
            n_missed++;
            printf("# never: %s (fault %s)\n", sim_fault_info(i)->what, sim_fault_info(i)->name);
        }
    }
    tap_line(tap, n_missed > 0, !tap->whole, "every kind of fault struck");
}

static gboolean tap_report(const Arguments *arguments, const SimSum *sum)
{
    Tap tap = {.whole = sum->n_runs >= COUNTS_FROM_RUNS && sim_flags_are_whole(&arguments->flags)};
    printf("1..%u\n", SIM_N_INVARIANTS + 4);
    tap_invariants(&tap, sum);
    printf("# %" G_GUINT64_FORMAT " runs were made twice\n", sum->n_repeated);
    tap_line(&tap, rule_failures(sum, SIM_SAME) > 0 || (tap.whole && sum->n_repeated == 0),
             sum->n_repeated == 0, "one seed gives one run");
    printf("# %" G_GUINT64_FORMAT " runs, %u failed\n", sum->n_runs, sum->failures->len);
    tap_line(&tap, sum->failures->len > 0, FALSE, "no run failed");
    if (!tap.whole) {
        printf("# counts are demanded of %d runs and more, with nothing taken out\n",
               COUNTS_FROM_RUNS);
    }
    tap_marks(&tap, sum);
    return tap.n_bad == 0;
}

static void report_sum(const SimSum *sum, gboolean quiet)
{
    printf("# %" G_GUINT64_FORMAT " runs (%" G_GUINT64_FORMAT " without a fault, %" G_GUINT64_FORMAT
           " run twice), %" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT
           " commands, %" G_GUINT64_FORMAT " faults in %.1f s: %.0f steps a second\n",
           sum->n_runs, sum->n_calm, sum->n_repeated, sum->n_steps, sum->n_commands, sum->n_faults,
           sum->seconds, (double)sum->n_steps / MAX(sum->seconds, 0.001));
    for (guint i = 0; i < SIM_N_MARKS && !quiet; i++) {
        printf("# %9" G_GUINT64_FORMAT "  %s\n", sum->marks[i], sim_mark_sentence(i));
    }
    for (guint i = 0; i < SIM_N_FAULTS && !quiet; i++) {
        printf("# %9" G_GUINT64_FORMAT "  %s\n", sum->faults[i], sim_fault_info(i)->what);
    }
}

static int many(const Arguments *arguments)
{
    SimMany order = {.plan = plan_by,
                     .data = arguments,
                     .first_seed = (guint64)arguments->first,
                     .n_seeds = (guint64)arguments->n_seeds,
                     .n_jobs =
                         arguments->n_jobs > 0 ? (guint)arguments->n_jobs : g_get_num_processors(),
                     .n_most_failures = MOST_FAILURES};
    SimSum sum;
    sim_many(&order, &sum);
    report_sum(&sum, arguments->quiet);
    report_failures(arguments, &sum);
    gboolean good = tap_report(arguments, &sum);
    g_array_unref(sum.failures);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A wrong flag is told of before anything runs. */
static void arguments_check(const Arguments *arguments)
{
    if ((arguments->seed < 0) == (arguments->n_seeds <= 0) || arguments->flags.max_steps <= 0) {
        usage("give", "--seed N or --seeds N, and nothing else but flags");
    }
    sim_plan_free(plan_by(arguments, 1));
}

int main(int argc, char **argv)
{
    Arguments arguments = {.seed = -1, .first = 1, .shrink_s = 60, .flags.max_steps = 2000};
    GOptionEntry entries[] = {
        {"seed", 0, 0, G_OPTION_ARG_INT64, &arguments.seed, "Run this one and tell it", "N"},
        {"seeds", 0, 0, G_OPTION_ARG_INT64, &arguments.n_seeds, "Run as many", "N"},
        {"first", 0, 0, G_OPTION_ARG_INT64, &arguments.first, "The first of many (1)", "N"},
        {"jobs", 0, 0, G_OPTION_ARG_INT, &arguments.n_jobs, "Processes (one a core)", "J"},
        {"shrink", 0, 0, G_OPTION_ARG_INT, &arguments.shrink_s,
         "How long a failure is made smaller (60)", "SECONDS"},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &arguments.quiet, "No trace; no counts", NULL},
        G_OPTION_ENTRY_NULL};
    g_autoptr(GOptionContext) context = g_option_context_new("- a world of virtbus from a seed");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    sim_flags_add(&arguments.flags, context);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        usage("wrong use:", error->message);
    }
    if (argc > 1) {
        usage("these are no words for it:", argv[1]);
    }
    arguments_check(&arguments);
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_start("virtbus-sim", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    int code = arguments.seed >= 0 ? one(&arguments) : many(&arguments);
    sim_flags_clear(&arguments.flags);
    return code;
}
