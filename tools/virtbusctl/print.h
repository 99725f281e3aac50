/* What is written: progress and errors to standard error, documents to standard output. */
#pragma once

#include <json-glib/json-glib.h>

#include "tools/virtbusctl/columns.h"
#include "tools/virtbusctl/describe.h"

/* "   128 ms  Stopped -> Starting" */
void print_progress(gint64 elapsed_us, VbDescription description);

/* Why a request was refused or failed: the sentence, the code, what it means, the way out. */
void print_refusal(const Error *error);

/* "virtbusctl: ..." */
void print_failure(const char *message);

/* One JSON document, over several lines. The second takes `node`. */
void print_json_message(const void *message);
void print_json(JsonNode *node);

void print_columns(const VbColumns *columns);

gint64 print_now_ms(void);

/* The escape sequence of a tone; NULL: none. */
const char *print_colour(VbTone tone);
