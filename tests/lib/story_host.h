/* The hosts of a story: what they answer, and what they say by themselves. */
#pragma once

#include "tests/lib/story_world.h"

/* The words after "host":
 *
 *   $host-a answers COMMAND ok [coerced=INDEX] [field=value ...]
 *   $host-a answers COMMAND fails [VOLUME_TYPE] CODE "text"    at that volume; else at once
 *   ... fails ... "text" unsure                                a creation that may have left it
 *   $host-a repeats COMMAND                                    the last answer once more
 *   $host-a reports REPORT [epoch=N] [field=value ...]         by itself, at its domain's epoch
 *   $host-a is unknown | is known                              whether it has a command topic
 *
 * COMMAND and REPORT are fields of HostCommand and HostReport ("create_volumes"). The oldest
 * command of that kind that has no answer yet is answered. FALSE: `error` says what is wrong with
 * the line. */
gboolean host_act(StoryWorld *world, char **words, GError **error);
