/* The host as the agent's effects see it: configuration, and three small vtables for all that is
 * real.
 *
 *   hypervisor   libvirt           hypervisor_libvirt.c
 *   switch       Open vSwitch      switch_ovs.c
 *   files        the file system   files_posix.c
 *
 * A simulator or a fault test supplies other vtables; everything above them is the same code. All
 * calls may block and are made from worker threads, at most one at a time for one VM. Every
 * function that can fail sets a GError of domain VB_ERROR whose message says what was wrong, with
 * which id, and what to do.
 */
#pragma once

#include <sys/stat.h>

#include "common/base/error.h"

typedef struct {
    StorageRef ref;
    char *path; /* Absolute. Images lie in its images/ folder. */
} VbStorage;

typedef struct {
    char *host_uuid;
    char *run_dir;   /* <run_dir>/<vm uuid>/<nic index>: vhost-user sockets. Keep it short. */
    char *state_dir; /* <state_dir>/<vm uuid>.vm: the journal. */
    char *log_dir;   /* <log_dir>/<vm uuid>.serial.log */
    char *swtpm_dir; /* libvirt's swtpm folder: /var/lib/libvirt/swtpm. */
    char *libvirt_uri;
    char *domain_type;    /* "auto", "kvm" or "qemu". */
    char **firmware_dirs; /* Of QEMU's descriptors, NULL-terminated, in rising precedence of equal
                             file names. */
    char *ovs_db;         /* ovs-vsctl --db=; e.g. unix:/run/openvswitch/db.sock. */
    char *ovs_bridge;     /* Where a vhost-user NIC that names no bridge goes. */
    char *qemu_user;      /* Owner of socket folders and TPM state: libvirt-qemu on Debian. */
    char *ovs_group;      /* Group of socket folders. */
    guint max_queues;     /* Of one NIC. */
    GPtrArray *storages;  /* of VbStorage */
} VbHostConfig;

/* --- The hypervisor
 * ------------------------------------------------------------------------------------------- */

typedef enum {
    DOMAIN_NONE,
    DOMAIN_OURS,
    DOMAIN_FOREIGN, /* Of our uuid, without our metadata or name. Never touched. */
} VbDomainPresence;

typedef struct {
    VbDomainPresence presence;
    gboolean starting_up; /* Left behind by a killed libvirtd: paused, never to run. */
    guint64 epoch;        /* From our metadata. */
    Hardware *hardware;   /* Ours and up; in the arena. `nics` is filled from the metadata-free XML:
                             mac only. */
    char *nvram_path;     /* Of the same; in the arena. NULL: it has none. */
    NicType *nic_types; /* As hardware->nics; in the arena. UNSPECIFIED: none that virtbus makes. */
    gboolean changing;  /* libvirt waits for its QEMU. Meanwhile the hardware may name a device
                             that is not in the guest yet, and may never be. */
} VbDomainFacts;

typedef enum {
    DOMAIN_EVENT_STARTED,
    DOMAIN_EVENT_STOPPED, /* With a reason. Only this frees the NVRAM. */
    DOMAIN_EVENT_REBOOT,  /* libvirt tells a reset as a reboot: it is one event there. */
    DOMAIN_EVENT_SHUTDOWN,
    DOMAIN_EVENT_PANIC, /* As pvpanic says it. The domain is destroyed then: STOPPED follows. */
    DOMAIN_EVENT_DEVICE_REMOVED, /* The guest has let go of a NIC: of nic_index. */
    DOMAIN_EVENT_RECONNECTED,    /* libvirt is back after an outage: every VM must be looked at.
                                 vm_uuid is NULL. */
} VbDomainEventKind;

/* Called on a thread of the hypervisor's; it must not block. */
typedef void (*VbDomainEventFunction)(void *data, const char *vm_uuid, VbDomainEventKind kind,
                                      StopReason reason, guint nic_index);

