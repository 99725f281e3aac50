/* What the naive model is told: by clients, guests and hosts, never by those who judge (sim_check.h). */
#pragma once

#include "tests/sim/sim_world.h"

/* A client: the broker has a request of its own. */
void sim_model_requested(SimModel *model, const VmCommand *command);
/* A client has read this answer. */
void sim_model_replied(SimModel *model, const VmEvent *event);
/* A guest with a variable store found this in it, and left one more; or wrote it at work. */
void sim_model_booted(SimModel *model, const char *vm_uuid, guint64 counter_found);
void sim_model_wrote(SimModel *model, const char *vm_uuid, guint64 counter);
/* A host has lost its power; what is gone is gone. */
void sim_model_power_lost(SimModel *model, SimHost *host);
/* Somebody destroys or damages this file. */
void sim_model_harmed(SimModel *model, const char *path);
