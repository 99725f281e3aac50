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
#include "tests/sim/sim_many.h"
#include "tests/sim/sim_shrink.h"

enum {
    LAST_LINES = 60,        /* Of a failing run's trace. */
    MARKS_FROM_RUNS = 1000, /* Fewer need not have been everywhere. */
    MOST_FAILURES = 10,
};

typedef struct {
    gint64 seed;
    gint64 first;
    gint64 n_seeds;
    gint64 max_steps;
    gint times;
    gint n_jobs;
    gint shrink_s;
    gboolean quiet;
    char *without;
    char *only;
    char *skip_faults;
    char *skip_commands;
} Arguments;

/* ---- Plans by flags */

G_NORETURN static void usage(const char *what, const char *word)
{
    fprintf(stderr, "virtbus-sim: %s %s; see virtbus-sim --help\n", what, word);
    exit(2);
}

/* "1-5,9" */
static void numbers_parse(const char *text, GArray *numbers)
{
    g_auto(GStrv) ranges = g_strsplit(text, ",", -1);
    for (char **range = ranges; *range != NULL; range++) {
        char *end = NULL;
        guint64 first = g_ascii_strtoull(*range, &end, 10);
        guint64 last = *end == '-' ? g_ascii_strtoull(end + 1, &end, 10) : first;
        if (*end != '\0' || first == 0 || last < first || last - first > 1000000) {
            usage("these are no numbers:", text);
        }
        for (guint64 number = first; number <= last; number++) {
            g_array_append_val(numbers, number);
        }
    }
}

/* `text`: kinds of faults. Sets `ret_named` of each. */
static void kinds_parse(const char *text, gboolean *ret_named)
{
    g_auto(GStrv) names = g_strsplit(text, ",", -1);
    for (char **name = names; *name != NULL; name++) {
        SimFault fault;
        if (!sim_fault_parse(*name, &fault)) {
            usage("there is no kind of fault that is called", *name);
        }
        ret_named[fault] = TRUE;
    }
}

static SimPlan *plan_by(const void *data, guint64 seed)
{
    const Arguments *arguments = data;
    SimPlan *plan = sim_plan_new(seed, (guint64)arguments->max_steps);
    if (arguments->times > 0) {
        sim_plan_set_times(plan, (guint)arguments->times);
    }
    gboolean without[SIM_N_FAULTS] = {FALSE};
    gboolean only[SIM_N_FAULTS] = {FALSE};
    kinds_parse(arguments->without != NULL ? arguments->without : "crash", without);
    kinds_parse(arguments->only != NULL ? arguments->only : "crash", only);
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        gboolean off =
            (arguments->without != NULL && without[i]) || (arguments->only != NULL && !only[i]);
        plan->rates[i] = off ? 0 : plan->rates[i];
    }
    if (arguments->skip_faults != NULL) {
        numbers_parse(arguments->skip_faults, plan->skipped_faults);
    }
    if (arguments->skip_commands != NULL) {
        numbers_parse(arguments->skip_commands, plan->skipped_commands);
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
    g_queue_clear_full(&last.lines, g_free);
}

static void show_failure(const Arguments *arguments, const SimFailure *failure)
{
    g_autoptr(SimPlan) plan = plan_by(arguments, failure->seed);
    SimResult result = failure->result;
    g_autoptr(SimPlan) small = sim_shrink(plan, (guint)arguments->shrink_s, &result);
    g_autofree char *words = sim_plan_words(small);
    show_last(small, &result);
    printf("# seed %" G_GUINT64_FORMAT " breaks %s at step %" G_GUINT64_FORMAT "; the smallest "
           "that was found, %" G_GUINT64_FORMAT " steps: %s\n#   virtbus-sim %s\n",
           failure->seed, failure->result.rule, failure->result.step, result.step, result.text,
           words);
}

