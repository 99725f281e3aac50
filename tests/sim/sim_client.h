/* What sim_client.c and sim_client_ask.c share. Private to them. */
#pragma once

#include "common/base/arena.h"
#include "tests/sim/sim_world.h"

enum { CLIENT_VOLUMES = 8, CLIENT_TIMEOUT_MS = 90 * 1000 /* The longest that is asked for. */ };

/* What a control plane knows of a VM: from vm.events, so it is always a little late. */
typedef struct {
    guint index;
    const char *uuid;
    VmStatus status; /* UNSPECIFIED: it has never been told of. */
    char host_uuid[UUID_TEXT_BYTES];
    guint64 version;
    gint64 unknown_since_ms; /* 0: it is not Unknown. */
    gint64 started_ms;       /* When a start of it was last heard to be under way. */
    GBytes *spec;            /* Packed VmSpec, as last asked for; NULL: none. */
    char stores[CLIENT_VOLUMES][UUID_TEXT_BYTES]; /* Variable stores that were told of. */
    guint n_stores;
    gboolean list_wanted; /* Something was asked for that may change its stores. */
} ClientVm;

/* The next command that somebody might give to this VM; NULL: nobody does now. In the arena. */
VmCommand *client_ask(SimWorld *world, VbArena *arena, ClientVm *vm);
/* A command of this kind, with an id of its own. */
VmCommand *client_command(SimWorld *world, VbArena *arena, const ClientVm *vm,
                          VmCommand__CommandCase kind);
/* Bytes, and a key, that no control plane should send. `ret_command`: what they hold all the same,
 * and what must be answered; NULL: nothing that could be. */
GBytes *client_garbage(SimWorld *world, VbArena *arena, ClientVm *vm, char ret_key[UUID_TEXT_BYTES],
                       VmCommand **ret_command);
