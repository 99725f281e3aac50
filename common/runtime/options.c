/*
 * options: the table, the settings made on it, and the typed getters.
 * The sources are read in options_sources.c, the pages are made in options_print.c.
 */
#include "common/runtime/options_private.h"
#include "common/runtime/log.h"

#include <string.h>

G_DEFINE_QUARK(virtbus - options - error, options_error)

static const VbOption base_table[] = {
    {.name = "bootstrap",
     .flags = VB_OPTION_MANDATORY,
     .help = "Kafka brokers to ask first: HOST:PORT, several joined by commas."},
    {.name = "topic.prefix",
     .fallback = "virtbus",
     .help = "First part of every topic's name. All daemons of one deployment share it."},
    {.name = "log.level",
     .type = VB_OPTION_ENUM,
     .words = log_level_words,
     .fallback = "info",
     .help = "The least severe lines that are written to standard error."},
    {.name = "log.format",
     .type = VB_OPTION_ENUM,
     .words = log_format_words,
     .fallback = "text",
     .help = "Lines for people (text), or one JSON object a line (json)."},
    {.name = "http.listen",
     .help = "Address and port of /metrics, /healthz and /readyz, such as 127.0.0.1:9464 or "
             "[::1]:9464. Port 0 picks a free one and logs it. Empty: off."},
    {.name = NULL},
};

static char *environment_name_of(const char *option_name)
{
    g_autofree char *upper = g_ascii_strup(option_name, -1);
    return g_strconcat(OPTIONS_ENVIRONMENT_PREFIX, g_strdelimit(upper, ".", '_'), NULL);
}

/* Only these characters: then no two options share an environment variable. */
static bool is_option_name(const char *name)
{
    static const char *const reserved[] = {"config", "help", "version", "dump-options", NULL};
    return *name && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.") == strlen(name) &&
           !g_str_has_prefix(name, OPTIONS_KAFKA_PREFIX) && !g_strv_contains(reserved, name);
}

static void slot_clear(gpointer data)
{
    VbOptionSlot *slot = data;
    g_free(slot->environment_name);
    g_ptr_array_free(slot->texts, TRUE);
}

static void kafka_clear(gpointer data)
{
    VbKafkaProperty *property = data;
    g_free(property->name);
    g_free(property->value);
}

static void slot_put(VbOptionSlot *slot, VbOptionRank rank, const char *text, gint64 number)
{
    bool appends =
        (slot->option->flags & VB_OPTION_REPEATABLE) && slot->rank == rank && slot->texts->len > 0;
    if (!appends)
        g_ptr_array_set_size(slot->texts, 0);
    else
        g_ptr_array_remove_index(slot->texts, slot->texts->len - 1);
    g_ptr_array_add(slot->texts, g_strdup(text));
    g_ptr_array_add(slot->texts, NULL);
    slot->rank = rank;
    slot->number = number;
}

static void add_table(VbOptions *options, const VbOption *table)
{
    for (const VbOption *option = table; option && option->name; option++) {
        if (!is_option_name(option->name) || options_find(options, option->name))
            g_error("options table: '%s' is no good name, or is there twice", option->name);
        if ((option->flags & VB_OPTION_REPEATABLE) && option->type != VB_OPTION_STRING)
            g_error("options table: '%s': only strings can be repeatable", option->name);

        VbOptionSlot slot = {.option = option,
                             .environment_name = environment_name_of(option->name),
                             .texts = g_ptr_array_new_with_free_func(g_free)};
        bool is_list = option->flags & VB_OPTION_REPEATABLE;
        bool has_value = option->fallback || option->type != VB_OPTION_STRING;
        if (option->flags & VB_OPTION_MANDATORY || (is_list && !has_value)) {
            g_assert(option->fallback == NULL);
            g_ptr_array_add(slot.texts, NULL);
        } else {
            const char *text = option->fallback ? option->fallback : "";
            g_autofree char *allowed = NULL;
            gint64 number;
            if (!options_value_parse(option, text, &number, &allowed))
                g_error("options table: default '%s' of '%s': allowed is %s", text, option->name,
                        allowed);
            slot_put(&slot, VB_OPTION_RANK_DEFAULT, text, number);
        }
        g_array_append_val(options->slots, slot);
    }
}

VbOptions *options_new(const VbProgram *program)
{
    VbOptions *options = g_new0(VbOptions, 1);
    options->program = program;
    options->slots = g_array_new(FALSE, FALSE, sizeof(VbOptionSlot));
    g_array_set_clear_func(options->slots, slot_clear);
    options->ignored = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(options->ignored, NULL);
    options->kafka = g_array_new(FALSE, FALSE, sizeof(VbKafkaProperty));
    g_array_set_clear_func(options->kafka, kafka_clear);
    add_table(options, base_table);
    add_table(options, program->options);
    return options;
}

