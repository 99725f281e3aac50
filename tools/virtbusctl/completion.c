/* See completion.h. */
#include "tools/virtbusctl/completion.h"

#include <string.h>

#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/help.h"

/* What bash is told. @...@ are filled in. Values are looked at first: an option that takes one swallows the
 * next word. bash itself takes "--a=b" and "a:b" for three words each. */
static const char script[] =
    "# Completions of virtbusctl, made by itself: virtbusctl completion @SHELL@\n"
    "_virtbusctl_names() {\n"
    "    [[ -z ${VIRTBUS_BOOTSTRAP:-} ]] ||\n"
    "        \"${COMP_WORDS[0]}\" completion-names \"$1\" 2>/dev/null\n"
    "}\n"
    "_virtbusctl() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local said= command= options= kinds= next= values= kind= skip= i word\n"
    "    COMPREPLY=()\n"
    "    if [[ $cur == = ]]; then\n"
    "        cur=\n"
    "    elif [[ $prev == = ]]; then\n"
    "        prev=${COMP_WORDS[COMP_CWORD-2]}\n"
    "    fi\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ -n $skip ]]; then\n"
    "            [[ $word == = ]] || skip=\n"
    "            continue\n"
    "        fi\n"
    "        case $word in\n"
    "            :|--kafka.*@SWALLOWING@) skip=1 ;;\n"
    "            -*|=) ;;\n"
    "            *) said+=\"${said:+ }$word\" ;;\n"
    "        esac\n"
    "    done\n"
    "    case $said in\n"
    "@COMMANDS@"
    "    esac\n"
    "    case $command in\n"
    "@OPTIONS@"
    "    esac\n"
    "    case $prev in\n"
    "@GLOBALVALUES@"
    "    esac\n"
    "    case \"$command $prev\" in\n"
    "@VALUES@"
    "    esac\n"
    "    if [[ -n $kind ]]; then\n"
    "        :\n"
    "    elif [[ $cur == -* ]]; then\n"
    "        values=\"$options @GLOBALS@\"\n"
    "    elif [[ -z $command ]]; then\n"
    "        case $said in\n"
    "@NEXT@"
    "        esac\n"
    "    else\n"
    "        said=${said#\"$command\"}\n"
    "        for word in $said; do\n"
    "            kinds=${kinds#* }\n"
    "        done\n"
    "        kind=${kinds%% *}\n"
    "    fi\n"
    "    case $kind in\n"
    "        VM|HOST) values=$(_virtbusctl_names \"$kind\") ;;\n"
    "        SHELL) values='bash zsh' ;;\n"
    "        FILE) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
    "    esac\n"
    "    [[ -z $values ]] || COMPREPLY=($(compgen -W \"$values\" -- \"$cur\"))\n"
    "}\n"
    "complete -F _virtbusctl virtbusctl\n";

typedef struct {
    const CtlCommand *command; /* NULL: the flags of all. */
    GString *options;          /* Of this command. */
    GString *values;
    GString *global_values;
    GString *swallowing; /* "|--host|--deadline": options that take a value. */
    GHashTable *swallowers;
} Tables;

/* An option that takes a value. */
static void value_take(Tables *tables, const GOptionEntry *flag)
{
    GString *values = tables->command != NULL ? tables->values : tables->global_values;
    const char *words = tables->command != NULL ? tables->command->words : "";
    const char *space = tables->command != NULL ? " " : "";
    g_auto(GStrv) known = help_flag_words(flag);
    g_autofree char *list = known != NULL ? g_strjoinv(" ", known) : NULL;
    if (list != NULL) {
        g_string_append_printf(values, "        \"%s%s--%s\") kind=WORD values='%s' ;;\n", words,
                               space, flag->long_name, list);
    } else {
        /* "TYPE[,KEY=VALUE...]" is TYPE here. */
        g_autofree char *kind = g_strdup(flag->arg_description);
        kind[strcspn(kind, "[:,")] = '\0';
        g_string_append_printf(values, "        \"%s%s--%s\") kind=%s ;;\n", words, space,
                               flag->long_name, kind);
    }
    if (g_hash_table_add(tables->swallowers, g_strdup(flag->long_name))) {
        g_string_append_printf(tables->swallowing, "|--%s", flag->long_name);
        if (flag->short_name != 0) {
            g_string_append_printf(tables->swallowing, "|-%c", flag->short_name);
        }
    }
}

