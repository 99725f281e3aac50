#include "common/base/error.h"

#include "common/base/uuid.h"

G_DEFINE_QUARK(virtbus - error, vb_error)

/* Long enough for a sentence with two uuids and libvirt's own words. */
enum { TEXT_MAX_BYTES = 1024 };

/* Foreign words (libvirt's, QEMU's, OVS's) come with line ends and without bounds. A message with
 * them would be refused by its reader, and the answer lost. */
static char *text_tame(VbArena *arena, const char *raw)
{
    g_autofree char *valid = g_utf8_make_valid(raw, -1);
    g_autoptr(GString) text = g_string_new(NULL);
    for (const char *at = g_strstrip(valid); *at != '\0'; at = g_utf8_next_char(at)) {
        if (text->len >= TEXT_MAX_BYTES) {
            g_string_append(text, " ...");
            break;
        }
        gunichar c = g_utf8_get_char(at);
        g_string_append_unichar(text, g_unichar_iscntrl(c) ? ' ' : c);
    }
    return arena_strdup(arena, text->str);
}

Error *error_make(VbArena *arena, ErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    Error *error = ARENA_MSG(arena, error);
    error->code = code;
    error->message = text_tame(arena, text);
    return error;
}

Error *error_from_gerror(VbArena *arena, const GError *gerror)
{
    ErrorCode code = gerror->domain == VB_ERROR ? (ErrorCode)gerror->code : ERROR_CODE_INTERNAL;
    return error_make(arena, code, "%s", gerror->message);
}

Error *error_tame(VbArena *arena, const Error *foreign)
{
    if (foreign == NULL) {
        return NULL;
    }
    Error *error = error_make(arena, foreign->code, "%s", foreign->message);
    if (uuid_is_valid(foreign->host_uuid)) {
        error->host_uuid = foreign->host_uuid;
    }
    return error;
}
