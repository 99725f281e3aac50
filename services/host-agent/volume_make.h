/* One volume of a CreateVolumes: checked first, then made. */
#pragma once

#include "services/host-agent/volume_place.h"

typedef struct {
    Volume *volume; /* A copy of the command's, completed as it is made. */
    VolumePlace place;
    gboolean there;       /* Made by an earlier try, and whole. */
    char *image_path;     /* Root, Data with an image. */
    void *template_bytes; /* NvRam that is not there. */
    size_t template_size_bytes;
    guint64 need_bytes; /* The least that it takes of the file system. */
} VolumePlan;

/* Everything that can be known to go wrong, before anything is made. Changes nothing. */
gboolean volume_plan(VbHost *host, VbArena *arena, const CreateVolumes *command,
                     const Volume *volume, VolumePlan *ret_plan, GError **error);

/* Makes the volume durable under its final name, whole or not at all; one that is there is only
 * made durable. Fills in its actual size. */
gboolean volume_make(VbHost *host, VolumePlan *plan, GError **error);
