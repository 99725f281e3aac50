/* Mutations of protobuf messages, field by field: what comes out can always be unpacked, so that a
 * fuzzer gets past the decoder. It knows no message by name. */
#pragma once

#include <protobuf-c/protobuf-c.h>

/* Mutates the packed message in `data` in place, in at most `max_bytes`; yields its new size. Bytes
 * that are no such message are replaced by an empty one. `words` (NULL at the end) are tried as
 * strings. */
size_t mutate_message(const ProtobufCMessageDescriptor *descriptor, const char *const *words,
                      uint8_t *data, size_t size_bytes, size_t max_bytes, unsigned seed);

/* Writes to `out` the message `a`, whose repeated fields are cut and go on with items of `b`. 0: they
 * are no such messages, or it is too large. */
size_t mutate_cross(const ProtobufCMessageDescriptor *descriptor, const uint8_t *a, size_t a_bytes,
                    const uint8_t *b, size_t b_bytes, uint8_t *out, size_t max_bytes,
                    unsigned seed);
