/* What the naive model is told. Private to sim_check*.c and sim_model.c. */
#pragma once

#include "tests/sim/sim_world.h"

/* A request reached the broker. */
void sim_model_requested(SimModel *model, const VmCommand *command);
/* Its answer; none that is a repeat. */
void sim_model_replied(SimModel *model, const VmEvent *event);
/* A guest with a variable store found this in it, and left one more. */
void sim_model_booted(SimModel *model, const char *vm_uuid, guint64 counter_found);
void sim_model_wrote(SimModel *model, const char *vm_uuid, guint64 counter);
/* Something that no request explains: a host lost its power, or somebody damaged a file of the VM's
 * host. */
void sim_model_shaken(SimModel *model, const char *vm_uuid);
