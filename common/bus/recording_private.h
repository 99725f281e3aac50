/* What recording.c (writing) and recording_read.c agree on beside the contract. */
#pragma once

#include "common/bus/recording.h"

#define RECORDING_MAGIC "virtbus recording 1\n"

enum {
    RECORDING_LENGTH_BYTES = 4, /* A length of at most 28 bits. */
    RECORDING_SHA256_BYTES = 32,
};

G_STATIC_ASSERT(RECORDING_MAX_FRAME_BYTES < 1 << (7 * RECORDING_LENGTH_BYTES));

gboolean recording_topic_parse(const char *text, VbTopic *ret_topic);

/* Of all bytes so far; more may follow. */
void recording_checksum(GChecksum *checksum, guint8 bytes[RECORDING_SHA256_BYTES]);
