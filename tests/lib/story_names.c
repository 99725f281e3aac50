#include "tests/lib/story_names.h"

#include <string.h>

#include "common/base/uuid.h"

static const char NAMESPACE[] = "5f0c2ac5-9f0f-4b4e-8f51-7a6d3b0e1c11";

struct StoryNames {
    VbArena *arena;
    GHashTable *uuids;   /* symbol -> uuid */
    GHashTable *symbols; /* uuid -> symbol */
    GHashTable *counts;  /* kind -> how many */
};

StoryNames *names_new(void)
{
    StoryNames *names = g_new0(StoryNames, 1);
    names->arena = arena_new();
    names->uuids = g_hash_table_new(g_str_hash, g_str_equal);
    names->symbols = g_hash_table_new(g_str_hash, g_str_equal);
    names->counts = g_hash_table_new(g_str_hash, g_str_equal);
    return names;
}

void names_free(StoryNames *names)
{
    g_hash_table_destroy(names->uuids);
    g_hash_table_destroy(names->symbols);
    g_hash_table_destroy(names->counts);
    arena_free(names->arena);
    g_free(names);
}

static void remember(StoryNames *names, char *symbol, char *uuid)
{
    g_hash_table_insert(names->uuids, symbol, uuid);
    g_hash_table_insert(names->symbols, uuid, symbol);
}

const char *names_uuid(StoryNames *names, const char *symbol)
{
    const char *known = g_hash_table_lookup(names->uuids, symbol);
    if (known != NULL) {
        return known;
    }
    char *uuid = uuid_derive(names->arena, NAMESPACE, symbol);
    remember(names, arena_strdup(names->arena, symbol), uuid);
    return uuid;
}

const char *names_of(StoryNames *names, const char *uuid, const char *kind)
{
    const char *known = g_hash_table_lookup(names->symbols, uuid);
    if (known != NULL) {
        return known;
    }
    if (!uuid_is_valid(uuid)) {
        return arena_strdup(names->arena, *uuid == '\0' ? "(none)" : uuid);
    }
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(names->counts, kind)) + 1;
    g_hash_table_insert(names->counts, arena_strdup(names->arena, kind), GUINT_TO_POINTER(n));
    char *symbol = arena_printf(names->arena, "%s%u", kind, n);
    remember(names, symbol, arena_strdup(names->arena, uuid));
    return symbol;
}

char *names_text(StoryNames *names, const char *text)
{
    GString *out = g_string_new(NULL);
    for (const char *at = text; *at != '\0';) {
        g_autofree char *head = g_strndup(at, UUID_TEXT_BYTES - 1);
        if (uuid_is_valid(head)) {
            g_string_append(out, names_of(names, head, "uuid"));
            at += UUID_TEXT_BYTES - 1;
        } else {
            g_string_append_c(out, *at++);
        }
    }
    return g_string_free(out, FALSE);
}

void names_append_time(GString *out, gint64 time_ms)
{
    gint64 since_ms = time_ms - STORY_BEGIN_MS;
    if (since_ms < 0) {
        g_string_append_printf(out, "%" G_GINT64_FORMAT " ms before the begin", -since_ms);
        return;
    }
    gint64 seconds = since_ms / 1000;
    gint64 days = seconds / (24 * 60 * 60);
    if (days > 0) {
        g_string_append_printf(out, "%" G_GINT64_FORMAT "d ", days);
    }
    g_string_append_printf(out, "%02d:%02d:%02d", (int)(seconds / 3600 % 24),
                           (int)(seconds / 60 % 60), (int)(seconds % 60));
    if (since_ms % 1000 != 0) {
        g_string_append_printf(out, ".%03d", (int)(since_ms % 1000));
    }
}