static void flags_take(const CtlFlags *flags, gpointer data)
{
    Tables *tables = data;
    for (; flags->heading != NULL; flags++) {
        for (const GOptionEntry *flag = flags->entries; flag && flag->long_name; flag++) {
            g_string_append_printf(tables->options, "%s--%s", tables->options->len > 0 ? " " : "",
                                   flag->long_name);
            if (flag->arg != G_OPTION_ARG_NONE) {
                value_take(tables, flag);
            }
        }
    }
}

/* "VM HOST" of "VM --host HOST": the kinds of the words that the user adds, flags left out. */
static char *kinds_of(const CtlCommand *command)
{
    g_auto(GStrv) words = g_strsplit(command->arguments, " ", -1);
    GString *kinds = g_string_new(NULL);
    for (char **word = words; *word != NULL && g_ascii_isupper(**word); word++) {
        g_string_append_printf(kinds, "%s ", *word);
    }
    return g_string_free(kinds, FALSE);
}

/* A line of the case that says which words may follow `first`; "" : which may come first. */
static void next_append(GString *next, const char *first)
{
    g_autofree char *prefix = *first != '\0' ? g_strconcat(first, " ", NULL) : g_strdup("");
    g_autoptr(GString) words = g_string_new(" ");
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        if (command->group == NULL || !g_str_has_prefix(command->words, prefix)) {
            continue;
        }
        const char *rest = command->words + strlen(prefix);
        g_autofree char *word = g_strndup(rest, strcspn(rest, " "));
        g_autofree char *spaced = g_strdup_printf(" %s ", word);
        if (strstr(words->str, spaced) == NULL) {
            g_string_append_printf(words, "%s ", word);
        }
    }
    g_string_append_printf(next, "            \"%s\") values='%s' ;;\n", first,
                           g_strstrip(words->str));
}

static char *next_table(void)
{
    GString *next = g_string_new(NULL);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    next_append(next, "");
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        const char *space = strchr(command->words, ' ');
        char *first =
            space != NULL ? g_strndup(command->words, (gsize)(space - command->words)) : NULL;
        if (first != NULL && !g_hash_table_contains(seen, first)) {
            next_append(next, first);
            g_hash_table_add(seen, g_steal_pointer(&first));
        }
        g_free(first);
    }
    return g_string_free(next, FALSE);
}

static void fill(GString *text, const char *place, const char *with)
{
    g_string_replace(text, place, with, 0);
}

char *completion_script(CompletionShell shell)
{
    GString *text = g_string_new(script);
    g_autoptr(GString) commands = g_string_new(NULL);
    g_autoptr(GString) options = g_string_new(NULL);
    g_autoptr(GString) own = g_string_new(NULL);
    g_autoptr(GString) values = g_string_new(NULL);
    g_autoptr(GString) global_values = g_string_new(NULL);
    g_autoptr(GString) swallowing = g_string_new(NULL);
    g_autoptr(GHashTable) swallowers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Tables tables = {NULL, own, values, global_values, swallowing, swallowers};
    args_look_global(flags_take, &tables);
    fill(text, "@GLOBALS@", own->str);
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        if (command->group == NULL) {
            continue;
        }
        g_autofree char *kinds = kinds_of(command);
        g_string_truncate(own, 0);
        tables.command = command;
        args_look(command, flags_take, &tables);
        g_string_append_printf(commands, "        \"%s\"|\"%s \"*) command='%s' ;;\n",
                               command->words, command->words, command->words);
        g_string_append_printf(options, "        \"%s\") options='%s' kinds='%s' ;;\n",
                               command->words, own->str, kinds);
    }
    g_autofree char *next = next_table();
    fill(text, "@SWALLOWING@", swallowing->str);
    fill(text, "@COMMANDS@", commands->str);
    fill(text, "@OPTIONS@", options->str);
    fill(text, "@GLOBALVALUES@", global_values->str);
    fill(text, "@VALUES@", values->str);
    fill(text, "@NEXT@", next);
    fill(text, "@SHELL@", shell == COMPLETION_ZSH ? "zsh" : "bash");
    if (shell == COMPLETION_ZSH) {
        g_string_prepend(text, "autoload -U +X bashcompinit && bashcompinit\n");
    }
    return g_string_free(text, FALSE);
}
