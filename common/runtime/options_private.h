/*
 * options_private: what the four options_*.c files share. Nobody else includes it.
 */
#pragma once

#include "common/runtime/options.h"

typedef enum {
    VB_OPTION_RANK_DEFAULT,
    VB_OPTION_RANK_FILE,
    VB_OPTION_RANK_ENVIRONMENT,
    VB_OPTION_RANK_ARGUMENT,
} VbOptionRank;

typedef struct {
    const VbOption *option;
    char *environment_name; /* VIRTBUS_... */
    VbOptionRank rank;      /* the source that set the value below */
    GPtrArray *texts; /* the value as text; one element, or several if repeatable; ends NULL */
    gint64 number;    /* every type but string */
} VbOptionSlot;

struct VbOptions {
    const VbProgram *program;
    GArray *slots;      /* VbOptionSlot */
    GArray *kafka;      /* VbKafkaProperty */
    GPtrArray *ignored; /* char *, NULL at the end */
    VbOptionsAction action;
};

/* options_value.c: text <-> value of one option, without any source. */

/* "integer from 1 to 10", "one of text, json" ... (caller frees). */
char *options_value_describe(const VbOption *option);

/* options.c: one setting from one source. source names it for people: "argument --log.level". */
VbOptionSlot *options_find(const VbOptions *options, const char *name);
bool options_set(VbOptions *options, VbOptionRank rank, const char *source, const char *name,
                 const char *value, GError **error);
bool options_set_kafka(VbOptions *options, const char *source, const char *name, const char *value,
                       GError **error);

#define OPTIONS_ENVIRONMENT_PREFIX       "VIRTBUS_"
#define OPTIONS_ENVIRONMENT_KAFKA_PREFIX "VIRTBUS_KAFKA_"
#define OPTIONS_ENVIRONMENT_CONFIG       "VIRTBUS_CONFIG"
#define OPTIONS_KAFKA_PREFIX             "kafka."
#define OPTIONS_FILE_GROUP               "virtbus"
