/* One VM's story as `replay --explain` tells it: what each step was given, what became of the VM,
 * and what went out. */
#pragma once

#include "common/bus/replay.h"
#include "tools/virtbusctl/ctl.h"

#include <json-glib/json-glib.h>

typedef struct ReplayStory ReplayStory;

ReplayStory *story_new(const Ctl *ctl);
void story_free(ReplayStory *story);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayStory, story_free)

/* Takes in what a visit was. */
void story_add(ReplayStory *story, const VbReplayVisit *visit);

/* In the order of time. */
void story_print(ReplayStory *story);
JsonNode *story_to_json(ReplayStory *story);
