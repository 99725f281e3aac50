/*
 * options_print: --help, --version and the Markdown page, all made from the table alone.
 */
#include "common/runtime/options_private.h"

#include <string.h>

#define HELP_WIDTH  80
#define HELP_INDENT 6

static const struct {
    const char *usage;
    const char *help;
} common_arguments[] = {
    {"--config=FILE", "Read settings from FILE, lines NAME=VALUE in a group [virtbus]; lists are "
                      "separated by ';'. Also: VIRTBUS_CONFIG."},
    {"--kafka.NAME=VALUE",
     "Set any librdkafka property. In the environment VIRTBUS_KAFKA_LINGER_MS is linger.ms: every "
     "'_' becomes a '.', so set a property whose name holds '_' or '-' elsewhere."},
    {"--dump-options", "Print this table as Markdown, and end."},
    {"--version", "Print the version, and end."},
    {"--help", "Print this page, and end."},
};

static const char sources_text[] =
    "Every option can be set in the file, in the environment (topic.prefix is "
    "VIRTBUS_TOPIC_PREFIX) and on the command line; the later named wins.";

static void append_wrapped(GString *page, int indent, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    int column = 0;
    for (char **word = words; *word; word++) {
        int length = (int)g_utf8_strlen(*word, -1);
        if (column > 0 && column + 1 + length > HELP_WIDTH) {
            g_string_append_c(page, '\n');
            column = 0;
        }
        if (column == 0)
            g_string_append_printf(page, "%*s", indent, "");
        else
            g_string_append_c(page, ' ');
        column = (column == 0 ? indent : column + 1) + length;
        g_string_append(page, *word);
    }
    g_string_append_c(page, '\n');
}

static char *describe_default(const VbOption *option)
{
    if (option->flags & VB_OPTION_MANDATORY)
        return g_strdup("mandatory");
    if (option->flags & VB_OPTION_SECRET)
        return g_strdup("secret");
    if (!option->fallback || !*option->fallback)
        return g_strdup("empty");
    return g_strdup(option->fallback);
}

char *options_help(const VbOptions *options)
{
    GString *page = g_string_new(NULL);
    g_string_append_printf(page, "Usage: virtbus-%s [--NAME=VALUE | --NAME VALUE]...\n",
                           options->program->name);
    append_wrapped(page, 0, options->program->summary);
    g_string_append_c(page, '\n');
    append_wrapped(page, 0, sources_text);
    g_string_append(page, "\nOptions:\n");
    for (guint i = 0; i < options->slots->len; i++) {
        const VbOption *option = g_array_index(options->slots, VbOptionSlot, i).option;
        g_autofree char *type = options_value_describe(option);
        g_autofree char *fallback = describe_default(option);
        bool is_mandatory = option->flags & VB_OPTION_MANDATORY;
        g_autofree char *facts =
            g_strdup_printf("[%s; %s%s]", type, is_mandatory ? "" : "default: ", fallback);
        g_string_append_printf(page, "  --%s\n", option->name);
        append_wrapped(page, HELP_INDENT, option->help);
        append_wrapped(page, HELP_INDENT, facts);
    }
    g_string_append(page, "\nAlso:\n");
    for (size_t i = 0; i < G_N_ELEMENTS(common_arguments); i++) {
        g_string_append_printf(page, "  %s\n", common_arguments[i].usage);
        append_wrapped(page, HELP_INDENT, common_arguments[i].help);
    }
    return g_string_free(page, FALSE);
}

char *options_version(const VbOptions *options)
{
    return g_strdup_printf("%s %s\n", options->program->name, options->program->version);
}

/* A '|' ends a cell in Markdown, also inside code. */
static void append_cell(GString *page, const char *text)
{
    g_string_append(page, " ");
    for (; *text; text++) {
        if (*text == '|')
            g_string_append_c(page, '\\');
        g_string_append_c(page, *text);
    }
    g_string_append(page, " |");
}

char *options_markdown(const VbOptions *options)
{
    GString *page = g_string_new(NULL);
    g_string_append_printf(page, "## %s\n\n%s\n\n%s\n\n", options->program->name,
                           options->program->summary, sources_text);
    g_string_append(page, "| option | environment | type | default | meaning |\n"
                          "|---|---|---|---|---|\n");
    for (guint i = 0; i < options->slots->len; i++) {
        const VbOptionSlot *slot = &g_array_index(options->slots, VbOptionSlot, i);
        g_autofree char *name = g_strdup_printf("`%s`", slot->option->name);
        g_autofree char *variable = g_strdup_printf("`%s`", slot->environment_name);
        g_autofree char *type = options_value_describe(slot->option);
        g_autofree char *fallback = describe_default(slot->option);
        const char *cells[] = {name, variable, type, fallback, slot->option->help};
        g_string_append_c(page, '|');
        for (size_t c = 0; c < G_N_ELEMENTS(cells); c++)
            append_cell(page, cells[c]);
        g_string_append_c(page, '\n');
    }
    g_string_append_c(page, '\n');
    for (size_t i = 0; i < G_N_ELEMENTS(common_arguments); i++)
        g_string_append_printf(page, "- `%s`: %s\n", common_arguments[i].usage,
                               common_arguments[i].help);
    return g_string_free(page, FALSE);
}
