/*
 * log: see log.h. A line is built in memory and leaves with one write(2); it never waits for
 * anything but standard error, and never fails: a line that cannot be written is lost.
 */
#include "common/runtime/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *const log_level_words[] = {"debug", "info", "warning", "error", NULL};
const char *const log_format_words[] = {"text", "json", NULL};

static const char *daemon_name = "virtbus";
static VbLogLevel minimum_level = VB_LOG_INFO;
static VbLogFormat line_format = VB_LOG_TEXT;
static GMutex write_lock; /* keeps a line whole where write(2) takes it in parts */

static const char *time_now(char *buffer, size_t size)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t length = strftime(buffer, size, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(buffer + length, size - length, ".%03ldZ", now.tv_nsec / 1000000);
    return buffer;
}

static bool is_control(gunichar c)
{
    /* C0, DEL, C1, and the two line separators that some viewers obey. */
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
}

/* The body of a JSON string: text lines use the same escapes, so there is one rule. */
static void append_escaped(GString *line, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (c == '"' || c == '\\')
            g_string_append_printf(line, "\\%c", (char)c);
        else if (c == '\n')
            g_string_append(line, "\\n");
        else if (is_control(c))
            g_string_append_printf(line, "\\u%04x", c);
        else
            g_string_append_len(line, p, g_utf8_next_char(p) - p);
    }
}

static void append_quoted(GString *line, const char *text)
{
    g_string_append_c(line, '"');
    append_escaped(line, text);
    g_string_append_c(line, '"');
}

static bool is_plain(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr("-_.:/,@+%[]", *p))
            return false;
    return *text != '\0';
}

static void append_text(GString *line, const char *time, const char *level, const char *event,
                        const char *message, const char *const *pairs)
{
    g_string_append_printf(line, "%s %-7s %s %s: ", time, level, daemon_name, event);
    append_escaped(line, message);
    for (; pairs[0]; pairs += 2) {
        g_string_append_printf(line, " %s=", pairs[0]);
        if (!pairs[1])
            g_string_append_c(line, '-');
        else if (is_plain(pairs[1]) && strcmp(pairs[1], "-") != 0)
            g_string_append(line, pairs[1]);
        else
            append_quoted(line, pairs[1]);
    }
    g_string_append_c(line, '\n');
}

static void append_json(GString *line, const char *time, const char *level, const char *event,
                        const char *message, const char *const *pairs)
{
    const char *head[] = {"time",  time,  "level",   level,   "daemon", daemon_name,
                          "event", event, "message", message, NULL};
    const char *const *parts[] = {head, pairs};
    char separator = '{';
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        for (const char *const *pair = parts[i]; pair[0]; pair += 2) {
            g_string_append_c(line, separator);
            separator = ',';
            append_quoted(line, pair[0]);
            g_string_append_c(line, ':');
            if (pair[1])
                append_quoted(line, pair[1]);
            else
                g_string_append(line, "null");
        }
    }
    g_string_append(line, "}\n");
}

static void write_line(const GString *line)
{
    size_t done = 0;
    g_mutex_lock(&write_lock);
    while (done < line->len) {
        ssize_t n = write(STDERR_FILENO, line->str + done, line->len - done);
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            break;
    }
    g_mutex_unlock(&write_lock);
}

void log_write(VbLogLevel level, const char *event, const char *message, const char *const *pairs)
{
    int saved_errno = errno;
    char time[40];
    time_now(time, sizeof(time));
    GString *line = g_string_sized_new(256);
    if (line_format == VB_LOG_JSON)
        append_json(line, time, log_level_words[level], event, message, pairs);
    else
        append_text(line, time, log_level_words[level], event, message, pairs);
    write_line(line);
    g_string_free(line, TRUE);
    errno = saved_errno;
}

bool log_is_enabled(VbLogLevel level)
{
    return level >= minimum_level;
}

const char *log_number_format(char *buffer, gint64 number)
{
    snprintf(buffer, LOG_NUMBER_BYTES, "%" G_GINT64_FORMAT, number);
    return buffer;
}

static VbLogLevel level_of_glib(GLogLevelFlags flags)
{
    if (flags & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        return VB_LOG_ERROR;
    if (flags & G_LOG_LEVEL_WARNING)
        return VB_LOG_WARNING;
    return flags & G_LOG_LEVEL_DEBUG ? VB_LOG_DEBUG : VB_LOG_INFO;
}

static char *field_text(const GLogField *field)
{
    return field->length < 0 ? g_strdup(field->value)
                             : g_strndup(field->value, (gsize)field->length);
}

static GLogWriterOutput write_glib(GLogLevelFlags flags, const GLogField *fields, gsize n_fields,
                                   gpointer user_data G_GNUC_UNUSED)
{
    g_autofree char *message = NULL;
    g_autofree char *domain = NULL;
    for (gsize i = 0; i < n_fields; i++) {
        if (!message && strcmp(fields[i].key, "MESSAGE") == 0)
            message = field_text(&fields[i]);
        else if (!domain && strcmp(fields[i].key, "GLIB_DOMAIN") == 0)
            domain = field_text(&fields[i]);
    }
    log_event(level_of_glib(flags), "glib", message ? message : "", "library", domain, NULL);
    return G_LOG_WRITER_HANDLED;
}

void log_start(const char *daemon, VbLogLevel minimum, VbLogFormat format)
{
    static gsize is_routed;
    daemon_name = daemon;
    minimum_level = minimum;
    line_format = format;
    /* GLib allows this call once in a process. */
    if (g_once_init_enter(&is_routed)) {
        g_log_set_writer_func(write_glib, NULL, NULL);
        g_once_init_leave(&is_routed, 1);
    }
}
