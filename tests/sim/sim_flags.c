/* See sim_flags.h. */
#include "tests/sim/sim_flags.h"

#include <string.h>

enum { MOST_HOSTS = 3, MOST_PARTITIONS = 16, MOST_INSTANCES = 4, MOST_SHARED = 4, MOST_VMS = 64 };
#define MOST_NUMBER 1000000
#define NONE        "none"

void sim_flags_add(SimFlags *flags, GOptionContext *context)
{
    GOptionEntry entries[] = {
        {"steps", 0, 0, G_OPTION_ARG_INT64, &flags->max_steps,
         "How long a run's storm is (2000); the calm behind it comes on top", "M"},
        {"times", 0, 0, G_OPTION_ARG_INT, &flags->times,
         "Every kind of fault is on in each run, N times as frequent as its table says", "N"},
        {"without", 0, 0, G_OPTION_ARG_STRING, &flags->without, "Not these faults", "KINDS"},
        {"only", 0, 0, G_OPTION_ARG_STRING, &flags->only, "None but these faults", "KINDS"},
        {"faults", 0, 0, G_OPTION_ARG_STRING, &flags->faults,
         "Only these strikes of faults, each kind's counted from 1; none: none",
         "crash:1-5,freeze:2"},
        {"commands", 0, 0, G_OPTION_ARG_STRING, &flags->commands,
         "Only these commands of control planes, counted from 1; none: none", "1-5,9"},
        {"vms", 0, 0, G_OPTION_ARG_STRING, &flags->vms, "Only commands for these VMs", "0,2-3"},
        {"hosts", 0, 0, G_OPTION_ARG_INT, &flags->hosts, "So many hosts", "N"},
        {"partitions", 0, 0, G_OPTION_ARG_INT, &flags->partitions, "So many partitions", "N"},
        {"instances", 0, 0, G_OPTION_ARG_INT, &flags->instances, "So many of each service", "N"},
        {"shared", 0, 0, G_OPTION_ARG_STRING, &flags->shared, "So many shared storages", "N"},
        {"delays", 0, 0, G_OPTION_ARG_INT64, &flags->delays,
         "Other delays than the seed's, same commands and chances", "N"},
        G_OPTION_ENTRY_NULL};
    g_option_context_add_main_entries(context, entries, NULL);
}

void sim_flags_clear(SimFlags *flags)
{
    g_free(flags->shared);
    g_free(flags->vms);
    g_free(flags->without);
    g_free(flags->only);
    g_free(flags->faults);
    g_free(flags->commands);
    memset(flags, 0, sizeof(*flags));
}

gboolean sim_flags_are_whole(const SimFlags *flags)
{
    return flags->hosts == 0 && flags->partitions == 0 && flags->instances == 0 &&
           flags->shared == NULL && flags->vms == NULL && flags->without == NULL &&
           flags->only == NULL && flags->faults == NULL && flags->commands == NULL;
}

/* ---- Reading */

static gboolean wrong(const char *what, const char *word, GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: %s", what, word);
    return FALSE;
}

/* "5" or "1-5", none below `least`. */
static gboolean range_parse(const char *text, guint64 least, guint64 most, guint64 *ret_first,
                            guint64 *ret_last, GError **error)
{
    char *end = NULL;
    guint64 first = g_ascii_isdigit(text[0]) ? g_ascii_strtoull(text, &end, 10) : G_MAXUINT64;
    guint64 last = first;
    if (end != NULL && *end == '-' && g_ascii_isdigit(end[1])) {
        last = g_ascii_strtoull(end + 1, &end, 10);
    }
    *ret_first = first;
    *ret_last = last;
    return (end != NULL && *end == '\0' && first >= least && last >= first && last <= most) ||
           wrong("these are no numbers, or they are out of range", text, error);
}

static gboolean commands_parse(const char *text, SimPlan *plan, GError **error)
{
    g_auto(GStrv) ranges = g_strsplit(strcmp(text, NONE) == 0 ? "" : text, ",", -1);
    plan->kept_commands = g_array_new(FALSE, FALSE, sizeof(guint64));
    for (char **range = ranges; *range != NULL; range++) {
        guint64 first, last;
        if (!range_parse(*range, 1, MOST_NUMBER, &first, &last, error)) {
            return FALSE;
        }
        for (guint64 number = first; number <= last; number++) {
            g_array_append_val(plan->kept_commands, number);
        }
    }
    return TRUE;
}

