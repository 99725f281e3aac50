/* One VM on one host: the agent's own order of things (agent_vm.c: step, save, run, send) over vtables
 * whose Nth call fails, and what volume-service and vm-service would ask it for.
 *
 * A service asks again for what has failed: with the next offset, a new operation, and for a start a
 * new epoch. An agent that has to end, because its journal fails or because it was killed, is followed
 * by a new one from the same files; it reads the commands again that were not finished. What breaks an
 * invariant first is kept as a sentence. */
#pragma once

#include "services/host-agent/agent_private.h"
#include "tests/fault/fault_host.h"

enum { LIFE_N_VOLUMES = 4 };

typedef struct {
    Fault fault;
    char *folder; /* Everything is below it. */
    VbHostConfig config;
    VbStorage storage;
    FaultFiles *files;
    FaultHost *machine;
    VbHost host;
    VbArena *arena;
    gint64 now_ms;
    /* The agent. */
    VbAgent *agent; /* NULL: there is none. */
    gboolean listed;
    GBytes *effect_vm; /* Of the effect that waits to be run; NULL: none does. */
    VbEffect effect;
    gboolean report_out;
    guint deaths;
    /* The services. */
    GPtrArray *commands; /* of HostCommand; the index is its offset. */
    gint64 committed;
    GPtrArray *reports; /* of HostReport */
    guint64 epoch;
    VmSpec *spec;
    Volume *volumes[LIFE_N_VOLUMES]; /* As last reported. */
    Hardware *hardware;
    gboolean deleting;
    gboolean is_late; /* A new agent comes only once all that was asked has expired. */
    guint failures;   /* Answers that were errors. */
    /* What is watched. */
    GBytes *nvram; /* What must be in the file; NULL: it was not made yet. */
    guint n_nvram_made;
    ino_t nvram_inode;
    guint64 started_epoch; /* Of the last domain. */
    char *broken;
} Life;

/* From now on there is nobody to ask but the agent. Only one life at a time. */
Life *life_new(FaultMode mode, guint at);
void life_free(Life *life);

/* What the services ask for, again and again until it is done. FALSE: `broken` says what is wrong. */
gboolean life_create_volumes(Life *life);
/* The same, asked only once. */
gboolean life_try_volumes(Life *life);
gboolean life_start(Life *life);
gboolean life_attach(Life *life);
gboolean life_detach(Life *life);
gboolean life_stop(Life *life);
gboolean life_delete_volumes(Life *life);
gboolean life_forget(Life *life);

/* The guest changes its variable store. */
gboolean life_guest_writes(Life *life);

/* Nothing but the volumes, each as it must be; no volume either: nothing at all. */
gboolean life_check_stopped(Life *life);
gboolean life_check_gone(Life *life);
