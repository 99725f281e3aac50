/* `completion`: the script for a shell; `completion-names`: what that script asks while one types.
 */
#include <stdio.h>
#include <string.h>

#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/completion.h"
#include "tools/virtbusctl/model.h"

enum { PATIENCE_MS = 2000 }; /* Of somebody who has pressed the tabulator. */

char *completion_help(void)
{
    return g_strdup(
        "SHELL is bash or zsh.\n\n"
        "  source <(virtbusctl completion bash)      in ~/.bashrc\n"
        "  source <(virtbusctl completion zsh)       in ~/.zshrc, behind compinit\n\n"
        "With VIRTBUS_BOOTSTRAP in the environment, VMs and hosts are completed too.\n");
}

/* Neither needs a broker's name: the first none at all, the second only where there is one. */
CtlStatus cmd_completion(Ctl *ctl)
{
    g_auto(GStrv) words = NULL;
    g_autoptr(GError) error = NULL;
    if (!args_parse_words(ctl, 1, &words, &error)) {
        return ctl_fail(ctl, error);
    }
    gboolean is_zsh = strcmp(words[0], "zsh") == 0;
    if (!is_zsh && strcmp(words[0], "bash") != 0) {
        g_set_error(&error, CTL_ERROR, CTL_USAGE,
                    "there are no completions for \"%s\"; known are bash, zsh", words[0]);
        return ctl_fail(ctl, error);
    }
    g_autofree char *script = completion_script(is_zsh ? COMPLETION_ZSH : COMPLETION_BASH);
    fputs(script, stdout);
    return CTL_DONE;
}

/* The shell expands what it is given: a name with anything else in it is left out. */
static void name_print(const char *name)
{
    static const char harmless[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (*name != '\0' && *name != '-' && strspn(name, harmless) == strlen(name)) {
        printf("%s\n", name);
    }
}

CtlStatus cmd_completion_names(Ctl *ctl)
{
    g_auto(GStrv) words = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GHashTable) model = NULL;
    if (!args_parse(ctl, NULL, 1, &words, &error)) {
        return ctl_fail(ctl, error);
    }
    gboolean hosts = strcmp(words[0], "HOST") == 0;
    ctl->timeout_ms = MIN(ctl->timeout_ms, PATIENCE_MS);
    if ((client = client_open(ctl, &error)) == NULL ||
        (model = model_read(ctl, client, hosts ? TOPIC_HOSTS : TOPIC_VM_STATE, &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    GHashTableIter iter;
    gpointer uuid;
    gpointer message;
    g_hash_table_iter_init(&iter, model);
    while (g_hash_table_iter_next(&iter, &uuid, &message)) {
        const VmRecord *vm = hosts ? NULL : model_vm(message);
        if (!hosts && vm == NULL) {
            continue;
        }
        name_print(uuid);
        name_print(hosts              ? ((const HostInfo *)message)->hostname
                   : vm->spec != NULL ? vm->spec->name
                                      : "");
    }
    return CTL_DONE;
}
