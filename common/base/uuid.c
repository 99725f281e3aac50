#include "common/base/uuid.h"

#include <string.h>
#include <uuid/uuid.h>

gboolean uuid_is_valid(const char *text)
{
    if (text == NULL || strlen(text) != UUID_TEXT_BYTES - 1) {
        return FALSE;
    }
    uuid_t raw;
    char canonical[UUID_TEXT_BYTES];
    if (uuid_parse(text, raw) != 0 || uuid_is_null(raw)) {
        return FALSE;
    }
    uuid_unparse_lower(raw, canonical);
    return strcmp(text, canonical) == 0;
}

char *uuid_derive(VbArena *arena, const char *uuid, const char *name)
{
    uuid_t space;
    uuid_t derived;
    g_assert(uuid_parse(uuid, space) == 0);
    uuid_generate_sha1(derived, space, name, strlen(name));
    char *text = arena_alloc(arena, UUID_TEXT_BYTES);
    uuid_unparse_lower(derived, text);
    return text;
}

void uuid_random(char ret_text[UUID_TEXT_BYTES])
{
    uuid_t raw;
    uuid_generate_random(raw);
    uuid_unparse_lower(raw, ret_text);
}
