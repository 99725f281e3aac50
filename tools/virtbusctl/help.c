/* See help.h. */
#include "tools/virtbusctl/help.h"

#include <string.h>

enum {
    PAGE_WIDTH = 96,
    COMMAND_MAX = 30, /* What is longer stands on a line of its own. */
    FLAG_MAX = 34,
    WORDS_SHORT = 16, /* More words than this do not fit beside a flag's name. */
};

char **help_flag_words(const GOptionEntry *entry)
{
    gboolean is_list = entry->arg_description != NULL && strchr(entry->arg_description, '|') &&
                       strpbrk(entry->arg_description, "[,") == NULL;
    return is_list ? g_strsplit(entry->arg_description, "|", -1) : NULL;
}

/* `text` in lines that end at PAGE_WIDTH; all but the first are indented. */
static void wrapped_append(GString *page, const char *text, gsize indent)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    gsize column = indent;
    for (char **word = words; *word != NULL; word++) {
        gsize width = (gsize)g_utf8_strlen(*word, -1);
        if (column > indent && column + 1 + width > PAGE_WIDTH) {
            g_string_append_printf(page, "\n%*s", (int)indent, "");
            column = indent;
        }
        gboolean is_first = column == indent;
        g_string_append_printf(page, "%s%s", is_first ? "" : " ", *word);
        column += width + (is_first ? 0 : 1);
    }
    g_string_append_c(page, '\n');
}

/* "  left      text" */
static void line_append(GString *page, gsize left_width, const char *left, const char *text)
{
    g_string_append_printf(page, "  %-*s", (int)left_width, left);
    if (strlen(left) > left_width) {
        g_string_append_printf(page, "\n  %*s", (int)left_width, "");
    }
    g_string_append(page, "  ");
    wrapped_append(page, text, left_width + 4);
}

static void heading_append(GString *page, const char *heading)
{
    g_string_append_printf(page, "\n%s\n", heading);
}

/* ---- Flags */

static gboolean is_long_list(const GOptionEntry *entry)
{
    return strchr(entry->arg_description, '|') != NULL &&
           strlen(entry->arg_description) > WORDS_SHORT;
}

/* "-b, --bootstrap HOST:PORT,..." */
static char *flag_left(const GOptionEntry *entry)
{
    GString *left = g_string_new("    ");
    if (entry->short_name != 0) {
        g_string_printf(left, "-%c, ", entry->short_name);
    }
    g_string_append_printf(left, "--%s", entry->long_name);
    if (entry->arg_description != NULL) {
        g_string_append_printf(left, " %s", is_long_list(entry) ? "WORD" : entry->arg_description);
    }
    return g_string_free(left, FALSE);
}

static void flag_append(GString *page, gsize left_width, const GOptionEntry *entry)
{
    g_autofree char *left = flag_left(entry);
    g_autoptr(GString) text = g_string_new(entry->description);
    if (entry->arg_description != NULL && is_long_list(entry)) {
        g_auto(GStrv) words = g_strsplit(entry->arg_description, "|", -1);
        g_autofree char *list = g_strjoinv(", ", words);
        g_string_append_printf(text, " (%s)", list);
    }
    line_append(page, left_width, left, text->str);
}

static gsize flags_width(const GOptionEntry *entries)
{
    gsize width = 0;
    for (; entries != NULL && entries->long_name != NULL; entries++) {
        g_autofree char *left = flag_left(entries);
        gsize own = strlen(left);
        width = own > FLAG_MAX ? width : MAX(width, own);
    }
    return width;
}

static void flags_append(GString *page, gsize left_width, const GOptionEntry *entries)
{
    for (; entries->long_name != NULL; entries++) {
        flag_append(page, left_width, entries);
    }
}

static void global_mention(GString *page, const GOptionEntry *global)
{
    g_autoptr(GString) names = g_string_new("Every command also takes ");
    for (const GOptionEntry *entry = global; entry->long_name != NULL; entry++) {
        g_string_append_printf(names, "--%s%s", entry->long_name,
                               entry[1].long_name != NULL ? ", " : ": see virtbusctl --help.");
    }
    g_string_append_c(page, '\n');
    wrapped_append(page, names->str, 0);
}

char *help_command(const CtlCommand *command, const CtlFlags *flags, const GOptionEntry *global)
{
    GString *page = g_string_new(NULL);
    g_string_append_printf(page, "Usage: virtbusctl %s%s%s\n\n%s\n", command->words,
                           *command->arguments != '\0' ? " " : "", command->arguments,
                           command->summary);
    gsize left_width = 0;
    for (const CtlFlags *group = flags; group->heading != NULL; group++) {
        left_width = MAX(left_width, flags_width(group->entries));
    }
    for (const CtlFlags *group = flags; group->heading != NULL; group++) {
        if (group->entries != NULL && group->entries->long_name != NULL) {
            heading_append(page, group->heading);
            flags_append(page, left_width, group->entries);
        }
    }
    if (command->details != NULL) {
        g_autofree char *details = command->details();
        g_string_append_printf(page, "\n%s", details);
    }
    global_mention(page, global);
    return g_string_free(page, FALSE);
}

/* ---- The page of all */

static char *command_left(const CtlCommand *command)
{
    return g_strdup_printf("%s %s", command->words, command->arguments);
}

static void commands_append(GString *page)
{
    gsize left_width = 0;
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        g_autofree char *left = command_left(command);
        left_width = strlen(left) > COMMAND_MAX ? left_width : MAX(left_width, strlen(left));
    }
    const char *group = NULL;
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        if (command->group == NULL) {
            continue;
        }
        if (command->group != group) {
            group = command->group;
            heading_append(page, group);
        }
        g_autofree char *left = command_left(command);
        line_append(page, left_width, left, command->summary);
    }
}

char *help_page(const GOptionEntry *global)
{
    GString *page = g_string_new("virtbusctl commands virtual machines over Kafka.\n\n"
                                 "Usage: virtbusctl [OPTION]... COMMAND [ARGUMENT]...\n");
    commands_append(page);
    heading_append(page, "Options of every command");
    gsize left_width = flags_width(global);
    flags_append(page, left_width, global);
    line_append(page, left_width, "    --kafka.NAME VALUE",
                "Any property of librdkafka [VIRTBUS_KAFKA_NAME]");
    heading_append(page, "Exit status");
    for (int status = 0; status <= CTL_OTHER_LOGIC; status++) {
        g_string_append_printf(page, "  %d  %s\n", status, ctl_status_texts[status]);
    }
    g_string_append(page, "\nVM is a uuid or a name, HOST a uuid or a host name.\n"
                          "virtbusctl COMMAND --help says more of each.\n");
    return g_string_free(page, FALSE);
}
