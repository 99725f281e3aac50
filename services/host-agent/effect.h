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

/* The same for one NIC of a running domain, from what was known of it before: `known` has the NICs
 * that stay, the firmware and the TPM's mark. `nic` (may be NULL) is one that has come. */
void hardware_complete(VbArena *arena, const Hardware *known, guint32 changed_index,
                       EffectiveNic *nic, Hardware *hardware);

/* <run_dir>/<vm uuid> */
char *socket_folder(VbHost *host, VbArena *arena, const char *vm_uuid);
/* The socket of one NIC in it; NULL and SOCKET_PATH_TOO_LONG. */
char *socket_path(VbHost *host, VbArena *arena, const char *vm_uuid, guint32 nic_index,
                  GError **error);
/* Makes it empty, for QEMU's user and OVS's group. Needs a VM that does not run. */
gboolean socket_folder_make(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error);
/* Makes it where it is not there; other sockets in it stay. */
gboolean socket_folder_keep(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error);
/* One that is not there is a success. */
gboolean socket_remove(VbHost *host, const char *path, GError **error);
/* One that is not there is a success. */
gboolean socket_folder_remove(VbHost *host, VbArena *arena, const char *vm_uuid, GError **error);

/* Whether this host can serve a vhost-user NIC now; else OVS_UNAVAILABLE. There is no fall-back:
 * without OVS it would be another network (N9). */
gboolean port_check(VbHost *host, const char *vm_uuid, GError **error);
gboolean port_plug(VbHost *host, const HostVm *vm, const NicSpec *nic,
                   const EffectiveNic *effective, const char *path, GError **error);
/* One that is not there is a success. */
gboolean port_unplug(VbHost *host, const HostVm *vm, guint nic_index, GError **error);

void effect_start(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result);
void effect_stop(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                 VbEffectResult *ret_result);
void effect_attach(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                   VbEffectResult *ret_result);
void effect_detach(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                   VbEffectResult *ret_result);
