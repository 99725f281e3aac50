/* What the contract says about each error code: its meaning, then the way out. The table is made
 * from the comments of error.proto at build time, so that it is said in one place. */
#pragma once

#include <stddef.h>

#include "virtbus/v1/virtbus.h"

typedef struct {
    ErrorCode code;
    const char *text;
} VbErrorText;

extern const VbErrorText error_table[];
extern const size_t error_table_n;
