/* UUIDs as text: 36 characters, lower case, with dashes. */
#pragma once

#include "common/base/arena.h"

enum { UUID_TEXT_BYTES = 37 };

/* True for exactly the one spelling that the contract allows. NULL and the nil uuid are not valid.
 */
gboolean uuid_is_valid(const char *text);

/* UUIDv5 (RFC 9562, 5.5) of `name` in the namespace `uuid`. Equal arguments, equal result, on any
 * machine. */
char *uuid_derive(VbArena *arena, const char *uuid, const char *name);

/* A random one, for clients. Not for cores. */
void uuid_random(char ret_text[UUID_TEXT_BYTES]);
