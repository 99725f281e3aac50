/* The pages of --help: grouped, aligned, no wider than a terminal. Pure. */
#pragma once

#include "tools/virtbusctl/ctl.h"

/* Both return new text: g_free. `global` are the flags that every command takes. */
char *help_page(const GOptionEntry *global);
char *help_command(const CtlCommand *command, const CtlFlags *flags, const GOptionEntry *global);

/* The words that a flag's value may be; NULL: any. g_strfreev. */
char **help_flag_words(const GOptionEntry *entry);
