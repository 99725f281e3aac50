#include "common/base/error.h"

G_DEFINE_QUARK(virtbus - error, vb_error)

Error *error_make(VbArena *arena, ErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    Error *error = ARENA_MSG(arena, error);
    error->code = code;
    error->message = arena_strdup(arena, text);
    return error;
}

Error *error_from_gerror(VbArena *arena, const GError *gerror)
{
    ErrorCode code = gerror->domain == VB_ERROR ? (ErrorCode)gerror->code : ERROR_CODE_INTERNAL;
    return error_make(arena, code, "%s", gerror->message);
}