static gboolean kind_parse(const char *name, SimFault *ret_fault, GError **error)
{
    return sim_fault_parse(name, ret_fault) ||
           wrong("there is no kind of fault that is called", name, error);
}

static gboolean faults_parse(const char *text, SimPlan *plan, GError **error)
{
    g_auto(GStrv) words = g_strsplit(strcmp(text, NONE) == 0 ? "" : text, ",", -1);
    plan->kept_faults = g_array_new(FALSE, FALSE, sizeof(SimFaultNumber));
    for (char **word = words; *word != NULL; word++) {
        SimFaultNumber kept;
        guint64 last;
        char *numbers = strchr(*word, ':');
        if (numbers == NULL) {
            return wrong("a strike of a fault is written as crash:1", *word, error);
        }
        *numbers++ = '\0';
        if (!kind_parse(*word, &kept.fault, error) ||
            !range_parse(numbers, 1, MOST_NUMBER, &kept.number, &last, error)) {
            return FALSE;
        }
        for (; kept.number <= last; kept.number++) {
            g_array_append_val(plan->kept_faults, kept);
        }
    }
    return TRUE;
}

static gboolean vms_parse(const char *text, SimPlan *plan, GError **error)
{
    g_auto(GStrv) ranges = g_strsplit(text, ",", -1);
    guint n_vms = 0;
    plan->vms = 0;
    for (char **range = ranges; *range != NULL; range++) {
        guint64 first, last;
        if (!range_parse(*range, 0, MOST_VMS - 1, &first, &last, error)) {
            return FALSE;
        }
        for (guint64 vm = first; vm <= last; vm++) {
            plan->vms |= G_GUINT64_CONSTANT(1) << vm;
            n_vms = MAX(n_vms, (guint)vm + 1);
        }
    }
    plan->n_vms = MIN(plan->n_vms, n_vms);
    return n_vms > 0 || wrong("this names no VM", text, error);
}

/* Sets the rate of each kind that `text` names, or of each that it does not name, to 0. */
static gboolean kinds_off(const char *text, gboolean named, SimPlan *plan, GError **error)
{
    g_auto(GStrv) names = g_strsplit(text, ",", -1);
    gboolean is_named[SIM_N_FAULTS] = {FALSE};
    for (char **name = names; *name != NULL; name++) {
        SimFault fault;
        if (!kind_parse(*name, &fault, error)) {
            return FALSE;
        }
        is_named[fault] = TRUE;
    }
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        plan->rates[i] = is_named[i] == named ? 0 : plan->rates[i];
    }
    return TRUE;
}

static gboolean count_set(const char *flag, gint count, gint most, guint *count_of_plan,
                          GError **error)
{
    if (count < 0 || count > most) {
        return wrong("too few or too many for", flag, error);
    }
    *count_of_plan = count > 0 ? (guint)count : *count_of_plan;
    return TRUE;
}

static gboolean plan_change(const SimFlags *flags, SimPlan *plan, GError **error)
{
    guint64 shared = plan->n_shared, last;
    if (flags->times > 0) {
        sim_plan_set_times(plan, (guint)flags->times);
    }
    plan->delays = (guint64)flags->delays;
    if ((flags->without != NULL && !kinds_off(flags->without, TRUE, plan, error)) ||
        (flags->only != NULL && !kinds_off(flags->only, FALSE, plan, error)) ||
        (flags->faults != NULL && !faults_parse(flags->faults, plan, error)) ||
        (flags->commands != NULL && !commands_parse(flags->commands, plan, error)) ||
        (flags->vms != NULL && !vms_parse(flags->vms, plan, error)) ||
        (flags->shared != NULL &&
         !range_parse(flags->shared, 0, MOST_SHARED, &shared, &last, error)) ||
        !count_set("--hosts", flags->hosts, MOST_HOSTS, &plan->n_hosts, error) ||
        !count_set("--partitions", flags->partitions, MOST_PARTITIONS, &plan->n_partitions,
                   error) ||
        !count_set("--instances", flags->instances, MOST_INSTANCES, &plan->n_instances, error)) {
        return FALSE;
    }
    plan->n_shared = (guint)shared;
    return TRUE;
}

SimPlan *sim_flags_plan(const SimFlags *flags, guint64 seed, GError **error)
{
    g_autoptr(SimPlan) plan = sim_plan_new(seed, (guint64)flags->max_steps);
    return plan_change(flags, plan, error) ? g_steal_pointer(&plan) : NULL;
}

