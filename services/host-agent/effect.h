/* What the files effect*.c share. Private to them. */
#pragma once

#include "services/host-agent/domain_xml.h"
#include "services/host-agent/volumes.h"

/* A start as this host will carry it out, worked out from the command and the configuration before
 * anything is looked at or made. In the arena. */
typedef struct {
    const StartDomain *start;
    FirmwareClass *class_; /* NULL: Legacy BIOS. With the NVRAM's recorded size. */
    const Volume *nvram;   /* NULL: none is needed. */
    const Volume *tpm;     /* NULL: no TPM. */
    EffectiveNic **nics;   /* These five as in VbDomainPlan. */
    char **socket_paths;
    char **volume_paths;
    char **cdrom_paths;
    char *serial_log_path;
    guint n_vhost_user;
} VbStartPlan;

/* VOLUME_NOT_FOUND, NVRAM_AMBIGUOUS, SOCKET_PATH_TOO_LONG, and what volume_path says. */
gboolean start_plan_make(VbHost *host, VbArena *arena, const HostVm *vm, VbStartPlan *ret_plan,
                         GError **error);

/* The build to boot: what the last start used, else what the NVRAM was made from, while it is
 * there. `ret_pinned` may be NULL (no build is pinned). */
FirmwareRef *start_plan_firmware(VbHost *host, VbArena *arena, const VbStartPlan *plan,
                                 const FirmwareRef **ret_pinned, gboolean *ret_replaced,
                                 GError **error);

/* Whether the TPM has started before, and so must have state. */
gboolean start_plan_tpm_started(const VbStartPlan *plan);

/* Adds to what libvirt tells of a running domain what only the plan knows. `firmware` may be NULL.
 */
void start_plan_complete(VbArena *arena, const VbStartPlan *plan, FirmwareRef *firmware,
                         Hardware *hardware);

/* NVRAM file and TPM folder among the volumes of a start: NULL-terminated, in the arena. */
char **start_state_paths(VbHost *host, VbArena *arena, const StartDomain *start);

/* <run_dir>/<vm uuid> */
char *socket_folder(VbHost *host, VbArena *arena, const char *vm_uuid);
/* Makes it empty, for QEMU's user and OVS's group. Needs a VM that does not run. */
gboolean socket_folder_make(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error);
/* One that is not there is a success. */
gboolean socket_folder_remove(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error);

void effect_start(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result);
void effect_stop(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                 VbEffectResult *ret_result);
