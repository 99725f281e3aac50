/* Shared by the parts of domain_xml: the plan with what was worked out once, and a thin writer over
 * libxml2, which does all escaping. */
#pragma once

#include <libxml/xmlwriter.h>

#include "services/host-agent/domain_xml.h"

#define DOMAIN_XML_NAMESPACE "urn:virtbus:v1"
#define DOMAIN_NAME_FORMAT   "vb-%s" /* The VM's uuid. */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlTextWriter, xmlFreeTextWriter)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlBuffer, xmlBufferFree)

typedef struct {
    xmlTextWriter *out;
    const char *vm_uuid;
    const VbDomainPlan *plan;
    const VmSpec *spec;
    Platform platform;
    gboolean kvm;
    gboolean hyperv;
    /* The last start's hardware, as far as it still fits; NULL: none. */
    const Hardware *pinned;
    GArray *drives; /* of VbDrive: places on SATA and SCSI that are given away. */
} VbDomainXml;

typedef struct {
    const char *bus; /* "sata", "scsi" */
    guint32 controller;
    guint32 unit;
} VbDrive;

/* Attributes are name and value in pairs, ended by NULL; a NULL value leaves the attribute out. */
void xml_open(VbDomainXml *xml, const char *name, ...) G_GNUC_NULL_TERMINATED;
void xml_leaf(VbDomainXml *xml, const char *name, ...) G_GNUC_NULL_TERMINATED;
void xml_text(VbDomainXml *xml, const char *name, const char *text, ...) G_GNUC_NULL_TERMINATED;
/* One attribute of the element just opened. */
void xml_attribute(VbDomainXml *xml, const char *name, const char *value);
void xml_number(VbDomainXml *xml, const char *name, guint64 value);
void xml_close(VbDomainXml *xml);

/* <controller>s and <disk>s; FALSE and an error when one cannot be expressed. */
gboolean domain_xml_write_storage(VbDomainXml *xml, GError **error);
/* <interface>s; likewise. */
gboolean domain_xml_write_nics(VbDomainXml *xml, GError **error);
/* <qemu:override> of MTUs that libvirt cannot set; nothing where there is none. */
void domain_xml_write_mtus(VbDomainXml *xml);
/* One of them. `address` may be NULL: libvirt's choice. */
gboolean domain_xml_write_nic(VbDomainXml *xml, const NicSpec *nic, const EffectiveNic *effective,
                              const char *socket_path, guint32 boot_order,
                              const DeviceAddress *address, GError **error);
/* Empty ports of a q35 machine, into which devices can be plugged while it runs. */
void domain_xml_write_spare_ports(VbDomainXml *xml);
/* "virtio", "sata", "scsi" */
const char *domain_xml_disk_bus(const VbDomainXml *xml, const DiskSpec *disk);
const char *domain_xml_nic_model(NicModel model);
gboolean domain_xml_has_tablet(const VmSpec *spec);
/* A new writer into `buffer`, both to be freed by libxml2's functions. */
xmlTextWriter *domain_xml_writer_new(xmlBuffer *buffer);

/* The address that the device had at the last start; NULL: none, or the device is another one now.
 * `model` is DeviceAddress.model. */
const DeviceAddress *domain_xml_pin(const VbDomainXml *xml, const char *device, const char *model);
void domain_xml_write_address(VbDomainXml *xml, const DeviceAddress *address);
/* Whether devices without a model are virtio. */
gboolean domain_platform_is_virtio(Platform platform);
/* "pc-q35-" or "pc-i440fx-"; NULL: neither. */
const char *domain_xml_machine_family(const char *machine);
gboolean domain_xml_disk_is_vhost_user(const DiskSpec *disk);

/* domain_xml_check.c: INVALID_ARGUMENT for what libvirt's schema refuses. */
gboolean domain_xml_check(const VbDomainXml *xml, GError **error);
gboolean domain_xml_check_nic(const char *vm_uuid, const NicSpec *nic, const char *mac,
                              GError **error);
