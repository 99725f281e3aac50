/*
 * options_sources: reads the file, the environment and the command line, in rising order, and
 * gives each setting a source that a person can find. It decides no value: options_set does.
 */
#include "common/runtime/options_private.h"

#include <string.h>

typedef struct {
    const char *name; /* without "--"; points into buffer or is it */
    char *buffer;
    const char *value;
} Argument;

static void argument_clear(gpointer data)
{
    g_free(((Argument *)data)->buffer);
}

static bool fail(GError **error, VbOptionsError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
static bool fail(GError **error, VbOptionsError code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *safe = g_utf8_make_valid(message, -1);
    g_set_error_literal(error, VB_OPTIONS_ERROR, (gint)code, safe);
    return false;
}

static bool is_bool(const VbOptions *options, const char *name)
{
    const VbOptionSlot *slot = options_find(options, name);
    return slot && slot->option->type == VB_OPTION_BOOL;
}

/* A page that the command line asks for. */
static bool page_of(const char *argument, VbOptionsAction *ret_action)
{
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
        *ret_action = VB_OPTIONS_HELP;
    else if (strcmp(argument, "--version") == 0)
        *ret_action = VB_OPTIONS_VERSION;
    else if (strcmp(argument, "--dump-options") == 0)
        *ret_action = VB_OPTIONS_DUMP;
    else
        return false;
    return true;
}

/* Splits argv into names and values without judging them. A bool takes its value by '=' only,
 * because "--flag word" would be ambiguous; "--flag" alone means true. */
static bool split_arguments(VbOptions *options, int argc, char *const *argv, GArray *ret_arguments,
                            GError **error)
{
    for (int i = 1; i < argc; i++) {
        if (page_of(argv[i], &options->action))
            return true;
        if (!g_str_has_prefix(argv[i], "--"))
            return fail(error, VB_OPTIONS_ERROR_UNKNOWN,
                        "argument %s: options begin with --; --help lists them", argv[i]);
        char *buffer = g_strdup(argv[i] + 2);
        char *equals = strchr(buffer, '=');
        Argument argument = {.name = buffer, .buffer = buffer};
        if (equals)
            *equals = '\0';
        g_array_append_val(ret_arguments, argument);

        const char *value;
        if (equals)
            value = equals + 1;
        else if (is_bool(options, buffer))
            value = "true";
        else if (i + 1 < argc && !g_str_has_prefix(argv[i + 1], "--"))
            value = argv[++i];
        else
            return fail(error, VB_OPTIONS_ERROR_MISSING,
                        "argument --%s: a value must follow, as --%s=VALUE", buffer, buffer);
        g_array_index(ret_arguments, Argument, ret_arguments->len - 1).value = value;
    }
    return true;
}

static bool apply_arguments(VbOptions *options, GArray *arguments, GError **error)
{
    for (guint i = 0; i < arguments->len; i++) {
        const Argument *argument = &g_array_index(arguments, Argument, i);
        if (strcmp(argument->name, "config") == 0)
            continue;
        g_autofree char *raw = g_strdup_printf("argument --%s", argument->name);
        g_autofree char *source = g_utf8_make_valid(raw, -1);
        if (!options_set(options, VB_OPTION_RANK_ARGUMENT, source, argument->name, argument->value,
                         error))
            return false;
    }
    return true;
}

static const VbOptionSlot *find_by_environment(const VbOptions *options, const char *variable)
{
    for (guint i = 0; i < options->slots->len; i++) {
        const VbOptionSlot *slot = &g_array_index(options->slots, VbOptionSlot, i);
        if (strcmp(slot->environment_name, variable) == 0)
            return slot;
    }
    return NULL;
}

/* A list in one variable is separated by ';', as in the file. */
static bool apply_list_variable(VbOptions *options, const char *source, const char *name,
                                const char *value, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(value, ";", -1);
    for (char **part = parts; *part; part++)
        if (**part && !options_set(options, VB_OPTION_RANK_ENVIRONMENT, source, name, *part, error))
            return false;
    return true;
}

static bool apply_variable(VbOptions *options, const char *variable, const char *value,
                           GError **error)
{
    g_autofree char *raw = g_strdup_printf("environment variable %s", variable);
    g_autofree char *source = g_utf8_make_valid(raw, -1);
    const VbOptionSlot *slot = find_by_environment(options, variable);
    if (slot && slot->option->flags & VB_OPTION_REPEATABLE)
        return apply_list_variable(options, source, slot->option->name, value, error);
    if (slot)
        return options_set(options, VB_OPTION_RANK_ENVIRONMENT, source, slot->option->name, value,
                           error);
    if (g_str_has_prefix(variable, OPTIONS_ENVIRONMENT_KAFKA_PREFIX)) {
        const char *tail = variable + strlen(OPTIONS_ENVIRONMENT_KAFKA_PREFIX);
        g_autofree char *name = g_strdelimit(g_ascii_strdown(tail, -1), "_", '.');
        return options_set_kafka(options, source, name, value, error);
    }
    /* Not refused: daemons share environments, and container platforms add variables of their own.
     */
    g_ptr_array_insert(options->ignored, (int)options->ignored->len - 1, g_strdup(variable));
    return true;
}

static bool apply_environment(VbOptions *options, const char *const *environment, GError **error)
{
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!equals || !g_str_has_prefix(*environment, OPTIONS_ENVIRONMENT_PREFIX))
            continue;
        g_autofree char *variable = g_strndup(*environment, (gsize)(equals - *environment));
        if (strcmp(variable, OPTIONS_ENVIRONMENT_CONFIG) == 0)
            continue;
        if (!apply_variable(options, variable, equals + 1, error))
            return false;
    }
    return true;
}

