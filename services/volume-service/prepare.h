/* Bringing every volume that a start needs to Ready. */
#pragma once

#include "services/volume-service/volume_context.h"

/* Plans the operation in hand: answers it, asks a host for what is missing, or waits for a
 * deletion. Also called again when such a deletion has ended. */
void prepare_plan(VolumeContext *ctx);

/* Answers the operation in hand and ends it. */
void prepare_end(VolumeContext *ctx, Error *error);

void prepare_on_created(VolumeContext *ctx, const HostReport *report);
void prepare_on_undeliverable(VolumeContext *ctx, const Undeliverable *undeliverable);
