/* The domain XML of one start: a pure function of what was asked and what was found on the host. */
#pragma once

#include "services/host-agent/host.h"

typedef struct {
    const char *vm_uuid;
    const char *operation_id;
    guint64 epoch;
    const StartDomain *start;
    const char *domain_type;     /* "kvm" or "qemu" */
    const FirmwareRef *firmware; /* NULL: Legacy BIOS. */
    const char *nvram_path;      /* NULL with UEFI: a stateless loader. */
    char *const *volume_paths;   /* Absolute, as start->volumes. */
    char *const *cdrom_paths;    /* Absolute or NULL (empty drive), as start->spec->cdroms. */
    char *const *socket_paths;   /* As start->spec->nics; NULL where not vhost-user. */
    EffectiveNic *const *nics;   /* As start->spec->nics; from nic_resolve. */
    const char *serial_log_path; /* NULL: no serial console. */
} VbDomainPlan;

/* "vb-<vm uuid>" in the arena. */
char *domain_name(VbArena *arena, const char *vm_uuid);

/* XML that libvirt's schema accepts. Free with g_free. NULL and INVALID_ARGUMENT, UNSUPPORTED or a
 * firmware code for a plan that cannot be expressed. */
char *domain_xml_build(const VbDomainPlan *plan, GError **error);

/* One NIC for a domain that runs. */
typedef struct {
    const char *vm_uuid;
    const NicSpec *nic;
    const EffectiveNic *effective; /* From nic_resolve. */
    const char *socket_path;       /* NULL where not vhost-user. */
    const DeviceAddress *place;    /* From domain_xml_free_place. */
} VbNicPlan;

/* Its <interface>, as a start would write it, but for what only a start can set: the boot order, and
 * the MTU of a NIC that is on no bridge. Free with g_free. NULL and INVALID_ARGUMENT for a NIC
 * without a network. */
char *domain_xml_build_nic(const VbNicPlan *plan, GError **error);

/* Where a device can be plugged into the running domain of this hardware; in the arena. NULL: every
 * place is taken. */
DeviceAddress *domain_xml_free_place(VbArena *arena, const Hardware *hardware);

/* The alias by which domain_xml_read_hardware knows NIC `index`; in the arena. */
char *domain_xml_nic_alias(VbArena *arena, guint32 index);
/* The NIC that has this alias. FALSE: no NIC of ours. */
gboolean domain_xml_read_nic_alias(const char *alias, guint *ret_index);

/* The effective hardware, read from the XML of the running domain (virDomainGetXMLDesc): what
 * domain_xml_build takes back as start->hardware. Of `firmware` it knows the code path only, of
 * `nics` index, MAC and effective model only. cpu_model is "model,+feature,-feature", or empty where libvirt names
 * no concrete one. In the arena. NULL and HYPERVISOR when it is no domain's XML. */
Hardware *domain_xml_read_hardware(VbArena *arena, const char *xml, GError **error);

/* The type of each NIC of that hardware, in its order; in the arena. NULL when it is no domain's
 * XML. */
NicType *domain_xml_read_nic_types(VbArena *arena, const char *xml);

/* The NVRAM file of the same XML, in the arena. NULL: it has none, or it is no domain's XML. */
char *domain_xml_read_nvram(VbArena *arena, const char *xml);

/* Whether the XML carries our name for this VM and our metadata; and then its epoch. */
gboolean domain_xml_is_ours(const char *xml, const char *vm_uuid, guint64 *ret_epoch);

/* The VM's own platform, else its image's, else Other (N2). Never UNSPECIFIED. */
Platform domain_platform(const VmSpec *spec);

/* The model, MAC and queues of one NIC: N1, N3, N5. Never fails: limits are applied. `before` is
 * the record's NIC of this index, for its MAC; may be NULL. In the arena. */
EffectiveNic *nic_resolve(VbArena *arena, const char *vm_uuid, const VmSpec *spec,
                          const NicSpec *nic, const EffectiveNic *before, guint max_queues);
