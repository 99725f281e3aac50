/* What the parts of volume_core share: the step in hand, and the few ways in which it may change
 * the record or speak. */
#pragma once

#include "common/base/error.h"
#include "common/base/step.h"

typedef struct {
    VbStep *step;
    VbArena *arena;
    const Settings *settings;
    const char *vm_uuid;
    gint64 now_ms;
    VolumeRecord *record; /* NULL: nothing is recorded for this VM. */
    guint64 version;      /* That events of this step carry. */
    guint n_added;        /* Volumes that this step has recorded. */
    gboolean fault;
} VolumeContext;

/* The record, made if there is none. */
VolumeRecord *volume_record(VolumeContext *ctx);

/* A volume that nothing was asked of a host for yet; already in the record. */
Volume *volume_add(VolumeContext *ctx, const VmSpec *spec, VolumeType type, VolumeFormat format);

Volume *volume_find(const VolumeContext *ctx, const char *uuid);

/* Moves the status along the picture in volume_context.c and tells it. Deleted also leaves the
 * record. */
void volume_status_set(VolumeContext *ctx, Volume *volume, VolumeStatus to);

/* An event with its common fields; the caller sets the oneof. Already among the outputs. */
VolumeEvent *volume_emit(VolumeContext *ctx, const char *operation_id);

/* A command to a host; the caller sets the oneof. Its operation id is derived from the record's
 * version. */
HostCommand *volume_ask_host(VolumeContext *ctx, const char *host_uuid, const char *what,
                             gint64 expires_ms);

/* The record has no room for another one. */
Error *volume_too_many(VolumeContext *ctx);

/* The begin of an error, or NULL, as the volume's last: there may be one in each. */
void volume_error_keep(VolumeContext *ctx, Volume *volume, const Error *error);

/* A deletion that a host could not do, or not yet: told as a warning, and tried again later. */
void volume_delete_failed(VolumeContext *ctx, Volume *volume, Error *error);

/* Begins or tries again the deletion of every volume that is Deleting and due, one command a host.
 * I4: the status was committed before, or is with this very command. */
void volume_delete_due(VolumeContext *ctx);

/* A volume that shall go: Deleting, or Deleted at once where no host was ever asked for it. */
void volume_doom(VolumeContext *ctx, Volume *volume);

/* Whether one would have to be made now: there is none, not even one on its way out. */
gboolean nvram_is_missing(const VolumeContext *ctx);

/* The row of the four-way table for this VM (DESIGN: needed x exists). NULL and no error: attach
 * nothing. NULL and
 * `*ret_wait`: a deletion must end first. May add, reuse or retire variable stores. */
Volume *nvram_settle(VolumeContext *ctx, const PrepareVolumes *prepare, gboolean *ret_wait,
                     Error **ret_error);

/* ResetNvram: what there is is retired, and a new generation recorded. The uuid of the one retired; "" if there was none. */
const char *nvram_replace(VolumeContext *ctx, const VmSpec *spec, const FirmwareClass *wanted);

/* AdoptVolume: this one is the VM's. NULL, or why it cannot be. */
Error *nvram_choose(VolumeContext *ctx, const char *volume_uuid);
