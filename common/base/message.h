/* Bytes to messages that a core may trust in form: sizes bounded, text UTF-8, enums known.
 *
 * protobuf-c checks none of the three (probed on 1.4). What a field means is for the cores to
 * judge.
 */
#pragma once

#include "common/base/arena.h"

enum {
    MESSAGE_MAX_BYTES = 64 * 1024,             /* Of an input record's value. */
    MESSAGE_MAX_ARENA_BYTES = 4 * 1024 * 1024, /* That one record may unpack to. */
};

/* NULL and INVALID_ARGUMENT or TOO_LARGE when the bytes are no such message within the limits.
 * Owned by the arena. */
ProtobufCMessage *message_unpack(VbArena *arena, const ProtobufCMessageDescriptor *descriptor,
                                 const void *bytes, size_t size_bytes, GError **error);

/* Whether every string is UTF-8 without control characters and every enum value is known, at any
 * depth. The error names the field by its path ("create_vm.spec.nics[1].model"). */
gboolean message_check(const ProtobufCMessage *message, GError **error);

/* Whether no string holds a zero byte: C would see it end there, other languages not. `bytes` were
 * unpacked before, so their form is sound. */
gboolean message_check_bytes(const ProtobufCMessageDescriptor *descriptor, const void *bytes,
                             size_t size_bytes, GError **error);

/* Of a value of this type, in its message or as one of a repeated field's. */
size_t message_value_bytes(ProtobufCType type);
/* Whether the field belongs to a oneof and is not the one that is set. */
gboolean message_is_other_case(const ProtobufCMessage *message,
                               const ProtobufCFieldDescriptor *field);

/* Packed bytes; of NULL: NULL. Free with g_bytes_unref. */
GBytes *message_pack(const void *message);
/* Whether the message (or NULL) still packs to those bytes (or NULL). */
gboolean message_is_packed(const void *message, const GBytes *packed);
