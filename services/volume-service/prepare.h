/* Bringing every volume that a start needs to Ready. */
#pragma once

#include "services/volume-service/volume_context.h"

/* Plans the operation in hand: answers it, asks a host for what is missing, or waits for a
 * deletion. Also called again when such a deletion has ended. */
void prepare_plan(VolumeContext *ctx);

/* What is told of an operation that did not end in time. */
Error *prepare_too_late(VolumeContext *ctx);
/* The same where a host could not be asked any more by then; NULL: there is time. */
Error *prepare_check_time(VolumeContext *ctx, gint64 expires_ms);

/* Answers the operation in hand and ends it. */
void prepare_end(VolumeContext *ctx, Error *error);

void prepare_on_created(VolumeContext *ctx, const HostReport *report);
void prepare_on_undeliverable(VolumeContext *ctx, const Undeliverable *undeliverable);
