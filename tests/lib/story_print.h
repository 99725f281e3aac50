/* Outputs and states as lines that a person can read: symbols for uuids, only what matters. */
#pragma once

#include "common/base/step.h"
#include "tests/lib/story_names.h"

/* "vm.events        StatusChanged Created -> Starting (Request)". g_free. */
char *print_output(StoryNames *names, const VbOutput *output);

/* The whole state as lines, appended to `lines` (of g_free'd text). NULL: there is none. */
void print_vm(StoryNames *names, const StateRecord *state, GPtrArray *lines);
void print_volumes(StoryNames *names, const StateRecord *state, GPtrArray *lines);

/* "vol2(NvRam Ready)": appended, with or without the status. */
void print_volume(GString *out, StoryNames *names, const Volume *volume, gboolean with_status);

/* `text` behind the name of who says it, in the recording's columns. g_free. */
char *print_line(const char *who, const char *text);
