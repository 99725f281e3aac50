/* Both cores in memory, with what the bus does for them: a fresh copy of the state for each step,
 * versions, deadlines, and the topics between the two. Hosts are the story's to play.
 *
 * Every step runs twice from equal copies, and must come out equal (I7); story_check judges the
 * rest. The first thing that breaks is kept and ends the story.
 */
#pragma once

#include "common/base/step.h"
#include "tests/lib/story_check.h"
#include "tests/lib/story_names.h"

/* One service, and all that the bus would keep for it. */
typedef struct {
    const VbService *service;
    GBytes *state;   /* A packed StateRecord. NULL: there is none. */
    gboolean muted;  /* Its deadline has elapsed, and the state is still the same. */
    gboolean down;   /* Nobody steps for it: records wait, deadlines too. */
    GQueue *waiting; /* of the records that came while it was down. */
} WorldService;

/* A command that a host was given. */
typedef struct {
    const char *host_uuid;
    const HostCommand *command;
    const HostReport *answer; /* NULL: the story has not answered yet. */
} HostAsk;

enum { WORLD_VM, WORLD_VOLUMES, WORLD_SERVICES };

typedef struct {
    VbArena *arena; /* Lives as long as the story. */
    StoryNames *names;
    StoryCheck *check;
    Settings *settings;
    gint64 now_ms;
    WorldService services[WORLD_SERVICES];
    GQueue *between;      /* of records that the cores wrote to each other. */
    GPtrArray *asks;      /* of HostAsk, oldest first. */
    GHashTable *no_topic; /* uuids of hosts that are not there. */
    GHashTable *requests; /* request id -> the VmCommand that was sent. */
    GPtrArray *lines;     /* What was said since the script's last line. */
    char *broken;         /* The first broken invariant. */
} StoryWorld;

StoryWorld *world_new(void);
void world_free(StoryWorld *world);

/* The one VM of the story. */
const char *world_vm_uuid(StoryWorld *world);

/* Steps whoever reads the topic, and all that follows from it. */
void world_deliver(StoryWorld *world, VbTopic topic, const void *message);

/* Steps one service with an input of the runtime, and all that follows from it. */
void world_runtime(StoryWorld *world, WorldService *owner, const RuntimeInput *input);

/* Moves the time; deadlines up to it elapse, each in its own time. Never back. */
void world_pass_until(StoryWorld *world, gint64 time_ms);

/* Ends a service's process, or starts it again: then what waited comes first, then what is due. */
void world_set_down(StoryWorld *world, WorldService *owner, gboolean down);

/* A fresh copy of a service's state; NULL: there is none. */
StateRecord *world_state(StoryWorld *world, const WorldService *owner);

/* Puts a state there as if a step had made it. */
void world_plant(StoryWorld *world, WorldService *owner, StateRecord *state);

/* Adds a line to the recording. */
void world_say(StoryWorld *world, const char *who, const char *text);
