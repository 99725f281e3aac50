#include "common/base/error.h"

#include "common/base/text.h"
#include "common/base/uuid.h"

G_DEFINE_QUARK(virtbus - error, vb_error)

/* A message with line ends or without bounds would be refused by its reader, and the answer lost.
 * Long enough for a sentence with two uuids and libvirt's own words. */
enum { TEXT_MAX_BYTES = 1024 };

Error *error_make(VbArena *arena, ErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    Error *error = ARENA_MSG(arena, error);
    error->code = code;
    error->message = text_tame(arena, g_strstrip(text), TEXT_MAX_BYTES);
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
