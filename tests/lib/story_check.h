/* The invariants of the design that can be judged from outside the cores, step by step.
 *
 *   I1, I4  a volume that was Ready goes only after DeleteVolumes, and that only when Deleting
 *   I2      one live NvRam at most, beside what a story planted
 *   I3      a start carries exactly the volumes it needs, Ready, at its own epoch, in time
 *   I5      a volume that was Ready is never made anew
 *   I6      no start while another domain of the VM may run
 *   I8      one terminal reply that is no repeat; what is transitional has a deadline, and the
 *           deadline changes it
 *
 * Every function returns NULL or what is broken, as a sentence (g_free).
 */
#pragma once

#include "common/base/step.h"

typedef struct StoryCheck StoryCheck;

/* One step that was committed. */
typedef struct {
    const VbService *service;
    const RuntimeInput *runtime; /* NULL: the input was a record. */
    const StateRecord *before;   /* NULL: there was none. */
    const StateRecord *after;    /* NULL: there is none. */
    const GArray *outputs;       /* of VbOutput */
    gint64 now_ms;
} StoryStep;

StoryCheck *check_new(void);
void check_free(StoryCheck *check);

char *check_step(StoryCheck *check, const StoryStep *step);

/* A state was put there by the story itself. */
void check_planted(StoryCheck *check, const StateRecord *state);

/* A request was sent for the first time; `name` is the story's. */
void check_asked(StoryCheck *check, const char *request_id, const char *name);

/* A host said something. */
void check_reported(StoryCheck *check, const HostReport *report);

/* The story is over: every request must have had its reply. */
char *check_end(const StoryCheck *check);