static bool apply_key(VbOptions *options, GKeyFile *file, const char *path, const char *key,
                      GError **error)
{
    const VbOptionSlot *slot = options_find(options, key);
    g_autofree char *raw = g_strdup_printf("file %s, key %s", path, key);
    g_autofree char *source = g_utf8_make_valid(raw, -1);
    g_autoptr(GError) cause = NULL;
    g_auto(GStrv) values = NULL;
    if (slot && slot->option->flags & VB_OPTION_REPEATABLE) {
        values = g_key_file_get_string_list(file, OPTIONS_FILE_GROUP, key, NULL, &cause);
    } else {
        values = g_new0(char *, 2);
        values[0] = g_key_file_get_string(file, OPTIONS_FILE_GROUP, key, &cause);
    }
    /* GLib's own message repeats the value, which may be a secret. */
    if (cause)
        return fail(error, VB_OPTIONS_ERROR_FILE,
                    "%s: the value is not UTF-8 text with the escapes \\s \\n \\t \\r \\\\ only",
                    source);
    for (char **value = values; *value; value++)
        if (!options_set(options, VB_OPTION_RANK_FILE, source, key, *value, error))
            return false;
    return true;
}

static bool apply_file(VbOptions *options, const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) cause = NULL;
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &cause))
        return fail(error, VB_OPTIONS_ERROR_FILE, "file %s: %s", path, cause->message);
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (char **group = groups; *group; group++)
        if (strcmp(*group, OPTIONS_FILE_GROUP) != 0)
            return fail(error, VB_OPTIONS_ERROR_FILE,
                        "file %s: group [%s] is unknown; allowed: [" OPTIONS_FILE_GROUP "]", path,
                        *group);
    g_auto(GStrv) keys = g_key_file_get_keys(file, OPTIONS_FILE_GROUP, NULL, NULL);
    for (char **key = keys; key && *key; key++)
        if (!apply_key(options, file, path, *key, error))
            return false;
    return true;
}

/* The last --config wins over the variable; NULL when there is no file. */
static const char *find_config(GArray *arguments, const char *const *environment)
{
    for (guint i = arguments->len; i > 0; i--) {
        const Argument *argument = &g_array_index(arguments, Argument, i - 1);
        if (strcmp(argument->name, "config") == 0)
            return argument->value;
    }
    return g_environ_getenv((char **)environment, OPTIONS_ENVIRONMENT_CONFIG);
}

static bool check_mandatory(const VbOptions *options, GError **error)
{
    for (guint i = 0; i < options->slots->len; i++) {
        const VbOptionSlot *slot = &g_array_index(options->slots, VbOptionSlot, i);
        const char *first = g_ptr_array_index(slot->texts, 0);
        if (slot->option->flags & VB_OPTION_MANDATORY && (!first || !*first))
            return fail(error, VB_OPTIONS_ERROR_MISSING,
                        "option %s is mandatory and not set: give --%s=VALUE, %s=VALUE in the "
                        "environment, or %s=VALUE in the file",
                        slot->option->name, slot->option->name, slot->environment_name,
                        slot->option->name);
    }
    return true;
}

bool options_load(VbOptions *options, int argc, char *const *argv, const char *const *environment,
                  GError **error)
{
    g_autoptr(GArray) arguments = g_array_new(FALSE, FALSE, sizeof(Argument));
    g_array_set_clear_func(arguments, argument_clear);
    if (!split_arguments(options, argc, argv, arguments, error))
        return false;
    if (options->action != VB_OPTIONS_RUN)
        return true;
    const char *path = find_config(arguments, environment);
    return (!path || apply_file(options, path, error)) &&
           apply_environment(options, environment, error) &&
           apply_arguments(options, arguments, error) && check_mandatory(options, error);
}
