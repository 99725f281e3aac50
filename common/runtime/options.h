/*
 * options: every setting of a daemon, declared once in a table and read from four sources.
 *
 * Sources in rising order: the table's default, a file (--config FILE or VIRTBUS_CONFIG; a GKeyFile
 * with one group [virtbus]), the environment (topic.prefix is VIRTBUS_TOPIC_PREFIX), the command
 * line (--topic.prefix=x or --topic.prefix x). Help, Markdown and every check come from the table.
 *
 * It refuses: unknown names (a typing error must not become a default; in the environment they are
 * told instead, because daemons share it and container platforms add variables of their own),
 * values outside the declared type, and text that is not UTF-8. It knows no option's meaning.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum {
    VB_OPTION_STRING,
    VB_OPTION_INT,
    VB_OPTION_BOOL,
    VB_OPTION_DURATION, /* "500ms", "30s", "5m", "12h", "30d", or "0"; held in milliseconds */
    VB_OPTION_SIZE,     /* "512", "64KiB", "16MiB", "1GiB"; held in bytes */
    VB_OPTION_ENUM,     /* one of words; held as its index */
} VbOptionType;

typedef enum {
    VB_OPTION_MANDATORY = 1 << 0,  /* must be set, and not to nothing, by some source */
    VB_OPTION_REPEATABLE = 1 << 1, /* a list of strings; a higher source replaces the whole list */
    VB_OPTION_SECRET = 1 << 2,     /* its value is never printed, not even in an error */
} VbOptionFlags;

/* One row of a table. A table ends with a row whose name is NULL. Everything is static text. */
typedef struct {
    const char *name; /* lower case letters and digits, parts joined by dots */
    VbOptionType type;
    unsigned flags;           /* VbOptionFlags */
    const char *fallback;     /* the default, written as a person would; NULL for an empty string */
    gint64 min, max;          /* int, duration (ms), size (bytes); both 0 means no bound but >= 0
                                 for durations and sizes */
    const char *const *words; /* enum: the allowed words, NULL at the end */
    const char *help;         /* one or two sentences */
} VbOption;

typedef struct {
    const char *name;        /* "vm-service" */
    const char *version;     /* "0.1.0" */
    const char *summary;     /* one sentence for --help */
    const VbOption *options; /* the daemon's own table; the base table comes first by itself */
} VbProgram;

/* A librdkafka property, given as kafka.NAME in any source. Checked by librdkafka, not here. */
typedef struct {
    char *name; /* without "kafka." */
    char *value;
} VbKafkaProperty;

typedef enum {
    VB_OPTIONS_RUN,
    VB_OPTIONS_HELP,
    VB_OPTIONS_VERSION,
    VB_OPTIONS_DUMP,
} VbOptionsAction;

#define VB_OPTIONS_ERROR (options_error_quark())
GQuark options_error_quark(void);
typedef enum {
    VB_OPTIONS_ERROR_UNKNOWN, /* no such option */
    VB_OPTIONS_ERROR_VALUE,   /* not of the declared type or range */
    VB_OPTIONS_ERROR_MISSING, /* a mandatory option is not set, or an argument lacks its value */
    VB_OPTIONS_ERROR_FILE,    /* the configuration file cannot be read or is malformed */
} VbOptionsError;

typedef struct VbOptions VbOptions;

/* Joins the base table and the program's. Aborts on a malformed table. program must outlive it. */
VbOptions *options_new(const VbProgram *program);
void options_free(VbOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbOptions, options_free)

/* Reads all sources. environment is a NULL-terminated list of NAME=value. When the command line
 * asks for help, version or the Markdown page, reading stops there with success: see
 * options_action. Call it once. */
bool options_load(VbOptions *options, int argc, char *const *argv, const char *const *environment,
                  GError **error);
VbOptionsAction options_action(const VbOptions *options);

/* The three pages; the caller frees them. */
char *options_help(const VbOptions *options);
char *options_version(const VbOptions *options);
char *options_markdown(const VbOptions *options);

/* Getters. A name that is not in the table, or has another type, is a programming error: abort.
 * Strings and lists belong to options. A string is never NULL. */
const char *options_get_string(const VbOptions *options, const char *name);
const char *const *options_get_list(const VbOptions *options, const char *name);
gint64 options_get_int(const VbOptions *options, const char *name);
bool options_get_bool(const VbOptions *options, const char *name);
gint64 options_get_duration_ms(const VbOptions *options, const char *name);
gint64 options_get_size_bytes(const VbOptions *options, const char *name);
int options_get_enum(const VbOptions *options, const char *name);

/* VIRTBUS_... variables that are no option of this program: told, not refused. NULL at the end. */
const char *const *options_get_ignored(const VbOptions *options);

/* The kafka.NAME properties, each name once, the highest source's value. Owned by options. */
const VbKafkaProperty *options_get_kafka(const VbOptions *options, size_t *ret_n);

/* Parses text as option's type, without any table or source: for flags that are no settings. On
 * failure ret_allowed says what is allowed (caller frees). */
bool options_value_parse(const VbOption *option, const char *text, gint64 *ret_number,
                         char **ret_allowed);
