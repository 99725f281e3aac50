/* Symbols for uuids and instants, so that a story and its recording can be read.
 *
 * A uuid that a story names ("$host-a") is derived from its name; one that a core made gets a kind
 * and a number in order of appearance ("vol1", "op2"). Time is said since the story's begin.
 */
#pragma once

#include <glib.h>

/* 2024-01-01 00:00:00 UTC: when every story begins. */
static const gint64 STORY_BEGIN_MS = G_GINT64_CONSTANT(1704067200000);

typedef struct StoryNames StoryNames;

StoryNames *names_new(void);
void names_free(StoryNames *names);

/* The uuid of a symbol that starts with '$' or is a request's name. Valid as long as `names`. */
const char *names_uuid(StoryNames *names, const char *symbol);

/* The symbol of a uuid; one that has none yet becomes `kind` and a number. Valid as `names`. */
const char *names_of(StoryNames *names, const char *uuid, const char *kind);

/* Text with every uuid in it replaced by its symbol. g_free. */
char *names_text(StoryNames *names, const char *text);

/* "00:01:10", "30d 00:00:00", "00:00:05.250": appended. */
void names_append_time(GString *out, gint64 time_ms);
