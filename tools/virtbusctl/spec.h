/* The flags of `vm create` and `vm update` as a VmSpec. Pure: it reads no file and asks nobody. */
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
    char *tpm_model;
    char *vcpus;
    char *memory;
    char *huge_pages;
    char *machine;
    char *domain_type;
    char *storage; /* NAME:TYPE */
    char *nvram_size;
    char **disks;   /* SIZE[,KEY=VALUE...] */
    char **cdroms;  /* IMAGE[,KEY=VALUE...] */
    char **nics;    /* TYPE[,KEY=VALUE...] */
    char *graphics; /* TYPE[,listen=ADDRESS] */
    gboolean serial;
    gboolean panic_device;
    char *clock;
    char *hyperv;
    char *restart_policy;

    char **no_disks; /* Indexes. */
    char **no_cdroms;
    char **no_nics;
    gboolean is_repeated; /* The request may have been done: what is to go may be gone. */
    gboolean no_tpm;
    gboolean no_serial;
    gboolean no_panic_device;
} SpecFlags;

void spec_flags_clear(SpecFlags *flags);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SpecFlags, spec_flags_clear)

/* Changes `spec` by what the flags say. First goes what is taken away. Then a device that is given
 * with an index that is there changes that device, key by key; any other is added, at its index or
 * the first free one. A new disk is Root where there is none yet, else Data. With --disk and
 * without any boot order, the root disk gets the first. FALSE and CTL_USAGE, naming flag and key;
 * then `spec` may be half changed. It does not judge whether the VM makes sense: vm-service does.
 */
gboolean spec_apply(VbArena *arena, const SpecFlags *flags, VmSpec *spec, GError **error);

/* The NIC of "TYPE[,KEY=VALUE...]"; without an index it has the first that `spec` leaves free. NULL
 * and CTL_USAGE. `spec` stays. */
NicSpec *spec_nic(VbArena *arena, const char *text, const VmSpec *spec, GError **error);

/* "default|linux|windows": what may be given. Static storage. */
const char *spec_words(const ProtobufCEnumDescriptor *type, gboolean has_default);
