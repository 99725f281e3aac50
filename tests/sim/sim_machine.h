/* A running machine as libvirt describes it: the devices of a domain XML, each at its place. */
#pragma once

#include "tests/sim/sim_host_private.h"

typedef struct {
    DeviceAddress address; /* Its texts are interned; `type` "" while it has no place. */
    NicType nic_type;      /* UNSPECIFIED: it is no NIC. */
    NicModel nic_model;
    guint32 nic_index;
    char mac[18];
    char *path; /* A disk's file, or a vhost-user NIC's socket; NULL: neither. */
} SimDevice;

typedef struct {
    char vm_uuid[UUID_TEXT_BYTES];
    guint64 epoch;
    const char *domain_type; /* These four are interned. */
    const char *machine;
    const char *cpu_model;
    const char *loader; /* "": none. */
    char *nvram_path;   /* NULL: none. */
    char *log_path;     /* NULL: none. */
    gboolean shared_memory;
    gboolean has_tpm;
    gboolean has_panic_device;
    GArray *devices; /* of SimDevice */
} SimMachine;

/* Of the product's own XML. NULL: something is not there that each domain has. */
SimMachine *sim_machine_new(const char *xml);
void sim_machine_free(SimMachine *machine);

/* NULL: there is none. */
SimDevice *sim_machine_nic(const SimMachine *machine, guint32 index);
/* Of an <interface>; FALSE: its name or its place is taken, or it is none. */
gboolean sim_machine_add_nic(SimMachine *machine, const char *xml, guint32 *ret_index);
void sim_machine_remove_nic(SimMachine *machine, guint32 index);

/* As libvirt_look tells them; in the arena. */
void sim_machine_facts(const SimMachine *machine, VbArena *arena, VbDomainFacts *ret_facts);