/* TAP, one line for each rule that was broken. */
static guint report_failures(const Arguments *arguments, const SimSum *sum)
{
    g_autoptr(GHashTable) shown = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < sum->failures->len; i++) {
        const SimFailure *failure = &g_array_index(sum->failures, SimFailure, i);
        printf("# seed %" G_GUINT64_FORMAT " step %" G_GUINT64_FORMAT ": %s: %s\n", failure->seed,
               failure->result.step, failure->result.rule, failure->result.text);
    }
    for (guint i = 0; i < sum->failures->len; i++) {
        const SimFailure *failure = &g_array_index(sum->failures, SimFailure, i);
        if (g_hash_table_add(shown, g_strdup(failure->result.rule))) {
            show_failure(arguments, failure);
        }
    }
    printf("%sok 1 - %" G_GUINT64_FORMAT " runs kept every invariant and came to rest\n",
           sum->failures->len > 0 ? "not " : "", sum->n_runs);
    return sum->failures->len;
}

static guint report_marks(const SimSum *sum, gboolean all_kinds)
{
    guint n_missed = 0;
    if (sum->n_runs < MARKS_FROM_RUNS || !all_kinds) {
        return 0;
    }
    for (guint i = 0; i < SIM_N_MARKS; i++) {
        if (sum->marks[i] == 0) {
            n_missed++;
            printf("# never: %s (%s)\n", sim_mark_sentence(i), sim_mark_name(i));
        }
    }
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        if (sum->faults[i] == 0) {
            n_missed++;
            printf("# never: %s (fault %s)\n", sim_fault_info(i)->what, sim_fault_info(i)->name);
        }
    }
    printf("%sok 2 - every rare path was taken, every kind of fault struck\n",
           n_missed > 0 ? "not " : "");
    return n_missed;
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
    guint n_bad = report_failures(arguments, &sum);
    n_bad += report_marks(&sum, arguments->only == NULL && arguments->without == NULL);
    g_array_unref(sum.failures);
    return n_bad > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    Arguments arguments = {.seed = -1, .first = 1, .max_steps = 2000, .shrink_s = 60};
    GOptionEntry entries[] = {
        {"seed", 0, 0, G_OPTION_ARG_INT64, &arguments.seed, "Run this one and tell it", "N"},
        {"seeds", 0, 0, G_OPTION_ARG_INT64, &arguments.n_seeds, "Run as many", "N"},
        {"first", 0, 0, G_OPTION_ARG_INT64, &arguments.first, "The first of many (1)", "N"},
        {"steps", 0, 0, G_OPTION_ARG_INT64, &arguments.max_steps,
         "How long a run's storm is (2000); the calm behind it comes on top", "M"},
        {"jobs", 0, 0, G_OPTION_ARG_INT, &arguments.n_jobs, "Processes (one a core)", "J"},
        {"shrink", 0, 0, G_OPTION_ARG_INT, &arguments.shrink_s,
         "How long a failure is made smaller (60)", "SECONDS"},
        {"times", 0, 0, G_OPTION_ARG_INT, &arguments.times,
         "Every kind of fault is on in each run, N times as frequent as its table says", "N"},
        {"without", 0, 0, G_OPTION_ARG_STRING, &arguments.without, "Not these faults", "KINDS"},
        {"only", 0, 0, G_OPTION_ARG_STRING, &arguments.only, "None but these faults", "KINDS"},
        {"skip-faults", 0, 0, G_OPTION_ARG_STRING, &arguments.skip_faults,
         "The faults of these numbers do not strike", "1-5,9"},
        {"skip-commands", 0, 0, G_OPTION_ARG_STRING, &arguments.skip_commands,
         "The commands of these numbers are not sent", "1-5,9"},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &arguments.quiet, "No trace; no counts", NULL},
        G_OPTION_ENTRY_NULL};
    g_autoptr(GOptionContext) context = g_option_context_new("- a world of virtbus from a seed");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        usage("wrong use:", error->message);
    }
    if (argc > 1 || (arguments.seed < 0) == (arguments.n_seeds <= 0) || arguments.max_steps <= 0) {
        usage("give", "--seed N or --seeds N, and nothing else but flags");
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_start("virtbus-sim", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    return arguments.seed >= 0 ? one(&arguments) : many(&arguments);
}
