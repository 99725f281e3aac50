/* Messages of the contract as JSON, and back, by protobuf-c's reflection.
 *
 * The mapping: a field has its name from the .proto file. 64-bit integers are strings (JavaScript
 * cannot hold them), enums their full names ("VM_STATUS_RUNNING"), bytes base64. Fields that have
 * their default value are left out; a set member of a oneof is not. On input a 64-bit integer may
 * also be a number, an enum also its label ("Running") or code ("RUNNING"), and null means absent.
 *
 * It refuses what it does not know: an unknown field is an error that names its path. It judges no
 * meaning: message_check and the cores do.
 */
#pragma once

#include <json-glib/json-glib.h>

#include "common/base/arena.h"

/* A new tree of a valid message. Free with json_node_unref. */
JsonNode *message_to_json(const void *message);

/* The same as text; `pretty` over several lines, else in one without the line's end. g_free. */
char *message_to_json_text(const void *message, gboolean pretty);

/* The message, in the arena; NULL and INVALID_ARGUMENT with the field's path. */
ProtobufCMessage *message_from_json(VbArena *arena, const ProtobufCMessageDescriptor *descriptor,
                                    JsonNode *node, GError **error);

/* The same from text, `length` bytes or -1 up to its NUL. */
ProtobufCMessage *message_from_json_text(VbArena *arena,
                                         const ProtobufCMessageDescriptor *descriptor,
                                         const char *text, gssize length, GError **error);
