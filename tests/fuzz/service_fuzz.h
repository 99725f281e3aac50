/* One VM in one service, under the real step loop over a bus in memory: a fuzz.Story is played, and
 * every step is judged.
 *
 *   - a step runs twice from equal copies, comes out equal, and leaves its input alone (I7)
 *   - it never faults: no record and no accident may end in a broken assumption
 *   - what it writes is taken by its reader: in form, in size, under the VM's key
 *   - a state has bounded size and sound text; after a restart it is the same
 *   - what tests/lib/story_check judges (I1 to I6, I8)
 *   - epochs of starts only grow; a host is commanded only if the record or the report names it
 *   - at the end, with everybody silent, nothing stays in transit for ever (I8)
 *
 * What is broken ends the process with a sentence. */
#pragma once

#include "common/base/step.h"

/* What only one service's state must be. NULL, or the sentence that says what is broken (g_free). */
typedef char *(*VbStateJudge)(VbArena *arena, const StateRecord *state, const Settings *settings);

/* Plays a packed fuzz.Story. Bytes that are none do nothing. `judge` may be NULL. */
void service_fuzz(const VbService *service, VbStateJudge judge, const uint8_t *data,
                  size_t size_bytes);
