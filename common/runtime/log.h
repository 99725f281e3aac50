/*
 * log: one structured line on standard error for each event, as text or as JSON.
 *
 *   log_event(VB_LOG_INFO, "vm-started", "The domain runs.", "vm", vm_id, "host", host_id, NULL);
 *
 * Values are strings, or NULL for "not known"; numbers go through log_number(). Keys are lower
 * case words: vm, host, operation, request, epoch, error ... Every line is one write(2), from any
 * thread; bytes that are not UTF-8 and control characters cannot break a line. GLib's own messages
 * are routed here.
 *
 * It refuses to know secrets: callers do not pass them.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    VB_LOG_DEBUG,
    VB_LOG_INFO,
    VB_LOG_WARNING,
    VB_LOG_ERROR,
} VbLogLevel;

typedef enum {
    VB_LOG_TEXT,
    VB_LOG_JSON,
} VbLogFormat;

/* The words of both enums, in their order, NULL at the end. */
extern const char *const log_level_words[];
extern const char *const log_format_words[];

/* Call before the first thread starts; again to change. Until then: info, text, "virtbus".
 * daemon must outlive the process's last line. */
void log_start(const char *daemon, VbLogLevel minimum, VbLogFormat format);

bool log_is_enabled(VbLogLevel level);

/* Use log_event. pairs: key, value, ... and NULL in place of a key. */
void log_write(VbLogLevel level, const char *event, const char *message, const char *const *pairs);

/* The pairs are not evaluated when the level is off. A missing value or NULL does not compile. */
#define log_event(level, event, message, ...)                                                      \
    do {                                                                                           \
        G_STATIC_ASSERT(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *) % 2 == 1);     \
        if (log_is_enabled(level))                                                                 \
            log_write(level, event, message, (const char *const[]){__VA_ARGS__});                  \
    } while (0)

/* A decimal number, valid until the end of the enclosing block. */
#define LOG_NUMBER_BYTES   24
#define log_number(number) log_number_format((char[LOG_NUMBER_BYTES]){0}, number)
const char *log_number_format(char *buffer, gint64 number);
