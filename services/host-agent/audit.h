/* The audit file: one JSON line for each thing that the agent has done to this host, so that a
 * person can ask later who made, started or removed something, when, and on whose command.
 *
 *     {"time_ms":..., "host":..., "vm":..., "epoch":..., "operation":..., "effect":"volume-deleted",
 *      "path":..., "inode":..., "size_bytes":..., "sha256":...}
 *
 * A line is one write at the end of a regular file, so lines of several threads never mix, and the
 * file may be renamed away at any time. One that a full disk cut short stays as it is: the next
 * begins on a line of its own. A line stands behind its effect: an agent that is killed between the
 * two writes it when it has looked again. It is evidence and nothing else: nothing reads it, and an
 * effect goes on when it cannot be written.
 */
#pragma once

#include "services/host-agent/host.h"

typedef enum {
    AUDIT_VOLUME_CREATED, /* Made, and durable under its name. */
    AUDIT_VOLUME_FOUND,   /* Was to be made, and is there already. */
    AUDIT_VOLUME_DELETED, /* Without an inode: it was gone already. Its folders may be there yet. */
    AUDIT_NVRAM_VERIFIED, /* Checked for the start that follows. */
    AUDIT_TPM_VERIFIED,   /* The same for the TPM's folder. */
    AUDIT_DOMAIN_CREATED, /* libvirt says that it is up. */
    AUDIT_DOMAIN_DESTROYED,
    AUDIT_DOMAIN_GONE, /* A look found none: state may be synced and ports be removed. */
    AUDIT_STATE_SYNCED,
    AUDIT_PORT_PLUGGED, /* `path` is "nic/<index>", here and in the next three. */
    AUDIT_PORT_UNPLUGGED,
    AUDIT_NIC_ATTACHED,
    AUDIT_NIC_DETACHED,
} VbAuditEffect;

/* Opens the file to see that it can be written. NULL and INVALID_ARGUMENT. Free with audit_free. */
VbAudit *audit_new(const char *path, const char *host_uuid, GError **error);
void audit_free(VbAudit *audit);

/* Of vm's command, or of its domain where there is none. `path` may be NULL; what it names is
 * looked at: inode, size, and the SHA-256 of a small regular file. Nothing where host->audit is
 * NULL. */
void audit_add(VbHost *host, const HostVm *vm, VbAuditEffect effect, const char *path);
void audit_add_nic(VbHost *host, const HostVm *vm, VbAuditEffect effect, guint nic_index);
/* Of a volume that was this before it was removed; `there` FALSE: it was gone already. */
void audit_add_deleted(VbHost *host, const HostVm *vm, const char *path, gboolean there,
                       const struct stat *facts);
