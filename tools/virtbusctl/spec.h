/* The flags of `vm create` as a VmSpec. Pure: it reads no file and asks nobody. */
#pragma once

#include <glib.h>

#include "common/base/arena.h"
#include "virtbus/v1/virtbus.h"

/* As given; NULL: not given. */
typedef struct {
    char *name;
    char *account;
    char *platform;
    char *image_platform;
    char *firmware;
    char *secure_boot;
    gboolean tpm;
    char *vcpus;
    char *memory;
    char *machine;
    char *domain_type;
    char *storage;  /* NAME:TYPE */
    char **disks;   /* SIZE[,KEY=VALUE...] */
    char **cdroms;  /* IMAGE[,boot=N] */
    char **nics;    /* TYPE[,KEY=VALUE...] */
    char *graphics; /* TYPE[,listen=ADDRESS] */
    gboolean serial;
    char *clock;
    char *restart_policy;
} SpecFlags;

void spec_flags_clear(SpecFlags *flags);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SpecFlags, spec_flags_clear)

/* Changes `spec` by what the flags say; a list that is given replaces the spec's. With --disk and
 * without any boot order, the root disk gets the first. FALSE and CTL_USAGE, naming flag and key;
 * then `spec` may be half changed. It does not judge whether the VM makes sense: vm-service does.
 */
gboolean spec_apply(VbArena *arena, const SpecFlags *flags, VmSpec *spec, GError **error);
