/* See style.h. */
#include "tools/virtbusctl/style.h"

#include <string.h>
#include <unistd.h>

enum { ROUNDED_FROM_BYTES = 10 * 1024 * 1024 };

static gboolean has_colours;

void style_start(void)
{
    const char *terminal = g_getenv("TERM");
    const char *refused = g_getenv("NO_COLOR");
    has_colours = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) && terminal != NULL &&
                  strcmp(terminal, "dumb") != 0 && (refused == NULL || *refused == '\0');
}

char *style_coloured(const char *colour, const char *text)
{
    return has_colours && colour != NULL ? g_strconcat(colour, text, "\033[0m", NULL)
                                         : g_strdup(text);
}

char *style_safe(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *safe = g_string_new(NULL);
    for (const char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
        gunichar character = g_utf8_get_char(at);
        g_string_append_unichar(safe, g_unichar_iscntrl(character) ? '?' : character);
    }
    return g_string_free(safe, FALSE);
}

char *style_duration(gint64 duration_ms)
{
    if (duration_ms < 0) {
        g_autofree char *positive = style_duration(-duration_ms);
        return g_strconcat("-", positive, NULL);
    }
    gint64 seconds = duration_ms / 1000;
    gint64 minutes = seconds / 60;
    gint64 hours = minutes / 60;
    if (duration_ms < 1000) {
        return g_strdup_printf("%d ms", (int)duration_ms);
    }
    if (seconds < 60) {
        return g_strdup_printf("%.*f s", seconds < 10 ? 2 : 1, (double)duration_ms / 1000);
    }
    if (hours == 0) {
        return g_strdup_printf("%d min %d s", (int)minutes, (int)(seconds % 60));
    }
    if (hours < 24) {
        return g_strdup_printf("%d h %d min", (int)hours, (int)(minutes % 60));
    }
    return g_strdup_printf("%d d %d h", (int)(hours / 24), (int)(hours % 24));
}

char *style_ago(gint64 then_ms, gint64 now_ms)
{
    if (then_ms == 0) {
        return g_strdup("-");
    }
    gint64 seconds = MAX(now_ms - then_ms, 0) / 1000;
    if (seconds < 60) {
        return g_strdup_printf("%d s ago", (int)seconds);
    }
    if (seconds < 60 * 60) {
        return g_strdup_printf("%d min ago", (int)(seconds / 60));
    }
    if (seconds < 24 * 60 * 60) {
        return g_strdup_printf("%d h ago", (int)(seconds / 3600));
    }
    return g_strdup_printf("%d d ago", (int)(seconds / 86400));
}

char *style_size(guint64 size_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (size_bytes == 0) {
        return g_strdup("-");
    }
    /* The largest unit of which the size is a whole or half number. */
    for (guint unit = G_N_ELEMENTS(units) - 1; unit > 0; unit--) {
        guint64 half = (G_GUINT64_CONSTANT(1) << (10 * unit)) / 2;
        if (size_bytes >= 2 * half && size_bytes % half == 0) {
            guint64 halves = size_bytes / half;
            return g_strdup_printf("%" G_GUINT64_FORMAT "%s %s", halves / 2,
                                   halves % 2 != 0 ? ".5" : "", units[unit]);
        }
    }
    if (size_bytes < ROUNDED_FROM_BYTES) {
        return g_strdup_printf("%" G_GUINT64_FORMAT " B", size_bytes);
    }
    double size = (double)size_bytes;
    guint unit = 0;
    for (; size >= 1024 && unit + 1 < G_N_ELEMENTS(units); unit++) {
        size /= 1024;
    }
    return g_strdup_printf("%.1f %s", size, units[unit]);
}

char *style_clock(gint64 time_ms)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(time_ms / 1000);
    g_autofree char *clock = time != NULL ? g_date_time_format(time, "%H:%M:%S") : g_strdup("?");
    return g_strdup_printf("%s.%03d", clock, (int)(time_ms % 1000));
}

char *style_short_uuid(const char *uuid)
{
    return g_strndup(uuid, 8);
}