/* ---- Writing */

/* "KIND:1-5" of the run that begins at `*at`, which is moved behind it. */
static void strikes_add(GString *words, const GArray *kept, guint *at)
{
    SimFaultNumber first = g_array_index(kept, SimFaultNumber, *at);
    SimFaultNumber last = first;
    for ((*at)++; *at < kept->len; (*at)++) {
        SimFaultNumber next = g_array_index(kept, SimFaultNumber, *at);
        if (next.fault != first.fault || next.number != last.number + 1) {
            break;
        }
        last = next;
    }
    g_string_append_printf(words, "%s:%" G_GUINT64_FORMAT, sim_fault_info(first.fault)->name,
                           first.number);
    if (last.number > first.number) {
        g_string_append_printf(words, "-%" G_GUINT64_FORMAT, last.number);
    }
}

static void faults_add(GString *words, const GArray *kept)
{
    g_string_append(words, kept->len > 0 ? " --faults=" : " --faults=" NONE);
    for (guint at = 0; at < kept->len;) {
        g_string_append(words, at > 0 ? "," : "");
        strikes_add(words, kept, &at);
    }
}

/* " --FLAG=1-5,9" */
static void numbers_add(GString *words, const char *flag, const GArray *numbers)
{
    g_string_append_printf(words, " --%s=%s", flag, numbers->len > 0 ? "" : NONE);
    for (guint i = 0; i < numbers->len;) {
        guint64 first = g_array_index(numbers, guint64, i);
        guint64 last = first;
        g_string_append_printf(words, "%s%" G_GUINT64_FORMAT, i > 0 ? "," : "", first);
        while (++i < numbers->len && g_array_index(numbers, guint64, i) == last + 1) {
            last++;
        }
        if (last > first) {
            g_string_append_printf(words, "-%" G_GUINT64_FORMAT, last);
        }
    }
}

static void vms_add(GString *words, const SimPlan *plan)
{
    g_autoptr(GArray) vms = g_array_new(FALSE, FALSE, sizeof(guint64));
    for (guint64 vm = 0; vm < plan->n_vms; vm++) {
        if (plan->vms >> vm & 1) {
            g_array_append_val(vms, vm);
        }
    }
    if (vms->len < plan->n_drawn_vms) {
        numbers_add(words, "vms", vms);
    }
}

static void count_add(GString *words, const char *flag, guint count, guint plain)
{
    if (count != plain) {
        g_string_append_printf(words, " --%s=%u", flag, count);
    }
}

/* Whether the kind is off, and no other word says so. */
static gboolean is_without(const SimPlan *plan, const SimPlan *plain, SimFault fault)
{
    const GArray *kept = plan->kept_faults;
    gboolean named = kept == NULL;
    for (guint i = 0; !named && i < kept->len; i++) {
        named = g_array_index(kept, SimFaultNumber, i).fault == fault;
    }
    return named && plan->rates[fault] == 0 && plain->rates[fault] > 0;
}

char *sim_flags_words(const SimPlan *plan)
{
    g_autoptr(SimPlan) plain = sim_plan_new(plan->seed, plan->max_steps);
    GString *words = g_string_new(NULL);
    const char *flag = " --without=";
    g_string_append_printf(words, "--seed=%" G_GUINT64_FORMAT " --steps=%" G_GUINT64_FORMAT,
                           plan->seed, plan->max_steps);
    if (plan->times > 0) {
        sim_plan_set_times(plain, plan->times);
    }
    count_add(words, "times", plan->times, 0);
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        if (is_without(plan, plain, i)) {
            g_string_append_printf(words, "%s%s", flag, sim_fault_info(i)->name);
            flag = ",";
        }
    }
    count_add(words, "delays", (guint)plan->delays, 0);
    vms_add(words, plan);
    count_add(words, "hosts", plan->n_hosts, plain->n_hosts);
    count_add(words, "partitions", plan->n_partitions, plain->n_partitions);
    count_add(words, "instances", plan->n_instances, plain->n_instances);
    count_add(words, "shared", plan->n_shared, plain->n_shared);
    if (plan->kept_faults != NULL) {
        faults_add(words, plan->kept_faults);
    }
    if (plan->kept_commands != NULL) {
        numbers_add(words, "commands", plan->kept_commands);
    }
    return g_string_free(words, FALSE);
}
