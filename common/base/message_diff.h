/* What two messages of one type do not have in common, field by field, in words. Pure. */
#pragma once

#include "common/base/arena.h"

/* `path` as "vm.operation.phase" or "vm.spec.nics[1].model". A value is a number, an enum's label,
 * text in quotes, bytes in hexadecimal digits; NULL: the field, item or message is not there. Long
 * values are cut. All lie in the arena. */
typedef void (*VbMessageDiff)(const char *path, const char *a, const char *b, void *user);

/* In the order of the fields. Either message may be NULL: then it has no field at all. A message
 * that is there only in one of them is told by its fields, or as "{}" when it has none. */
void message_diff(VbArena *arena, const ProtobufCMessage *a, const ProtobufCMessage *b,
                  VbMessageDiff each, void *user);
