/* See args.h. */
#include "tools/virtbusctl/args.h"

#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/runtime/log.h"
#include "tools/virtbusctl/help.h"
#include "tools/virtbusctl/suggest.h"

static const VbOption own_table[] = {
    {.name = "timeout",
     .type = VB_OPTION_DURATION,
     .fallback = "5m",
     .min = 1,
     .max = 86400000,
     .help = "How long to wait for a reply."},
    {.name = NULL},
};

static const VbProgram program = {.name = "virtbusctl",
                                  .version = VIRTBUS_VERSION,
                                  .summary = "Commands virtual machines over Kafka.",
                                  .options = own_table};

gboolean args_usage(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, CTL_ERROR, CTL_USAGE, text);
    return FALSE;
}

enum { N_GLOBAL_FLAGS = 9 }; /* With the row that ends them. */

static void global_flags(Ctl *ctl, GOptionEntry ret_flags[N_GLOBAL_FLAGS])
{
    const GOptionEntry flags[N_GLOBAL_FLAGS] = {
        {"bootstrap", 'b', 0, G_OPTION_ARG_STRING, &ctl->bootstrap,
         "Kafka brokers to ask first [VIRTBUS_BOOTSTRAP]", "HOST:PORT,..."},
        {"topic.prefix", 0, 0, G_OPTION_ARG_STRING, &ctl->topic_prefix,
         "First part of every topic's name, default virtbus [VIRTBUS_TOPIC_PREFIX]", "PREFIX"},
        {"timeout", 0, 0, G_OPTION_ARG_STRING, &ctl->timeout,
         "How long to wait for the reply, default 5m [VIRTBUS_TIMEOUT]", "DURATION"},
        {"request-id", 0, 0, G_OPTION_ARG_STRING, &ctl->request_id,
         "Ask again for an earlier request: same reply, no second effect", "UUID"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &ctl->json, "Write one JSON document", NULL},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &ctl->quiet, "Show no progress", NULL},
        {"verbose", 0, 0, G_OPTION_ARG_NONE, &ctl->verbose, "Show what the Kafka library says",
         NULL},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &ctl->help, "Print help, and end", NULL},
        {0},
    };
    memcpy(ret_flags, flags, sizeof(flags));
}

static void add_global_flags(GOptionContext *context, Ctl *ctl)
{
    GOptionEntry flags[N_GLOBAL_FLAGS];
    global_flags(ctl, flags);
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, flags, NULL);
}

/* Takes "--kafka.NAME=VALUE" and "--kafka.NAME VALUE" out: GOption cannot know their names. */
static gboolean take_kafka_arguments(Ctl *ctl, GError **error)
{
    int n_left = 0;
    for (int i = 0; i < ctl->argc; i++) {
        char *argument = ctl->argv[i];
        if (!g_str_has_prefix(argument, "--kafka.")) {
            ctl->argv[n_left++] = argument;
            continue;
        }
        gboolean is_whole = strchr(argument, '=') != NULL;
        if (!is_whole && i + 1 == ctl->argc) {
            return args_usage(error, "%s: a value must follow, as %s=VALUE", argument, argument);
        }
        g_ptr_array_add(ctl->kafka_arguments,
                        is_whole ? g_strdup(argument)
                                 : g_strdup_printf("%s=%s", argument, ctl->argv[i + 1]));
        i += is_whole ? 0 : 1;
    }
    ctl->argc = n_left;
    return TRUE;
}

void args_clear(Ctl *ctl)
{
    g_clear_pointer(&ctl->bootstrap, g_free);
    g_clear_pointer(&ctl->topic_prefix, g_free);
    g_clear_pointer(&ctl->timeout, g_free);
    g_clear_pointer(&ctl->request_id, g_free);
    g_clear_pointer(&ctl->kafka_arguments, g_ptr_array_unref);
    g_clear_pointer(&ctl->options, options_free);
    g_clear_pointer(&ctl->arena, arena_free);
}