void options_free(VbOptions *options)
{
    if (!options)
        return;
    g_array_free(options->slots, TRUE);
    g_array_free(options->kafka, TRUE);
    g_ptr_array_free(options->ignored, TRUE);
    g_free(options);
}

VbOptionSlot *options_find(const VbOptions *options, const char *name)
{
    for (guint i = 0; i < options->slots->len; i++) {
        VbOptionSlot *slot = &g_array_index(options->slots, VbOptionSlot, i);
        if (strcmp(slot->option->name, name) == 0)
            return slot;
    }
    return NULL;
}

bool options_set_kafka(VbOptions *options, const char *source, const char *name, const char *value,
                       GError **error)
{
    if (*name == '\0') {
        g_set_error(error, VB_OPTIONS_ERROR, VB_OPTIONS_ERROR_UNKNOWN,
                    "%s: a librdkafka property must follow, such as kafka.linger.ms", source);
        return false;
    }
    if (!g_utf8_validate(name, -1, NULL) || !g_utf8_validate(value, -1, NULL)) {
        g_set_error(error, VB_OPTIONS_ERROR, VB_OPTIONS_ERROR_VALUE,
                    "%s: name and value must be text in UTF-8", source);
        return false;
    }
    for (guint i = 0; i < options->kafka->len; i++) {
        VbKafkaProperty *property = &g_array_index(options->kafka, VbKafkaProperty, i);
        if (strcmp(property->name, name) == 0) {
            g_free(property->value);
            property->value = g_strdup(value);
            return true;
        }
    }
    VbKafkaProperty property = {.name = g_strdup(name), .value = g_strdup(value)};
    g_array_append_val(options->kafka, property);
    return true;
}

bool options_set(VbOptions *options, VbOptionRank rank, const char *source, const char *name,
                 const char *value, GError **error)
{
    if (g_str_has_prefix(name, OPTIONS_KAFKA_PREFIX))
        return options_set_kafka(options, source, name + strlen(OPTIONS_KAFKA_PREFIX), value,
                                 error);
    VbOptionSlot *slot = options_find(options, name);
    if (!slot) {
        g_set_error(error, VB_OPTIONS_ERROR, VB_OPTIONS_ERROR_UNKNOWN,
                    "%s: %s has no such option; --help lists them", source, options->program->name);
        return false;
    }
    g_autofree char *allowed = NULL;
    gint64 number;
    if (!options_value_parse(slot->option, value, &number, &allowed)) {
        bool is_secret = slot->option->flags & VB_OPTION_SECRET;
        g_autofree char *safe = g_utf8_make_valid(value, -1);
        g_set_error(error, VB_OPTIONS_ERROR, VB_OPTIONS_ERROR_VALUE,
                    "%s: \"%s\" is not allowed; allowed: %s", source, is_secret ? "(secret)" : safe,
                    allowed);
        return false;
    }
    slot_put(slot, rank, value, number);
    return true;
}

VbOptionsAction options_action(const VbOptions *options)
{
    return options->action;
}

static const VbOptionSlot *slot_of_type(const VbOptions *options, const char *name,
                                        VbOptionType type, bool is_list)
{
    const VbOptionSlot *slot = options_find(options, name);
    if (!slot || slot->option->type != type ||
        is_list != !!(slot->option->flags & VB_OPTION_REPEATABLE))
        g_error("option '%s' is asked for with a type that the table does not give it", name);
    return slot;
}

const char *options_get_string(const VbOptions *options, const char *name)
{
    const VbOptionSlot *slot = slot_of_type(options, name, VB_OPTION_STRING, false);
    const char *text = g_ptr_array_index(slot->texts, 0);
    return text ? text : "";
}

const char *const *options_get_list(const VbOptions *options, const char *name)
{
    return (const char *const *)slot_of_type(options, name, VB_OPTION_STRING, true)->texts->pdata;
}

gint64 options_get_int(const VbOptions *options, const char *name)
{
    return slot_of_type(options, name, VB_OPTION_INT, false)->number;
}

bool options_get_bool(const VbOptions *options, const char *name)
{
    return slot_of_type(options, name, VB_OPTION_BOOL, false)->number != 0;
}

gint64 options_get_duration_ms(const VbOptions *options, const char *name)
{
    return slot_of_type(options, name, VB_OPTION_DURATION, false)->number;
}

gint64 options_get_size_bytes(const VbOptions *options, const char *name)
{
    return slot_of_type(options, name, VB_OPTION_SIZE, false)->number;
}

int options_get_enum(const VbOptions *options, const char *name)
{
    return (int)slot_of_type(options, name, VB_OPTION_ENUM, false)->number;
}

const VbKafkaProperty *options_get_kafka(const VbOptions *options, size_t *ret_n)
{
    *ret_n = options->kafka->len;
    return (const VbKafkaProperty *)(void *)options->kafka->data;
}

const char *const *options_get_ignored(const VbOptions *options)
{
    return (const char *const *)options->ignored->pdata;
}
