/* "spec.nics[0].model=E1000" into any message of the contract, by protobuf-c's reflection.
 *
 * A value is a number (also 40GiB, 512MiB, 70s, 5m, 2h, 30d), an enum's label, true or false, text,
 * a $symbol for its uuid, n*30 for thirty n, {} for an empty message, none to take a message or a list away. An index
 * one past the end appends.
 */
#pragma once

#include "common/base/arena.h"
#include "tests/lib/story_names.h"

/* Sets one field; memory comes from `arena`. FALSE: `error` says what is wrong with it. */
gboolean field_set(VbArena *arena, StoryNames *names, ProtobufCMessage *message,
                   const char *assignment, GError **error);

/* A number with or without a unit, as field_set reads it. */
gboolean field_parse_number(const char *text, gint64 *ret_number);