/* Takes the words of `command` off the front of the arguments, if they stand there. */
static gboolean words_match(Ctl *ctl, const CtlCommand *command)
{
    g_auto(GStrv) words = g_strsplit(command->words, " ", -1);
    int n_words = (int)g_strv_length(words);
    for (int i = 0; i < n_words; i++) {
        if (i + 1 >= ctl->argc || strcmp(ctl->argv[i + 1], words[i]) != 0) {
            return FALSE;
        }
    }
    ctl->argv[n_words] = ctl->argv[0];
    ctl->argv += n_words;
    ctl->argc -= n_words;
    return TRUE;
}

/* What may stand behind `first`, as "list, show"; "" where no command begins with it. */
static char *second_words(const char *first)
{
    g_autofree char *prefix = g_strconcat(first, " ", NULL);
    GString *words = g_string_new(NULL);
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        if (g_str_has_prefix(command->words, prefix)) {
            g_string_append_printf(words, "%s%s", words->len > 0 ? ", " : "",
                                   command->words + strlen(prefix));
        }
    }
    return g_string_free(words, FALSE);
}

/* The command that was meant: of two words, or of one that others follow. */
static const char *command_nearest(const char *given, const char *first)
{
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        if (command->group != NULL) {
            g_ptr_array_add(known, (char *)command->words);
        }
    }
    g_ptr_array_add(known, NULL);
    const char *nearest = suggest_nearest(given, (const char *const *)known->pdata);
    return nearest != NULL ? nearest : suggest_nearest(first, (const char *const *)known->pdata);
}

static gboolean command_unknown(const char *first, const char *second, GError **error)
{
    g_autofree char *seconds = second_words(first);
    if (*second == '\0' && *seconds != '\0') {
        return args_usage(error, "\"%s\" needs one more word: %s", first, seconds);
    }
    g_autofree char *given = g_strdup_printf("%s%s%s", first, *second != '\0' ? " " : "", second);
    const char *nearest = command_nearest(given, first);
    if (nearest != NULL) {
        return args_usage(error, "there is no command \"%s\"; did you mean \"%s\"?", given,
                          nearest);
    }
    return args_usage(error, "there is no command \"%s\"; virtbusctl --help lists them", given);
}

static gboolean find_command(Ctl *ctl, GError **error)
{
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        if (words_match(ctl, command)) {
            ctl->command = command;
            return TRUE;
        }
    }
    const char *first = ctl->argc > 1 ? ctl->argv[1] : "";
    const char *second = ctl->argc > 2 ? ctl->argv[2] : "";
    return *first == '\0' ? args_usage(error, "a command is missing; virtbusctl --help lists them")
                          : command_unknown(first, second, error);
}

/* GOption's own sentence, and what was meant where an option is not known. */
static gboolean options_refuse(const GError *cause, const CtlFlags *groups, const char *help,
                               GError **error)
{
    static const char unknown[] = "Unknown option --";
    GOptionEntry global[N_GLOBAL_FLAGS];
    Ctl nobody = {0};
    global_flags(&nobody, global);
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    for (const GOptionEntry *flag = global; flag->long_name != NULL; flag++) {
        g_ptr_array_add(known, (char *)flag->long_name);
    }
    for (; groups != NULL && groups->heading != NULL; groups++) {
        for (const GOptionEntry *flag = groups->entries; flag && flag->long_name; flag++) {
            g_ptr_array_add(known, (char *)flag->long_name);
        }
    }
    g_ptr_array_add(known, NULL);
    const char *nearest = NULL;
    if (g_str_has_prefix(cause->message, unknown)) {
        g_autofree char *given = g_strdup(cause->message + strlen(unknown));
        given[strcspn(given, "=")] = '\0';
        nearest = suggest_nearest(given, (const char *const *)known->pdata);
    }
    return nearest != NULL ? args_usage(error, "%s; did you mean --%s?", cause->message, nearest)
                           : args_usage(error, "%s; virtbusctl %s--help lists the options",
                                        cause->message, help);
}

gboolean args_begin(Ctl *ctl, int argc, char **argv, GError **error)
{
    *ctl = (Ctl){.argc = argc,
                 .argv = argv,
                 .kafka_arguments = g_ptr_array_new_with_free_func(g_free),
                 .arena = arena_new()};
    if (!take_kafka_arguments(ctl, error)) {
        return FALSE;
    }
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_strict_posix(context, TRUE);
    add_global_flags(context, ctl);
    g_autoptr(GError) cause = NULL;
    if (!g_option_context_parse(context, &ctl->argc, &ctl->argv, &cause)) {
        return options_refuse(cause, NULL, "", error);
    }
    return ctl->help || find_command(ctl, error);
}

