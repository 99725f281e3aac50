/* What several processes must judge alike about the contract's messages. Pure. */
#pragma once

#include "common/base/arena.h"
#include "virtbus/v1/virtbus.h"

gboolean model_is_uefi(const VmSpec *spec);

/* Whether a disk of it is a volume. One of a vhost-user back end is none. */
gboolean model_has_disk_volume(const VmSpec *spec);

/* Raw or qcow2: what a disk is if nothing is said. */
VolumeFormat model_disk_format(const DiskSpec *disk);
ImageMode model_image_mode(const DiskSpec *disk);

/* Whether a variable store of one class fits a firmware of the other. NULL fits nothing. */
gboolean model_is_same_class(const FirmwareClass *a, const FirmwareClass *b);

/* The NIC of that index; NULL: there is none, or nothing is known. */
const EffectiveNic *model_nic(const Hardware *hardware, guint32 index);

/* Of a NIC, in bytes: what IPv4 needs (RFC 791), and what libvirt's schema takes. */
enum { MODEL_MTU_MIN = 68, MODEL_MTU_MAX = 65535 };
/* Whether a NIC may have it. 0 stands for the network's own. */
gboolean model_is_mtu(guint32 mtu);

/* Whether a NIC may have it: "52:54:00:12:34:56". An odd first byte is a group address. */
gboolean model_is_mac(const char *text);

/* Whether the VM's TPM has started once: a "tpm/0" among the addresses, see DeviceAddress. NULL says
 * no. */
gboolean model_tpm_has_started(const Hardware *hardware);
void model_tpm_mark(VbArena *arena, Hardware *hardware);