typedef struct VbHypervisor VbHypervisor;
struct VbHypervisor {
    /* The VMs whose domain is up and ours. Free with g_strfreev. NULL and HYPERVISOR_UNAVAILABLE. */
    char **(*list)(VbHypervisor *self, GError **error);
    gboolean (*look)(VbHypervisor *self, VbArena *arena, const char *vm_uuid,
                     VbDomainFacts *ret_facts, GError **error);
    /* Creates and starts a transient domain; libvirt validates the XML against its schema. A call
     * that has not come back after `timeout_ms` is unblocked by destroying the domain, and fails
     * with TIMEOUT. For a vhost-user NIC it comes back once OVS has connected to QEMU. */
    gboolean (*create)(VbHypervisor *self, const char *vm_uuid, const char *xml, gint64 timeout_ms,
                       GError **error);
    /* Plugs the device of this XML into the running domain, and no other place. Comes back when it
     * is in the guest, however long that takes: for a vhost-user NIC, when OVS has connected.
     * `preempted` (may be NULL) not 0, atomic: what is stuck is unblocked by destroying the domain,
     * and fails with PREEMPTED. DOMAIN_NOT_RUNNING: there is no domain. */
    gboolean (*attach_device)(VbHypervisor *self, const char *vm_uuid, const char *xml,
                              const gint *preempted, GError **error);
    /* Asks the guest to let go of the device with this alias; it is gone when a look does not find
     * it any more. One that is not there is a success. Else as attach_device. */
    gboolean (*detach_device)(VbHypervisor *self, const char *vm_uuid, const char *alias,
                              const gint *preempted, GError **error);
    /* Asks the guest to power off (ACPI). */
    gboolean (*shutdown)(VbHypervisor *self, const char *vm_uuid, GError **error);
    /* Pulls the plug. A domain that is not there is a success. Refuses a foreign one. */
    gboolean (*destroy)(VbHypervisor *self, const char *vm_uuid, GError **error);
    /* What a UEFI guest can use, best first: "kvm", "qemu"; NULL-terminated, owned by the
     * hypervisor. */
    const char *const *(*domain_types)(VbHypervisor *self);
    /* "QEMU 7.2.22, libvirt 9.0.0"; NULL: libvirt does not answer. Free with g_free. */
    char *(*version)(VbHypervisor *self);
    guint (*count_running)(VbHypervisor *self); /* Domains of virtbus. */
};

/* ---- The switch */

typedef struct {
    const char *vm_uuid;
    guint nic_index;
    const char *bridge;
    const char *socket_path;
    guint queues;
    guint mtu; /* 0: the switch's own. */
} VbPort;

typedef struct VbSwitch VbSwitch;
struct VbSwitch {
    /* Adds the port and waits until OVS has taken it (error=[] and ofport >= 0). On failure no row
     * is left. */
    gboolean (*plug)(VbSwitch *self, const VbPort *port, GError **error);
    /* Removes the port of this NIC. One that is not there is a success. */
    gboolean (*unplug)(VbSwitch *self, const char *vm_uuid, guint nic_index, GError **error);
    /* NIC indexes of the ports that carry this VM's external_ids: of guint. Free with
     * g_array_unref. */
    GArray *(*ports_of)(VbSwitch *self, const char *vm_uuid, GError **error);
    /* Whether OVS answers and has DPDK; `ret_problem` (g_free) says why not, else NULL. */
    void (*probe)(VbSwitch *self, gboolean *ret_ovs, gboolean *ret_dpdk, char **ret_problem);
};

/* ---- Files */

/* System calls as they are: -1 and errno on failure, so that a test can fail the Nth of them. */
typedef struct VbFiles VbFiles;
struct VbFiles {
    int (*open)(VbFiles *self, const char *path, int flags, mode_t mode);
    ssize_t (*read)(VbFiles *self, int fd, void *bytes, size_t size_bytes);
    ssize_t (*write)(VbFiles *self, int fd, const void *bytes, size_t size_bytes);
    int (*fstat)(VbFiles *self, int fd, struct stat *ret_stat);
    int (*fsync)(VbFiles *self, int fd);
    int (*close)(VbFiles *self, int fd);
    int (*lstat)(VbFiles *self, const char *path, struct stat *ret_stat);
    int (*rename)(VbFiles *self, const char *from, const char *to);
    int (*unlink)(VbFiles *self, const char *path);
    int (*mkdir)(VbFiles *self, const char *path, mode_t mode);
    int (*rmdir)(VbFiles *self, const char *path);
    int (*symlink)(VbFiles *self, const char *target, const char *path);
    ssize_t (*readlink)(VbFiles *self, const char *path, char *ret_target, size_t size_bytes);
    int (*chown)(VbFiles *self, const char *path, uid_t uid,
                 gid_t gid); /* Does not follow links. */
    int (*chmod)(VbFiles *self, const char *path, mode_t mode);
    /* Names in a folder without "." and "..", sorted; NULL and errno on failure. Free with
     * g_strfreev. */
    char **(*list)(VbFiles *self, const char *path);
    int (*free_bytes)(VbFiles *self, const char *path, guint64 *ret_total, guint64 *ret_free);
    /* qemu-img: makes a disk image at `path`. 0, or -1 with its words in `ret_message` (g_free). */
    int (*make_disk)(VbFiles *self, const char *path, const char *format, guint64 size_bytes,
                     const char *image_path, gboolean overlay, char **ret_message);
};

/* ---- Together */

typedef struct VbAudit VbAudit;             /* See audit.h. */
typedef struct VbFailedSyncs VbFailedSyncs; /* See volumes.h. */

typedef struct {
    const VbHostConfig *config;
    VbHypervisor *hypervisor;
    VbSwitch *ports;
    VbFiles *files;
    VbAudit *audit;              /* NULL: nobody wants to know. */
    VbFailedSyncs *failed_syncs; /* NULL: none is remembered. */
    gint64 (*now_ms)(void *clock);
    void (*wait_ms)(
        void *clock,
        gint64 duration_ms); /* Between two looks at something; never as a wait by itself. */
    void *clock;
} VbHost;