/* Of the environment, what is meant for this program too. */
static char **own_environment(void)
{
    static const char *const names[] = {
        "VIRTBUS_BOOTSTRAP=", "VIRTBUS_TOPIC_PREFIX=", "VIRTBUS_TIMEOUT=", "VIRTBUS_KAFKA_"};
    g_autoptr(GStrvBuilder) own = g_strv_builder_new();
    g_auto(GStrv) all = g_get_environ();
    for (char **variable = all; *variable != NULL; variable++) {
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
            if (g_str_has_prefix(*variable, names[i])) {
                g_strv_builder_add(own, *variable);
            }
        }
    }
    return g_strv_builder_end(own);
}

static void add_argument(GPtrArray *arguments, const char *name, const char *value)
{
    if (value != NULL) {
        g_ptr_array_add(arguments, g_strdup_printf("--%s=%s", name, value));
    }
}

static gboolean load_options(Ctl *ctl, GError **error)
{
    g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(arguments, g_strdup(program.name));
    add_argument(arguments, "bootstrap", ctl->bootstrap);
    add_argument(arguments, "topic.prefix", ctl->topic_prefix);
    add_argument(arguments, "timeout", ctl->timeout);
    for (guint i = 0; i < ctl->kafka_arguments->len; i++) {
        g_ptr_array_add(arguments, g_strdup(g_ptr_array_index(ctl->kafka_arguments, i)));
    }
    g_auto(GStrv) environment = own_environment();
    ctl->options = options_new(&program);
    g_autoptr(GError) cause = NULL;
    if (!options_load(ctl->options, (int)arguments->len, (char **)arguments->pdata,
                      (const char *const *)environment, &cause)) {
        return g_error_matches(cause, VB_OPTIONS_ERROR, VB_OPTIONS_ERROR_MISSING)
                   ? args_usage(error, "no broker is named: give --bootstrap HOST:PORT, or set "
                                       "VIRTBUS_BOOTSTRAP")
                   : args_usage(error, "%s", cause->message);
    }
    ctl->timeout_ms = options_get_duration_ms(ctl->options, "timeout");
    return TRUE;
}

/* "VM" of "VM --host HOST": what the user's n-th word is. */
static char *argument_name(const CtlCommand *command, guint n)
{
    g_auto(GStrv) words = g_strsplit(command->arguments, " ", -1);
    g_assert(n < g_strv_length(words));
    return g_strdup(words[n]);
}

static gboolean words_take(Ctl *ctl, guint n_words, char ***ret_words, GError **error)
{
    /* GOption leaves "--" in front of words that begin with a dash. */
    int first = ctl->argc > 1 && strcmp(ctl->argv[1], "--") == 0 ? 2 : 1;
    guint n_given = (guint)(ctl->argc - first);
    const CtlCommand *command = ctl->command;
    if (n_given < n_words) {
        g_autofree char *name = argument_name(command, n_given);
        return args_usage(error, "%s is missing; the usage is: virtbusctl %s %s", name,
                          command->words, command->arguments);
    }
    if (n_given > n_words) {
        return args_usage(error, "\"%s\" is one word too many; the usage is: virtbusctl %s%s%s",
                          ctl->argv[first + (int)n_words], command->words,
                          *command->arguments != '\0' ? " " : "", command->arguments);
    }
    if (ret_words != NULL) {
        *ret_words = g_new0(char *, n_words + 1);
        for (guint i = 0; i < n_words; i++) {
            (*ret_words)[i] = g_strdup(ctl->argv[first + (int)i]);
        }
    }
    return TRUE;
}

static void print_command_help(const Ctl *ctl, const CtlFlags *groups)
{
    GOptionEntry global[N_GLOBAL_FLAGS];
    Ctl nobody = {0};
    global_flags(&nobody, global);
    g_autofree char *page = help_command(ctl->command, groups, global);
    fputs(page, stdout);
}

