/* The shell's completions, made of the tables of commands and options: there is no second list. */
#pragma once

#include <glib.h>

typedef enum { COMPLETION_BASH, COMPLETION_ZSH } CompletionShell;

/* The script. g_free. */
char *completion_script(CompletionShell shell);