/* All but what concerns a broker. */
static gboolean line_parse(Ctl *ctl, const CtlFlags *groups, guint n_words, char ***ret_words,
                           GError **error)
{
    if (ctl->look != NULL) {
        ctl->look(groups, ctl->look_data);
        return FALSE;
    }
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    for (const CtlFlags *group = groups; group->heading != NULL; group++) {
        if (group->entries != NULL) {
            g_option_context_add_main_entries(context, group->entries, NULL);
        }
    }
    add_global_flags(context, ctl);
    g_autoptr(GError) cause = NULL;
    if (!g_option_context_parse(context, &ctl->argc, &ctl->argv, &cause)) {
        g_autofree char *help = g_strconcat(ctl->command->words, " ", NULL);
        return options_refuse(cause, groups, help, error);
    }
    if (ctl->help) {
        print_command_help(ctl, groups);
        return FALSE;
    }
    return words_take(ctl, n_words, ret_words, error);
}

gboolean args_parse_groups(Ctl *ctl, const CtlFlags *groups, guint n_words, char ***ret_words,
                           GError **error)
{
    if (!line_parse(ctl, groups, n_words, ret_words, error)) {
        return FALSE;
    }
    if (ctl->request_id != NULL && !uuid_is_valid(ctl->request_id)) {
        return args_usage(error,
                          "--request-id: \"%s\" is no uuid: 36 characters, lower case, with dashes",
                          ctl->request_id);
    }
    if (!load_options(ctl, error)) {
        return FALSE;
    }
    log_start(program.name, ctl->verbose ? VB_LOG_DEBUG : VB_LOG_ERROR, VB_LOG_TEXT);
    return TRUE;
}

gboolean args_parse_offline(Ctl *ctl, const GOptionEntry *flags, guint n_words, char ***ret_words,
                            GError **error)
{
    const CtlFlags groups[] = {{"Options", flags}, {0}};
    return line_parse(ctl, groups, n_words, ret_words, error);
}

gboolean args_parse_words(Ctl *ctl, guint n_words, char ***ret_words, GError **error)
{
    const CtlFlags none[] = {{0}};
    return line_parse(ctl, none, n_words, ret_words, error);
}

gboolean args_parse(Ctl *ctl, const GOptionEntry *flags, guint n_words, char ***ret_words,
                    GError **error)
{
    const CtlFlags groups[] = {{"Options", flags}, {0}};
    return args_parse_groups(ctl, groups, n_words, ret_words, error);
}

void args_look(const CtlCommand *command, CtlLook look, gpointer data)
{
    Ctl ctl = {.command = command, .look = look, .look_data = data};
    command->run(&ctl);
}

void args_look_global(CtlLook look, gpointer data)
{
    GOptionEntry global[N_GLOBAL_FLAGS];
    Ctl nobody = {0};
    global_flags(&nobody, global);
    const CtlFlags groups[] = {{"Options of every command", global}, {0}};
    look(groups, data);
}

char *args_help(void)
{
    GOptionEntry global[N_GLOBAL_FLAGS];
    Ctl nobody = {0};
    global_flags(&nobody, global);
    return help_page(global);
}

static gboolean option_parse(const char *flag, VbOptionType type, gint64 min, gint64 max,
                             const char *text, gint64 *ret_number, GError **error)
{
    const VbOption option = {.name = flag, .type = type, .min = min, .max = max};
    g_autofree char *allowed = NULL;
    return options_value_parse(&option, text, ret_number, &allowed) ||
           args_usage(error, "%s: \"%s\" is not allowed; allowed: %s", flag, text, allowed);
}

gboolean args_size(const char *flag, const char *text, guint64 *ret_bytes, GError **error)
{
    return option_parse(flag, VB_OPTION_SIZE, 1, 1ll << 50, text, (gint64 *)ret_bytes, error);
}

gboolean args_duration(const char *flag, const char *text, gint64 *ret_ms, GError **error)
{
    return option_parse(flag, VB_OPTION_DURATION, 1, 86400000, text, ret_ms, error);
}

gboolean args_number(const char *flag, const char *text, guint32 min, guint32 max,
                     guint32 *ret_number, GError **error)
{
    gint64 number;
    if (!option_parse(flag, VB_OPTION_INT, min, max, text, &number, error)) {
        return FALSE;
    }
    *ret_number = (guint32)number;
    return TRUE;
}
